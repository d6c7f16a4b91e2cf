"""The groups into which marks put tests: those of a group run on one worker.

Reads marks as pytest-xdist reads its own. Never looks at what else a test is called.
"""

MARKS = ("cloudist_group", "xdist_group")
HELP = "cloudist_group(name): with --cloudist=group, tests of the same name run on one worker"


def groups(items):
    """The index of each marked test with the name of its group. A mark of ours stands before one for xdist."""
    found = []
    for index, item in enumerate(items):
        for mark in MARKS:
            names = {_name(one) for one in item.iter_markers(mark)}
            if names:
                found.append([index, "_".join(sorted(names))])
                break
    return found


def _name(mark):
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))

"""The groups into which marks put tests: those of a group run on one worker.

Reads marks as pytest-xdist reads its own. Never looks at what else a test is called.
"""

MARKS = ("cloudist_group", "xdist_group")
HELP = "cloudist_group(name): with --cloudist=group, tests of the same name run on one worker"


def groups(items):
    """The name of each marked test's group, by the test's index. A mark of ours stands before one for xdist."""
    found = {}
    for index, item in enumerate(items):
        for mark in MARKS:
            names = {_name(one) for one in item.iter_markers(mark)}
            if names:
                found[index] = "_".join(sorted(names))
                break
    return found


def _name(mark):
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))

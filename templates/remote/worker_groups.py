"""What marks say of where tests run: which on one worker, and which not beside others.

Reads marks as pytest-xdist reads its own. Never looks at what else a test is called.
"""

MARKS = ("cloudist_group", "xdist_group")
APART = {"cloudist_serial": "s", "cloudist_exclusive": "e"}
HELP = (
    "cloudist_group(name): with --cloudist=group, tests of the same name run on one worker",
    "cloudist_serial: one test with this mark at a time runs in the whole run",
    "cloudist_exclusive: no other test runs on the same machine meanwhile",
)


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


def apart(items, together):
    """The index of each test that does not run beside others, with its kinds: `s` (serial), `e` (exclusive).

    If the tests of the file stay `together`, all of them are what any of them is.
    """
    found = [
        [index, "".join(kind for mark, kind in APART.items() if item.get_closest_marker(mark) is not None)]
        for index, item in enumerate(items)
    ]
    if together:
        kinds = "".join(kind for kind in APART.values() if any(kind in own for _, own in found))
        found = [[index, kinds] for index, _ in found]
    return [entry for entry in found if entry[1]]


def _name(mark):
    return str(mark.args[0] if mark.args else mark.kwargs.get("name", "default"))

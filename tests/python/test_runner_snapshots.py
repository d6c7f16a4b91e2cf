"""A snapshot of many files, of which everything is on its way at once."""

import pathlib

FILES = {"%02d/%04d.txt" % (number % 50, number): "content %d\n" % number * 9 for number in range(6000)}


def test_contents_come_while_the_manifest_is_read(machine):
    tree = pathlib.Path(machine.snapshot(FILES))
    found = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*.txt")}
    assert found == FILES


def test_the_next_snapshot_of_it(machine):
    machine.snapshot(FILES)
    edited = {**FILES, "00/0000.txt": "edited\n"}
    tree = pathlib.Path(machine.snapshot(edited))
    assert (tree / "00/0000.txt").read_text() == "edited\n"
    assert sum(1 for _ in tree.rglob("*.txt")) == len(edited)

"""Full disks: what the store keeps for later is given up before a snapshot is refused, and what is refused leaves room for a smaller one."""

import os

from conftest import Snapshot, refused

OTHER = "fedcba9876543210"


def test_a_disk_that_fills_up(small_disk, open_store):
    snapshot = Snapshot({"a": os.urandom(600_000), "b": os.urandom(600_000)})
    opened = open_store(where=small_disk)
    snapshot.aim(opened)
    _, need = opened.build(snapshot.id)
    error = refused(snapshot.send, opened, need)
    assert error.kind == "disk-full" and "free space" in error.message
    opened.close()
    smaller = Snapshot({"a": b"fits"})
    tree, _ = smaller.put(open_store("r2", where=small_disk))
    assert os.listdir(tree) == [b"a"]


def test_a_disk_that_fills_up_while_copying(small_disk, open_store):
    content = os.urandom(400_000)
    snapshot = Snapshot({name: content for name in "abc"})
    opened = open_store(where=small_disk)
    snapshot.aim(opened)
    _, need = opened.build(snapshot.id)
    assert need["files"] == [[0, 0]]
    assert refused(snapshot.send, opened, need).kind == "disk-full"
    assert not os.path.exists(opened._tree.slot.beside("manifest"))
    opened.close()
    assert os.path.exists(Snapshot({"a": content}).put(open_store("r2", where=small_disk))[0])


def test_the_attic_makes_room(small_disk, open_store):
    opened = open_store(where=small_disk)
    Snapshot({"a": os.urandom(600_000)}).put(opened)
    tree, _ = Snapshot({"b": os.urandom(600_000)}).put(opened)
    assert os.listdir(tree) == [b"b"]


def test_the_attic_makes_room_for_parts(small_disk, open_store):
    opened = open_store(where=small_disk)
    Snapshot({"a": os.urandom(600_000)}).put(opened)
    after = Snapshot({"b": os.urandom(600_000)})
    after.aim(opened)
    for _ in range(2):
        reply, need = opened.build(after.id)
        if need is not None:
            after.send_parts(opened, 0, need["arrived"].get("0", 0), part=50_000)
    reply, need = opened.build(after.id)
    assert need is None and os.listdir(reply["tree"]) == ["b"]


def test_trees_of_nobody_make_room(small_disk, open_store):
    opened = open_store(where=small_disk)
    Snapshot({"a": os.urandom(600_000)}).put(opened, OTHER)
    snapshot = Snapshot({"b": os.urandom(600_000)})
    other = open_store("r2", where=small_disk)
    snapshot.aim(other)
    need = other.build(snapshot.id)[1]
    assert refused(snapshot.send, other, need).kind == "disk-full", "the run that has the other tree goes on"
    opened.close()
    assert os.path.exists(snapshot.put(other)[0])
    assert OTHER not in os.listdir(os.path.join(small_disk, "trees"))


def test_a_disk_without_room_for_a_record(small_disk, open_store):
    filled(small_disk, open_store)
    smaller = Snapshot({"%03d" % number: b"less" for number in range(30)})
    opened = open_store("r2", where=small_disk)
    tree, _ = smaller.put(opened)
    assert len(os.listdir(tree)) == 30
    opened.close()
    assert smaller.put(open_store("r3", where=small_disk))[1] == []


def test_what_was_shed_is_not_believed_to_be_there(small_disk, open_store):
    snapshot = filled(small_disk, open_store)
    opened = open_store("r2", where=small_disk)
    # Nothing of the old tree is in it, and it doesn't fit: its files are more than there is room for.
    larger = Snapshot({"other-%03d" % number: os.urandom(4096) for number in range(300)})
    larger.aim(opened)
    need = opened.build(larger.id)[1]
    assert refused(larger.send, opened, need).kind == "disk-full"
    opened.close()
    os.unlink(os.path.join(small_disk, "filler"))
    tree, sent = snapshot.put(open_store("r3", where=small_disk))
    assert len(sent) == 150 and len(os.listdir(tree)) == 150


def filled(where, open_store):
    """Leaves a tree of many small files on a disk, and no room beside it. Returns its snapshot."""
    snapshot = Snapshot({"%03d" % number: os.urandom(4096) for number in range(150)})
    opened = open_store(where=where)
    snapshot.put(opened)
    opened.close()
    with open(os.path.join(where, "filler"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return snapshot

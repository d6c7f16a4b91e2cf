"""What goes into the store, what is refused, and what becomes of it: damage, pruning."""

import errno
import hashlib
import os
import zlib

import pytest
from conftest import KEY, Snapshot, digests, disk, faults, manifest, refused, store

BIG = bytes(range(256)) * 12_000


def test_contents_plain_and_compressed(open_store):
    for z in (False, True):
        snapshot = Snapshot({"big": BIG + bytes([z]), "empty": b"", "small-%d" % z: b"%d" % z})
        opened = open_store()
        snapshot.aim(opened, KEY + str(int(z)))
        snapshot.send(opened, opened.build(snapshot.id)[1], z=z)
        with open(os.path.join(opened.build(snapshot.id)[0]["tree"], "big"), "rb") as file:
            assert file.read() == BIG + bytes([z])


def test_many_contents_in_one_message(open_store):
    snapshot = Snapshot({"%03d" % number: b"x" * number for number in range(500)})
    opened = open_store()
    snapshot.aim(opened)
    opened.pack({"files": list(range(500)), "z": True}, zlib.compress(b"".join(snapshot.contents)))
    reply, need = opened.build(snapshot.id)
    assert need is None and os.path.getsize(os.path.join(reply["tree"], "499")) == 499


@pytest.mark.parametrize(
    "record",
    [
        b"f 0 %(hash)b ../outside\0",
        b"f 0 %(hash)b /etc/outside\0",
        b"f 0 %(hash)b a/../../outside\0",
        b"f 0 %(hash)b a//b\0",
        b"f 0 %(hash)b ./a\0",
        b"f 0 %(hash)b a/\0",
        b"f 0 %(hash)b \0",
        b"d ..\0",
        b"l ../x\0target\0",
        b"l a\0/etc\0f 0 %(hash)b a/passwd\0",
        b"f 0 %(hash)b a\0f 0 %(hash)b a/b\0",
        b"f 0 %(hash)b b\0f 0 %(hash)b a\0",
        b"f 0 %(hash)b a\0f 0 %(hash)b a\0",
        b"f x %(hash)b a\0",
        b"f  %(hash)b a\0",
        b"f -1 %(hash)b a\0",
        b"f 0 ../../../../etc/passwd a\0",
        b"f 0 %(upper)b a\0",
        b"f 0 %(hash)b\0",
        b"f 0 %(hash)b a",
        b"l a\0",
        b"l a\0\0",
        b"q a\0",
        b"\0",
    ],
)
def test_manifests_that_lead_astray_are_refused(open_store, base, record):
    empty = hashlib.sha256(b"").hexdigest().encode()
    data = manifest.HEADER + record % {b"hash": empty, b"upper": empty.upper()}
    header = {"id": hashlib.sha256(data).hexdigest(), "key": KEY}
    error = refused(open_store().snapshot, header, data)
    assert error.kind == "corrupt" and "manifest" in error.message
    assert os.listdir(os.path.join(base, "trees")) == []


def test_other_versions_and_other_manifests_are_refused(open_store):
    opened = open_store()
    for data in (
        b"cloudist-manifest 1\n",
        b"",
        b"junk",
        zlib.compress(b"junk"),
        zlib.compress(manifest.HEADER)[:-3],
    ):
        header = {"id": hashlib.sha256(data).hexdigest(), "key": KEY}
        assert refused(opened.snapshot, header, data).kind == "corrupt"
    snapshot = Snapshot({"a": b"1"})
    header = {"id": Snapshot({}).id, "key": KEY}
    assert "not the one" in refused(opened.snapshot, header, snapshot.manifest).message
    assert "never sent" in refused(open_store("r2").build, snapshot.id).message
    for key in ("", "../../x-and-more", "a/b/c/d/e/f", None, "ab", "a" * 65):
        assert "place" in refused(opened.snapshot, {"id": snapshot.id, "key": key}, snapshot.manifest).message


def test_contents_that_do_not_fit_are_refused_and_can_be_sent_anew(open_store):
    snapshot = Snapshot({"a": b"abcd", "big": BIG})
    opened = open_store()
    snapshot.aim(opened)
    for files, data, z in [
        ([0], b"abcX", False),
        ([0], b"abcde", False),
        ([0], b"abc", False),
        ([0], b"", False),
        ([2], b"abcd", False),
        (["x"], b"abcd", False),
        ([0], b"abcd", True),
        ([0], zlib.compress(b"abcd" * 100), True),
    ]:
        assert refused(opened.pack, {"files": files, "z": z}, data).kind == "corrupt"
    for file, offset, data in [(1, 5, b"x"), (2, 0, b"x"), (-1, 0, b"x"), (1, 0, BIG + b"x")]:
        assert refused(opened.part, {"file": file, "offset": offset}, data).kind == "corrupt"
        opened.build(snapshot.id)
    snapshot.send_parts(opened, 1, end=len(BIG) - 10)
    error = refused(opened.part, {"file": 1, "offset": len(BIG) - 10}, b"0123456789")
    assert error.kind == "corrupt" and "another hash" in error.message
    tree, sent = snapshot.put(opened)
    assert sent == [b"abcd", BIG] and sorted(os.listdir(tree)) == [b"a", b"big"]


def test_a_content_in_terms_of_another(open_store, tmp_path):
    edited = BIG[:100_000] + b"edit" + BIG[100_010:]
    for good in (True, False):
        opened = open_store(where=str(tmp_path / str(good)))
        Snapshot({"big": BIG}).put(opened)
        snapshot = Snapshot({"big": edited})
        snapshot.aim(opened)
        old = digests.digest(BIG).decode()
        first = {"file": 0, "offset": 0, "from": old, "ops": [[0, 100_000], 2]}
        opened.part(first, b"ed")
        rest = {"file": 0, "offset": 100_002, "from": old, "ops": [2, [100_010 if good else 0, len(BIG) - 100_010]]}
        opened.part(rest, b"it")
        reply, need = opened.build(snapshot.id)
        assert (need is None) == good
        if not good:
            assert need["files"] == [[0, 0]] and need["arrived"] == {}
            snapshot.send(opened, need)
            reply, need = opened.build(snapshot.id)
        with open(os.path.join(reply["tree"], "big"), "rb") as file:
            assert file.read() == edited


def test_a_content_in_terms_of_one_that_is_not_there(open_store):
    opened = open_store()
    snapshot = Snapshot({"big": BIG})
    snapshot.aim(opened)
    opened.part({"file": 0, "offset": 0, "from": "0" * 64, "ops": [[0, len(BIG)]]}, b"")
    assert opened.build(snapshot.id)[1]["files"] == [[0, 0]]
    assert snapshot.put(opened)[1] == [BIG]


@pytest.mark.parametrize("tenth", range(11))
def test_what_arrived_before_a_cut_is_kept(open_store, tenth):
    entries = {"%02d" % number: b"%d" % number * 1000 for number in range(20)}
    entries["big"] = BIG
    snapshot = Snapshot(entries)
    first = open_store()
    snapshot.aim(first)
    small = 20 * tenth // 10
    if small:
        first.pack({"files": list(range(small))}, b"".join(snapshot.contents[:small]))
    snapshot.send_parts(first, 20, end=len(BIG) * tenth // 10)
    first.close()
    second = open_store("r2")
    snapshot.aim(second)
    _, need = second.build(snapshot.id)
    if tenth == 10:
        assert need is None
        return
    assert need["files"] == [[small, 20]]
    arrived = len(BIG) * tenth // 10 // digests.PIECE * digests.PIECE
    assert need["arrived"] == ({"20": arrived} if arrived else {})
    snapshot.send(second, need)
    reply, need = second.build(snapshot.id)
    assert need is None
    for path, content in entries.items():
        with open(os.path.join(reply["tree"], path), "rb") as file:
            assert file.read() == content


def test_what_arrived_before_a_cut_and_is_damaged_is_sent_again(open_store):
    snapshot = Snapshot({"a": b"abcd", "big": BIG})
    first = open_store()
    snapshot.aim(first)
    first.pack({"files": [0]}, b"abcd")
    snapshot.send_parts(first, 1, end=2 << 20)
    slot = first._tree.slot
    first.close()
    for path in (os.path.join(slot.tree, "a"), slot.beside("incoming/" + digests.digest(BIG).decode())):
        with open(path, "r+b") as file:
            file.write(b"X")
    second = open_store("r2")
    snapshot.aim(second)
    _, need = second.build(snapshot.id)
    assert need == {"files": [[0, 1]], "arrived": {"1": 2 << 20}}
    # Whoever sent the rest has done nothing wrong, and is asked for all of it.
    snapshot.send(second, need)
    assert second.build(snapshot.id)[1] == {"files": [[1, 1]], "arrived": {}}
    assert snapshot.put(second)[1] == [BIG]


def test_the_difference_between_two_snapshots_is_enough(open_store):
    one = Snapshot({"a": b"1", "b": b"2", "c": ("link", b"a")})
    two = Snapshot({"a": b"1", "b": b"3", "d/e": b"4"})
    first = open_store()
    tree, _ = one.put(first)
    first.close()
    second = open_store("r2")
    second.guess()
    two.aim_from(one, second)
    second.pack({"files": [1, 2]}, b"34")
    reply, need = second.build(two.id)
    assert need is None and reply["tree"].encode() == tree
    assert sorted(os.listdir(tree)) == [b"a", b"b", b"d"]


def test_a_difference_to_what_is_not_there_or_wrong(open_store):
    one, two = Snapshot({"a": b"1"}), Snapshot({"a": b"2"})
    opened = open_store()
    one.put(opened)
    for base, ops in ((Snapshot({}).id, [[0, 10]]), (one.id, [[0, 10]])):
        opened.snapshot({"id": two.id, "key": KEY, "base": base, "ops": ops}, zlib.compress(b""))
        opened.pack({"files": [0]}, b"2")
        assert opened.build(two.id) == (dict(t="need", id=two.id, manifest=True), {})
    assert two.put(opened)[1] == [b"2"]


def attic_path(base, data):
    digest = hashlib.sha256(data).hexdigest()
    return os.path.join(base, "store", "attic", digest[:2], digest)


def test_what_a_tree_drops_is_there_when_it_is_wanted_again(open_store, base):
    one, two = Snapshot({"a": b"old", "b": b"same"}), Snapshot({"a": b"new", "b": b"same"})
    opened = open_store()
    assert one.put(opened)[1] == [b"old", b"same"]
    assert two.put(opened)[1] == [b"new"]
    assert os.path.exists(attic_path(base, b"old"))
    assert one.put(opened)[1] == []
    assert not os.path.exists(attic_path(base, b"old"))
    moved = Snapshot({"c/d": b"old", "e": b"old", "b": ("x", b"same")})
    tree, sent = moved.put(opened)
    assert sent == [] and os.stat(tree + b"/b").st_mode & 0o777 == 0o755
    with open(tree + b"/e", "rb") as file:
        assert file.read() == b"old"


@pytest.mark.parametrize("content", [b"Xld", b"ol", b"", b"old."])
def test_a_damaged_content_is_found_and_asked_for_again(open_store, base, content):
    one, two = Snapshot({"a": b"old"}), Snapshot({"a": b"new"})
    opened = open_store()
    one.put(opened)
    two.put(opened)
    with open(attic_path(base, b"old"), "wb") as file:
        file.write(content)
    tree, sent = one.put(opened)
    assert sent == [b"old"]
    with open(tree + b"/a", "rb") as file:
        assert file.read() == b"old"


def test_what_a_test_has_edited_does_not_go_to_the_attic(open_store, base):
    opened = open_store()
    tree, _ = Snapshot({"a": b"old"}).put(opened)
    with open(tree + b"/a", "ab") as file:
        file.write(b"more")
    opened.close()
    opened = open_store("r2")
    Snapshot({"a": b"new"}).put(opened)
    assert not os.path.exists(attic_path(base, b"old"))
    assert Snapshot({"a": b"old"}).put(opened)[1] == [b"old"]


def test_kinds_of_errors():
    kind = lambda number: faults.StoreError.of(OSError(number, "words", "/p"), "do it").kind  # noqa: E731
    numbers = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO]
    assert [kind(number) for number in numbers] == [
        "disk-full",
        "disk-full",
        "permission",
        "permission",
        "io",
    ]
    message = faults.StoreError.of(OSError(errno.EIO, "words", "/p"), "do it").message
    assert message == "failed to do it: words: /p"


def test_a_base_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert refused(store.Store, str(tmp_path / "file" / "base"), "r1").kind == "io"


def trees(base):
    return sorted(name for name in os.listdir(os.path.join(base, "trees")) if "." not in name)


def test_only_the_trees_used_last_are_kept(open_store, base):
    for number in range(6):
        opened = open_store("r%d" % number, kept_trees=4)
        tree, _ = Snapshot({"a": b"%d" % number}).put(opened, "project%d" % number)
        os.mkdir(tree + b"/locked")
        os.chmod(tree + b"/locked", 0o500)
        opened.close()
    assert trees(base) == ["project%d" % number for number in range(2, 6)]
    assert len(os.listdir(os.path.join(base, "trees"))) == 8


def test_a_tree_in_use_is_never_pruned(open_store, base):
    busy = open_store("busy")
    tree, _ = Snapshot({"a": b"in use"}).put(busy, "busyproject")
    for number in range(6):
        opened = open_store("r%d" % number, kept_trees=1, kept_bytes=0)
        Snapshot({"a": b"%d" % number}).put(opened, "project%d" % number)
        opened.close()
    assert os.path.exists(tree + b"/a")
    assert len(trees(base)) == 2


def test_the_store_stays_small_and_the_oldest_goes_first(open_store, base):
    opened = open_store(kept_bytes=25)
    for number in range(4):
        Snapshot({"a": b"%010d" % number}).put(opened)
    opened.close()
    kept = [number for number in range(4) if os.path.exists(attic_path(base, b"%010d" % number))]
    assert kept == [2] and trees(base) == [KEY]
    opened = open_store("r2", kept_bytes=5)
    Snapshot({"a": b"%010d" % 9}).put(opened)
    opened.close()
    assert not os.path.exists(attic_path(base, b"%010d" % 2)) and trees(base) == [KEY]


def test_removing_goes_through_no_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    disk.remove(os.fsencode(str(tmp_path / "gone")))
    assert os.listdir(str(tmp_path)) == ["kept"] and os.listdir(str(tmp_path / "kept")) == ["file"]

"""What goes into the store, what is refused, and what becomes of it: damage, full disks, pruning."""

import errno
import hashlib
import os
import subprocess
import zlib

import pytest
from conftest import Snapshot, store

BIG = bytes(range(256)) * 12_000


def test_pieces_plain_and_compressed(open_store):
    for z in (False, True):
        snapshot = Snapshot({"big": BIG + bytes([z]), "empty": b"", "small-%d" % z: b"%d" % z})
        opened = open_store()
        _, missing = opened.begin(snapshot.id, zlib.compress(snapshot.manifest))
        snapshot.send(opened, missing, z=z)
        with open(os.path.join(opened.build(snapshot.id)["tree"], "big"), "rb") as file:
            assert file.read() == BIG + bytes([z])


def test_contents_are_read_only_and_named_by_their_hash(open_store, base):
    Snapshot({"a": b"1"}).put(open_store())
    digest = hashlib.sha256(b"1").hexdigest()
    path = os.path.join(base, "store", "blobs", digest[:2], digest)
    assert os.stat(path).st_mode & 0o777 == 0o444


def refused(call, *arguments):
    with pytest.raises(store.StoreError) as caught:
        call(*arguments)
    return caught.value


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
    data = store.HEADER + record % {b"hash": empty, b"upper": empty.upper()}
    error = refused(open_store().begin, hashlib.sha256(data).hexdigest(), data)
    assert error.kind == "corrupt" and "manifest" in error.message
    assert os.listdir(os.path.join(base, "trees")) == []


def test_other_versions_and_other_manifests_are_refused(open_store):
    opened = open_store()
    for data in (
        b"cloudist-manifest 2\n",
        b"",
        b"junk",
        zlib.compress(b"junk"),
        zlib.compress(store.HEADER)[:-3],
    ):
        assert refused(opened.begin, hashlib.sha256(data).hexdigest(), data).kind == "corrupt"
    snapshot = Snapshot({"a": b"1"})
    assert "not the one" in refused(opened.begin, Snapshot({}).id, snapshot.manifest).message
    assert "never sent" in refused(opened.build, snapshot.id).message


def header(data, **changes):
    return dict(
        {"hash": hashlib.sha256(data).hexdigest(), "size": len(data), "offset": 0, "z": False}, **changes
    )


def test_pieces_that_do_not_fit_are_refused_and_can_be_sent_anew(open_store, base):
    snapshot = Snapshot({"a": b"abcd"})
    opened = open_store()
    opened.begin(snapshot.id, snapshot.manifest)
    for head, data in [
        (header(b"abcd", offset=2), b"cd"),
        (header(b"abcd", offset=9), b""),
        (header(b"abcd", offset=-1), b""),
        (header(b"abcd"), b"abcde"),
        (header(b"abcd"), b"abcX"),
        (header(b"abcd", z=True), b"abcd"),
        (header(b"abcd", z=True), zlib.compress(b"abcd" * 100_000)),
        (header(b"abcd", size=5), b"abcd"),
        (header(b"unasked"), b"unasked"),
    ]:
        assert refused(opened.blob, head, data).kind == "corrupt"
    assert refused(opened.build, snapshot.id).kind == "corrupt"
    tree, missing = snapshot.put(opened)
    assert len(missing) == 1 and os.listdir(tree) == [b"a"]


def blob_path(base, data):
    digest = hashlib.sha256(data).hexdigest()
    return os.path.join(base, "store", "blobs", digest[:2], digest)


def damage(base, data, content):
    path = blob_path(base, data)
    os.chmod(path, 0o644)
    with open(path, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("content", [b"Xbcd", b"ab", b"", b"abcde"])
def test_a_damaged_content_is_found_and_asked_for_again(open_store, base, content):
    Snapshot({"one": b"abcd", "other": b"fine"}).put(open_store())
    damage(base, b"abcd", content)
    snapshot = Snapshot({"two": b"abcd", "three": b"fine", "again": b"abcd"})
    opened = open_store("r2")
    need, missing = opened.begin(snapshot.id, snapshot.manifest)
    if len(content) == 4:
        assert missing == []
        error = refused(opened.build, snapshot.id)
        assert error.kind == "corrupt" and hashlib.sha256(b"abcd").hexdigest() in error.message
        assert not os.path.exists(need["tree"])
    tree, missing = snapshot.put(opened)
    assert missing == [hashlib.sha256(b"abcd").hexdigest()]
    assert sorted(os.listdir(tree)) == [b"again", b"three", b"two"]
    with open(tree + b"/two", "rb") as file:
        assert file.read() == b"abcd"


def test_a_lost_content_is_asked_for_when_a_tree_needs_repair(open_store, base):
    snapshot = Snapshot({"a": b"abcd", "b": b"fine"})
    first = open_store()
    tree, _ = snapshot.put(first)
    first.close()
    os.unlink(blob_path(base, b"abcd"))
    os.unlink(tree + b"/a")
    again, missing = snapshot.put(open_store("r2"))
    assert again == tree and missing == [hashlib.sha256(b"abcd").hexdigest()]
    assert sorted(os.listdir(tree)) == [b"a", b"b"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("mounting a file system needs to be root")
    yield str(mount)
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_that_fills_up_while_contents_arrive(small_disk, open_store):
    snapshot = Snapshot({"a": os.urandom(900_000), "b": os.urandom(900_000)})
    opened = open_store(where=small_disk)
    _, missing = opened.begin(snapshot.id, snapshot.manifest)
    error = refused(snapshot.send, opened, missing)
    assert error.kind == "disk-full" and "free space" in error.message
    assert os.listdir(opened._held[snapshot.id].slot.beside("incoming")) == []


def test_a_disk_that_fills_up_while_building(small_disk, open_store):
    content = os.urandom(400_000)
    snapshot = Snapshot({name: content for name in "abc"})
    opened = open_store(where=small_disk)
    need, missing = opened.begin(snapshot.id, snapshot.manifest)
    snapshot.send(opened, missing)
    assert refused(opened.build, snapshot.id).kind == "disk-full"
    assert not os.path.exists(need["tree"]) and not os.path.exists(need["tree"] + ".partial")
    small = Snapshot({"a": content})
    assert os.path.exists(small.put(opened)[0])


def test_kinds_of_errors():
    kind = lambda number: store.StoreError.of(OSError(number, "words", "/p"), "do it").kind  # noqa: E731
    numbers = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO]
    assert [kind(number) for number in numbers] == [
        "disk-full",
        "disk-full",
        "permission",
        "permission",
        "io",
    ]
    message = store.StoreError.of(OSError(errno.EIO, "words", "/p"), "do it").message
    assert message == "failed to do it: words: /p"


def test_a_base_that_can_not_be_made(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert refused(store.Store, str(tmp_path / "file" / "base"), "r1").kind == "io"


def trees(base):
    return sorted(name for name in os.listdir(os.path.join(base, "trees")) if "." not in name)


def test_only_the_newest_trees_are_kept(open_store, base):
    made = []
    for number in range(6):
        opened = open_store("r%d" % number)
        tree, _ = Snapshot({"a": b"%d" % number}).put(opened)
        os.mkdir(tree + b"/locked")
        os.chmod(tree + b"/locked", 0o500)
        made.append(os.path.basename(tree).decode())
        opened.close()
    assert trees(base) == sorted(made[-4:])
    assert len(os.listdir(os.path.join(base, "trees"))) == 8


def test_a_tree_in_use_is_never_pruned(open_store, base):
    busy = open_store("busy")
    tree, _ = Snapshot({"a": b"in use"}).put(busy)
    for number in range(6):
        opened = open_store("r%d" % number, kept_trees=1, kept_bytes=0)
        Snapshot({"a": b"%d" % number}).put(opened)
        opened.close()
    assert os.path.exists(tree + b"/a")
    assert os.path.exists(blob_path(base, b"in use"))
    assert len(trees(base)) == 2


def test_contents_nobody_mentions_go_once_the_store_is_large(open_store, base):
    for kept_bytes, remain in ((10, True), (9, False)):
        first = open_store("first")
        Snapshot({"a": b"old45"}).put(first)
        first.close()
        second = open_store("second", kept_trees=1, kept_bytes=kept_bytes)
        Snapshot({"a": b"new45"}).put(second)
        second.close()
        assert os.path.exists(blob_path(base, b"old45")) == remain
        assert os.path.exists(blob_path(base, b"new45"))

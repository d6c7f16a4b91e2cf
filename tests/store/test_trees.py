"""What a tree holds after it was built, and after tests have been at work in it."""

import os
import pathlib
import random
import stat

import pytest
from conftest import KEY, Snapshot, disk, manifest

SAMPLE = {
    "0/p/a.py": b"print(1)\n",
    "0/p/empty": b"",
    "0/p/run.sh": ("x", b"#!/bin/sh\n"),
    "0/p/same": b"print(1)\n",
    "0/p/logs": None,
    "0/p/to-a": ("link", b"a.py"),
    "0/p/pkg/deep/er/b.py": b"b",
    "0/p/with space\nand newline": b"odd",
    b"0/p/\xff\xfe": b"not utf-8",
    "0/p/\u00fc": b"unicode",
    "1/lib/abs": ("link", b"/nowhere/at/all"),
}


def contents(tree):
    found = {}
    for folder, directories, files in os.walk(tree):
        for name in directories + files:
            path = os.path.join(folder, name)
            key = os.path.relpath(path, tree)
            if os.path.islink(path):
                found[key] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                if not os.listdir(path):
                    found[key] = None
            else:
                with open(path, "rb") as file:
                    data = file.read()
                mode = stat.S_IMODE(os.stat(path).st_mode)
                assert mode in (0o644, 0o755)
                found[key] = ("x", data) if mode == 0o755 else data
    return found


def expected(entries):
    return {path.encode() if isinstance(path, str) else path: content for path, content in entries.items()}


def test_a_tree_is_what_its_manifest_says(open_store):
    tree, sent = Snapshot(SAMPLE).put(open_store())
    assert contents(tree) == expected(SAMPLE)
    assert len(sent) == len(set(sent)) == 7


def test_modes_do_not_depend_on_the_umask(open_store):
    before = os.umask(0o077)
    try:
        tree, _ = Snapshot(SAMPLE).put(open_store())
    finally:
        os.umask(before)
    assert contents(tree) == expected(SAMPLE)


def test_an_empty_snapshot(open_store):
    tree, missing = Snapshot({}).put(open_store())
    assert os.path.isdir(tree) and missing == []


def test_the_second_run_finds_the_tree_complete(open_store):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    first.close()
    for guesses in (False, True):
        second = open_store("r2")
        if guesses:
            second.guess()
        Snapshot(SAMPLE).aim(second)
        reply, need = second.build(Snapshot(SAMPLE).id)
        assert need is None and reply["tree"] == os.fsdecode(tree)
        second.close()


def test_a_manifest_is_read_once(open_store, monkeypatch):
    snapshot, first = Snapshot(SAMPLE), open_store()
    tree, _ = snapshot.put(first)
    first.close()
    columns = pathlib.Path(os.fsdecode(tree) + ".cloudist", "columns").read_bytes()
    base, again = manifest.Manifest(snapshot.manifest), manifest.Manifest.recalled(snapshot.manifest, columns)
    assert vars(again) == vars(base)
    edited = Snapshot({**SAMPLE, "0/p/a.py": b"print(2)\n"})
    assert manifest.Manifest.recalled(edited.manifest, columns) is None
    second = open_store("r2")
    monkeypatch.setattr(manifest.Manifest, "_parse", None)
    second.guess()
    assert snapshot.put(second) == (tree, [])


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "changed"])
def test_what_a_manifest_was_read_as_is_damaged(open_store, damage):
    snapshot, first = Snapshot(SAMPLE), open_store()
    tree, _ = snapshot.put(first)
    first.close()
    columns = pathlib.Path(os.fsdecode(tree) + ".cloudist", "columns")
    known = columns.read_bytes()
    changed = known[:200] + bytes([known[200] ^ 1]) + known[201:]
    columns.write_bytes({"missing": b"", "empty": b"", "cut": known[:-1], "changed": changed}[damage])
    if damage == "missing":
        columns.unlink()
    second = open_store("r2")
    second.guess()
    assert snapshot.put(second) == (tree, [])
    assert contents(tree) == expected(SAMPLE)


def test_an_edit_touches_one_file_of_the_same_tree(open_store):
    after = dict(SAMPLE, **{"0/p/a.py": b"print(2)\n"})
    opened = open_store()
    old, _ = Snapshot(SAMPLE).put(opened)
    inode = os.stat(old + b"/0/p/pkg/deep/er/b.py").st_ino
    opened.close()
    new, sent = Snapshot(after).put(open_store("r2"))
    assert (new, sent) == (old, [b"print(2)\n"])
    assert os.stat(new + b"/0/p/pkg/deep/er/b.py").st_ino == inode
    assert contents(new) == expected(after)


def test_projects_share_contents_and_no_tree(open_store):
    opened = open_store()
    one, _ = Snapshot(SAMPLE).put(opened)
    two, sent = Snapshot(SAMPLE).put(opened, "another0project")
    assert one != two and sent == [] and contents(two) == expected(SAMPLE)
    one, two = (os.stat(tree + b"/0/p/a.py") for tree in (one, two))
    assert one.st_ino != two.st_ino and one.st_mtime_ns == two.st_mtime_ns


def test_times_follow_the_content_alone(open_store, tmp_path):
    opened, elsewhere = open_store(), open_store(where=str(tmp_path / "other"))
    one, _ = Snapshot({"a": b"1", "b": b"2"}).put(opened)
    two, _ = Snapshot({"c": b"1", "b": b"3"}).put(elsewhere)
    mtime = lambda tree, name: os.stat(os.path.join(tree, name)).st_mtime_ns  # noqa: E731
    assert mtime(one, b"a") == mtime(two, b"c")
    assert mtime(one, b"b") != mtime(two, b"b")


def test_what_a_test_writes_reaches_nothing_else(open_store):
    opened = open_store()
    tree, _ = Snapshot({"a": b"1", "b": b"1"}).put(opened)
    with open(os.path.join(tree, b"a"), "wb") as file:
        file.write(b"overwritten")
    with open(os.path.join(tree, b"b"), "rb") as file:
        assert file.read() == b"1"
    other, _ = Snapshot({"x": b"1"}).put(opened, "another0project")
    with open(os.path.join(other, b"x"), "rb") as file:
        assert file.read() == b"1"


def edit(path):
    with open(path, "ab") as file:
        file.write(b"more")


def edit_in_disguise(path):
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"X")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap_for_directory(path):
    os.unlink(path)
    os.makedirs(path + b"/below/it")
    edit(path + b"/below/it/file")


def swap_for_link(path):
    os.unlink(path)
    os.symlink(b"/etc/passwd", path)


def hard_link(path):
    os.link(path, path + b".second")
    edit(path + b".second")


DAMAGE = [edit, edit_in_disguise, os.unlink, swap_for_directory, swap_for_link, hard_link]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_what_tests_did_to_a_file_is_undone(open_store, damage):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    damage(os.path.join(tree, b"0/p/pkg/deep/er/b.py"))
    first.close()
    second = open_store("r2")
    again, sent = Snapshot(SAMPLE).put(second)
    assert (again, sent) == (tree, [b"b"])
    found = contents(tree)
    found.pop(b"0/p/pkg/deep/er/b.py.second", None)
    assert found == expected(SAMPLE)
    with open("/etc/passwd", "rb") as file:
        assert b"print" not in file.read()
    second.close()
    assert Snapshot(SAMPLE).put(open_store("r3")) == (tree, [])


@pytest.mark.parametrize("change", ["touch", "chmod", "same content anew", "no record"])
def test_unchanged_content_is_accepted_and_restored(open_store, change):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    path = os.path.join(tree, b"0/p/a.py")
    mtime = os.stat(path).st_mtime_ns
    if change == "touch":
        os.utime(path)
    elif change == "chmod":
        os.chmod(path, 0o600)
    elif change == "same content anew":
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(SAMPLE["0/p/a.py"])
    else:
        os.unlink(tree + b".cloudist/stat")
    first.close()
    second = open_store("r2")
    Snapshot(SAMPLE).aim(second)
    assert Snapshot(SAMPLE).lacks(second) == []
    assert contents(tree) == expected(SAMPLE)
    assert os.stat(path).st_mtime_ns == mtime


def test_a_directory_that_became_a_link_is_made_again_and_its_target_spared(open_store, tmp_path):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    moved = os.fsencode(str(tmp_path / "moved"))
    os.rename(tree + b"/0/p/pkg", moved)
    os.symlink(moved, tree + b"/0/p/pkg")
    first.close()
    again, _ = Snapshot(SAMPLE).put(open_store("r2"))
    assert again == tree and contents(tree) == expected(SAMPLE)
    assert contents(moved) == {b"deep/er/b.py": b"b"}


def test_links_and_empty_directories_are_repaired(open_store):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    os.unlink(tree + b"/0/p/to-a")
    os.symlink(b"elsewhere", tree + b"/0/p/to-a")
    os.rmdir(tree + b"/0/p/logs")
    first.close()
    Snapshot(SAMPLE).put(open_store("r2"))
    assert contents(tree) == expected(SAMPLE)


def test_what_init_and_tests_added_is_left_alone(open_store):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    os.mkdir(tree + b"/0/p/build")
    edit(tree + b"/0/p/build/ext.so")
    edit(tree + b"/0/p/a.py")
    first.close()
    Snapshot(SAMPLE).put(open_store("r2"))
    found = contents(tree)
    assert found.pop(b"0/p/build/ext.so") == b"more"
    assert found == expected(SAMPLE)


def test_random_trees_and_random_damage(open_store):
    for seed in range(25):
        random_source = random.Random(seed)
        entries = {}
        for _ in range(random_source.randrange(30)):
            parts = [
                bytes(random_source.choices(b"ab.-\xc3\n", k=3)) + b"_"
                for _ in range(random_source.randint(1, 4))
            ]
            content = bytes(random_source.choices(b"xyz", k=random_source.randrange(50)))
            kinds = [content, ("x", content), ("link", b"../" + content + b"t"), None]
            entries[b"/".join(parts)] = random_source.choice(kinds)
        taken = set(entries)
        below = lambda path: any(other.startswith(path + b"/") for other in taken)  # noqa: E731
        entries = {path: content for path, content in entries.items() if not below(path)}
        first = open_store("r%d" % seed)
        tree, _ = Snapshot(entries).put(first)
        assert contents(tree) == entries
        for path in entries:
            if random_source.random() < 0.3:
                disk.remove(tree + b"/" + path)
        first.close()
        second = open_store("s%d" % seed)
        again, _ = Snapshot(entries).put(second)
        assert again == tree
        assert contents(tree) == entries
        second.close()


def test_a_tree_is_made_into_the_next_snapshot(open_store):
    first = open_store()
    tree, _ = Snapshot(dict(SAMPLE, **{"0/p/gone/1": b"x"})).put(first)
    edit(tree + b"/0/p/build.so")
    os.mkdir(tree + b"/0/p/.locked")
    os.chmod(tree + b"/0/p/.locked", 0)
    os.unlink(tree + b"/0/p/pkg/deep/er/b.py")
    os.symlink(b"/etc", tree + b"/0/p/pkg/etc")
    first.close()
    entries = dict(
        SAMPLE, **{"0/p/a.py": b"new", "0/p/to-a": b"a file now", "0/p/logs/full": b"", "0/p/gone": b""}
    )
    again, sent = Snapshot(entries).put(open_store("last"))
    entries.pop("0/p/logs")
    assert again == tree and contents(tree) == expected(entries) and sent == [b"new", b"b", b"a file now"]


def test_a_link_in_a_directorys_place_leads_nothing_astray_when_the_snapshot_changes(open_store, tmp_path):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    moved = os.fsencode(str(tmp_path / "moved"))
    os.rename(tree + b"/0/p/pkg", moved)
    os.symlink(moved, tree + b"/0/p/pkg")
    first.close()
    entries = {path: content for path, content in SAMPLE.items() if "pkg" not in str(path)}
    for entries in (entries, dict(SAMPLE, **{"0/p/pkg/deep/er/b.py": b"c"})):
        second = open_store("r2")
        again, _ = Snapshot(entries).put(second)
        second.close()
        assert again == tree and contents(tree) == expected(entries)
        assert contents(moved) == {b"deep/er/b.py": b"b"}


def test_a_tree_without_a_record_is_not_used(open_store):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    first.close()
    os.unlink(tree + b".cloudist/manifest")
    edit(tree + b"/0/p/stray")
    again, _ = Snapshot(SAMPLE).put(open_store("r2"))
    assert again == tree and contents(tree) == expected(SAMPLE)


def test_a_tree_that_was_being_made_into_another_is_hashed_before_it_is_used(open_store):
    first = open_store()
    tree, _ = Snapshot(SAMPLE).put(first)
    entries = dict(SAMPLE, **{"0/p/a.py": b"new", "0/p/n.py": b"n"})
    Snapshot(entries).aim(first)
    Snapshot(entries).lacks(first)
    first.close()
    edit(tree + b"/0/p/run.sh")
    edit(tree + b"/0/p/stray")
    for entries, sent in ((entries, [b"new", b"n", b"#!/bin/sh\n"]), (SAMPLE, [])):
        second = open_store("r2")
        again, missing = Snapshot(entries).put(second)
        second.close()
        assert again == tree and missing == sent and contents(tree) == expected(entries)


def test_byte_code_stays_with_its_source(open_store):
    opened = open_store()
    tree, _ = Snapshot(dict(SAMPLE, **{"0/p/n.py": b"n"})).put(opened)
    os.mkdir(tree + b"/0/p/__pycache__")
    for name in (b"a.cpython-311.pyc", b"a.cpython-311-pytest-9.2.0.pyc", b"n.cpython-311.pyc", b"odd"):
        edit(tree + b"/0/p/__pycache__/" + name)
    opened.close()
    tree, _ = Snapshot(SAMPLE).put(open_store("last"))
    kept = sorted(os.listdir(tree + b"/0/p/__pycache__"))
    assert kept == [b"a.cpython-311-pytest-9.2.0.pyc", b"a.cpython-311.pyc"]


def test_the_path_of_a_tree_is_its_projects(open_store, base):
    tree, _ = Snapshot(SAMPLE).put(open_store())
    assert tree == os.fsencode(os.path.join(os.path.realpath(base), "trees", KEY))

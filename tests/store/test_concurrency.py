"""Several runs on one machine: each gets a whole tree of its own, whatever the others do meanwhile."""

import os
import subprocess
import sys
import textwrap

import pytest
from conftest import SOURCE, Snapshot

SAME = {"0/p/%d/%d.py" % (number % 7, number): b"%d" % number for number in range(200)}


def test_two_runs_of_one_snapshot_do_not_share_a_tree(open_store):
    one, two = open_store("r1"), open_store("r2")
    first, sent = Snapshot(SAME).put(one)
    second, sent_again = Snapshot(SAME).put(two)
    assert first != second and len(sent) == 200 and not sent_again
    os.unlink(first + b"/0/p/0/0.py")
    assert os.path.exists(second + b"/0/p/0/0.py")
    one.close()
    two.close()
    again, _ = Snapshot(SAME).put(open_store("r3"))
    assert again == first and os.path.exists(first + b"/0/p/0/0.py")


def test_interleaved_uploads_of_the_same_contents(open_store):
    one, two = open_store("r1"), open_store("r2")
    big = b"0123456789" * 200_000
    snapshot = Snapshot({"big": big, "other": b"x"})
    for opened in (one, two):
        snapshot.aim(opened)
        assert opened.build(snapshot.id)[1] == {"files": [[0, 1]], "arrived": {}}
    for offset in range(0, len(big), 300_000):
        for opened in (one, two):
            opened.part({"file": 0, "offset": offset}, big[offset : offset + 300_000])
    one.pack({"files": [1]}, b"x")
    two.pack({"files": [1]}, b"x")
    for opened in (one, two):
        with open(opened.build(snapshot.id)[0]["tree"] + "/big", "rb") as file:
            assert file.read() == big


def test_one_session_may_hold_several_projects(open_store):
    opened = open_store()
    trees = [Snapshot({"a": b"%d" % number}).put(opened, "project%d" % number)[0] for number in range(3)]
    assert len(set(trees)) == 3


RUN = textwrap.dedent("""
    import os, random, sys
    sys.path.insert(0, sys.argv[1])
    from conftest import Snapshot, store
    base, seed = sys.argv[2], int(sys.argv[3])
    chance = random.Random(seed)
    for turn in range(12):
        which = chance.randrange(3)
        entries = {"d%d/%d" % (n % 5, n): b"%d %d" % (which, n % 40) for n in range(150)}
        opened = store.Store(base, "r%d-%d" % (seed, turn), kept_trees=1, kept_bytes=0)
        tree, _ = Snapshot(entries).put(opened)
        for path, content in entries.items():
            with open(os.path.join(tree, path.encode()), "r+b") as file:
                assert file.read() == content, (path, tree)
                if chance.random() < 0.1:
                    file.write(b"damage")
        opened.close()
    print("whole")
    """)


@pytest.mark.parametrize("processes", [5])
def test_processes_that_build_damage_and_prune_at_once(base, processes):
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", RUN, here, base]
    children = [
        subprocess.Popen(command + [str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in range(processes)
    ]
    for child in children:
        out, err = child.communicate()
        assert (out, err.decode()) == (b"whole\n", "")


def test_a_run_that_was_killed_leaves_nothing_in_the_way(open_store, base):
    script = RUN.replace("print(", "os._exit(9)\nprint(").replace("opened.close()", "os._exit(9)")
    child = subprocess.run([sys.executable, "-c", script, os.path.dirname(__file__), base, "1"])
    assert child.returncode == 9 and SOURCE.exists()
    left = os.listdir(os.path.join(base, "trees"))
    opened = open_store("after")
    for which in range(3):
        entries = {"d%d/%d" % (n % 5, n): b"%d %d" % (which, n % 40) for n in range(150)}
        tree, _ = Snapshot(entries).put(opened)
        for path, content in entries.items():
            with open(os.path.join(tree, path.encode()), "rb") as file:
                assert file.read() == content
    assert all(os.path.exists(os.path.join(base, "trees", name)) for name in left)

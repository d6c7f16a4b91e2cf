"""Contents that several processes write side by side: the same tree as if one had, whatever becomes of the others."""

import contextlib
import os
import signal

import pytest
from conftest import KEY, Snapshot, refused, store

from _cloudist import writer

PORTION = 50


@pytest.fixture
def processes(monkeypatch):
    """Forks as the runner would, for trees that lack a few files already. What nobody looks after is looked at with the next portion."""
    pids = []

    def fork(body, on_exit):
        pid = os.fork()
        if pid == 0:
            try:
                body()
            finally:
                os._exit(0)
        pids.append(pid)
        return pid

    monkeypatch.setattr(store, "MANY", 10)
    # Plugins of this pytest have threads; a runner that has some doesn't fork.
    monkeypatch.setattr(store.threading, "active_count", lambda: 1)
    fork.pids = pids
    fork.crew = lambda count: (fork, lambda descriptor, callback: None, count)
    yield fork
    for pid in pids:
        os.waitpid(pid, 0)


def snapshot_of(files, prefix=b""):
    return Snapshot({"%03d/%04d" % (n % 7, n): prefix + b"%d," % n * (1 + n % 50) for n in range(files)})


def portions(snapshot):
    """All contents as the engine sends them, many in one message."""
    files = range(len(snapshot.contents))
    some = [list(files[start : start + PORTION]) for start in range(0, len(files), PORTION)]
    return [({"files": files}, b"".join(snapshot.contents[file] for file in files)) for files in some]


def content_of(tree):
    found = {}
    for directory, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, tree)] = file.read()
    return found


def expected(snapshot):
    manifest = store.Manifest(snapshot.manifest)
    return dict(zip(map(os.fsdecode, manifest.paths), snapshot.contents))


def put(opened, snapshot):
    snapshot.aim(opened)
    for portion in portions(snapshot):
        opened.pack(*portion)
    reply, need = opened.build(snapshot.id)
    assert need is None
    return reply["tree"]


def assert_whole_once_sent(opened, snapshot, need):
    snapshot.send(opened, need)
    reply, need = opened.build(snapshot.id)
    assert need is None and content_of(reply["tree"]) == expected(snapshot)


@contextlib.contextmanager
def held(processes, count):
    """Whoever is forked meanwhile doesn't begin."""
    forked = processes.pids
    fork = os.fork

    def stopped():
        pid = fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os.waitpid(pid, os.WUNTRACED)
        return pid

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fork", stopped)
        yield
    assert len(forked) == count
    for pid in forked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def handed_over(opened, monkeypatch):
    """Counts what the other process was given."""
    count = []
    lend = store.Tree.lend

    def counting(tree, files):
        lent = lend(tree, files)
        count.append(len(files) if lent else 0)
        return lent

    monkeypatch.setattr(store.Tree, "lend", counting)
    return count


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_tree_by_several_processes(processes, open_store, monkeypatch, number):
    opened = open_store(crew=processes.crew(number))
    count = handed_over(opened, monkeypatch)
    snapshot = snapshot_of(1000, b"first ")
    assert content_of(put(opened, snapshot)) == expected(snapshot)
    assert len(processes.pids) == number and sum(count) == 1000
    opened.close()
    again = open_store("r2", crew=processes.crew(number))
    snapshot.aim(again)
    assert again.build(snapshot.id)[0]["t"] == "built" and len(processes.pids) == number
    edited = snapshot_of(1000, b"second ")
    assert content_of(put(again, edited)) == expected(edited)


def test_a_content_that_several_files_have_is_written_once_for_all(processes, open_store):
    snapshot = Snapshot({"%03d" % n: b"%d" % (n // 2) for n in range(200)})
    opened = open_store(crew=processes.crew(2))
    snapshot.aim(opened)
    first = list(range(0, 200, 2))
    opened.pack({"files": first}, b"".join(snapshot.contents[file] for file in first))
    reply, need = opened.build(snapshot.id)
    assert need is None and content_of(reply["tree"]) == expected(snapshot)


def test_wrong_contents_are_refused_and_can_be_sent_anew(processes, open_store):
    opened = open_store(crew=processes.crew(2))
    snapshot = snapshot_of(400, b"x")
    snapshot.aim(opened)
    (header, data), *others = portions(snapshot)
    opened.pack(header, b"y" + data[1:])

    def rest():
        for portion in others:
            opened.pack(*portion)
        opened.build(snapshot.id)

    error = refused(rest)
    assert error.kind == "corrupt" and "another hash" in error.message
    assert content_of(put(opened, snapshot)) == expected(snapshot)


def test_what_went_wrong_is_told_though_somebody_has_looked_already(processes, open_store):
    opened = open_store(crew=processes.crew(1))
    snapshot = snapshot_of(100, b"x")
    snapshot.aim(opened)
    header, data = portions(snapshot)[0]
    opened.pack(header, b"y" + data[1:])
    while opened._writers._is_busy():
        opened._writers._look()
    error = refused(opened.build, snapshot.id)
    assert error.kind == "corrupt" and "another hash" in error.message


def test_odd_portions(processes, open_store):
    opened = open_store(crew=processes.crew(1))
    snapshot = snapshot_of(200, b"odd ")
    snapshot.aim(opened)
    opened.pack({"files": []}, b"")
    opened.pack({"files": [7, 7]}, 2 * snapshot.contents[7])
    opened.pack({"files": []}, b"")
    assert content_of(put(opened, snapshot)) == expected(snapshot)
    opened.close()
    again = open_store("r2")
    again.guess()
    assert snapshot.put(again)[1] == []


def test_a_process_without_work_is_killed(processes, open_store):
    opened = open_store(crew=processes.crew(1))
    snapshot = snapshot_of(200, b"idle ")
    snapshot.aim(opened)
    first, *others = portions(snapshot)
    opened.pack(*first)
    while opened._writers._is_busy():
        opened._writers._look()
    os.kill(processes.pids[0], signal.SIGKILL)
    os.waitid(os.P_PID, processes.pids[0], os.WEXITED | os.WNOWAIT)
    opened._writers._look()
    assert opened._writers._all == []
    for portion in others:
        opened.pack(*portion)
    reply, need = opened.build(snapshot.id)
    assert need is None and content_of(reply["tree"]) == expected(snapshot)


def test_nothing_is_written_any_more_once_one_of_two_has_failed(processes, open_store):
    opened = open_store(crew=processes.crew(2))
    snapshot = snapshot_of(2 * PORTION, b"slow ")
    snapshot.aim(opened)
    first, second = portions(snapshot)
    with held(processes, 2):
        opened.pack(first[0], b"y" + first[1][1:])
        opened.pack(*second)
    assert refused(opened.build, snapshot.id).kind == "corrupt"
    _, need = opened.build(snapshot.id)
    assert need["files"][-1][1] < PORTION
    assert_whole_once_sent(opened, snapshot, need)


def test_one_process_of_two_is_killed(processes, open_store):
    opened = open_store(crew=processes.crew(2))
    snapshot = snapshot_of(600, b"killed ")
    snapshot.aim(opened)
    first, *others = portions(snapshot)
    with held(processes, 2):
        opened.pack(*first)
        os.kill(processes.pids[0], signal.SIGKILL)
    for portion in others:
        opened.pack(*portion)
    _, need = opened.build(snapshot.id)
    assert need["files"] == [[0, PORTION - 1]]
    assert_whole_once_sent(opened, snapshot, need)


def test_what_waits_for_processes_that_are_killed_is_written_all_the_same(processes, open_store):
    opened = open_store(crew=processes.crew(2))
    snapshot = snapshot_of(600, b"killed ")
    snapshot.aim(opened)
    with held(processes, 2):
        for portion in portions(snapshot):
            opened.pack(*portion)
        for pid in processes.pids:
            os.kill(pid, signal.SIGKILL)
    _, need = opened.build(snapshot.id)
    assert need["files"] == [[0, 2 * PORTION - 1]]
    assert_whole_once_sent(opened, snapshot, need)


def test_no_more_than_a_limit_waits(processes, open_store, monkeypatch):
    monkeypatch.setattr(writer, "WAITING", 2000)
    opened = open_store(crew=processes.crew(2))
    snapshot = snapshot_of(1000, b"limited ")
    waiting = []
    hand_out = writer.Writers._hand_out

    def watched(writers):
        hand_out(writers)
        waiting.append(writers._waiting)

    monkeypatch.setattr(writer.Writers, "_hand_out", watched)
    assert content_of(put(opened, snapshot)) == expected(snapshot)
    largest = max(len(data) for _, data in portions(snapshot))
    assert 0 < max(waiting) <= 2000 + largest and waiting[-1] == 0


def test_nobody_has_the_tree_while_it_is_written_to(processes, open_store, base):
    opened = open_store(crew=processes.crew(1))
    snapshot = snapshot_of(300, b"held ")
    snapshot.aim(opened)
    opened.pack(*portions(snapshot)[0])
    pid = processes.pids[0]
    os.kill(pid, signal.SIGSTOP)
    opened.close()
    second = open_store("r2")
    assert snapshot.put(second)[0].endswith(b"-1")
    os.kill(pid, signal.SIGCONT)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    third = open_store("r3")
    tree, _ = snapshot.put(third)
    assert tree.endswith(KEY.encode()) and content_of(tree.decode()) == expected(snapshot)


def test_a_disk_that_is_full_for_the_other_processes(processes, small_disk, open_store):
    snapshot = Snapshot({"%03d" % n: os.urandom(6000) for n in range(400)})
    opened = open_store(where=small_disk, crew=processes.crew(2))
    snapshot.aim(opened)

    def rest():
        for portion in portions(snapshot):
            opened.pack(*portion)
        opened.build(snapshot.id)

    assert refused(rest).kind == "disk-full"
    assert opened.aims_at(snapshot.id) and snapshot.lacks(opened)


def test_room_is_made_for_the_other_processes(processes, small_disk, open_store, monkeypatch):
    opened = open_store(where=small_disk, crew=processes.crew(2))
    Snapshot({"before": os.urandom(500_000)}).put(opened)
    snapshot = Snapshot({"%03d" % n: os.urandom(6000) for n in range(100)})
    count = handed_over(opened, monkeypatch)
    snapshot.aim(opened)
    for portion in portions(snapshot):
        opened.pack(*portion)
    reply, need = opened.build(snapshot.id)
    if need is not None:
        snapshot.send(opened, need)
        reply, need = opened.build(snapshot.id)
    assert need is None and content_of(reply["tree"]) == expected(snapshot)
    assert sum(count) > 0

"""Contents that come over several channels: what is served when, and what is left of them."""

import hashlib
import os
import socket
import subprocess
import sys
import zlib

import pytest
from harness import TEMPLATES, digest, encoded

KEY = "0123456789abcdef"
FILES = {"%02d" % number: b"%d" % number * 50_000 for number in range(12)}


@pytest.fixture
def lane(machine):
    """Has the runner listen, and starts what the engine starts over a further channel."""
    machine.send({"t": "lanes"})
    path = machine.wait("lanes")["path"]
    started = []

    def start(number):
        command = [sys.executable, "-IS", "-c", (TEMPLATES / "lane.py").read_text(), path, str(number)]
        # A server connects commands by sockets.
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(command, stdin=theirs)
        started.append((process, ours))
        machine.wait("lane", number=number)
        return process, ours

    start.path = path
    yield start
    for process, ours in started:
        ours.close()
        process.kill()
        process.wait()


@pytest.fixture
def aim(machine):
    """Announces a snapshot of FILES; its id."""
    records = [b"f %d %s %s\0" % (len(data), digest(data), path.encode()) for path, data in sorted(FILES.items())]
    manifest = b"cloudist-manifest 2\n" + b"".join(records)
    snapshot = hashlib.sha256(manifest).hexdigest()
    machine.send({"t": "snapshot", "id": snapshot, "key": KEY}, zlib.compress(manifest))
    return snapshot


def pack(number):
    return {"t": "pack", "files": [number], "z": False, "place": number}, FILES["%02d" % number]


def check(machine):
    tree = machine.wait("built")["tree"]
    for path, content in FILES.items():
        with open(os.path.join(tree, path), "rb") as file:
            assert file.read() == content


def test_what_overtakes_waits_for_its_turn(machine, lane, aim):
    _, first = lane(1)
    _, second = lane(2)
    # The order to build comes before anything that it is about.
    machine.send({"t": "build", "id": aim, "place": len(FILES)})
    for number in reversed(range(len(FILES))):
        header, blob = pack(number)
        if number % 3 == 0:
            machine.send(header, blob)
        else:
            (first, second)[number % 3 - 1].sendall(encoded(header, blob))
    check(machine)


def test_a_frame_may_be_cut_anywhere(machine, lane, aim):
    _, ours = lane(1)
    for number in range(len(FILES)):
        data = encoded(*pack(number))
        for piece in (data[:3], data[3:40], data[40:70_000], data[70_000:]):
            ours.sendall(piece)
    machine.send({"t": "build", "id": aim, "place": len(FILES)})
    check(machine)


def test_nothing_is_left_when_the_engine_closes_them(machine, lane, aim):
    process, ours = lane(1)
    for number in range(len(FILES)):
        machine.send(*pack(number))
    machine.send({"t": "build", "id": aim, "place": len(FILES)})
    check(machine)
    assert not os.path.exists(os.path.dirname(lane.path))
    assert process.poll() is None
    ours.close()
    assert process.wait(30) == 0


def test_they_end_with_the_runner(machine, lane):
    process, _ = lane(1)
    machine.hang_up()
    assert process.wait(30) == 0
    assert not os.path.exists(os.path.dirname(lane.path))


def test_nonsense_on_a_lane_is_told(machine, lane):
    _, ours = lane(1)
    ours.sendall(b"\xff" * 100)
    error = machine.wait("error")
    assert error["kind"] == "malformed" and "too long" in error["message"]


def test_without_a_place_to_listen_all_comes_the_usual_way(boot, tmp_path):
    machine = boot(env={"TMPDIR": str(tmp_path / ("long" * 40))})
    (tmp_path / ("long" * 40)).mkdir()
    machine.send({"t": "lanes"})
    assert machine.wait("lanes")["path"] is None
    files = {"a": "1"}
    assert os.listdir(machine.snapshot(files)) == ["a"]

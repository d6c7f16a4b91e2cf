"""Commands, the init command, files that come back, and snapshots, as the runner serves them."""

import os
import signal
import time

import pytest

from harness import Closed


def output(machine, number):
    """Both streams of a command that has ended."""
    return tuple(
        b"".join(f.blob for f in machine.all("output", id=number, stream=stream)) for stream in (1, 2)
    )


def test_both_streams_and_the_status(machine):
    machine.send({"t": "exec", "id": 4, "shell": "echo out; echo err >&2; exit 3"})
    assert machine.wait("exited", id=4)["status"] == 3
    assert output(machine, 4) == (b"out\n", b"err\n")


def test_argv_environment_and_directory(machine, tmp_path):
    machine.send(
        {
            "t": "exec",
            "id": 1,
            "argv": ["sh", "-c", "pwd; echo $WORD $0", "a b"],
            "cwd": str(tmp_path),
            "env": {"WORD": "w"},
        }
    )
    assert machine.wait("exited")["status"] == 0
    assert output(machine, 1)[0].decode().splitlines() == [os.path.realpath(tmp_path), "w a b"]


def test_stdin_both_ways(machine):
    machine.send({"t": "exec", "id": 1, "argv": ["cat"], "stdin": True, "account": True})
    data = os.urandom(3 << 20)
    for start in range(0, len(data), 1 << 18):
        machine.send({"t": "stdin", "id": 1, "eof": False}, data[start : start + (1 << 18)])
    machine.send({"t": "stdin", "id": 1, "eof": True})
    assert machine.wait("exited")["status"] == 0
    assert output(machine, 1)[0] == data
    assert sum(frame["size"] for frame in machine.all("stdin-taken")) == len(data)


def test_without_stdin_there_is_nothing_to_read(machine):
    machine.send({"t": "exec", "id": 1, "argv": ["cat"]})
    assert machine.wait("exited", patience=5)["status"] == 0


def test_a_command_that_does_not_read_blocks_nobody(machine):
    machine.send({"t": "exec", "id": 1, "argv": ["sleep", "30"], "stdin": True})
    for _ in range(8):
        machine.send({"t": "stdin", "id": 1, "eof": False}, bytes(1 << 20))
    machine.send({"t": "exec", "id": 2, "shell": "echo here"})
    assert machine.wait("exited", id=2, patience=5)["status"] == 0
    machine.send({"t": "signal", "id": 1, "signal": "TERM"})
    assert machine.wait("exited", id=1, patience=5)["status"] == -signal.SIGTERM


def test_an_engine_that_does_not_read_stops_producers_alone(machine):
    machine.send({"t": "exec", "id": 1, "argv": ["head", "-c", "30000000", "/dev/zero"]})
    time.sleep(0.3)
    with open("/proc/%d/status" % machine.process.pid) as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert resident < 80_000
    machine.wait("exited")
    assert len(output(machine, 1)[0]) == 30000000


def test_signals_reach_the_whole_group(machine):
    machine.send(
        {
            "t": "exec",
            "id": 1,
            "shell": "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done",
        }
    )
    machine.wait("output", id=1)
    machine.send({"t": "signal", "id": 1, "signal": "INT"})
    assert machine.wait("exited")["status"] == 5
    assert output(machine, 1)[0] == b"ready\ncaught\n"


def test_a_command_that_leaves_a_child_behind_has_ended(machine):
    machine.send({"t": "exec", "id": 1, "shell": "sleep 300 & echo started"})
    assert machine.wait("exited", patience=5)["status"] == 0
    assert output(machine, 1)[0] == b"started\n"


def test_a_program_that_is_missing(machine):
    machine.send({"t": "exec", "id": 9, "argv": ["/nowhere/program"]})
    error = machine.wait("error")
    assert (error["stage"], error["kind"], error["id"]) == ("exec", "missing", 9)
    assert "/nowhere/program" in error["message"]


def test_a_directory_that_is_missing(machine):
    machine.send({"t": "exec", "id": 9, "argv": ["true"], "cwd": "/nowhere"})
    error = machine.wait("error")
    assert (error["stage"], error["kind"]) == ("exec", "cwd") and "/nowhere" in error["message"]


FILES = {"0-project/a.txt": "alpha", "0-project/deep/b.txt": "beta", "0-project/big.bin": os.urandom(2500000)}


def test_commands_run_in_the_snapshot(machine):
    tree = machine.snapshot(FILES)
    machine.send({"t": "exec", "id": 1, "shell": "pwd; cat a.txt"})
    machine.wait("exited")
    assert output(machine, 1)[0].decode().split() == [
        os.path.join(os.path.realpath(tree), "0-project"),
        "alpha",
    ]


def test_fetch(machine):
    tree = machine.snapshot(FILES)
    machine.send(
        {
            "t": "fetch",
            "id": 3,
            "globs": ["**/*.txt", "big.bin", "deep"],
            "cwd": os.path.join(tree, "0-project"),
        }
    )
    assert machine.wait("fetched", id=3)["count"] == 3
    contents = {}
    for frame in machine.all("fetched-file"):
        assert frame["offset"] == len(contents.get(frame["path"], b""))
        contents[frame["path"]] = contents.get(frame["path"], b"") + frame.blob
        assert frame["last"] == (len(contents[frame["path"]]) == frame["size"])
    assert contents == {"a.txt": b"alpha", "deep/b.txt": b"beta", "big.bin": FILES["0-project/big.bin"]}


def test_init_runs_once_for_a_key(boot):
    machine = boot()
    machine.snapshot({"0-project/a.txt": "alpha"})
    command = "echo setting up; echo done >> made; pwd"
    machine.send({"t": "init", "command": command, "key": "key-1", "env": {}})
    done = machine.wait("init-done")
    assert (done["status"], done["cached"]) == (0, False) and "setting up" in done["tail"]
    assert b"setting up\n" in b"".join(frame.blob for frame in machine.all("init-output"))
    with open(done["log"]) as file:
        assert "setting up" in file.read()
    machine.send({"t": "init", "command": command, "key": "key-1", "env": {}})
    again = machine.wait("init-done")
    assert (again["status"], again["cached"], again["log"]) == (0, True, done["log"])
    machine.send({"t": "init", "command": "cat made", "key": "key-2", "env": {}})
    assert machine.wait("init-done")["tail"] == "done"


def test_init_that_fails_is_not_stamped(machine):
    machine.snapshot({"0-project/a.txt": "alpha"})
    for _ in range(2):
        machine.send({"t": "init", "command": "echo trouble >&2; exit 4", "key": "key", "env": {}})
        done = machine.wait("init-done")
        assert (done["status"], done["cached"], done["tail"]) == (4, False, "trouble")


def test_init_is_exclusive_in_a_tree(boot, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    first, second = boot(run="one"), boot(run="two")
    for machine in (first, second):
        machine.send(
            {
                "t": "init",
                "command": "echo x >> log; sleep 0.4; echo y >> log",
                "key": "k",
                "env": {},
                "cwd": str(tree),
            }
        )
    done = [machine.wait("init-done")["cached"] for machine in (first, second)]
    assert sorted(done) == [False, True]
    assert (tree / "log").read_text() == "x\ny\n"


def test_init_that_leaves_a_daemon_ends(machine):
    machine.snapshot({"0-project/a.txt": "alpha"})
    machine.send({"t": "init", "command": "sleep 300 &", "key": "key", "env": {}})
    assert machine.wait("init-done", patience=5)["status"] == 0


def test_ready_describes_the_machine(machine):
    assert machine.ready["protocol"] == 1 and machine.ready["cpus"] >= 1 and machine.ready["memory"] > 1 << 20
    assert machine.ready["base"] == str(machine.base)


def test_what_is_not_understood_is_an_error(machine):
    machine.send({"t": "dance"})
    error = machine.wait("error")
    assert error["stage"] == "protocol" and "dance" in error["message"]
    with pytest.raises(Closed):
        machine.receive()

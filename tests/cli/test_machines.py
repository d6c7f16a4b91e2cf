"""`ps`, `exec`, `logs`, `cp` and `forward` on a machine of a run that goes on."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
from typing import Callable

import pytest

from machines import Watched, end, machines, watched
from places import Place
from processes import until
from tool import Tool

# A process and its child: ready when the child is, over when Ctrl-C has ended both.
FAMILY = """
import signal, subprocess, sys
def interrupted(*_):
    child.wait()
    print("caught")
    sys.exit(5)
signal.signal(signal.SIGINT, interrupted)
waits = "import signal; print('ready', flush=True); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", waits], stderr=subprocess.DEVNULL)
signal.pause()
"""


@pytest.fixture
def run(place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]):
    with watched(cloudist, place, project) as run:
        yield run


def name(run: Watched) -> str:
    return run.ps()[0]["machine"]


def test_ps_tells_what_each_worker_is_at_and_forgets_a_run_that_is_over(run: Watched) -> None:
    (machine,) = run.ps()
    assert machine["running"] and machine["project"] == str(run.root)
    assert [one["now"] for one in machine["workers"]] == ["test_gate.py::test_waits"]
    table = run("ps").check(0).out
    assert machine["machine"] in table and "gw0: test_gate.py::test_waits" in table
    assert run.finish().check(1).counts() == "1 failed, 1 passed"
    assert run.ps() == []
    assert "there is no machine" in run("ps").check(0).err
    done = run("exec", "--", "true").check(91)
    assert "there is no machine" in done.err and "--cd-keep-on-failure" in done.err


def test_the_record_of_a_killed_run_is_cleared_away(run: Watched) -> None:
    state = pathlib.Path(run.tool.environment["CLOUDIST_STATE_DIR"]) / "machines"
    assert [path.name for path in state.iterdir()] == [run.ps()[0]["run"]]
    assert all(path.stat().st_mode & 0o077 == 0 for path in state.rglob("*"))
    os.kill(run.ps()[0]["pid"], signal.SIGKILL)
    until(lambda: run.ps() == [], "it is gone")
    assert list(state.iterdir()) == []


def test_a_command_has_the_runs_directory_variables_and_interpreter(run: Watched) -> None:
    done = run("exec", "gw0", "--", "pwd; cat data.txt; echo $GATE; python -c 'import pytest'").check(0)
    where, content, gate = done.out.splitlines()
    assert (content, gate) == ("from here", str(run.gate))
    assert where == run.ps()[0]["directory"] and where != str(run.root)


def test_a_command_is_joined_byte_for_byte_and_its_status_is_ours(run: Watched) -> None:
    data = os.urandom(3_000_000)
    done = run("exec", name(run), "--", "sh", "-c", "cat; echo there >&2; exit 7", input=data).check(7)
    assert (hashlib.sha256(done.raw_out).digest(), done.err) == (hashlib.sha256(data).digest(), "there\n")
    done = run("exec", "--", "sh", "-c", "printf '%s|' \"$@\"", "x", "a b", "", "'$HOME'").check(0)
    assert done.out == "a b||'$HOME'|"
    assert run("exec", "--", "sh", "-c", "kill -KILL $$").exit == 137
    assert "nonesuch: not found" in run("exec", "--", "nonesuch").check(127).err


def test_ctrl_c_reaches_the_command_and_all_it_started(run: Watched) -> None:
    process = run.tool.start("exec", "--", "python", "-c", FAMILY, cwd=run.root)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    done = run.tool.finish(process)
    assert (done.exit, done.out) == (5, "caught\n"), done
    script = "echo ready; exec sleep 1000"
    process = run.tool.start("exec", "--", "sh", "-c", script, cwd=run.root)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.terminate()
    assert run.tool.finish(process).exit == 143


def test_an_output_that_nobody_reads_ends_the_command_here(run: Watched) -> None:
    process = run.tool.start("exec", "--", "yes", cwd=run.root)
    assert process.stdout is not None and process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) == 141
    process.stderr.close()


def test_an_unknown_machine_is_named_with_those_there_are(run: Watched) -> None:
    done = run("exec", "nobody", "--", "true").check(91)
    assert 'there is no machine called "nobody"' in done.err and name(run) in done.err


def test_files_are_copied_both_ways(run: Watched, tmp_path: pathlib.Path) -> None:
    machine = name(run)
    big = tmp_path / "big"
    big.write_bytes(os.urandom(2_000_000))
    big.chmod(0o750)
    run("cp", str(big), f"{machine}:there/").check(93)
    run("exec", "--", "mkdir", "there").check(0)
    run("cp", str(big), f"{machine}:there").check(0)
    run("cp", f"{machine}:there/big", str(tmp_path / "back")).check(0)
    assert (tmp_path / "back").read_bytes() == big.read_bytes()
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o750
    tree = tmp_path / "tree"
    (tree / "a b").mkdir(parents=True)
    (tree / "a b" / "x").write_text("deep")
    assert "--recursive" in run("cp", str(tree), f"{machine}:copied").check(93).err
    run("cp", "-r", str(tree), f"{machine}:copied").check(0)
    run("cp", "-r", f"{machine}:copied", str(tmp_path / "again")).check(0)
    assert (tmp_path / "again" / "a b" / "x").read_text() == "deep"
    assert "data.txt" in run("cp", "-r", f"{machine}:", str(tmp_path / "all")).check(0).err + " data.txt"
    assert (tmp_path / "all" / "data.txt").read_text() == "from here\n"
    assert "one of the two" in run("cp", "a", "b").check(90).err


def test_a_port_leads_to_the_machine(run: Watched) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    data = os.urandom(1_000_000)

    def echo() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as said:
                connection.sendall(said.read())

    server = threading.Thread(target=echo, daemon=True)
    server.start()
    process = run.tool.start("forward", f"0:{port}", name(run), cwd=run.root)
    assert process.stdout is not None
    found = re.match(rb"127\.0\.0\.1:(\d+) leads to port", process.stdout.readline())
    assert found is not None
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", int(found[1]))) as here:
            sending = threading.Thread(target=lambda: (here.sendall(data), here.shutdown(socket.SHUT_WR)))
            sending.start()
            with here.makefile("rb") as said:
                assert said.read() == data
            sending.join()
    server.join()
    listener.close()
    with socket.create_connection(("127.0.0.1", int(found[1]))) as here:
        assert here.recv(1) == b"", "nobody listens there any more"
    process.send_signal(signal.SIGINT)
    done = run.tool.finish(process)
    assert done.exit == 130 and f"port {port} there" in done.err, done


def test_logs_are_kept_of_machines_workers_and_tests(
    place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]
) -> None:
    suite = """
        import os

        def test_quiet():
            pass

        def test_dies():
            os.write(2, b"")
            os.abort()
    """
    root = project({"test_log.py": suite})
    init = "--init-command=echo made here; echo and here >&2"
    cloudist("pytest", *place.arguments, "-n", "1", init, cwd=root).check(1)
    everything = cloudist("logs", cwd=root).check(0).out
    for part in ("init: made here", "init: and here", "ready in", "gw0: passed test_log.py::test_quiet"):
        assert part in everything, everything
    assert "gw0: failed test_log.py::test_dies" in cloudist("logs", "gw0", cwd=root).check(0).out
    assert "Fatal Python error: Aborted" in cloudist("logs", "test_dies", cwd=root).check(0).out
    assert "Fatal" not in cloudist("logs", "test_quiet", cwd=root).check(0).out
    assert "nothing was written down" in cloudist("logs", "test_none", cwd=root).check(91).err
    assert machines(cloudist, root) == []


def test_logs_follow_a_run_to_its_end(run: Watched) -> None:
    process = run.tool.start("logs", "-f", name(run), cwd=run.root)
    assert process.stdout is not None
    while b"gw0 is up" not in process.stdout.readline():
        assert process.poll() is None
    run.finish().check(1)
    assert "passed test_gate.py::test_waits" in run.tool.finish(process).check(0).out


def test_logs_follow_a_test_while_it_runs(cloudist: Tool, project: Callable[..., pathlib.Path]) -> None:
    suite = """
        import os, pathlib, time
        def test_before():
            os.write(2, b"said before\\n")
        def test_talks():
            os.write(2, b"begun\\n")
            while not pathlib.Path(os.environ["GATE"]).exists():
                time.sleep(0.02)
            os.write(2, b"done\\n")
        def test_after():
            os.write(2, b"said after\\n")
    """
    root = project({"test_some.py": suite})
    gate = root.parent / "gate"
    options = ["--provider=local", "-n", "1", f"--setenv=GATE={gate}", "--", "-s"]
    run = cloudist.start("pytest", *options, cwd=root)

    def runs() -> bool:
        workers = [one for machine in machines(cloudist, root) for one in machine["workers"]]
        return any("test_talks" in (one["now"] or "") for one in workers)

    until(runs, "it runs")
    following = cloudist.start("logs", "-f", "test_talks", cwd=root)
    assert following.stdout is not None
    # Results come in bundles: what the test before it has said may come first.
    while b"gw0: begun" not in following.stdout.readline():
        assert following.poll() is None and run.poll() is None
    gate.touch()
    cloudist.finish(run).check(0)
    said = cloudist.finish(following).check(0).out
    assert "gw0: passed test_some.py::test_talks" in said
    following = cloudist("logs", "-f", "test_none", cwd=root).check(91)
    assert "nothing was written down" in following.err


def test_two_runs_machines_are_told_apart(cloudist: Tool, project: Callable[..., pathlib.Path]) -> None:
    place = Place("local", ["--provider=local"], [cloudist.mark])
    with watched(cloudist, place, project) as first:
        (old,) = first.ps()
        other = first.tool.start(
            "ssh-run", "--provider=local", "-n", "1", "--", "cat", cwd=first.root, stdin=subprocess.PIPE
        )
        until(lambda: len(first.ps()) == 2, "both are there")
        until(lambda: all(machine["directory"] for machine in first.ps()), "both are ready")
        assert "say which" in first("exec", "--", "true").check(91).err
        for machine in first.ps():
            called = f"{machine['machine']}@{machine['run']}"
            done = first("exec", called, "--", "echo $CLOUDIST_RUN").check(0)
            assert done.out.strip() == machine["run"]
        latest = first("exec", old["machine"], "--", "echo $CLOUDIST_RUN").check(0).out.strip()
        assert latest != old["run"]
        end(other)

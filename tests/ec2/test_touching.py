"""Rented machines touched from outside a run, and those that stay because something failed there."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess

from renter import ONE_WORKER_EACH, until
from tool import ended

TWO = ("--num-workers=2", *ONE_WORKER_EACH)
WAITING = "until [ -e /run/rig/go ]; do sleep 0.02; done"
FAILS_ON_ONE = "touch left-there; exit $CLOUDIST_WORKER_INDEX"


def machines(renter):
    return json.loads(renter.run("ps", "--json").check(0).out)


def running(renter):
    return {instance.id for instance in renter.launched() if instance.state == "running"}


def test_machines_of_a_run_are_seen_and_reached(renter):
    run = renter.start("ssh-run", *TWO, "--", WAITING)
    renter.at_work(WAITING, 2)
    found = machines(renter)
    assert {one["machine"] for one in found} == running(renter)
    for one in found:
        assert one["provider"] == "ec2" and one["running"] and one["lease_left_seconds"] == 900
        assert one["type"] and one["zone"]
        # A disk and a public address cost something too, and every machine costs at least a minute.
        price = one["machine_dollars_per_hour"]
        assert one["dollars_per_hour"] > price + 0.005
        assert one["dollars"] >= one["dollars_per_hour"] / 60 * 0.999
        assert WAITING in one["workers"][0]["now"]
        done = renter.run("exec", one["machine"], "--", "echo $CLOUDIST_MACHINE; pwd").check(0)
        assert done.out.split("\n")[:2] == [one["machine"], one["directory"]]
    renter.let_go()
    renter.finish(run).check(0)
    assert machines(renter) == []
    renter.nothing_left()


def test_each_verb_reaches_a_rented_machine(renter, tmp_path):
    renter.project({"data.txt": "from here\n"})
    run = renter.start("ssh-run", "-n1", *ONE_WORKER_EACH, "--", WAITING)
    renter.at_work(WAITING, 1)
    (one,) = machines(renter)
    shell = renter.terminal(renter.tool.command("ssh"))
    shell.sendline("pwd; cat data.txt; exit 9")
    shell.expect_exact(one["directory"])
    shell.expect_exact("from here")
    assert ended(shell) == 9
    (tmp_path / "sent").write_text("sent")
    renter.run("cp", str(tmp_path / "sent"), f"{one['machine']}:copied").check(0)
    renter.run("cp", f"{one['machine']}:copied", str(tmp_path / "back")).check(0)
    assert (tmp_path / "back").read_text() == "sent"
    assert "ready in" in renter.run("logs", one["machine"]).check(0).out
    forwards(renter, one["machine"])
    configuration = tmp_path / "machines"
    configuration.write_text(renter.run("ssh-config").check(0).out)
    name, there = f"cloudist-{one['machine']}", one["directory"]
    batch = tmp_path / "batch"
    batch.write_text(f"get {there}/copied {tmp_path}/by-sftp\n")
    options = ["-q", "-F", str(configuration)]
    for words in (
        ["ssh", *options, name, f"cat {there}/data.txt"],
        ["scp", *options, f"{name}:{there}/copied", str(tmp_path / "by-scp")],
        ["sftp", *options, "-b", str(batch), name],
        ["rsync", "-a", "-e", f"ssh -F {configuration}", f"{name}:{there}/", str(tmp_path / "by-rsync")],
    ):
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert done.returncode == 0, (words, done)
    for copied in ("by-scp", "by-sftp", "by-rsync/copied"):
        assert (tmp_path / copied).read_text() == "sent", copied
    renter.let_go()
    done = renter.finish(run).check(0)
    printed = renter.run("replay").check(0)
    assert (printed.out, printed.err) == (done.out, done.err) and "1 machine for" in printed.err
    (known,) = json.loads(renter.run("history", "--json").check(0).out)
    assert known["provider"] == "ec2" and known["dollars"] > 0 and "sleep" in known["command"]
    renter.nothing_left()


def forwards(renter, machine):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = renter.start("forward", f"0:{listener.getsockname()[1]}", machine)
        found = re.match(rb"127\.0\.0\.1:(\d+) leads to port", process.stdout.readline())
        with socket.create_connection(("127.0.0.1", int(found[1]))) as here:
            here.sendall(b"through it")
            here.shutdown(socket.SHUT_WR)
            there, _ = listener.accept()
            with there, there.makefile("rb") as said:
                assert said.read() == b"through it"
        process.send_signal(signal.SIGINT)
        renter.finish(process).check(130)


def test_the_machine_with_the_failure_stays_until_it_is_ended(renter):
    done = renter.run("ssh-run", *TWO, "--keep-on-failure=10m", "--", FAILS_ON_ONE).check(1)
    (left,) = machines(renter)
    assert f"{left['machine']} stays for 10m" in done.err
    # It goes on to cost what it does, by the account that the run had.
    assert left["dollars"] > left["machine_dollars_per_hour"] / 60
    assert running(renter) == {left["machine"]}
    renter.run("exec", "--", "test -e left-there").check(0)
    # Whoever sweeps leaves it alone, and no other run takes it over.
    renter.run("sweep", "--yes").check(0)
    renter.run(
        "ssh-run", "--num-workers=1", *ONE_WORKER_EACH, "--keep=10m", "--", "test ! -e left-there"
    ).check(0)
    renter.run("sweep", "--kept", "--dry-run").check(1)
    assert left["machine"] in running(renter)
    renter.run("down", left["machine"]).check(0)
    assert machines(renter) == [] and left["machine"] not in running(renter)
    renter.run("sweep", "--kept", "--yes").check(0)
    renter.nothing_left()


def test_of_two_that_stay_each_is_ended_by_itself(renter):
    renter.run("ssh-run", *TWO, "--keep-on-failure", "--", "exit 3").check(3)
    first, second = (one["machine"] for one in machines(renter))
    renter.run("down", first).check(0)
    assert running(renter) == {second}
    renter.run("exec", second, "--", "true").check(0)
    renter.run("down", "--all").check(0)
    renter.nothing_left()


def test_a_machine_that_stays_ends_by_itself(renter):
    renter.run("ssh-run", "--num-workers=1", "--keep-on-failure=8s", "--lease=8s", "--", "exit 3").check(3)
    assert len(running(renter)) == 1
    until(lambda: not running(renter), "it has ended")
    until(lambda: machines(renter) == [], "its record is gone")
    renter.run("sweep", "--yes", "--kept").check(0)
    renter.nothing_left()


def test_a_test_that_failed_on_a_rented_machine_is_stepped_into(renter):
    renter.project({"test_some.py": """
                SEEN = []

                def test_first():
                    SEEN.append("by the first")

                def test_second():
                    assert not SEEN
                """})
    renter.run("pytest", "-n1", *ONE_WORKER_EACH, "--hold-failures=10m", "--", "-p", "no:randomly").check(1)
    for options, said in (
        ([], "as it was when it failed on gw0"),
        (["--again"], "after the 1 test before it"),
    ):
        terminal = renter.terminal(renter.tool.command("pdb", *options))
        terminal.expect_exact(said)
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("p SEEN")
        terminal.expect_exact("['by the first']")
        terminal.sendline("q")
        assert ended(terminal) == 2
    assert "test_first" in renter.run("bisect").check(0).out
    renter.run("down").check(0)
    renter.nothing_left()


def test_what_failed_runs_again_and_is_reported(renter):
    renter.project(
        {
            "test_some.py": """
                import pathlib

                def test_passes():
                    pass

                def test_fails():
                    assert not pathlib.Path("broken").exists()
            """,
            "broken": "",
        }
    )
    renter.run("pytest", *TWO).check(1)
    (renter.root / "broken").unlink()
    again = renter.run("rerun", "--failed", *TWO, "--report=told", "--", "-v").check(0)
    assert "test_some.py::test_fails PASSED" in again.out and "test_passes" not in again.out, again
    for told in ((renter.root / "told").iterdir(), later_report(renter)):
        assert {path.name for path in told} >= {"report.html", "trace.json", "events.jsonl"}
    assert '"provider":"ec2"' in (renter.root / "told" / "events.jsonl").read_text()
    assert "test_fails" in renter.run("slowest").check(0).out
    renter.nothing_left()


def later_report(renter):
    renter.run("report", "--to=later").check(0)
    return (renter.root / "later").iterdir()


def test_rented_machines_are_seen_in_the_view(renter):
    renter.project(
        {"test_some.py": f"import subprocess\ndef test_waits(): subprocess.run({WAITING!r}, shell=True)"}
    )
    renter.tool.environment["TERM"] = "xterm-256color"
    terminal = renter.terminal(renter.tool.command("pytest", "-n1", *ONE_WORKER_EACH, "--view=tui"))
    terminal.expect_exact("\x1b[?1049h")
    for seen in ("c7i.large", "test_waits"):
        terminal.expect_exact(seen)
    renter.let_go()
    terminal.expect_exact("\x1b[?1049l")
    terminal.expect_exact("1 machine for")
    terminal.expect_exact("1 passed")
    assert ended(terminal) == 0
    renter.nothing_left()

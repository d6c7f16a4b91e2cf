"""Ctrl-C on a terminal while `cloudist ssh-run` works."""

from __future__ import annotations

import pexpect

from processes import commands, until
from tool import ended

CAREFUL = "trap 'echo tidying; sleep 0.3; echo tidied; exit 7' INT; echo ready; while :; do sleep 0.05; done"
STUBBORN = "trap '' INT TERM HUP; echo ready; while :; do sleep 0.05; done"


def test_the_command_may_clean_up_and_its_output_arrives(cloudist, project, place):
    terminal = cloudist.terminal("ssh-run", "-n1", *place.arguments, "--", CAREFUL, cwd=project({}))
    terminal.expect_exact("ready")
    terminal.sendintr()
    terminal.expect_exact("tidying")
    terminal.expect_exact("tidied")
    assert ended(terminal) == 130
    place.all_gone()


def test_every_worker_is_interrupted(cloudist, project, place):
    terminal = cloudist.terminal("ssh-run", "-n2", *place.arguments, "--", CAREFUL, cwd=project({}))
    for _ in range(2):
        terminal.expect(r"\[\d\] ready")
    terminal.sendintr()
    for _ in range(2):
        terminal.expect(r"\[\d\] tidied")
    assert ended(terminal) == 130


def test_the_whole_process_group_gets_it(cloudist, project, place):
    parent = """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "child.py"])
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(child.wait())
        """
    child = """
        import time
        try:
            print("child is up", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("child stopped", flush=True)
        """
    root = project({"parent.py": parent, "child.py": child})
    terminal = cloudist.terminal("ssh-run", "-n1", *place.arguments, "--", "python3", "parent.py", cwd=root)
    terminal.expect_exact("child is up")
    terminal.sendintr()
    terminal.expect_exact("child stopped")
    assert ended(terminal) == 130
    place.all_gone()


def test_a_second_one_ends_it_at_once(cloudist, project, place):
    terminal = cloudist.terminal("ssh-run", "-n1", *place.arguments, "--", STUBBORN, cwd=project({}))
    terminal.expect_exact("ready")
    terminal.sendintr()
    assert (
        terminal.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0.5) == 0
    ), "the first one leaves it to the command"
    terminal.sendintr()
    terminal.timeout = 15
    assert ended(terminal) == 130
    place.all_gone()


def test_before_the_command_runs(cloudist, project, place):
    run = (
        "ssh-run",
        "-n1",
        *place.arguments,
        "--init-command",
        "echo preparing; sleep 600",
        "--",
        "echo",
        "never",
    )
    terminal = cloudist.terminal(*run, cwd=project({}))
    until(lambda: any(commands(mark, "sleep 600") for mark in place.marks), "the init command runs")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert "never" not in terminal.before
    assert terminal.exitstatus == 130
    place.all_gone()

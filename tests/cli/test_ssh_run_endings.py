"""How `cloudist ssh-run` ends: the command's status, signals, lost machines, and an output that nobody reads."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from processes import all_gone, commands, running, until


@pytest.mark.parametrize("status", [0, 1, 2, 90, 130, 255])
def test_the_status_is_that_of_the_command(cloudist, project, status):
    run = ("ssh-run", "-n1", "--provider=local", "--", "sh", "-c", f"exit {status}")
    assert cloudist(*run, cwd=project({})).check(status).out == ""


def test_a_signal_is_told_as_a_shell_does(cloudist, project, place):
    for name in ("TERM", "KILL", "SEGV"):
        run = ("ssh-run", "-n1", *place.arguments, "--", "sh", "-c", f"kill -{name} $$")
        cloudist(*run, cwd=project({})).check(128 + getattr(signal, f"SIG{name}"))


def test_with_several_workers_the_first_failure_by_number_counts(cloudist, project, place):
    line = "sleep 0.$((3 - CLOUDIST_WORKER_INDEX)); exit $((CLOUDIST_WORKER_INDEX * 7))"
    done = cloudist("ssh-run", "-n3", *place.arguments, "--", line, cwd=project({})).check(7)
    for worker, status in ((1, 7), (2, 14)):
        assert f"worker {worker} ended with exit status {status}" in done.err
    assert "worker 0" not in done.err


def test_a_command_that_is_not_there(cloudist, project, place):
    done = cloudist("ssh-run", "-n1", *place.arguments, "--", "no-such-command", "x", cwd=project({})).check(
        95
    )
    error = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and "no-such-command" in error[0] and "No such file" in error[0], done
    cloudist("ssh-run", "-n1", *place.arguments, "--", "no-such-command x", cwd=project({})).check(127)


def test_an_output_that_is_closed_ends_it_quietly(cloudist, project, place):
    run = ("ssh-run", "-n1", *place.arguments, "--", "yes")
    process = cloudist.start(*run, cwd=project({}))
    head = subprocess.run(["head", "-n1"], stdin=process.stdout, stdout=subprocess.PIPE, check=True)
    process.stdout.close()
    assert head.stdout == b"y\n"
    process.wait(60)
    assert process.stderr.read() == b""
    process.stderr.close()
    place.all_gone()


def test_what_the_command_leaves_running_does_not_keep_it(cloudist, project, place):
    run = ("ssh-run", "-n1", *place.arguments, "--", "setsid sleep 600 & echo done")
    assert cloudist(*run, cwd=project({})).check(0).out == "done\n"
    place.all_gone()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_terminated(cloudist, project, place, number):
    run = ("ssh-run", "-n2", *place.arguments, "--", "echo up; exec sleep 600")
    process = cloudist.start(*run, cwd=project({}))
    until(lambda: sum(len(commands(mark, "sleep 600")) for mark in place.marks) == 2, "both commands run")
    process.send_signal(number)
    cloudist.finish(process).check(143)
    place.all_gone()


def test_killed(cloudist, project, place):
    """Nobody is left to end anything, and yet everything ends."""
    line = "trap '' HUP TERM INT; setsid sleep 600 & sleep 601 & wait"
    process = cloudist.start("ssh-run", "-n1", *place.arguments, "--", line, cwd=project({}))
    until(lambda: any(commands(mark, "sleep 601") for mark in place.marks), "the command runs")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    place.all_gone()


def test_a_machine_that_is_lost_is_told(cloudist, project):
    process = cloudist.start("ssh-run", "-n2", "--provider=local", "--", "echo up; sleep 4", cwd=project({}))
    until(lambda: len(commands(cloudist.mark, "sleep 4")) == 2, "both commands run")
    os.kill(running(cloudist.mark, "cloudist machine")[0], signal.SIGKILL)
    done = cloudist.finish(process).check(91)
    assert done.out.count("up") == 2, done
    assert "local-" in done.err and "1 of the workers lost" in done.err, done
    all_gone(cloudist.mark)

"""Ctrl-C, SIGTERM and SIGHUP: everything is given back at once, and the exit status says what happened."""

from __future__ import annotations

import os
import signal

import pexpect
import pytest

from renter import ONE_WORKER_EACH, in_pytest, until

SLOW = {"test_slow.py": """
        import subprocess
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_n(n):
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
            subprocess.run(["sleep", "600"])
        """}
OPTIONS = ("--num-workers=2", *ONE_WORKER_EACH)
CALLERS = ("cloudist pytest", "pytest --cloudist", "ssh-run")


def command(renter, caller):
    renter.project(SLOW)
    if caller == "cloudist pytest":
        return renter.tool.command("pytest", *OPTIONS)
    if caller == "ssh-run":
        return renter.tool.command("ssh-run", *OPTIONS, "--", "sleep", "600")
    renter.init()
    return renter.pytest_command("--cloudist=test", *in_pytest(*OPTIONS))


def given_back(renter):
    renter.nothing_left()
    assert {instance.reason[0] for instance in renter.launched()} == {"Client.UserInitiatedShutdown"}


@pytest.mark.parametrize(
    "caller, sent, status",
    [
        ("cloudist pytest", signal.SIGINT, 2),
        ("cloudist pytest", signal.SIGTERM, 143),
        ("cloudist pytest", signal.SIGHUP, 143),
        ("pytest --cloudist", signal.SIGINT, 2),
        # pytest itself has no other way with these.
        ("pytest --cloudist", signal.SIGTERM, -signal.SIGTERM),
        ("pytest --cloudist", signal.SIGHUP, -signal.SIGHUP),
        ("ssh-run", signal.SIGINT, 130),
        ("ssh-run", signal.SIGTERM, 143),
        ("ssh-run", signal.SIGHUP, 143),
    ],
)
def test_while_the_machines_work(renter, caller, sent, status):
    process = renter.start(command=command(renter, caller))
    renter.at_work("sleep 600", 2)
    process.send_signal(sent)
    done = renter.finish(process)
    assert done.exit == status, done
    done.check_no_fault()
    given_back(renter)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("caller", CALLERS)
def test_while_the_machines_boot(renter, caller, sent):
    renter.rig.faults.never_boots()
    process = renter.start(command=command(renter, caller))
    renter.rig.wait_call("DescribeInstances")
    process.send_signal(sent)
    done = renter.finish(process)
    plain_pytest = caller == "pytest --cloudist" and sent != signal.SIGINT
    assert done.exit == (-sent if plain_pytest else {signal.SIGINT: done.exit}.get(sent, 143)), done
    assert done.exit in (2, 130, 143) or plain_pytest, done
    # A local pytest that is interrupted while it is being imported says so in its own way.
    assert "panicked" not in done.out + done.err, done
    given_back(renter)


@pytest.mark.parametrize("caller", CALLERS)
def test_while_the_fleet_is_being_created(renter, caller):
    """The reply that names the machines comes after the signal."""
    sent = []

    def interrupt(call):
        sent.append(os.killpg(process.pid, signal.SIGINT))

    renter.rig.on_call("CreateFleet", interrupt, "after")
    renter.rig.faults.slow("CreateFleet", 0.3)
    process = renter.start(command=command(renter, caller))
    done = renter.finish(process)
    assert sent and done.exit in (2, 130), done
    # A local pytest that is interrupted while it is being imported says so in its own way.
    assert "panicked" not in done.out + done.err, done
    given_back(renter)


@pytest.mark.parametrize("caller", CALLERS)
def test_ctrl_c_on_a_terminal(renter, caller):
    terminal = renter.terminal(command(renter, caller))
    renter.at_work("sleep 600", 2)
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == (130 if caller == "ssh-run" else 2), terminal.before
    assert "Traceback" not in terminal.before, terminal.before
    given_back(renter)


@pytest.mark.parametrize("caller", CALLERS)
def test_ctrl_c_again_and_again_leaves_nothing_behind(renter, caller):
    """Whoever is impatient is heard, but not before the machines are given back."""
    terminal = renter.terminal(command(renter, caller))
    renter.at_work("sleep 600", 2)
    renter.rig.on_call("DescribeTags", lambda call: terminal.sendintr())
    renter.rig.on_call("TerminateInstances", lambda call: terminal.sendintr())
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    given_back(renter)


@pytest.mark.parametrize("caller", CALLERS)
def test_a_terminal_that_is_closed(renter, caller):
    terminal = renter.terminal(command(renter, caller))
    renter.at_work("sleep 600", 2)
    terminal.ptyproc.fileobj.close()
    until(lambda: not terminal.isalive(), "the program ends")
    given_back(renter)

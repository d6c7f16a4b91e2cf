"""A machine lives as long as it is spoken to: put off while the run lives, over when the client falls silent."""

from __future__ import annotations

import signal

import pytest

from renter import ONE_WORKER_EACH, until

LEASE = 5
WAITING = {"test_a.py": """
        import os, subprocess, time
        import pytest
        @pytest.mark.parametrize("n", range(2))
        def test_n(n):
            subprocess.Popen(["sleep", "600"])
            while not os.path.exists("/run/rig/go"):
                time.sleep(0.02)
        """}
OPTIONS = ("--num-workers=2", *ONE_WORKER_EACH, f"--lease={LEASE}s")


def expiries(renter):
    """The date on each machine's tag."""
    return [int(instance.tags["cloudist-expires"]) for instance in renter.launched()]


@pytest.mark.parametrize("command", ["pytest", "ssh-run"])
def test_a_run_that_is_longer_than_its_lease(renter, command):
    renter.project(WAITING)
    waiting = "until [ -e /run/rig/go ]; do sleep 0.02; done"
    rest = {"pytest": ("--", "-v"), "ssh-run": ("--", waiting)}[command]
    process = renter.start(command, *OPTIONS, *rest)
    first = renter.rig.wait_call("CreateTags")
    told = expiries(renter)
    # The dates are put off twice in a lease.
    last = renter.rig.wait_call("CreateTags", count=6, timeout=30)
    assert last.ended - first.began > 2 * LEASE
    assert all(later > earlier + LEASE for earlier, later in zip(told, expiries(renter)))
    assert [instance.state for instance in renter.launched()] == ["running"] * 2
    renter.let_go()
    renter.finish(process).check(0)
    renter.nothing_left()
    assert {instance.reason[0] for instance in renter.launched()} == {"Client.UserInitiatedShutdown"}


@pytest.mark.parametrize("command", ["pytest", "ssh-run"])
def test_a_client_that_is_stopped_loses_its_machines_and_says_so(renter, command):
    renter.project(WAITING)
    rest = {"pytest": ("--", "-v"), "ssh-run": ("--", "sleep 600")}[command]
    process = renter.start(command, *OPTIONS, *rest)
    renter.at_work("sleep 600", 2)
    ids = [instance.id for instance in renter.launched()]
    process.send_signal(signal.SIGSTOP)
    renter.machines_gone()
    assert {instance.reason[0] for instance in renter.launched()} == {"Client.InstanceInitiatedShutdown"}
    process.send_signal(signal.SIGCONT)
    until(lambda: renter.let_go() or process.poll() is not None, "the run ends", patience=60)
    done = renter.finish(process)
    text = done.out + done.err
    assert all(identity in text for identity in ids), done
    assert "was lost" in text, done
    if command == "ssh-run":
        # What a command has done by halves is not done again.
        assert done.exit == 91, done
    else:
        assert done.exit == 0 and "2 passed" in done.out, done
    done.check_no_fault()
    renter.nothing_left()


def test_machines_that_boot_when_nobody_is_there_any_more(renters):
    renter = renters(boot_seconds=1.0)
    process = renter.start("ssh-run", *OPTIONS, "--", "true")
    renter.rig.wait_call("CreateFleet")
    process.kill()
    process.communicate()
    renter.machines_gone()
    assert {instance.reason[0] for instance in renter.launched()} == {"Client.InstanceInitiatedShutdown"}

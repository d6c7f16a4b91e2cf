"""Machines that stay for the next run: used again as they are, by one run at a time, and gone in the end."""

from __future__ import annotations

import json

from renter import ONE_WORKER_EACH

TESTS = {"test_a.py": """
        import pytest
        @pytest.mark.parametrize("n", range(4))
        def test_n(n): pass
        """}
KEPT = ("--num-workers=2", *ONE_WORKER_EACH, "--keep=10m")
INIT = "--init-command=date >> ~/inits"
WAITING = "until [ -e /run/rig/go ]; do sleep 0.02; done"


def running(renter):
    return {instance.id for instance in renter.launched() if instance.state == "running"}


def keep_two(renter):
    renter.project(TESTS)
    done = renter.pytest(*KEPT, INIT).check(0)
    assert "2 machines stay for 10m" in done.err
    return running(renter)


def test_the_next_run_goes_on_with_them(renter):
    machines = keep_two(renter)
    assert len(machines) == 2 and len(renter.records()) == 1
    renter.rig.calls.clear()
    renter.pytest(*KEPT, INIT).check(0)
    assert running(renter) == machines and not renter.rig.calls["CreateFleet"]
    done = renter.run("ssh-run", *KEPT[:-1], "--", "wc -l < ~/inits").check(0)
    assert sorted(done.out.split("\n")) == ["", "[0] 1", "[1] 1"], "what was done once is not done again"
    renter.nothing_left()


def test_a_run_that_needs_more_rents_the_rest(renter):
    machines = keep_two(renter)
    renter.pytest("--num-workers=3", *ONE_WORKER_EACH, "--keep=10m").check(0)
    assert machines < running(renter) and len(running(renter)) == 3
    renter.run("sweep", "--kept", "--yes").check(0)
    renter.nothing_left()


def test_other_wishes_have_other_machines(renter):
    machines = keep_two(renter)
    renter.pytest("--num-workers=1", *ONE_WORKER_EACH, "--disk=20").check(0)
    assert running(renter) == machines
    renter.run("sweep", "--kept", "--yes").check(0)
    renter.nothing_left()


def test_two_runs_at_once_share_none(renter):
    machines = keep_two(renter)
    first = renter.start("ssh-run", *KEPT, "--", WAITING)
    renter.at_work(WAITING, 2)
    renter.run("ssh-run", *KEPT[:-1], "--", "true").check(0)
    assert len(renter.launched()) == 4 and running(renter) == machines
    renter.let_go()
    renter.finish(first).check(0)
    renter.run("sweep", "--kept", "--yes").check(0)
    renter.nothing_left()


def test_a_machine_that_another_run_has_claimed_is_left_to_it(renter):
    """Even if the record says otherwise: the lock on the machine decides."""
    keep_two(renter)
    (record,) = (renter.state / "runs").iterdir()
    told = record.read_bytes()
    first = renter.start("ssh-run", *KEPT, "--", WAITING)
    renter.at_work(WAITING, 2)
    copy = record.with_name("0-copy.json")
    copy.write_bytes(told)
    done = renter.run("ssh-run", *KEPT, "--", "true").check(91)
    assert "another run has claimed" in done.err, done
    copy.unlink(missing_ok=True)
    renter.let_go()
    renter.finish(first).check(0)


def test_sweep_leaves_them_alone_until_told(renter):
    machines = keep_two(renter)
    renter.run("sweep", "--yes").check(0)
    assert running(renter) == machines
    renter.run("sweep", "--kept", "--yes").check(0)
    renter.nothing_left()


def test_they_end_by_themselves_and_the_next_run_tidies_up(renter):
    renter.project(TESTS)
    renter.pytest("--num-workers=1", *ONE_WORKER_EACH, "--keep=5s").check(0)
    renter.rig.wait_state("terminated", 1, timeout=40)
    (record,) = (renter.state / "runs").iterdir()
    entry = json.loads(record.read_text())
    entry["kept"]["until"] -= 60
    record.write_text(json.dumps(entry))
    renter.pytest("--num-workers=1", *ONE_WORKER_EACH).check(0)
    renter.nothing_left()

"""Rented machines touched from outside a run, and those that stay because something failed there."""

from __future__ import annotations

import json

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
        assert one["type"] and one["zone"] and one["dollars_per_hour"] > 0 and one["dollars"] >= 0
        assert WAITING in one["workers"][0]["now"]
        done = renter.run("exec", one["machine"], "--", "echo $CLOUDIST_MACHINE; pwd").check(0)
        assert done.out.split("\n")[:2] == [one["machine"], one["directory"]]
    renter.let_go()
    renter.finish(run).check(0)
    assert machines(renter) == []
    renter.nothing_left()


def test_the_machine_with_the_failure_stays_until_it_is_ended(renter):
    done = renter.run("ssh-run", *TWO, "--keep-on-failure=10m", "--", FAILS_ON_ONE).check(1)
    (left,) = machines(renter)
    assert f"{left['machine']} stays for 10m" in done.err
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
    for options, said in (([], "as it was when it failed on gw0"), (["--again"], "after the 1 test before it")):
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

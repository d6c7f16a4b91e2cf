"""When EC2 has too little: what came is used, what is missing is said, and never is more rented than was asked for."""

from __future__ import annotations

import re

import pytest

from renter import ONE_WORKER_EACH, in_pytest, outcomes, until

SUITE = {"test_a.py": """
        import pytest
        @pytest.mark.parametrize("n", range(20))
        def test_n(n): pass
        """}


EARLY = "awaits_leases() forgets the events that are held: 'no machine could be had'"
WAIT = """
    import os, time
    while not os.path.exists({path!r}) and not os.path.exists("/run/rig"):  # which is there on machines
        time.sleep(0.01)
    """


def pool(override):
    return override["InstanceType"], override["SubnetId"]


def alive(renter):
    """The most machines that were there at the same time: nothing ends before the run does."""
    return len(renter.launched())


def test_what_came_has_to_do(renter):
    renter.project(SUITE)
    renter.rig.faults.capacity("c7i.large", available=3)
    done = renter.hook("-v", *in_pytest("--num-workers=5", *ONE_WORKER_EACH)).check(0)
    assert len(outcomes(done)) == 20 and alive(renter) == 3
    assert re.search(
        r"cloudist: EC2 has machines for 3 of 5 workers only: .*InsufficientInstanceCapacity", done.out
    )
    renter.nothing_left()


def test_other_pools_are_asked(renter):
    """A type of which there are two, and one of which there are enough."""
    renter.rig.faults.capacity("c7i.large", available=2)
    options = ("--instance-type=c7i.large", "--instance-type=c6i.large", "--cpu-per-worker=2")
    done = renter.run("ssh-run", "-n5", *options, "--", "hostname").check(0)
    assert len(done.out.splitlines()) == 5 and alive(renter) == 5
    renter.nothing_left()


def test_a_zone_that_is_empty_is_left_out(renter):
    market = renter.rig.account.market
    cheapest = min(market.zones("c7i.large"), key=lambda zone: market.spot_price("c7i.large", zone))
    renter.rig.faults.capacity(zone=cheapest)
    renter.run("ssh-run", "-n3", *ONE_WORKER_EACH, "--", "true").check(0)
    zones = [instance.zone for instance in renter.launched()]
    assert len(zones) == 3 and cheapest not in zones
    renter.nothing_left()


def test_a_pool_that_failed_is_not_asked_again(renter):
    options = ("--instance-type=c7i.large", "--instance-type=c6i.large", "--cpu-per-worker=2")
    renter.rig.faults.capacity("c7i.large", available=1)
    renter.rig.faults.capacity("c6i.large", available=1)
    renter.run("ssh-run", "-n4", *options, "--", "true").check(0)
    failed = set()
    for call in renter.rig.calls["CreateFleet"]:
        (config,) = call.parameters["LaunchTemplateConfigs"]
        assert not failed & {pool(over) for over in config["Overrides"]}
        failed |= {pool(error["LaunchTemplateAndOverrides"]["Overrides"]) for error in call.reply["Errors"]}
    assert failed and alive(renter) == 2


@pytest.mark.parametrize("command", ["pytest", "ssh-run"])
def test_none_at_all(renter, command):
    renter.project(SUITE)
    renter.rig.faults.capacity()
    run = {"pytest": lambda: renter.hook(), "ssh-run": lambda: renter.run("ssh-run", "--", "true")}[command]
    done = run().check(91)
    text = done.out + done.err
    assert (
        "EC2 has none of the machines that would do" in text and "InsufficientInstanceCapacity" in text
    ), done
    assert "help: " in text and "--cd-fallback=on-demand" in text, done
    assert alive(renter) == 0
    renter.nothing_left()


def test_a_spot_quota_that_is_used_up(renter):
    renter.rig.faults.spot_quota(0)
    done = renter.run("ssh-run", "-n2", "--", "true").check(91)
    assert "quota for spot machines is used up" in done.err and "help: " in done.err, done
    assert "All Standard Spot Instance Requests" in done.err, done
    assert len(renter.rig.calls["CreateFleet"]) == 1, "the quota is the same everywhere"
    renter.nothing_left()


def test_a_spot_quota_for_a_part(renter):
    renter.project(SUITE)
    renter.rig.faults.spot_quota(4)
    done = renter.hook("-v", *in_pytest("--num-workers=5", *ONE_WORKER_EACH)).check(0)
    assert len(outcomes(done)) == 20 and alive(renter) == 2
    assert re.search(
        r"EC2 has machines for 2 of 5 workers only: .*MaxSpotInstanceCountExceeded", done.out
    ), done
    renter.nothing_left()


def test_on_demand_machines_make_up_for_a_spot_quota(renter):
    renter.rig.faults.spot_quota(4)
    done = renter.run("ssh-run", "-n5", *ONE_WORKER_EACH, "--fallback=on-demand", "--", "hostname").check(0)
    assert len(done.out.splitlines()) == 5
    assert sorted(instance.market for instance in renter.launched()) == ["on-demand"] * 3 + ["spot"] * 2
    assert "renting on-demand machines for 3 workers" in done.err, done
    assert re.search(r"\(spot \$\d\S+, on-demand \$\d", done.err), done
    renter.nothing_left()


def test_no_on_demand_machines_unless_they_are_asked_for(renter):
    renter.rig.faults.spot_quota(0)
    renter.run("ssh-run", "-n2", "--", "true").check(91)
    assert alive(renter) == 0


def test_both_quotas_used_up(renter):
    renter.rig.faults.spot_quota(0)
    renter.rig.faults.on_demand_quota(0)
    done = renter.run("ssh-run", "-n2", "--fallback=on-demand", "--", "true").check(91)
    assert "quota for on-demand machines is used up" in done.err and "help: " in done.err, done
    renter.nothing_left()


@pytest.mark.parametrize("workers", [1, 5, 7, 20])
def test_never_more_machines_than_asked_for(renter, workers):
    """Whatever types EC2 takes for the last places."""
    renter.rig.faults.capacity(zone="us-east-1a", available=1)
    renter.rig.faults.capacity(zone="us-east-1b", available=2)
    done = renter.run("ssh-run", f"-n{workers}", "--", "hostname").check(0)
    hosts = {line.split()[-1] for line in done.out.splitlines()}
    assert len(done.out.splitlines()) == workers
    assert alive(renter) == len(hosts) <= workers
    renter.nothing_left()


def test_a_reply_that_is_lost_launches_nothing_twice(renter):
    renter.rig.faults.drop_reply("CreateFleet", times=2)
    done = renter.run("ssh-run", "-n3", *ONE_WORKER_EACH, "--", "hostname").check(0)
    assert len(done.out.splitlines()) == 3 and alive(renter) == 3
    calls = renter.rig.calls["CreateFleet"]
    assert len(calls) == 3 and len({call.parameters["ClientToken"] for call in calls}) == 1
    renter.nothing_left()


def test_every_request_has_a_token_of_its_own(renter):
    renter.rig.faults.spot_quota(2)
    for _ in range(2):
        renter.run("ssh-run", "-n3", *ONE_WORKER_EACH, "--fallback=on-demand", "--", "true").check(0)
    tokens = [call.parameters["ClientToken"] for call in renter.rig.calls["CreateFleet"]]
    assert len(tokens) == len(set(tokens)) == 4


ACTIONS = [
    "DescribeSubnets",
    "DescribeImages",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateFleet",
    "DescribeInstances",
    "TerminateInstances",
    "DeleteFleets",
    "DeleteLaunchTemplate",
    "DeleteSecurityGroup",
]


@pytest.mark.parametrize(
    "action, how",
    [(action, how) for action in ACTIONS for how in ("throttled", "lost reply")],
)
def test_calls_that_pass_at_the_second_try(renter, action, how):
    """Neither a reply that gets lost nor a call that is refused for now harms a run, or leaves a thing behind."""
    if how == "throttled":
        renter.rig.faults.throttle(action, 2)
    else:
        renter.rig.faults.drop_reply(action)
    renter.run("ssh-run", "-n2", *ONE_WORKER_EACH, "--", "true").check(0)
    assert alive(renter) == 2
    renter.nothing_left()


@pytest.mark.parametrize("fault", ["fails_to_boot", "vanishes"])
def test_a_machine_that_ends_while_it_starts_is_made_up_for(renter, fault):
    renter.project(SUITE)
    getattr(renter.rig.faults, fault)(times=1)
    done = renter.hook("-v", *in_pytest("--num-workers=2", *ONE_WORKER_EACH)).check(0)
    assert len(outcomes(done)) == 20
    renter.nothing_left()


@pytest.mark.parametrize("news", ["partial capacity", "a machine that fails to boot"])
def test_news_that_came_before_pytest_was_ready(renter, tmp_path, news):
    """`cloudist pytest` rents at once: all has been told when the local pytest has started."""
    marker = tmp_path / "marker"
    renter.project({**SUITE, "waits.py": WAIT.format(path=str(marker))})
    if news == "partial capacity":
        renter.rig.faults.capacity("c7i.large", available=1)
    else:
        renter.rig.faults.fails_to_boot(times=1)
    process = renter.start("pytest", "-n2", *ONE_WORKER_EACH, "--", "-v", "-p", "waits")
    until(
        lambda: any(
            one.machine and "Accepted publickey" in one.machine.ssh_log() for one in renter.launched()
        ),
        "the machine that came is connected to",
    )
    marker.touch()
    done = renter.finish(process).check(0)
    assert len(outcomes(done)) == 20

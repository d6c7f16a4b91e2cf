"""SIGKILL at every boundary of the API and at random moments: the machines end by themselves, the rest is swept."""

from __future__ import annotations

import concurrent.futures
import os
import pathlib
import signal
import threading
from typing import Any, Callable, List, Optional, Tuple

from renter import ONE_WORKER_EACH, SCRIPTS, Renter
from rig import DROP, Rig
from soak import LEASE, check_remains, soak

AT_ONCE = 10
WAITING = "until [ -e /run/rig/go ]; do sleep 0.02; done"
MARKET = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "DescribeSpotPriceHistory")
# Each of them is called by a run that is long enough to put its lease off.
ACTIONS = {
    *MARKET,
    "DescribeImages",
    "DescribeSubnets",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "CreateLaunchTemplate",
    "CreateFleet",
    "DescribeInstances",
    "CreateTags",
    "DescribeTags",
    "DescribeFleets",
    "DescribeSecurityGroups",
    "DescribeLaunchTemplates",
    "TerminateInstances",
    "DeleteFleets",
    "DeleteLaunchTemplate",
    "DeleteSecurityGroup",
}

Boundary = Tuple[str, str]

# Between these the machines are on their own.
LOOKING = (
    "DescribeInstances",
    "CreateTags",
    "DescribeTags",
    "DescribeFleets",
    "DescribeSecurityGroups",
    "DescribeLaunchTemplates",
)
ALONE = {
    ("CreateFleet", "after"),
    ("TerminateInstances", "before"),
    *((action, when) for action in LOOKING for when in ("before", "after")),
}


def run_until(
    place: pathlib.Path, cache: pathlib.Path, boundary: Optional[Boundary], check: Callable[[Renter], Any]
) -> Any:
    """A run of two machines that puts its lease off once; killed at the boundary if there is one."""
    with Rig(machine_path=[SCRIPTS]) as rig:
        renter = Renter(rig, place, cache)
        process: Any = None
        started, killed = threading.Event(), threading.Event()

        def let_it_end(call: Any) -> None:
            for instance in rig.instances():
                if instance.machine is not None:
                    (instance.machine.directory / "go").touch()

        def kill(call: Any) -> Any:
            if killed.is_set():
                return None
            started.wait()
            killed.set()
            os.killpg(process.pid, signal.SIGKILL)
            return DROP

        if boundary is not None:
            action, when = boundary
            rig.on_call(action, kill, when)
        rig.on_call("CreateTags", let_it_end, "after")
        run = ("ssh-run", "-n2", *ONE_WORKER_EACH, f"--lease={LEASE}s", "--", WAITING)
        process = renter.start(*run)
        started.set()
        done = renter.finish(process)
        if boundary is None:
            done.check(0)
        else:
            assert killed.is_set() and done.exit == -signal.SIGKILL, done
        return check(renter)


def test_killed_at_every_boundary_of_the_api(tmp_path: pathlib.Path, cache: pathlib.Path) -> None:
    cold = tmp_path / "cold"
    called = run_until(tmp_path / "whole", cold, None, lambda renter: set(renter.rig.calls.actions()))
    assert called == ACTIONS

    def failure(boundary: Boundary) -> Optional[str]:
        name = " ".join(boundary).replace(" ", "-")
        # What is known of the market is not asked for again.
        own = tmp_path / f"cache-{name}" if boundary[0] in MARKET else cold
        try:
            alone = run_until(tmp_path / name, own, boundary, check_remains)
            assert alone == (2 if boundary in ALONE else 0), f"{alone} machines ended by themselves"
        except AssertionError as error:
            return f"killed {boundary[1]} the effect of {boundary[0]}: {error}"
        return None

    boundaries: List[Boundary] = [
        (action, when) for action in sorted(ACTIONS) for when in ("before", "after")
    ]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        failures = [found for found in pool.map(failure, boundaries) if found]
    assert not failures, "\n".join(failures)


def test_killed_at_random_moments(tmp_path: pathlib.Path) -> None:
    # More at once than a computer has cores, and each is killed before it has rented anything.
    found = soak(runs=12, seed=20260101, jobs=2, place=tmp_path, report=lambda findings: None)
    assert not found.failures, "\n".join(found.failures)
    assert found.runs == 12 and found.machines_left > 0

"""Runs that are killed at random moments, and what they leave: `tests/ec2/soak.py --runs 200 --seed 7`.

Each run has an account and a computer of its own. After the lease its machines are gone by themselves; after
`cloudist sweep` the account looks as before. Needs what tests/ec2 needs; CLOUDIST_BIN names the program.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Iterator, List, Optional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from processes import all_gone, marked, until  # noqa: E402
from renter import ONE_WORKER_EACH, SCRIPTS, Renter, in_pytest  # noqa: E402
from rig import Rig  # noqa: E402

LEASE = 5
ENDED_BY_THEMSELVES = "Client.InstanceInitiatedShutdown"
TERMINATED = "Client.UserInitiatedShutdown"
SUITE = {f"test_{letter}.py": """
        import pytest, time
        @pytest.mark.parametrize("n", range(8))
        def test_n(n): time.sleep(0.05)
        """ for letter in "abcd"}


@dataclasses.dataclass
class Plan:
    """How a run goes, and when which of its processes is killed."""

    number: int
    command: str
    machines: int
    boot_seconds: float
    victim: str
    after: float

    def __str__(self) -> str:
        return (
            f"run {self.number}: {self.command} on {self.machines} machines that boot in "
            f"{self.boot_seconds:.2f} s, {self.victim} killed after {self.after:.3f} s"
        )


def plans(runs: int, seed: int) -> Iterator[Plan]:
    chance = random.Random(seed)
    for number in range(runs):
        command = chance.choice(["ssh-run", "pytest", "pytest", "hook"])
        victims = {"ssh-run": ["all"], "pytest": ["all", "cloudist", "pytest"], "hook": ["all", "cloudist"]}
        yield Plan(
            number,
            command,
            machines=chance.randint(1, 4),
            boot_seconds=chance.choice([0.0, 0.0, 0.4]),
            victim=chance.choice(victims[command]),
            after=chance.uniform(0.0, 2.5),
        )


def begin(renter: Renter, plan: Plan) -> subprocess.Popen:
    options = (f"--num-workers={plan.machines}", *ONE_WORKER_EACH, f"--lease={LEASE}s")
    if plan.command == "ssh-run":
        return renter.start("ssh-run", *options, "--", "sleep", "1")
    renter.project(SUITE)
    if plan.command == "pytest":
        return renter.start("pytest", *options, "--", "-q")
    renter.init()
    return renter.start_hook("-q", *in_pytest(*options))


def kill(renter: Renter, process: subprocess.Popen, victim: str) -> None:
    """Whichever is not there any more, or not yet, is spared."""
    if victim == "all":
        doomed = list(marked(renter.tool.mark))
    else:
        word = f"{renter.tool.command()[0]} " if victim == "cloudist" else "-m pytest"
        doomed = [pid for pid, line in marked(renter.tool.mark).items() if word in line]
    for pid in doomed:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def check_remains(renter: Renter) -> None:
    """After a kill: what costs money ends by itself, the rest is known to this computer, and sweeping removes it."""
    all_gone(renter.tool.mark)
    until(lambda: all(call.ended is not None for call in renter.rig.calls), "the last call is over")
    renter.machines_gone()
    reasons = {instance.reason[0] for instance in renter.launched()}
    assert reasons <= {ENDED_BY_THEMSELVES, TERMINATED}, reasons
    left = renter.rig.listing()
    assert left["instances"] == renter.before["instances"] and left["volumes"] == renter.before["volumes"]
    if left != renter.before:
        assert len(renter.records()) == 1, f"nothing is on record, but there are {left}"
    if renter.can_sweep():
        renter.sweep()
        renter.nothing_left()


def killed_run(plan: Plan, place: pathlib.Path, cache: pathlib.Path) -> None:
    with Rig(boot_seconds=plan.boot_seconds, machine_path=[SCRIPTS]) as rig:
        renter = Renter(rig, place, cache)
        process = begin(renter, plan)
        try:
            process.communicate(timeout=plan.after)
        except subprocess.TimeoutExpired:
            kill(renter, process, plan.victim)
            process.communicate(timeout=60)
        check_remains(renter)


def failure_of(plan: Plan, place: pathlib.Path, cache: pathlib.Path) -> Optional[str]:
    try:
        killed_run(plan, place, cache)
    except Exception as error:
        return f"{plan}: {type(error).__name__}: {error}"
    return None


def soak(runs: int, seed: int, jobs: int, place: pathlib.Path, report: bool = False) -> List[str]:
    """What went wrong."""
    failures: List[str] = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        begun = [
            pool.submit(failure_of, plan, place / str(plan.number), place / "cache")
            for plan in plans(runs, seed)
        ]
        for number, done in enumerate(concurrent.futures.as_completed(begun), start=1):
            if done.result():
                failures.append(done.result())
            if report:
                print(f"\r{number} of {runs} runs, {len(failures)} failures", end="", flush=True)
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=8, help="so many runs at the same time")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        failures = soak(arguments.runs, arguments.seed, arguments.jobs, pathlib.Path(place), report=True)
    print(f", {time.monotonic() - began:.0f} s, seed {arguments.seed}")
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

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
from typing import Callable, Iterator, List

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from renter import ONE_WORKER_EACH, SCRIPTS, Renter, all_gone, in_pytest, marked, until  # noqa: E402
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


def check_remains(renter: Renter) -> int:
    """After a kill: what costs money ends by itself, the rest is known to this computer, and sweeping removes it.
    Gives the number of machines that had to end by themselves."""
    all_gone(renter.tool.mark)
    until(lambda: all(call.ended is not None for call in renter.rig.calls), "the last call is over")
    renter.machines_gone()
    reasons = {instance.reason[0] for instance in renter.launched()}
    assert reasons <= {ENDED_BY_THEMSELVES, TERMINATED}, reasons
    left = renter.rig.listing()
    assert left["instances"] == renter.before["instances"] and left["volumes"] == renter.before["volumes"]
    if left != renter.before:
        assert len(renter.records()) == 1, f"nothing is on record, but there are {left}"
    renter.sweep()
    renter.nothing_left()
    return sum(instance.reason[0] == ENDED_BY_THEMSELVES for instance in renter.launched())


def killed_run(plan: Plan, place: pathlib.Path, cache: pathlib.Path) -> int:
    with Rig(boot_seconds=plan.boot_seconds, machine_path=[SCRIPTS]) as rig:
        renter = Renter(rig, place, cache)
        process = begin(renter, plan)
        try:
            process.communicate(timeout=plan.after)
        except subprocess.TimeoutExpired:
            kill(renter, process, plan.victim)
            process.communicate(timeout=60)
        return check_remains(renter)


@dataclasses.dataclass
class Findings:
    runs: int = 0
    machines_left: int = 0
    failures: List[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        left = f"{self.machines_left} machines ended by themselves"
        return f"{self.runs} runs, {left}, {len(self.failures)} failures"


def soak(
    runs: int, seed: int, jobs: int, place: pathlib.Path, report: Callable[[Findings], None]
) -> Findings:
    findings = Findings()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        begun = {
            pool.submit(killed_run, plan, place / str(plan.number), place / "cache"): plan
            for plan in plans(runs, seed)
        }
        for run in concurrent.futures.as_completed(begun):
            findings.runs += 1
            try:
                findings.machines_left += run.result()
            except Exception as error:
                findings.failures.append(f"{begun[run]}: {type(error).__name__}: {error}")
            report(findings)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=8, help="so many runs at the same time")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        found = soak(
            arguments.runs,
            arguments.seed,
            arguments.jobs,
            pathlib.Path(place),
            report=lambda findings: print(f"\r{findings}", end="", flush=True),
        )
    print(f", {time.monotonic() - began:.0f} s, seed {arguments.seed}")
    print(*found.failures, sep="\n", end="")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())

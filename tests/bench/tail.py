"""200 sleeps with a heavy tail on 16 workers: how near to the lower bound each runner comes.

Sleeps cost no CPU, so 16 workers on two cores are no fiction. The bound is what no schedule can undercut: the longest test, or all
of them shared evenly; a runner's own start-up and end, taken from 16 tests of nothing, come on top. Needs CLOUDIST_BIN, and Python
3.11 with pip; makes all else below target/bench. Judges nothing: it prints a table.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measure import measure
from run import CACHE, environment, interpreter, named_binary

WORKERS, TESTS, PER_FILE = 16, 200, 10
SHORTEST, TAIL = 0.2, 2.0
STATE = CACHE / "tail-state"


def durations() -> list[float]:
    """Quantiles of a Pareto distribution, in an order that tells nothing of them."""
    made = [round(SHORTEST / ((number + 0.5) / TESTS) ** (1 / TAIL), 3) for number in range(TESTS)]
    random.Random(7).shuffle(made)
    return made


def bound(tests: list[float]) -> float:
    return max(max(tests), sum(tests) / WORKERS)


def write(home: Path, tests: list[float], per_file: int) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    (home / "tests").mkdir(parents=True)
    (home / "pytest.ini").write_text("[pytest]\n")
    for file, chunk in enumerate(chunks(tests, per_file)):
        lines = ["import time\n"]
        lines += [
            f"def test_{number:02}():\n    time.sleep({seconds})\n" for number, seconds in enumerate(chunk)
        ]
        (home / "tests" / f"test_{file:02}.py").write_text("\n\n".join(lines))
    return home


def chunks(tests: list[float], size: int) -> list[list[float]]:
    return [tests[start : start + size] for start in range(0, len(tests), size)]


def forget() -> None:
    shutil.rmtree(STATE, ignore_errors=True)


@dataclass(frozen=True)
class Contender:
    name: str
    words: list[str]
    """Between the interpreter and pytest's own options; {python} and {cloudist} are filled in."""
    before: Callable[[], None] = lambda: None
    warm_up: bool = False


def xdist(mode: str) -> Contender:
    return Contender(
        f"pytest-xdist --dist {mode}", ["{python}", "-m", "pytest", "-q", "-n", str(WORKERS), "--dist", mode]
    )


CLOUDIST = (
    "{cloudist} pytest --provider=local -n %d --local-machines=1 --memory-per-worker=0.25 --cpu-per-worker=0.1 "
    "--local-python {python} -- -q" % WORKERS
).split()
CONTENDERS = [
    *(xdist(mode) for mode in ("load", "worksteal", "loadfile")),
    Contender("cloudist, without history", CLOUDIST, before=forget),
    Contender("cloudist, with history", CLOUDIST, warm_up=True),
]


def run(contender: Contender, where: Path, count: int, binary: Path) -> float:
    words = [word.format(python=interpreter(), cloudist=binary) for word in contender.words]
    contender.before()
    measured = measure(words, where, {**environment(binary), "CLOUDIST_STATE_DIR": str(STATE)})
    if f"{count} passed".encode() not in measured.tail:
        raise SystemExit(f"{contender.name} failed:\n{measured.tail.decode(errors='replace')}")
    return measured.wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="runs of each; the medians are shown (default: 5)"
    )
    options = parser.parse_args()
    binary = named_binary(parser)
    tests = durations()
    suite = write(CACHE / "tail", tests, PER_FILE)
    nothing = write(CACHE / "tail-nothing", [0.0] * WORKERS, 1)
    walls: dict[str, list[float]] = {contender.name: [] for contender in CONTENDERS}
    starts: dict[str, list[float]] = {contender.name: [] for contender in CONTENDERS}
    for attempt in range(options.runs):
        for contender in CONTENDERS:
            starts[contender.name].append(run(contender, nothing, WORKERS, binary))
            if contender.warm_up and attempt == 0:
                run(contender, suite, TESTS, binary)
            walls[contender.name].append(run(contender, suite, TESTS, binary))
            print(f"run {attempt + 1}: {contender.name}: {walls[contender.name][-1]:.2f}", file=sys.stderr)
    least = bound(tests)
    print(
        f"{TESTS} sleeps of {min(tests)} to {max(tests)} s, {sum(tests):.1f} s in all, {WORKERS} workers: at least {least:.2f} s. "
        f"Medians of {options.runs}.\n"
    )
    print("| | start-up s | wall s | of bound and start-up |\n|---|---:|---:|---:|")
    for name, measured in walls.items():
        wall, start = statistics.median(measured), statistics.median(starts[name])
        print(f"| {name} | {start:.2f} | {wall:.2f} | {wall / (least + start):.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures cloudist on local machines beside pytest-xdist: wall clock, CPU of the whole process tree, and time to the first result.

Needs CLOUDIST_BIN, and Python 3.11 with pip on Linux; makes all else below target/bench. Judges nothing: it prints a table and ratios.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from measure import Measurement, measure, median
from suites import SUITES, Suite

CACHE = Path(__file__).resolve().parents[2] / "target" / "bench"
REQUIREMENTS = ["pytest==9.2.0", "pytest-xdist==3.8.0"]
BASELINE = "pytest-xdist"
HOOKED = "pytest --cloudist"
CONTENDERS = ("pytest", BASELINE, "cloudist pytest", HOOKED)


def interpreter() -> Path:
    """A virtual environment with nothing but the two."""
    home = CACHE / "venv"
    stamp = home / "requirements"
    if not stamp.is_file() or stamp.read_text().split() != REQUIREMENTS:
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([home / "bin/python", "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        stamp.write_text("\n".join(REQUIREMENTS))
    return home / "bin" / "python"


def named_binary(parser: argparse.ArgumentParser) -> Path:
    """What CLOUDIST_BIN names, also for those who are elsewhere."""
    named = os.environ.get("CLOUDIST_BIN")
    if not named:
        parser.error("CLOUDIST_BIN has to name the cloudist binary")
    return Path(named).resolve()


def command(contender: str, workers: int, python: Path, binary: Path) -> list[str]:
    count = str(workers)
    pytest = [str(python), "-m", "pytest"]
    # A worker of xdist is a process on this machine, whatever memory it takes: the local ones are given as much freedom.
    freedom = {"memory-per-worker": "0.25", "cpu-per-worker": "0.25"}
    if contender == "pytest":
        return [*pytest, "-v"]
    if contender == BASELINE:
        return [*pytest, "-v", "-n", count]
    if contender == HOOKED:
        options = [f"--cd-{name}={value}" for name, value in freedom.items()]
        return [
            *pytest,
            "-v",
            "--cloudist=test",
            "--cd-provider=local",
            f"--cd-num-workers={count}",
            *options,
        ]
    options = [f"--{name}={value}" for name, value in freedom.items()]
    return [
        str(binary), "pytest", "--provider=local", "-n", count, "--local-python", str(python), *options, "--", "-v",
    ]  # fmt: skip


def environment(binary: Path) -> dict[str, str]:
    dropped = ("PYTEST_", "CLOUDIST_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    path = f"{binary.parent}{os.pathsep}{kept['PATH']}"
    return {
        **kept,
        "PATH": path,
        "CLOUDIST_BIN": str(binary),
        "CLOUDIST_CACHE_DIR": str(CACHE / "cache"),
        "CLOUDIST_STATE_DIR": str(CACHE / "state"),
        "TERM": "dumb",
    }


def directory(suite: Suite, contender: str, binary: Path) -> Path:
    """The suite; a second copy of it carries the hook that `cloudist init` writes."""
    if contender != HOOKED:
        return suite.write(CACHE / suite.name)
    hooked = suite.write(CACHE / f"{suite.name}-hooked")
    subprocess.run([binary, "init", hooked], check=True, stdout=subprocess.DEVNULL)
    return hooked


def compete(
    suite: Suite, workers: int, contenders: list[str], runs: int, binary: Path
) -> dict[str, list[Measurement]]:
    """Runs the contenders in turn, `runs` times."""
    python = interpreter()
    results: dict[str, list[Measurement]] = {contender: [] for contender in contenders}
    for attempt, contender in itertools.product(range(runs), contenders):
        where = directory(suite, contender, binary)
        measured = measure(command(contender, workers, python, binary), where, environment(binary))
        if f"{suite.tests} passed".encode() not in measured.tail:
            raise SystemExit(
                f"{contender} on suite {suite.name} failed:\n{measured.tail.decode(errors='replace')}"
            )
        results[contender].append(measured)
        print(
            f"suite {suite.name}, {workers} workers, run {attempt + 1}: {contender}: {measured}",
            file=sys.stderr,
        )
    return results


def table(suite: Suite, workers: int, results: dict[str, list[Measurement]]) -> list[str]:
    rows = []
    base = (
        {name: median(results[BASELINE], name) for name in ("wall", "cpu", "first")}
        if BASELINE in results
        else {}
    )
    for contender, measured in results.items():
        cells = [f"| {suite.name} | {workers if contender != 'pytest' else 1} | {contender} "]
        for name in ("wall", "cpu", "first"):
            value = median(measured, name)
            ratio = f" ({value / base[name]:.2f})" if base and contender != BASELINE else ""
            cells.append(f"| {value:.2f}{ratio} ")
        rows.append("".join(cells) + "|")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=3, metavar="N", help="runs of each; the medians are shown (default: 3)"
    )
    parser.add_argument(
        "--suite", choices=sorted(SUITES), action="append", help="only this suite; repeatable"
    )
    parser.add_argument(
        "--workers",
        type=int,
        action="append",
        metavar="N",
        help="this many workers; repeatable (default: 2, 8)",
    )
    parser.add_argument("--contender", choices=CONTENDERS, action="append", help="only this one; repeatable")
    options = parser.parse_args()
    binary = named_binary(parser)
    contenders = options.contender or list(CONTENDERS)
    lines = ["| suite | workers | | wall s | CPU s | first result s |", "|---|---:|---|---:|---:|---:|"]
    raw = []
    for name, workers in itertools.product(options.suite or sorted(SUITES), options.workers or (2, 8)):
        results = compete(SUITES[name], workers, contenders, options.runs, binary)
        lines += table(SUITES[name], workers, results)
        for contender, measured in results.items():
            raw += [
                {"suite": name, "workers": workers, "contender": contender, **asdict(one)} for one in measured
            ]
    (CACHE / "results.json").write_text(json.dumps(raw, default=str, indent=1))
    print(
        f"{os.cpu_count()} cores, CPython {platform.python_version()}, {', '.join(REQUIREMENTS)}, medians of {options.runs}"
    )
    print("In brackets: the ratio to pytest-xdist.\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures how long a machine takes to get an environment: cloudist beside `python -m venv` and `pip install -r` on that machine.

Needs CLOUDIST_BIN, and on Linux Python 3.11 with pip, ssh and sshd; makes all else below target/bench/environment. Both sides take the
same 35 wheels from the same index on loopback, into a home where nothing was ever done, and are measured from the start of the command
to its end. pip compiles to bytecode what it installs and uv doesn't: `--no-compile` is in the table too. Judges nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Callable, List

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "bench" / "sync"), str(TESTS / "environment")]

from machines import Machines  # noqa: E402
from wheels import Index  # noqa: E402

HOME = TESTS.parent / "target" / "bench" / "environment"
PINS = TESTS / "bench" / "packages.txt"
UV = "0.13.9"
TIMING = re.compile(r"(\w+) ([\d.]+) s\b")


def wheels() -> Path:
    """The wheels of the pinned packages and uv's."""
    directory = HOME / "wheels"
    stamp = directory / "pins"
    if not stamp.is_file() or stamp.read_text() != PINS.read_text():
        shutil.rmtree(directory, ignore_errors=True)
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(directory),
        ]
        subprocess.run([*download, "-r", str(PINS)], check=True)
        subprocess.run([*download, "--platform", f"musllinux_1_1_{os.uname().machine}", f"uv=={UV}"], check=True)
        stamp.write_text(PINS.read_text())
    return directory


def local_environment(index: Index) -> Path:
    home = HOME / "venv"
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin/python"), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--index-url", index.url, "-r", str(PINS)], check=True)
    # What a virtual environment of this Python begins with isn't one of the packages.
    subprocess.run([*pip, "uninstall", "-q", "-y", "setuptools"], check=True)
    return home / "bin" / "python"


def medians(times: int, *contenders: Callable[[], float]) -> List[float]:
    """Of each what it takes in the middle; they take turns, so that whatever else happens happens to all of them."""
    taken: List[List[float]] = [[] for _ in contenders]
    for _ in range(times):
        for contender, seconds in zip(contenders, taken):
            seconds.append(contender())
    return [statistics.median(seconds) for seconds in taken]


class Bench:
    """One machine at a distance, and what is done to it."""

    def __init__(self, index: Index, python: Path, rtt: float) -> None:
        self._index, self._python = index, python
        self.machines = Machines(HOME / "machines", 1, rtt)
        self._caches = 0
        self.making: List[float] = []
        """What the environment took of each cold run, from when the snapshot was there."""
        self._project = HOME / "project"
        self._project.mkdir(exist_ok=True)
        (self._project / "pytest.ini").write_text("[pytest]\n")

    def forget(self) -> None:
        """A home in which nothing was ever done, there and here."""
        self.machines.forget()
        self._caches += 1

    def cold(self) -> float:
        """The whole command: connect, bring the project, make the environment, run a program there."""
        self.forget()
        began = time.monotonic()
        said = self._cloudist("--timings")
        took = time.monotonic() - began
        self.making.append(float(dict(TIMING.findall(said))["environment"]))
        return took

    def unchanged(self) -> float:
        """From the question for snapshot and environment until both are known to be there."""
        steps = dict(TIMING.findall(self._cloudist("--timings")))
        return float(steps["sync"]) + float(steps["environment"])

    def _cloudist(self, *options: str) -> str:
        ours = ("CLOUDIST_", "PIP_", "UV_", "PYTHON")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "CLOUDIST_CACHE_DIR": str(self.machines.home / f"cache-{self._caches}"),
            "CLOUDIST_STATE_DIR": str(self.machines.home / "state"),
            "CLOUDIST_SSH_CONFIG": str(self.machines.configuration),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self._index.url,
        }
        command = [os.environ["CLOUDIST_BIN"], "ssh-run", "-n", "1", "--hosts", "m0", "--env", "auto"]
        command += ["--local-python", str(self._python), *options, "--", "true"]
        done = subprocess.run(command, cwd=self._project, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return done.stderr

    def close(self) -> None:
        self.machines.end()

    def pip(self, *options: str) -> float:
        """The whole command, too: connect, `python -m venv`, `pip install -r`."""
        self.forget()
        install = [
            "made/bin/pip",
            "install",
            "-q",
            "--no-deps",
            "--index-url",
            self._index.url,
            "-r",
            "pins.txt",
            *options,
        ]
        there = f"cd && python3 -m venv made && PIP_CONFIG_FILE={os.devnull} {' '.join(install)}"
        (self.machines.servers[0].home / "pins.txt").write_text(PINS.read_text())
        began = time.monotonic()
        subprocess.run(["ssh", "-F", str(self.machines.configuration), "m0", there], check=True)
        return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rtts", type=float, nargs="*", default=[0, 0.02, 0.1], metavar="SECONDS")
    given = parser.parse_args()
    # An end by a signal leaves no servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("CLOUDIST_BIN", str(HOME.parents[1] / "release" / "cloudist"))
    index = Index(wheels())
    python = local_environment(index)
    print(f"{len(PINS.read_text().split())} packages; seconds, medians of {given.times}\n")
    head = "RTT ms|cloudist, bare home|of it the environment|venv and pip|ratio|without bytecode|ratio|cloudist, unchanged|over 1 RTT"
    print(f"|{head}|\n{'|---' * (head.count('|') + 1)}|", flush=True)
    for rtt in given.rtts:
        with closing(Bench(index, python, rtt)) as bench:
            cold, pip, uncompiled = medians(given.times, bench.cold, bench.pip, lambda: bench.pip("--no-compile"))
            making = statistics.median(bench.making)
            bench.cold()
            (unchanged,) = medians(given.times, bench.unchanged)
        cells = [f"{rtt * 1000:.0f}", f"{cold:.2f}", f"{making:.2f}", f"{pip:.2f}", f"{pip / cold:.1f}"]
        cells += [f"{uncompiled:.2f}", f"{uncompiled / cold:.1f}", f"{unchanged:.3f}", f"{unchanged - rtt:.3f}"]
        print(f"|{'|'.join(cells)}|", flush=True)
    index.end()


if __name__ == "__main__":
    sys.exit(main())

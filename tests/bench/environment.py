"""Measures how long a machine takes to get an environment: cloudist beside `python -m venv` and `pip install -r` on that machine.

Needs CLOUDIST_BIN, and on Linux Python 3.11 with pip, ssh and sshd; makes all else below target/bench/environment. Both sides take the
same 35 wheels from an index on loopback, into a home where nothing was ever done. Judges nothing: it prints a table.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, List

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "bench" / "sync"), str(TESTS / "environment")]

from machines import Machines  # noqa: E402
from wheels import Index  # noqa: E402

HOME = TESTS.parent / "target" / "bench" / "environment"
PINS = TESTS / "bench" / "packages.txt"
UV = "0.13.9"
TIMES = 5


def wheels() -> Path:
    """The wheels of the pinned packages and uv's."""
    directory = HOME / "wheels"
    stamp = directory / "pins"
    if not stamp.is_file() or stamp.read_text() != PINS.read_text():
        shutil.rmtree(directory, ignore_errors=True)
        download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(directory)]
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


def median(what: Callable[[], float], before: Callable[[], None]) -> float:
    taken: List[float] = []
    for _ in range(TIMES):
        before()
        taken.append(what())
    return statistics.median(taken)


def main() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    binary = os.environ.setdefault("CLOUDIST_BIN", str(HOME.parents[1] / "release" / "cloudist"))
    index = Index(wheels())
    python = local_environment(index)
    project = HOME / "project"
    project.mkdir(exist_ok=True)
    (project / "pytest.ini").write_text("[pytest]\n")
    print(f"{len(PINS.read_text().split())} packages; seconds, medians of {TIMES}\n")
    print("| RTT ms | cloudist, bare home | venv and pip there | ratio | cloudist, unchanged | over 1 RTT |")
    print("|---|---|---|---|---|---|")
    for rtt in (0.0, 0.02, 0.1):
        machines = Machines(HOME / "machines", 1, rtt)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CLOUDIST_", "PIP_", "PYTHON"))},
            "CLOUDIST_CACHE_DIR": str(HOME / "cache"),
            "CLOUDIST_SSH_CONFIG": str(machines.configuration),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.url,
        }

        def cloudist() -> float:
            command = [binary, "ssh-run", "-n", "1", "--hosts", "m0", "--local-python", str(python), "--timings", "--"]
            done = subprocess.run([*command, "true"], cwd=project, env=environment, capture_output=True, text=True)
            found = re.search(r"environment ([\d.]+) s", done.stderr)
            if done.returncode or not found:
                raise SystemExit(done.stdout + done.stderr)
            return float(found[1])

        def pip() -> float:
            there = f"cd && python3 -m venv made && made/bin/pip install -q --no-deps --index-url {index.url} -r pins.txt"
            (machines.servers[0].home / "pins.txt").write_text(PINS.read_text())
            began = time.monotonic()
            subprocess.run(["ssh", "-F", str(machines.configuration), "m0", there], check=True)
            return time.monotonic() - began

        cold, theirs = median(cloudist, machines.forget), median(pip, machines.forget)
        cloudist()
        warm = median(cloudist, lambda: None)
        print(
            f"| {rtt * 1000:.0f} | {cold:.2f} | {theirs:.2f} | {theirs / cold:.1f} | {warm:.3f} | {warm - rtt:.3f} |",
            flush=True,
        )
        machines.end()
    index.end()


if __name__ == "__main__":
    sys.exit(main())

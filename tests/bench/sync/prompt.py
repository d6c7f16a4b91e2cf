"""From `cloudist pdb` to the debugger's prompt, on an OpenSSH server at a distance: held, and run again.

Needs CLOUDIST_BIN, and pytest and pexpect in the interpreter that runs this.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List

import pexpect

from machines import Machines

SUITE = "def test_fails():\n    value = 1\n    assert value == 2\n"
CASES = {"held": [], "run again": ["--again"]}


def until_the_prompt(project: Path, environment: Dict[str, str], options: List[str]) -> float:
    began = time.monotonic()
    command = [os.environ["CLOUDIST_BIN"], "pdb", *options]
    terminal = pexpect.spawn(command[0], command[1:], cwd=str(project), env=environment, timeout=30)
    terminal.expect_exact("(Pdb) ")
    took = time.monotonic() - began
    terminal.sendline("q")
    terminal.expect(pexpect.EOF)
    terminal.close()
    return took


def measure(rtt: float, times: int) -> None:
    home = Path(tempfile.mkdtemp())
    machines = Machines(home / "machines", 1, rtt)
    project = home / "project"
    project.mkdir()
    (project / "test_some.py").write_text(SUITE)
    environment = dict(
        os.environ,
        CLOUDIST_STATE_DIR=str(home / "state"),
        CLOUDIST_CACHE_DIR=str(home / "cache"),
        CLOUDIST_SSH_CONFIG=str(machines.configuration),
        CLOUDIST_ENV="none",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    cloudist = os.environ["CLOUDIST_BIN"]
    try:
        run = [cloudist, "pytest", f"--hosts={machines.names[0]}", "--num-workers=1", "--hold-failures"]
        done = subprocess.run(run, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 1, done.stdout + done.stderr
        for case, options in CASES.items():
            taken = [until_the_prompt(project, environment, options) for _ in range(times)]
            print(f"| {rtt * 1000:.0f} ms | {case} | {statistics.median(taken):.2f} |", flush=True)
    finally:
        subprocess.run([cloudist, "down", "--all"], cwd=project, env=environment, stdout=subprocess.DEVNULL)
        machines.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rtts", type=float, nargs="*", default=[0, 0.02, 0.1], metavar="SECONDS")
    options = parser.parse_args()
    # It is started in other directories.
    os.environ["CLOUDIST_BIN"] = str(Path(os.environ["CLOUDIST_BIN"]).resolve())
    print("| round trip | | seconds |\n|---:|---|---:|")
    for rtt in options.rtts:
        measure(rtt, options.times)


if __name__ == "__main__":
    main()

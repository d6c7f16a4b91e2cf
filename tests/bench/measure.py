"""Runs one command on a terminal of its own and measures it with everything that it starts.

Knows nothing of tests but the word that ends a passed one's line. Linux only: it adopts orphans to count their CPU time.
"""

from __future__ import annotations

import ctypes
import os
import pty
import select
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PASSED = b"PASSED"
KEPT = 4000
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measurement:
    wall: float
    """Seconds until the command had ended."""
    cpu: float
    """Seconds of all its processes, in user and in system mode."""
    first: float
    """Seconds until the first passed test was on the terminal."""
    lingered: float
    """Seconds for which some process outlived the command."""
    tail: bytes

    def __str__(self) -> str:
        lingered = f", lingered {self.lingered:.2f}" if self.lingered > 0.005 else ""
        return f"wall {self.wall:.2f}, CPU {self.cpu:.2f}, first {self.first:.2f}{lingered}"


def median(measured: list[Measurement], name: str) -> float:
    return statistics.median(getattr(one, name) for one in measured)


def measure(command: list[str], cwd: Path, environment: dict[str, str]) -> Measurement:
    # Whatever loses its parent becomes a child of this process, so that all CPU time is seen by waiting.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours, theirs = pty.openpty()
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    ended = os.pidfd_open(process.pid)
    watched, tail, first = [ours, ended], b"", None
    while ended in watched:
        ready, _, _ = select.select(watched, [], [])
        if ours in ready:
            data = _read(ours)
            tail = tail[-KEPT:] + data
            if first is None and PASSED in tail:
                first = time.monotonic() - began
            if not data:
                watched.remove(ours)
        elif ended in ready:
            watched.remove(ended)
    wall = time.monotonic() - began
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    os.close(ended)
    os.close(ours)
    cpu = usage.ru_utime + usage.ru_stime + _orphans()
    lingered = time.monotonic() - began - wall
    return Measurement(wall, cpu, wall if first is None else first, lingered, tail[-KEPT:])


def _read(terminal: int) -> bytes:
    """What the terminal has; nothing when the last process has closed it."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def _orphans() -> float:
    """Waits for what the command left behind; the CPU seconds of that."""
    total = 0.0
    while True:
        try:
            _, _, usage = os.wait3(0)
        except ChildProcessError:
            return total
        total += usage.ru_utime + usage.ru_stime

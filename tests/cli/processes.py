"""Finds processes by a variable of their environment, and waits for their end.

Reads /proc alone; never signals anything.
"""

from __future__ import annotations

import pathlib
import time
from typing import Callable, Dict, List, TypeVar

MARK = "MARK_OF_THE_TEST"
PATIENCE = 20.0
PAUSE = 0.02

Value = TypeVar("Value")


def until(probe: Callable[[], Value], what: str, patience: float = PATIENCE) -> Value:
    """The first true value of `probe`; fails when there was none for long enough."""
    deadline = time.monotonic() + patience
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {patience:g} s"
        time.sleep(PAUSE)


def marked(mark: str) -> Dict[int, str]:
    """The command lines of the live processes that carry the mark, by process id."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    )
            except OSError:
                continue
    return found


def running(mark: str, word: str) -> List[int]:
    """Those of the marked processes whose command line holds the word."""
    return [pid for pid, line in marked(mark).items() if word in line]


def commands(mark: str, line: str) -> List[int]:
    """Those of the marked processes whose command line is this one."""
    return [pid for pid, found in marked(mark).items() if found.strip() == line]


def all_gone(mark: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    left = marked(mark)
    while left:
        assert time.monotonic() < deadline, f"still running after {patience:g} s: {left}"
        time.sleep(PAUSE)
        left = marked(mark)

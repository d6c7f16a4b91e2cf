"""Shows how far the run is: a line below pytest's own output on a terminal, elsewhere a line now and then.

On the terminal it is there only while this process waits, and gone whenever pytest writes: neither garbles the
other. Knows nothing of tests but the figures the engine tells.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from typing import Any, Dict, Iterator, List, Optional

from .terminal import count, uncaptured, write_line

BAR = 20
EVERY = 60.0
# Makes sure of a line below, keeping the column; then goes there and comes back.
DOWN = "\x1bD\x1b[1A\x1b7\x1b[1B\r"
BACK = "\x1b[K\x1b8"
ERASE = "\x1b7\x1b[1B\r\x1b[2K\x1b8"
BOLD, RED, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[0m"


class Display:
    def __init__(self, config: Any) -> None:
        self._terminal = config.pluginmanager.getplugin("terminalreporter")
        self._told: Optional[Dict[str, Any]] = None
        self._line = ""
        self._due = time.monotonic() + EVERY
        self._config = config
        self._screen: Optional[int] = None
        if self._terminal is not None and self._terminal.isatty and os.environ.get("TERM", "dumb") != "dumb":
            with uncaptured(config):
                self._screen = os.dup(1)
            self._markup = self._terminal.hasmarkup
            self._ascii = "utf" not in (getattr(self._terminal._tw._file, "encoding", None) or "").lower()

    def reopen(self) -> None:
        """This process writes to another terminal now, and what was shown is out of date."""
        self._line = ""
        if self._screen is not None:
            with uncaptured(self._config):
                os.dup2(1, self._screen, inheritable=False)

    def take(self, told: Dict[str, Any]) -> None:
        self._told = told
        if self._terminal is None or self._terminal.config.option.verbose < 0:
            self._line = ""
        elif self._screen is not None:
            self._line = self._drawn(shutil.get_terminal_size().columns - 1)
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY
            write_line(self._terminal, "cloudist: " + ", ".join(parts(told)))

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        if self._screen is None or not self._line:
            yield
            return
        self._terminal.flush()
        self._write(DOWN + self._line + BACK)
        try:
            yield
        finally:
            self._write(ERASE)

    def close(self) -> None:
        if self._screen is not None:
            os.close(self._screen)
            self._screen = None

    def _write(self, text: str) -> None:
        try:
            os.write(self._screen, text.encode("utf-8"))
        except OSError:
            # The terminal is gone; pytest will notice.
            self._line = ""

    def _drawn(self, width: int) -> str:
        told = self._told or {}
        pieces = parts(told)
        total = told["total"]
        share = told["done"] / total if total and told["complete"] else None
        if share is not None:
            full, empty = ("#", "-") if self._ascii else ("█", "░")
            filled = min(BAR, int(share * BAR))
            bar = full * filled + empty * (BAR - filled)
            pieces.insert(0, f"{bar} {share:4.0%}")
        while len(pieces) > 1 and len(", ".join(pieces)) > width:
            # The least important come last; on a narrow terminal they go first.
            pieces.pop()
        text = ", ".join(pieces)[: max(width, 0)]
        if not self._markup:
            return text
        failed = f"{told['failed']} failed"
        return BOLD + text.replace(failed, f"{RED}{failed}{PLAIN}{BOLD}", 1) + PLAIN


def parts(told: Dict[str, Any]) -> List[str]:
    if not told["workers"] and not told["done"]:
        return [
            f"waiting for {count(told['wanted'], 'worker')}",
            count(told["machines"], "machine"),
            *cost(told),
        ]
    of = f"{told['done']} of {told['total']}{'' if told['complete'] else '+'} tests"
    said = [of]
    if told["failed"]:
        said.append(f"{told['failed']} failed")
    if told["left"] is not None:
        said.append(f"{duration(told['left'])} left")
    said.append(f"{told['busy']} of {count(told['workers'], 'worker')} busy")
    if told["machines"] > 1:
        said.append(count(told["machines"], "machine"))
    return [*said, *cost(told)]


def cost(told: Dict[str, Any]) -> List[str]:
    dollars = told["dollars"]
    if dollars is None:
        return []
    return [f"${dollars:.2f}" if dollars >= 0.1 else f"${dollars:.3f}"]


def duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"

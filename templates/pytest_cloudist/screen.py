"""Lets this process write to a terminal of the engine's, while that shows a view of the run on the user's own.

The engine passes on what is written there, when the view is over at the latest. Never draws anything.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest

from .terminal import uncaptured

try:
    import termios
except ImportError:  # Then there is no engine for this system either.
    termios = None  # type: ignore[assignment]

STREAMS = (1, 2)
# The cursor again, and the screen that was there before.
LEAVE = b"\x1b[?25h\x1b[?1049l"


def objection(config: pytest.Config) -> Optional[str]:
    """Why the terminal can't be had for a view."""
    if config.option.capture == "no":
        return "with -s the terminal is pytest's"
    with uncaptured(config):
        if not all(os.isatty(number) for number in STREAMS):
            return "stdout and stderr are not both terminals"
        if len({os.fstat(number).st_rdev for number in STREAMS}) > 1:
            return "stdout and stderr are different terminals"
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(2) != os.getpgrp():
                return "the run is in the background"
    return None


class Screen:
    """The user's terminal, as long as this process doesn't write to it itself."""

    def __init__(self, config: pytest.Config, terminal: str, held: str) -> None:
        self._config = config
        with uncaptured(config):
            self._modes = termios.tcgetattr(2)
            self._held: Optional[int] = os.open(held, os.O_RDONLY)
            os.unlink(held)
            ours = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
            self._before: Dict[int, int] = {number: os.dup(number) for number in STREAMS}
            try:
                self._write_to(dict.fromkeys(STREAMS, ours))
            finally:
                os.close(ours)

    def part(self) -> None:
        """This process writes to the user's terminal again."""
        if self._before:
            with uncaptured(self._config):
                self._write_to(self._before)
            for descriptor in self._before.values():
                os.close(descriptor)
            self._before = {}

    def clean_up(self) -> None:
        """Does what the engine would have done, should it have come to a bad end."""
        self.part()
        if self._held is None:
            return
        held, self._held = self._held, None
        with uncaptured(self._config), contextlib.suppress(OSError, termios.error), os.fdopen(
            held, "rb"
        ) as file:
            if termios.tcgetattr(2) != self._modes:
                os.write(2, LEAVE)
                termios.tcsetattr(2, termios.TCSADRAIN, self._modes)
            file.seek(0)
            for piece in iter(lambda: file.read(1 << 16), b""):
                while piece:
                    piece = piece[os.write(2, piece) :]

    def _write_to(self, descriptors: Dict[int, int]) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for number, descriptor in descriptors.items():
            os.dup2(descriptor, number)
        # What pytest's capture goes back to when it is suspended.
        for number, descriptor in self._put_aside():
            os.dup2(descriptors[number], descriptor, inheritable=False)

    def _put_aside(self) -> Iterator[Tuple[int, int]]:
        manager = self._config.pluginmanager.getplugin("capturemanager")
        capturing = getattr(manager, "_global_capturing", None)
        captures: List[Any] = [getattr(capturing, name, None) for name in ("out", "err")]
        for capture in captures:
            saved = getattr(capture, "targetfd_save", None)
            if saved is not None and getattr(capture, "_state", "done") != "done":
                yield capture.targetfd, saved

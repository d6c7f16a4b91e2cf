"""What this plugin itself writes among pytest's output, so that neither garbles the other.

Never decides what is worth saying.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, ContextManager, Iterator, List, TextIO

import pytest


def uncaptured(config: pytest.Config) -> ContextManager[None]:
    """While it lasts, the standard streams are the user's."""
    capture = config.pluginmanager.getplugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext()


def write_escaped(config: pytest.Config, stream: int, text: str) -> None:
    """Puts what escaped a worker's capture where it would have gone here."""
    with uncaptured(config):
        target = sys.stderr if stream == 2 else sys.stdout
        target.write(text)
        target.flush()


def write_line(terminal: Any, text: str, **markup: bool) -> None:
    """A line of its own, even where pytest has begun one."""
    if terminal is None:
        return
    # What is written while pytest captures the output of a collection would never be seen.
    with uncaptured(terminal.config):
        if terminal._tw.width_of_current_line and not terminal.currentfspath:
            terminal._tw.line()
        terminal.write_line(text, **markup)
        terminal.flush()


class Held:
    """What a reporter writes while several results are replayed: kept, and written in one piece."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._pieces: List[str] = []

    def write(self, text: str) -> int:
        if not text.isascii():
            # Whoever writes may want to write something else if this can't be shown.
            text.encode(self._file.encoding or "utf-8", self._file.errors or "strict")
        self._pieces.append(text)
        return len(text)

    def flush(self) -> None:
        """There is nothing to see before the last of the results is in."""

    def release(self) -> None:
        self._file.write("".join(self._pieces))
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextlib.contextmanager
def in_one_piece(terminal: Any) -> Iterator[None]:
    """While it lasts, what pytest's reporter writes is held back: a write for every word wakes the terminal each time."""
    writer = getattr(terminal, "_tw", None)
    file = getattr(writer, "_file", None)
    if file is None or terminal.config.option.capture == "no":
        # Without capture, what plugins print goes the same way and has to keep its place.
        yield
        return
    writer._file = held = Held(file)
    # Otherwise pytest asks the terminal for its width with every result.
    width, writer._terminal_width = writer._terminal_width, writer.fullwidth
    try:
        yield
    finally:
        writer._terminal_width = width
        writer._file = file
        held.release()


@contextlib.contextmanager
def announcing(terminal: Any, line: str) -> Iterator[None]:
    """While it lasts, this is what pytest says instead of how many items it has collected."""

    def report_collect(final: bool = False) -> None:
        if terminal.config.option.verbose < 0:
            return
        if terminal.isatty:
            terminal.rewrite(line, bold=True, erase=True)
            terminal.write("\n")
        else:
            terminal.write_line(line)

    terminal.report_collect = report_collect
    try:
        yield
    finally:
        del terminal.report_collect


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

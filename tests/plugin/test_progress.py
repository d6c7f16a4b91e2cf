"""The words for how far a run is, and when they are said where there is no terminal."""

from __future__ import annotations

import sys
from typing import Any, Dict, List

import pytest

from suites import TEMPLATES

sys.path.insert(0, str(TEMPLATES))

from pytest_cloudist import progress  # noqa: E402

TOLD: Dict[str, Any] = {
    "done": 120,
    "failed": 2,
    "total": 4000,
    "complete": True,
    "left": 190.4,
    "busy": 63,
    "workers": 64,
    "wanted": 64,
    "machines": 16,
    "dollars": 0.041,
}


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, "120 of 4000 tests, 2 failed, 3m 10s left, 63 of 64 workers busy, 16 machines, $0.041"),
        (
            {"complete": False, "failed": 0, "left": None, "dollars": 1.5},
            "120 of 4000+ tests, 63 of 64 workers busy, 16 machines, $1.50",
        ),
        (
            {"workers": 1, "busy": 1, "machines": 1, "dollars": None, "left": 7261},
            "120 of 4000 tests, 2 failed, 2h 01m left, 1 of 1 worker busy",
        ),
        (
            {"workers": 0, "busy": 0, "done": 0, "total": 0, "machines": 1},
            "waiting for 64 workers, 1 machine, $0.041",
        ),
    ],
)
def test_the_words(changes: Dict[str, Any], expected: str) -> None:
    assert ", ".join(progress.parts({**TOLD, **changes})) == expected


class Terminal:
    """A reporter that writes to a file."""

    isatty = False

    def __init__(self) -> None:
        self.lines: List[str] = []
        self.config = self
        self.option = self
        self.verbose = 0

    def getplugin(self, name: str) -> Any:
        return self if name == "terminalreporter" else None

    pluginmanager = property(lambda self: self)


def test_without_a_terminal_a_line_is_said_each_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    terminal = Terminal()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "write_line", lambda to, text: to.lines.append(text))
    display = progress.Display(terminal)
    for second in range(150):
        now[0] = 1000.0 + second
        display.take(TOLD)
        with display.shown():
            pass
    assert len(terminal.lines) == 2
    assert terminal.lines[0].startswith("cloudist: 120 of 4000 tests, 2 failed, 3m 10s left")
    terminal.verbose = -1
    now[0] += 1000
    display.take(TOLD)
    assert len(terminal.lines) == 2
    display.close()


def test_on_a_narrow_terminal_the_least_important_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    display = progress.Display(terminal)
    display._markup, display._ascii = False, True
    display.take(TOLD)
    assert display._drawn(200) == "-" * 20 + "   3%, " + ", ".join(progress.parts(TOLD))
    assert display._drawn(70) == "-" * 20 + "   3%, 120 of 4000 tests, 2 failed, 3m 10s left"
    assert display._drawn(10) == "-" * 10
    assert display._drawn(0) == ""

"""How far the run is, below pytest's output on a terminal; what pytest writes stays as it is."""

from __future__ import annotations

import pathlib
import re
from typing import Callable

import pytest

from tool import Tool, ended

SUITE = """
    import os
    import time
    import pytest

    @pytest.mark.parametrize("n", range(24))
    def test_takes_a_while(n):
        time.sleep(0.2)
        os.write(2, b"")
        assert n != 5
"""
SHOWN = re.compile(r"\x1bD\x1b\[1A\x1b7\x1b\[1B\r(.*?)\x1b\[K\x1b8")
ERASED = re.compile(r"\x1b7\x1b\[1B\r\x1b\[2K\x1b8")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
RUN = ["pytest", "--provider=local", "-n", "2"]


def on_a_terminal(cloudist: Tool, root: pathlib.Path, *options: str) -> str:
    terminal = cloudist.terminal(*RUN, *options, cwd=root)
    terminal.expect(r"in \d+\.\d+s.*\r\n")
    said = terminal.before + terminal.after
    assert ended(terminal) == 1
    return said


@pytest.fixture
def root(cloudist: Tool, project: Callable[..., pathlib.Path]) -> pathlib.Path:
    cloudist.environment["TERM"] = "xterm"
    return project({"test_some.py": SUITE})


def test_a_line_below_the_output_tells_how_far_it_is(cloudist: Tool, root: pathlib.Path) -> None:
    said = on_a_terminal(cloudist, root, "--", "-p", "no:randomly")
    shown = [COLOUR.sub("", line) for line in SHOWN.findall(said)]
    assert len(shown) == len(ERASED.findall(said)) > 2
    assert any(
        re.search(r"\d+%, \d+ of 24 tests, 1 failed, \d+s left, 2 of 2 workers busy", line) for line in shown
    )
    assert all(len(line) < 100 for line in shown)
    rest = COLOUR.sub("", ERASED.sub("", SHOWN.sub("", said)))
    assert "\x1b" not in rest
    assert sorted(rest.split("collected 24 items")[1].split("[100%]")[0].strip()) == sorted("." * 23 + "F")


def test_between_verbose_lines_and_without_colour(cloudist: Tool, root: pathlib.Path) -> None:
    cloudist.environment["NO_COLOR"] = "1"
    said = on_a_terminal(cloudist, root, "--", "-v", "-p", "no:randomly")
    assert SHOWN.search(said)
    rest = ERASED.sub("", SHOWN.sub("", said))
    assert "\x1b[1m" not in said and "\x1b" not in rest
    lines = [line for line in rest.splitlines() if "::test_takes_a_while[" in line and "%]" in line]
    assert len(lines) == 24 and all(
        re.match(r"test_some\.py::\S+ (PASSED|FAILED) +\[", line) for line in lines
    )


@pytest.mark.parametrize("options", [["--progress=off"], ["--", "-q"]])
def test_it_can_be_left_out(cloudist: Tool, root: pathlib.Path, options: list) -> None:
    assert not SHOWN.search(on_a_terminal(cloudist, root, *options))


def test_a_dumb_terminal_and_a_pipe_get_none(cloudist: Tool, root: pathlib.Path) -> None:
    done = cloudist(*RUN, cwd=root).check(1)
    assert "\x1b" not in done.out and "busy" not in done.out
    cloudist.environment["TERM"] = "dumb"
    assert "busy" not in on_a_terminal(cloudist, root)

"""Shows where a test hung that was ended: the stacks of its threads, with the lines of the user's own files.

Makes text of what the worker's machine told; asks nobody for more.
"""

from __future__ import annotations

import linecache
import re
from typing import Any, Dict, Iterator, List

from _pytest.reports import TestReport

from .reports import Text

FRAME = re.compile(r'  File "(?P<path>.*)", line (?P<line>\d+|\?\?\?) in (?P<name>.*)')
MACHINERY = re.compile(r"/_pytest/|/pluggy/|^<cloudist |^<string>$|/pytest/__main__|<frozen ")


def show_hang(report: TestReport, message: str, told: Dict[str, Any]) -> None:
    """Fills in what is known of a test beyond that it took too long."""
    stacks = [part for part in re.split(r"\n(?=(?:Current t|T)hread )", told["stack"].strip()) if part]
    lines = [line for stack in stacks for line in ["", *readable(stack)]]
    if not stacks:
        lines = ["", "The process did not tell where it was: it may have been inside the system."]
    report.longrepr = Text("\n".join([message, *lines]))  # type: ignore[assignment]
    report.sections = [(name, text) for name, text in told["sections"]]
    report.duration = told["duration"]


def readable(stack: str) -> List[str]:
    """A stack in the order of tracebacks, from where the test begins."""
    head, *frames = stack.splitlines()
    known = [match for match in map(FRAME.fullmatch, frames) if match is not None]
    own = [match for match in known if not MACHINERY.search(match["path"])]
    if own:
        known = known[: known.index(own[-1]) + 1]
    title = head.replace("most recent call first", "most recent call last")
    return [title, *(line for match in reversed(known) for line in _with_source(match))]


def _with_source(match: Any) -> Iterator[str]:
    yield match.group()
    source = linecache.getline(match["path"], int(match["line"])) if match["line"].isdigit() else ""
    if source.strip():
        yield "    " + source.strip()

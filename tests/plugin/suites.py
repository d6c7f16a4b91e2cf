"""Runs a suite with plain pytest and with cloudist, and makes the two outputs comparable.

Knows what may differ (order, times, addresses) and nothing else; never looks into the plugin.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import pathlib
import re
import subprocess
import textwrap
import xml.etree.ElementTree as ElementTree
from typing import Dict, List, Optional

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = REPOSITORY / "templates"
ENGINE = os.environ.get("CLOUDIST_BIN") or str(REPOSITORY / "target" / "release" / "cloudist")
CACHE = os.environ.get("CLOUDIST_CACHE_DIR") or str(REPOSITORY / "target" / "test-cache")
PATIENCE = 120

DURATION = re.compile(r"\b\d+\.\d+ ?s(?:econds)?\b(?: \(\d+:\d\d:\d\d\))?")
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")
PROGRESS = re.compile(r" *\[ *\d+(?:%|/\d+)\]")
RULE = re.compile(r"^([=_!-])\1*|([=_!-])\2*$")
DOTS = re.compile(r"^(?:[\w./-]+\.(?:py|txt|md|test) )?[.FEsxXuy,-]+$")


@dataclasses.dataclass
class Outcome:
    exit: int
    out: str
    err: str
    junit: Optional[str]

    def lines(self) -> List[str]:
        """The output line by line without what may differ, sorted."""
        lines = (normal_line(line) for line in self.out.splitlines())
        return sorted(line for line in lines if line)

    def last_lines(self) -> List[str]:
        """What follows the short summary, in order."""
        lines = [normal_line(line) for line in self.out.splitlines()]
        return [line for line in lines if line][-3:]

    def cases(self) -> List[str]:
        """The cases of the JUnit file, each as one line, sorted."""
        assert self.junit is not None
        suite = ElementTree.fromstring(self.junit).find("testsuite")
        assert suite is not None
        counts = {name: suite.get(name) for name in ("tests", "errors", "failures", "skipped")}
        cases = []
        for case in suite:
            case.attrib.pop("time", None)
            cases.append(ADDRESS.sub("0x", ElementTree.tostring(case, encoding="unicode")))
        return [str(counts), *sorted(cases)]


def normal_line(line: str) -> str:
    if line.startswith("cloudist:") or line.startswith("plugins:"):
        return ""
    line = ADDRESS.sub("0x", PROGRESS.sub("", line))
    line = RULE.sub("", DURATION.sub("N s", line.strip())).strip()
    return "" if DOTS.match(line) else line


class Suite:
    """A project in a directory of its own, for one interpreter."""

    def __init__(self, root: pathlib.Path, python: str) -> None:
        self.root = root
        self.python = python

    def write(self, files: Dict[str, str]) -> Suite:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        return self

    def environment(self, **extra: str) -> Dict[str, str]:
        dropped = ("CLOUDIST_", "PYTEST_", "COV_", "COVERAGE_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        fixed = {"COLUMNS": "100", "CLOUDIST_BIN": ENGINE, "PYTHONPATH": str(TEMPLATES), "CI": "1"}
        # A history of its own: what a directory of that name held in an earlier session decides on the order of its tests otherwise.
        own = {"CLOUDIST_STATE_DIR": str(self.root.parent / "state"), "CLOUDIST_CACHE_DIR": CACHE}
        return {**kept, **fixed, **own, **extra}

    def command(self, *arguments: str) -> List[str]:
        return [self.python, "-m", "pytest", "-p", "no:randomly", *arguments]

    def plain(self, *arguments: str, **environment: str) -> Outcome:
        return self._run(self.command(*arguments), environment)

    def cloudist(self, *arguments: str, workers: int = 2, **environment: str) -> Outcome:
        chosen = ["-p", "pytest_cloudist", "--cloudist=test", "--cd-provider=local"]
        return self._run(self.command(*chosen, f"--cd-num-workers={workers}", *arguments), environment)

    def _run(self, command: List[str], environment: Dict[str, str]) -> Outcome:
        junit = self.root / "junit.xml"
        junit.unlink(missing_ok=True)
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return Outcome(
            done.returncode, done.stdout, done.stderr, junit.read_text() if junit.exists() else None
        )


def assert_same(plain: Outcome, cloudist: Outcome) -> None:
    assert_equal_lines(plain.lines(), cloudist.lines())
    assert cloudist.exit == plain.exit, cloudist.out + cloudist.err
    if plain.junit is not None:
        assert_equal_lines(plain.cases(), cloudist.cases())


def assert_equal_lines(plain: List[str], cloudist: List[str]) -> None:
    difference = list(difflib.unified_diff(plain, cloudist, "plain", "cloudist", lineterm="", n=1))
    assert not difference, "\n".join(difference)

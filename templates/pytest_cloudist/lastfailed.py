"""`--lf` and `--ff`, decided on files and node ids, because the tests themselves are collected elsewhere.

Reads what pytest's own cache plugin has loaded and fills in the line that it prints; never writes the cache.
"""

from __future__ import annotations

import enum
from typing import Dict, List, Optional

import pytest

from .collect import Outbox, Selectors, FoundFile, split_argument
from .newfirst import in_order
from .terminal import count


class Order(enum.Enum):
    AS_FOUND = "as found"
    FAILED_FIRST = "failed first"
    FAILED_ONLY = "failed only"


class LastFailed:
    def __init__(self, config: pytest.Config, outbox: Outbox) -> None:
        self._plugin = config.pluginmanager.getplugin("lfplugin")
        self._outbox = in_order(config, outbox)
        self._without_failures = config.getoption("last_failed_no_failures", "all")
        self._failures: Dict[str, Optional[Selectors]] = {}
        self._first: List[FoundFile] = []
        self._rest: List[FoundFile] = []
        self.order = Order.AS_FOUND
        if self._plugin is not None and self._plugin.active:
            self.order = Order.FAILED_ONLY if config.getoption("lf") else Order.FAILED_FIRST
            for nodeid in self._plugin.lastfailed:
                self._remember(str(nodeid))

    def put(self, file: FoundFile) -> None:
        failures = self._failures.get(file.nodeid, [])
        if self.order is Order.AS_FOUND:
            self._outbox.put(file)
        elif failures == []:
            self._rest.append(file)
        elif self.order is Order.FAILED_FIRST:
            self._first.append(file)
            self._outbox.put(file)
        else:
            select = _both(file.select, _still_there(file.path, failures))
            if select == []:
                self._rest.append(file)
            else:
                self._first.append(file)
                self._outbox.put(file._replace(select=select))

    def walked(self) -> None:
        """Sends what had to wait until all files were known."""
        if self.order is Order.FAILED_ONLY and self._first:
            skipped: List[FoundFile] = []
        elif self.order is Order.FAILED_ONLY and not self._failures and self._without_failures == "none":
            skipped = []
        else:
            skipped = self._rest
        for file in skipped:
            self._outbox.put(file)
        self._outbox.flush()

    def _remember(self, nodeid: str) -> None:
        path, parts = split_argument(nodeid)
        if not parts:
            self._failures[path] = None
            return
        known = self._failures.setdefault(path, [])
        if known is not None:
            known.append(parts)

    def report(self, tests: Optional[int]) -> None:
        """Fills in pytest's line; `tests` is how many were collected, if that is known yet."""
        if self.order is Order.AS_FOUND:
            return
        known = len(self._plugin.lastfailed)
        failures = sum(len(self._failures[file.nodeid] or [""]) for file in self._first)
        if self.order is Order.FAILED_ONLY and self._first and tests is not None:
            failures = tests
        if not known:
            ending = (
                "deselecting all items." if self._without_failures == "none" else "not deselecting items."
            )
            status = f"no previously failed tests, {ending}"
        elif not failures:
            status = f"{known} known failures not in selected tests"
        else:
            status = f"rerun previous {count(failures, 'failure')}"
            if self.order is Order.FAILED_FIRST:
                status += " first"
            elif self._rest:
                status += f" (skipped {count(len(self._rest), 'file')})"
        self._plugin._report_status = status
        self._plugin._previously_failed_count = failures


def _still_there(path: str, failures: Optional[Selectors]) -> Optional[Selectors]:
    """The failures whose names the file still holds; only its collection, elsewhere, can tell for sure."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return failures
    if failures is None:
        return None
    return [parts for parts in failures if all(_bare(name) in text for name in parts)]


def _bare(name: str) -> str:
    """A name as it stands in a source: without parameters, and for a doctest without its module."""
    return name.split("[")[0].rpartition(".")[2]


def _both(asked: Optional[Selectors], failed: Optional[Selectors]) -> Optional[Selectors]:
    """What is named by both; None stands for the whole file."""
    if asked is None or failed is None:
        return failed if asked is None else asked
    return [parts for parts in failed if any(_covers(selector, parts) for selector in asked)]


def _covers(selector: List[str], parts: List[str]) -> bool:
    if len(selector) > len(parts) or selector[:-1] != parts[: len(selector) - 1]:
        return False
    name = parts[len(selector) - 1]
    return selector[-1] in (name, name.split("[")[0])

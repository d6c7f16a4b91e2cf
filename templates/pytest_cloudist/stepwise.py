"""`--stepwise`: what comes before the test that failed last is left out, and the run ends with the first failure in pytest's order.

Tests run in no fixed order here: after a failure those before it are still waited for, and what comes after it no longer counts. Fills in
what pytest's own plugin has loaded, and lets it write its cache.
"""

from __future__ import annotations

import bisect
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from .collect import FoundFile, split_argument

Key = Tuple[int, int]


class AnyOrder:
    """Without `--stepwise`: the order of tests is of no matter."""

    def __init__(self, outbox: Any) -> None:
        self.put: Callable[[FoundFile], None] = outbox.put

    def walked(self) -> None:
        pass

    def report(self) -> None:
        pass

    def collected(self, file: int, tests: int) -> None:
        pass

    def counts(self, key: Key) -> bool:
        return True

    def ended(self, key: Key, reports: List[Any]) -> None:
        pass

    def saw(self, key: Key, reports: List[Any]) -> None:
        pass

    def conclude(self, over: bool) -> None:
        pass


class Stepwise(AnyOrder):
    """Stands between the walk and what sends the files; then hears of everything that is told of tests."""

    def __init__(self, plugin: Any, config: pytest.Config, outbox: Any) -> None:
        super().__init__(outbox)
        self.put = self._keep
        self._plugin = plugin
        self._outbox = outbox
        self._files: List[FoundFile] = []
        # In its own time it would stop the run at the first failure that comes, in whatever order.
        config.hook.pytest_runtest_logreport._remove_plugin(plugin)
        self._last = self._known_failure()
        self._ignored = int(bool(plugin.skip))
        self._counts: Dict[int, int] = {}
        self._done: Dict[int, int] = {}
        self._reports: Dict[Key, Any] = {}
        self._failures: List[Key] = []
        self._told = False
        self._status = ""

    # The walk

    def _keep(self, file: FoundFile) -> None:
        self._files.append(file)

    def walked(self) -> None:
        """Sends the files, from the one on in which the last failure is, if it is still there."""
        files, self._files = self._files, []
        path, parts = split_argument(self._last or "")
        place = next((number for number, file in enumerate(files) if file.nodeid == path), None)
        if self._last is None:
            reset = getattr(self._plugin, "reset", False)
            self._status = (
                "resetting state, not skipping." if reset else "no previously failed tests, not skipping."
            )
        elif place is None:
            self._status = "previously failed test not found, not skipping."
        else:
            self._status = f"skipping what comes before {self._last}."
            files = [files[place]._replace(since=parts), *files[place + 1 :]]
        for file in files:
            self._outbox.put(file)

    def report(self) -> None:
        """Fills in pytest's line."""
        status: Any = getattr(self._plugin, "report_status", "")
        self._plugin.report_status = [*status, self._status] if isinstance(status, list) else self._status

    # The run

    def collected(self, file: int, tests: int) -> None:
        self._counts[file] = tests

    def counts(self, key: Key) -> bool:
        """Whether it matters what became of a test: not if pytest would have ended before it."""
        limit = self._limit()
        return limit is None or key <= limit

    def ended(self, key: Key, reports: List[Any]) -> None:
        self._done[key[0]] = self._done.get(key[0], 0) + 1
        self.saw(key, reports)

    def saw(self, key: Key, reports: List[Any]) -> None:
        for report in reports:
            if report.failed and key not in self._failures:
                bisect.insort(self._failures, key)
                self._reports[key] = report
            elif report.when == "call" and report.nodeid == self._last:
                self._reports.setdefault(key, report)

    def conclude(self, over: bool) -> None:
        """Once all up to the failure that ends the run is known, or the run is over, pytest's plugin hears of it in order."""
        limit = self._limit()
        if self._told or not over and (limit is None or not self._is_complete_to(limit)):
            return
        self._told = True
        for key, report in sorted(self._reports.items()):
            if limit is None or key <= limit:
                self._plugin.pytest_runtest_logreport(report)

    def _limit(self) -> Optional[Key]:
        """The failure that ends the run, as far as is known."""
        return self._failures[self._ignored] if len(self._failures) > self._ignored else None

    def _is_complete_to(self, limit: Key) -> bool:
        """Files are numbered in pytest's order. Of the last one all is waited for, too: that takes little."""
        return all(
            file in self._counts and self._done.get(file, 0) >= self._counts[file]
            for file in range(limit[0] + 1)
        )

    # pytest's plugin, which has changed in the course of time

    def _known_failure(self) -> Optional[str]:
        info = getattr(self._plugin, "cached_info", None)
        if info is None:
            return self._plugin.lastfailed or None
        if getattr(self._plugin, "reset", False):
            info.last_failed = None
        # How many tests there are now is known to nobody before all files are collected.
        info.last_test_count = None
        return None if info.last_failed is None else str(info.last_failed)


def stepwise(config: pytest.Config, outbox: Any) -> AnyOrder:
    plugin = config.pluginmanager.getplugin("stepwiseplugin")
    return AnyOrder(outbox) if plugin is None else Stepwise(plugin, config, outbox)

"""Records what a run of pytest told its reporters, so that two runs can be compared.

Writes one JSON file at the end of the session to the path in OUTCOME_RECORD. Does nothing without that variable, and nothing in a
worker process; changes no outcome.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any, Dict, List, Tuple

import pytest

Entry = Tuple[str, str, str]


class Recorder:
    def __init__(self, config: pytest.Config, path: str) -> None:
        self._config = config
        self._path = path
        self._reports: Counter[Entry] = Counter()
        self._collection: Counter[Entry] = Counter()
        self._deselected: Counter[str] = Counter()
        self._warnings: Counter[Entry] = Counter()
        self._tests = 0

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        category, _, _ = self._config.hook.pytest_report_teststatus(report=report, config=self._config)
        self._tests += report.when == "setup"
        phase = f"{report.when} {category or report.outcome}"
        self._reports[(report.nodeid, phase, self._detail(report))] += 1

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self._collection[(report.nodeid, report.outcome, self._detail(report))] += 1

    def pytest_deselected(self, items: List[Any]) -> None:
        self._deselected.update(item.nodeid for item in items)

    def pytest_warning_recorded(self, warning_message: Any, nodeid: str) -> None:
        where = f"{warning_message.filename}:{warning_message.lineno}"
        self._warnings[
            (nodeid, warning_message.category.__name__, f"{where}: {warning_message.message}")
        ] += 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        record = {
            "tests": self._tests,
            "exit_status": int(exitstatus),
            "reports": _rows(self._reports),
            "collection": _rows(self._collection),
            "deselected": [[[nodeid], count] for nodeid, count in sorted(self._deselected.items())],
            "warnings": _rows(self._warnings),
        }
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump(record, file)

    @staticmethod
    def _detail(report: Any) -> str:
        """What a reader sees of the report beside its outcome: where the test is, and why it was skipped or expected to fail."""
        detail: Dict[str, Any] = {}
        if getattr(report, "location", None) is not None:
            detail["location"] = list(report.location)
        if isinstance(report.longrepr, tuple):
            detail["skip"] = [str(part) for part in report.longrepr]
        if getattr(report, "wasxfail", None) is not None:
            detail["xfail"] = report.wasxfail
        return json.dumps(detail, sort_keys=True)


def _rows(counter: Counter[Entry]) -> List[Any]:
    return [[list(entry), count] for entry, count in sorted(counter.items())]


def pytest_configure(config: pytest.Config) -> None:
    path = os.environ.get("OUTCOME_RECORD")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config, path), "outcome-recorder-session")

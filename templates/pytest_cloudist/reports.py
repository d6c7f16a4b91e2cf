"""Makes pytest's own objects out of what the workers sent: reports and warnings.

Builds and returns; calls no hook but the one that revives a serialised report.
"""

from __future__ import annotations

import re
import sys
import warnings
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Type, Union

import pytest
from _pytest._code.code import TerminalRepr
from _pytest._io import TerminalWriter
from _pytest.reports import CollectErrorRepr, CollectReport, TestReport

try:
    from _pytest.nodeid import NodeId

    parse_nodeid: Callable[[str], Any] = NodeId.parse
except ImportError:
    parse_nodeid = str
try:
    from _pytest.subtests import failed_subtests_key
except ImportError:
    failed_subtests_key = None  # type: ignore[assignment]

FAILED_SUBTESTS = re.compile(r"contains (\d+) failed subtests?")

Report = Union[TestReport, CollectReport]


class Deselected:
    """Stands for an item that a worker deselected: plugins count these, and some read the node id."""

    def __init__(self, nodeid: str, config: pytest.Config, session: pytest.Session) -> None:
        self.nodeid = nodeid
        self.name = nodeid.rpartition("::")[2]
        self.config = config
        self.session = session

    def __repr__(self) -> str:
        return f"<Deselected {self.nodeid}>"


class Text(TerminalRepr):
    """A representation that was sent as text, such as that of a doctest or of an unknown fixture."""

    def __init__(self, text: str) -> None:
        self._text = text

    def toterminal(self, tw: TerminalWriter) -> None:
        for line in self._text.splitlines():
            tw.line(line)


def revive(config: pytest.Config, data: Dict[str, Any]) -> Report:
    """The report that a worker serialised, with the tuples that JSON turned into lists."""
    for name in ("location", "longrepr"):
        if isinstance(data.get(name), list):
            data[name] = tuple(data[name])
    for name in ("sections", "user_properties"):
        if data.get(name):
            data[name] = [tuple(item) for item in data[name]]
    context = data.get("_subtest.context")
    report = config.hook.pytest_report_from_serializable(config=config, data=data)
    if report is None:
        report = TestReport._from_json(data)
    if isinstance(report.longrepr, str):
        if isinstance(report, CollectReport):
            report.longrepr = CollectErrorRepr(report.longrepr)
        elif "\n" in report.longrepr:
            report.longrepr = Text(report.longrepr)
    if failed_subtests_key is not None:
        _settle_subtests(config, report, context)
    return report


def _settle_subtests(config: pytest.Config, report: Any, context: Optional[Dict[str, Any]]) -> None:
    """Undoes a second `repr` of parameters; lets pytest itself fail the test that holds failed subtests."""
    if context is not None:
        object.__setattr__(report.context, "kwargs", context["kwargs"])
    failed = FAILED_SUBTESTS.fullmatch(report.longrepr) if isinstance(report.longrepr, str) else None
    if failed is not None and report.when == "call":
        config.stash[failed_subtests_key][report.id] = int(failed.group(1))
        report.outcome = "passed"
        report.longrepr = None


def test_reports(config: pytest.Config, entry: Dict[str, Any], extra: Dict[str, Any]) -> List[TestReport]:
    nodeid = parse_nodeid(entry["nodeid"])
    location = tuple(entry["location"])
    keywords: Any = dict.fromkeys(entry["keywords"], 1)
    reports: List[Any] = []
    for told in entry["reports"]:
        if isinstance(told, list):
            when, duration, start, stop = told
            report: Any = TestReport(
                nodeid, location, keywords, "passed", None, when, (), duration, start, stop, None, **extra
            )
        else:
            report = revive(config, told)
            report.__dict__.update(extra)
        reports.append(report)
    return reports


def failure(nodeid: str, when: str, message: str, extra: Dict[str, Any]) -> TestReport:
    """The report of a test that could not tell its own end."""
    path, _, names = nodeid.partition("::")
    location = (path, None, names.replace("::", ".") or path)
    return TestReport(nodeid, location, {}, "failed", message, when, **extra)  # type: ignore[arg-type]


class Warnings:
    """Records warnings of workers here, without importing the modules that define their classes.

    A warning at collection is told once, however many workers load the same conftest.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._seen: Set[Tuple[Any, ...]] = set()
        self._classes: Dict[Tuple[Optional[str], str], Type[Warning]] = {}

    def replay(self, data: Dict[str, Any]) -> None:
        location = data["location"]
        message = self._revive(data)
        if data["when"] == "collect" and _identity(message) in self._seen:
            return
        self._config.hook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": message,
                "when": data["when"],
                "nodeid": data["nodeid"],
                "location": None if location is None else tuple(location),
            }
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, when: str) -> None:
        if when == "collect":
            self._seen.add(_identity(warning_message))

    def _revive(self, data: Dict[str, Any]) -> warnings.WarningMessage:
        category = self._class(data["category_module"], data["category_class_name"])
        message: Union[str, Warning] = data["message_str"]
        if data["message_class_name"]:
            message = self._message(data)
        return warnings.WarningMessage(
            message, category, data["filename"], data["lineno"], line=data["line"]  # type: ignore[arg-type]
        )

    def _message(self, data: Dict[str, Any]) -> Warning:
        module, name, text = data["message_module"], data["message_class_name"], data["message_str"]
        if data["message_args"] is not None:
            try:
                message = self._class(module, name)(*data["message_args"])
            except Exception:
                return self._unknown(module, name)(text)
            if str(message) == text:
                return message
        return self._unknown(module, name)(text)

    def _class(self, module: Optional[str], name: Optional[str]) -> Type[Warning]:
        if name is None:
            return UserWarning
        known = getattr(sys.modules.get(module or ""), name, None)
        if isinstance(known, type) and issubclass(known, Warning):
            return known
        return self._unknown(module, name)

    def _unknown(self, module: Optional[str], name: str) -> Type[Warning]:
        key = (module, name)
        if key not in self._classes:
            self._classes[key] = type(name, (Warning,), {"__module__": module})
        return self._classes[key]


def _identity(message: warnings.WarningMessage) -> Tuple[Any, ...]:
    return (message.filename, message.lineno, str(message.message), message.category.__name__)

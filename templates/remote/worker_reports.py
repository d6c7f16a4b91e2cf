"""Turns pytest's reports into what travels: a short form for a plain pass, pytest's own for everything else.

Leads every path in them to the user's. Never changes a report that pytest still uses.
"""

import math

from _pytest.reports import TestReport

from .worker_channel import dump

SECTION_LIMIT = 4 << 20
PLAIN_KEYS = len(TestReport("", ("", 0, ""), {}, "passed", None, "call").__dict__)


class Reports:
    def __init__(self, config, paths, marks):
        self._config = config
        self._paths = paths
        self._marks = marks

    def test(self, report, index):
        """One report as JSON text."""
        if is_plain(report):
            return '["%s",%r,%r,%r]' % (report.when, *times(report))
        return self._full(report, dict(self._marks, item_index=index))

    def collect(self, reports):
        """Collect reports as a JSON list."""
        return ("[%s]" % ",".join([self._full(report, {}) for report in reports])).encode("ascii")

    def _full(self, report, marks):
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        if data is None:
            data = {key: value for key, value in report.__dict__.items() if not key.startswith("_")}
        data.update(marks)
        sections = data.get("sections")
        if sections and any(len(text) > SECTION_LIMIT for _, text in sections):
            data["sections"] = [(name, shortened(text)) for name, text in sections]
        return self._paths.local_text(dump(data))

    def entry(self, finished, reports):
        """A test with its reports, which are JSON text already."""
        item = finished.item
        head = dump({"nodeid": item.nodeid, "location": item.location, "keywords": list(finished.keywords)})
        head = self._paths.local_text(head)
        return ('%s,"reports":[%s]}' % (head[:-1], ",".join(reports))).encode("ascii")


def is_plain(report):
    return (
        report.outcome == "passed"
        and type(report) is TestReport
        and not report.sections
        and not report.user_properties
        and report.longrepr is None
        and len(report.__dict__) == PLAIN_KEYS
        and math.isfinite(sum(times(report)))
    )


def times(report):
    return report.duration, getattr(report, "start", 0.0), getattr(report, "stop", 0.0)


def is_failed(report):
    return report.outcome == "failed"


def shortened(text):
    if len(text) <= SECTION_LIMIT:
        return text
    half = SECTION_LIMIT // 2
    return "%s\n[... %d characters left out ...]\n%s" % (text[:half], len(text) - 2 * half, text[-half:])


def warning(message, when, nodeid, location):
    """A recorded warning, so that it can be raised again elsewhere."""
    about = message.message
    data = {
        "message_str": str(about),
        "message_module": None,
        "message_class_name": None,
        "message_args": None,
        "category_module": None,
        "category_class_name": None,
        "filename": str(message.filename),
        "lineno": message.lineno,
        "line": message.line,
        "when": when,
        "nodeid": nodeid,
        "location": location,
    }
    if isinstance(about, Warning):
        data["message_module"] = type(about).__module__
        data["message_class_name"] = type(about).__name__
        if all(isinstance(arg, (str, int, float, bool, type(None))) for arg in about.args):
            data["message_args"] = list(about.args)
    if message.category:
        data["category_module"] = message.category.__module__
        data["category_class_name"] = message.category.__name__
    return data

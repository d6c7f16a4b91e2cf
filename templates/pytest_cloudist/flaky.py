"""Shows tests that failed and then passed when they were run again (`--cd-retries`).

Uses the word and the letter of pytest-rerunfailures, which is left to do it where it is installed.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import pytest


class Flaky:
    @pytest.hookimpl(trylast=True)
    def pytest_report_teststatus(self, report: Any) -> Optional[Tuple[str, str, Tuple[str, Dict[str, bool]]]]:
        if report.outcome == "rerun":
            return "rerun", "R", ("RERUN", {"yellow": True})
        return None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        stats = terminalreporter.stats
        failures: Dict[str, Any] = {}
        for report in stats.get("rerun", []):
            if hasattr(report, "cloudist_attempt"):
                failures[report.nodeid] = report
        passed = {report.nodeid for report in stats.get("passed", [])}
        broken = {report.nodeid for kind in ("failed", "error") for report in stats.get(kind, [])}
        flaky = [report for nodeid, report in failures.items() if nodeid in passed and nodeid not in broken]
        if not flaky:
            return
        terminalreporter.section("flaky tests: passed when run again", yellow=True)
        for report in flaky:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message.splitlines()[0] if crash is not None and crash.message else report.when
            times = report.cloudist_attempt
            often = "once" if times == 1 else f"{times} times"
            terminalreporter.write("FLAKY", yellow=True)
            terminalreporter.write_line(f" {report.nodeid} - failed {often}: {reason}")

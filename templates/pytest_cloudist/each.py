"""What mode `each` changes in this process: every test is there once for each worker, and told with that worker's name.

Numbers copies as the engine does. Never decides what runs where.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Set, Tuple

import pytest

from .controller import Controller
from .terminal import write_line


class Copies:
    """How files are numbered that are there once for each worker; in other modes there is one copy."""

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def split(self, number: int) -> Tuple[int, int]:
        """Which file this is, and which copy of it."""
        return divmod(number, self.count)

    def all_of(self, files: Iterable[int]) -> Set[int]:
        return {file * self.count + copy for file in files for copy in range(self.count)}


class Reported(Set[Any]):
    """In the place of the node ids by which pytest's reporter tells how far it is."""

    worker = -1

    def add(self, nodeid: Any) -> None:
        super().add((self.worker, nodeid))


class Each:
    """Adds to reports where they come from, as pytest-xdist does; pytest shows it."""

    def __init__(self, config: pytest.Config, controller: Controller) -> None:
        self._config = config
        self._controller = controller
        self._terminal = config.pluginmanager.getplugin("terminalreporter")
        self._reported = Reported()
        self._failed: List[Any] = []
        if self._terminal is not None:
            self._terminal._progress_nodeids_reported = self._reported

    def of(self, worker: int) -> Dict[str, Any]:
        """What the reports of this worker hold besides; they follow now."""
        self._reported.worker = worker
        return {"node": self._controller.node(worker)}

    def introduce(self, worker: int, machine: str, info: Dict[str, Any]) -> None:
        if self._terminal is not None and self._config.option.verbose > 0:
            version = ".".join(str(part) for part in info["version_info"][:3])
            told = f"{info['sysplatform']}, Python {version}, pytest {info['pytest']}"
            write_line(self._terminal, f"[gw{worker}] {machine}: {told}")

    # One worker's pass must not hide another's failure from --lf.

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.append(getattr(report, "id", report.nodeid))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        plugin = self._config.pluginmanager.getplugin("lfplugin")
        if plugin is not None:
            plugin.lastfailed.update(dict.fromkeys(self._failed, True))

"""The run as this pytest sees it: events of the engine become pytest's own hook calls, in the order they come.

Watches for pytest's wish to stop and passes it on. Never decides which test runs where.
"""

from __future__ import annotations

import collections
import contextlib
import os
from typing import Any, Deque, Dict, List, Optional, Set, Tuple

import pytest
from _pytest.main import Session
from _pytest.reports import CollectReport

from .bridge import Bridge, EngineGone, Frame
from .collect import Arguments, Handover, LocalWalk, Outbox
from .controller import Controller, decode
from .each import Copies, Each
from .hangs import show_hang
from .hooks import Hooks
from .lastfailed import LastFailed
from .reports import Deselected, Warnings, failure, parse_nodeid, revive, test_reports
from .stepwise import stepwise
from .terminal import announcing, count, in_one_piece, write_escaped, write_line

EXIT_ENGINE_GONE = 97
TEST_EVENTS = frozenset(["results", "late", "crashed"])

Key = Tuple[int, int]


class WorkerInternalError(Exception):
    """An internal error of pytest on a worker, with its text."""


class Run:
    """One run: replaces the session's own collection and test loop."""

    def __init__(self, session: pytest.Session, bridge: Bridge, controller: Controller) -> None:
        self.plan: Dict[str, Any] = {}
        self.summary: Optional[Dict[str, Any]] = None
        self.explanation: List[str] = []
        self.exit_code: Optional[int] = None
        self._session = session
        self._config = session.config
        self._bridge = bridge
        self._controller = controller
        self._terminal = session.config.pluginmanager.getplugin("terminalreporter")
        self._outbox = Outbox(self._send_files)
        self._last_failed = LastFailed(session.config, self._outbox)
        self._stepwise = stepwise(session.config, self._last_failed)
        self._waiting: Deque[Frame] = collections.deque()
        self._hooks: Dict[str, Any] = {}
        self._extra: Dict[str, Any] = {"testrun_uid": controller.testrunuid}
        self._replayed: Set[Key] = set()
        self._nodeids: Set[str] = set()
        self._copies = Copies()
        self._each: Optional[Each] = None
        self._collect_seen: Set[Tuple[int, str, str]] = set()
        self._warnings = Warnings(session.config)
        session.config.pluginmanager.register(self._warnings, "cloudist-warnings")
        self._arguments: Optional[Arguments] = None
        self._collected: Set[int] = set()
        self._tests = 0
        self._selected_tests = 0
        self._files_left = 0
        self._complete = False
        self._collect_errors = 0
        self._files_with_errors: List[int] = []
        self._not_found: List[str] = []
        self._stopping = False
        self._end: Optional[Dict[str, Any]] = None

    def greet(self, hello: Dict[str, Any]) -> None:
        self._send("hello", **hello)

    # Collection

    def collect(self, args: Optional[List[str]] = None, genitems: bool = True) -> List[pytest.Item]:
        """In the place of `Session.perform_collect`."""
        with self._orderly():
            if self._end is None:
                self._walk(args if args is not None else self._config.args)
            self._await_collection()
        self._finish_collection()
        return self._session.items

    def _walk(self, arguments: List[str]) -> None:
        self._arguments = Arguments(self._config, arguments)
        walk = LocalWalk(self._arguments, self._stepwise.put)
        errors_before = self._session.testsfailed
        self._config.pluginmanager.register(walk, "cloudist-walk")
        try:
            Session.perform_collect(self._session, self._arguments.paths)
        except Handover:
            pass
        finally:
            self._config.pluginmanager.unregister(walk)
        self._collect_errors = self._session.testsfailed - errors_before
        self._stepwise.walked()
        self._last_failed.walked()
        self._send("files-end", errors=self._collect_errors)

    def _send_files(self, files: List[Dict[str, Any]]) -> None:
        self._send("files", files=files)
        while self._end is None:
            frame = self._bridge.poll()
            if frame is None:
                return
            self._hold_or_handle(frame)

    def _await_collection(self) -> None:
        """Until the tests are known, or the first results make it plain that they will be known later."""
        files = (number for number, file in enumerate(self._outbox.files) if file.select is not None)
        selected = self._copies.all_of(files)
        while not self._complete and self._end is None:
            if self._waiting and selected <= self._collected:
                break
            self._hold_or_handle(self._bridge.receive())

    def _hold_or_handle(self, frame: Frame) -> None:
        if frame.kind in TEST_EVENTS:
            self._waiting.append(frame)
        else:
            self._handle(frame)

    def _finish_collection(self) -> None:
        session = self._session
        if self.exit_code is not None and not self._collected:
            raise session.Failed(session.shouldfail)
        if self._not_found:
            self._close("error", "an argument matches no test")
            if self._terminal is not None:
                self._terminal._numcollected = self._selected_tests
        self._estimate()
        self._last_failed.report(self._tests if self._complete else None)
        self._stepwise.report()
        with self._collection_line():
            self._config.hook.pytest_collection_finish(session=session)
        if self._not_found:
            raise pytest.UsageError(*self._not_found)
        if self._terminal is not None and not self._terminal.showfspath and self._config.option.verbose == 0:
            self._terminal.write_line("")
        if session.shouldfail and self._files_remain_after_errors():
            self._close("maxfail", str(session.shouldfail))
            raise session.Failed(session.shouldfail)

    def _files_remain_after_errors(self) -> bool:
        """Whether pytest would have met the limit of failures with files still to collect."""
        limit = self._config.getvalue("maxfail") or 0
        errors = sorted(self._files_with_errors)
        return 0 < limit <= len(errors) and errors[limit - 1] < len(self._outbox.files) - 1

    def _collection_line(self) -> Any:
        """Where results come before the number of tests is known, what to say in the place of pytest's line."""
        if self._terminal is None or self._complete or self._end is not None:
            return contextlib.nullcontext()
        files, workers = len(self._outbox.files), self.plan.get("workers", 1)
        line = f"cloudist: {count(files, 'file')} on {count(workers, 'worker')}"
        return announcing(self._terminal, line)

    def _estimate(self) -> None:
        """Keeps `testscollected` what it is or will be; never as low as what was reported while more is to come."""
        total = self._tests
        if not self._complete and self._collected:
            total += self._files_left * self._tests // len(self._collected)
            total = max(total, len(self._replayed) + 1)
        self._session.testscollected = total + len(self._session.items)

    # The loop

    def run(self) -> None:
        with self._orderly():
            while self._end is None:
                self._handle(self._waiting.popleft() if self._waiting else self._bridge.receive())
        self._remember_nodeids()
        if not self._stopping:
            self._stepwise.conclude(over=True)
        self._conclude()
        self._run_local_items()

    def _conclude(self) -> None:
        """Ends as pytest's own loop would."""
        session = self._session
        if self._collect_errors and self.exit_code is None:
            if not self._config.option.continue_on_collection_errors:
                raise session.Interrupted(f"{count(self._collect_errors, 'error')} during collection")
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    def _run_local_items(self) -> None:
        session = self._session
        items = session.items
        for item, following in zip(items, [*items[1:], None]):
            self._config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)

    def _remember_nodeids(self) -> None:
        """The cache plugin learns the node ids at collection; here they are known by now."""
        plugin = self._config.pluginmanager.getplugin("nfplugin")
        if plugin is not None:
            plugin.cached_nodeids.update(parse_nodeid(nodeid) for nodeid in self._nodeids)

    # Stopping

    @contextlib.contextmanager
    def _orderly(self):
        """Whatever breaks the run, the engine hears of it, and its `end` is awaited."""
        try:
            yield
        except EngineGone as error:
            self._fail(str(error), None, EXIT_ENGINE_GONE)
        except BaseException as error:
            self._close("interrupt" if isinstance(error, KeyboardInterrupt) else "error", repr(error))
            raise

    def _stop(self, reason: str, message: str) -> None:
        if not self._stopping:
            self._stopping = True
            self._send("stop", reason=reason, message=message)

    def _close(self, reason: str, message: str) -> None:
        """Stops the run and waits for its end; a further Ctrl-C doesn't wait."""
        try:
            self._stop(reason, message)
            while self._end is None:
                frame = self._bridge.receive()
                if frame.kind not in TEST_EVENTS:
                    self._handle_at_the_end(frame)
        except EngineGone:
            self._end = {}
        except KeyboardInterrupt:
            self._end = {}
            self._bridge.kill()

    def _handle_at_the_end(self, frame: Frame) -> None:
        """A plugin that fails now must not hide why the run ends, nor keep its `end` from being awaited."""
        try:
            self._handle(frame)
        except (EngineGone, KeyboardInterrupt):
            raise
        except Exception as error:
            write_line(self._terminal, f"cloudist: while the run was ending: {error!r}", red=True)

    def _send(self, kind: str, **fields: Any) -> None:
        if self._end is None:
            try:
                self._bridge.send(kind, **fields)
            except EngineGone as error:
                self._fail(str(error), None, EXIT_ENGINE_GONE)

    def _fail(self, message: str, help: Optional[str], exit_code: int) -> None:
        """The run is over without its results: pytest's last line but one says why, the exit code says so too."""
        first, _, details = message.partition("\n")
        self._end = self._end or {}
        self._complete = True
        self.explanation = [*details.splitlines(), *([f"help: {help}"] if help else [])]
        self.exit_code = exit_code
        self._session.shouldfail = f"cloudist: {first}"

    def _heed_pytest(self) -> None:
        self._stepwise.conclude(over=False)
        reason = self._session.shouldfail or self._session.shouldstop
        if reason:
            self._stop("maxfail", str(reason))

    # Events

    def _handle(self, frame: Frame) -> None:
        handler = getattr(self, "_on_" + frame.kind.replace("-", "_"), None)
        if handler is None:
            raise EngineGone(f"the engine sent {frame.kind!r}, which this version doesn't know")
        handler(frame)

    def _on_plan(self, frame: Frame) -> None:
        self.plan = frame.header
        workers = frame.header["workers"]
        self._controller.plan(workers)
        if frame.header["mode"] == "each":
            self._copies = Copies(workers)
            self._each = Each(self._config, self._controller)
            self._config.pluginmanager.register(self._each, "cloudist-each")
        if self._terminal is not None and workers > 1:
            self._terminal.showfspath = False

    def _on_note(self, frame: Frame) -> None:
        level, text = frame.header["level"], frame.header["text"]
        if level == "info" and self._config.option.verbose < 0:
            return
        markup = {"error": {"red": True}, "warning": {"yellow": True}}.get(level, {})
        write_line(self._terminal, f"cloudist: {text}", **markup)
        if frame.header.get("help"):
            write_line(self._terminal, f"help: {frame.header['help']}")

    def _on_worker_up(self, frame: Frame) -> None:
        worker, info = frame.header["worker"], frame.header.get("info") or {}
        self._controller.up(worker, info)
        if self._each is not None:
            self._each.introduce(worker, frame.header["machine"], info)

    def _on_worker_down(self, frame: Frame) -> None:
        output = decode(frame.blob)
        error = None if output is not None else "Not properly terminated"
        self._controller.down(frame.header["worker"], output, error)
        stopped = frame.header.get("stopped")
        if stopped and not self._stopping:
            self._session.shouldstop = stopped
            self._heed_pytest()

    def _on_collected(self, frame: Frame) -> None:
        number = frame.header["file"]
        file, copy = self._copies.split(number)
        deselected = frame.header.get("deselected") or ()
        errors = self._replay_collect_reports(frame.content() or (), copy, self._origin(frame))
        self._files_with_errors += [file] * errors
        if number not in self._collected:
            self._collected.add(number)
            self._note_not_found(frame.header, self._outbox.files[file].path)
            self._stepwise.collected(file, frame.header["tests"])
            if self._outbox.files[file].select is not None:
                self._selected_tests += frame.header["tests"]
            if deselected:
                items = [Deselected(nodeid, self._config, self._session) for nodeid in deselected]
                self._config.hook.pytest_deselected(items=items)
            if self._terminal is not None:
                self._terminal._numcollected += frame.header["tests"] + len(deselected)
        self._tests = frame.header["total"]
        self._files_left = frame.header["files_left"]
        self._estimate()

    def _replay_collect_reports(self, told: Any, copy: int, origin: Dict[str, Any]) -> int:
        # Several workers tell of the same node; one tells of it twice if a file has two collectors, as with doctests.
        seen = frozenset(self._collect_seen)
        errors = 0
        for data in told:
            node = (copy, data["nodeid"], data["outcome"])
            if data["outcome"] != "passed" and node not in seen:
                self._collect_seen.add(node)
                errors += data["outcome"] == "failed"
                report = revive(self._config, data)
                report.__dict__.update(origin)
                self._config.hook.pytest_collectreport(report=report)
        self._collect_errors += errors
        return errors

    def _note_not_found(self, told: Dict[str, Any], path: str) -> None:
        """Selectors that match nothing are errors if they were arguments, and nothing to speak of with --lf."""
        asked = self._arguments.select(path) if self._arguments is not None else None
        for parts, message in zip(told["notfound"], told["notfound_messages"]):
            if parts in (asked or ()) and message not in self._not_found:
                self._not_found.append(message)

    def _origin(self, frame: Frame) -> Dict[str, Any]:
        """What reports hold besides where it matters which worker they come from."""
        worker = frame.header.get("worker")
        return {} if self._each is None or worker is None else self._each.of(worker)

    def _on_collection_complete(self, frame: Frame) -> None:
        self._complete = True
        self._tests = frame.header["total"]
        self._estimate()

    def _on_results(self, frame: Frame) -> None:
        dropped = frame.header.get("drop") or ()
        extra = {**self._extra, "worker_id": f"gw{frame.header['worker']}", **self._origin(frame)}
        with in_one_piece(self._terminal):
            for position, (told, entry) in enumerate(zip(frame.header["tests"], frame.content())):
                if self._stopping:
                    return
                if position not in dropped and self._stepwise.counts((told[0], told[1])):
                    self._replay_test((told[0], told[1]), entry, extra)
                    self._heed_pytest()

    def _replay_test(self, key: Key, entry: Dict[str, Any], extra: Dict[str, Any]) -> None:
        nodeid = entry["nodeid"]
        location = tuple(entry["location"])
        self._replayed.add(key)
        self._nodeids.add(nodeid)
        if not self._complete and len(self._replayed) >= self._session.testscollected:
            self._estimate()
        extra["item_index"] = key[1]
        hook = self._hook(nodeid)
        hook.pytest_runtest_logstart(nodeid=nodeid, location=location)
        reports = test_reports(self._config, entry, extra)
        for report in reports:
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)
        self._stepwise.ended(key, reports)

    def _on_late(self, frame: Frame) -> None:
        key = (frame.header["file"], frame.header["index"])
        if key not in self._replayed:
            return
        entry = frame.content()
        extra = {**self._extra, "worker_id": f"gw{frame.header['worker']}", "item_index": key[1]}
        extra.update(self._origin(frame))
        reports = test_reports(self._config, entry, extra)
        for report in reports:
            self._hook(entry["nodeid"]).pytest_runtest_logreport(report=report)
        self._stepwise.saw(key, reports)
        self._heed_pytest()

    def _on_crashed(self, frame: Frame) -> None:
        told = frame.header
        extra = {**self._extra, "worker_id": f"gw{told['worker']}", "item_index": told["index"]}
        extra.update(self._origin(frame))
        key = (told["file"], told["index"])
        hang = frame.content() if frame.blob else None
        self._replay_failure(key, told["nodeid"], told["when"], told["message"], extra, hang)

    def _on_lost(self, frame: Frame) -> None:
        told = frame.header
        if told.get("nodeid"):
            extra = {**self._extra, **self._origin(frame)}
            self._replay_failure(None, told["nodeid"], "setup", told["message"], extra)
            return
        nodeid = os.path.relpath(told["path"], str(self._config.rootpath)).replace(os.sep, "/")
        report = CollectReport(nodeid, "failed", told["message"], [], **self._origin(frame))
        self._collect_errors += not self._complete
        self._config.hook.pytest_collectreport(report=report)

    def _replay_failure(
        self,
        key: Optional[Key],
        nodeid: str,
        when: str,
        message: str,
        extra: Dict[str, Any],
        hang: Optional[Dict[str, Any]] = None,
    ) -> None:
        if self._stopping or key is not None and not self._stepwise.counts(key):
            return
        report = failure(nodeid, when, message, extra)
        if hang is not None:
            show_hang(report, message, hang)
        hook = self._hook(nodeid)
        if key in self._replayed:
            hook.pytest_runtest_logreport(report=report)
        else:
            if key is not None:
                self._replayed.add(key)
                self._stepwise.ended(key, [report])
            hook.pytest_runtest_logstart(nodeid=nodeid, location=report.location)
            hook.pytest_runtest_logreport(report=report)
            hook.pytest_runtest_logfinish(nodeid=nodeid, location=report.location)
        self._heed_pytest()

    def _on_event(self, frame: Frame) -> None:
        kind = frame.header["kind"]
        content = frame.content()
        if kind == "warning":
            self._warnings.replay(content)
        elif kind == "internal-error":
            text = content.get("text", "") if isinstance(content, dict) else str(content)
            raise WorkerInternalError(f"on worker gw{frame.header['worker']}:\n{text}")

    def _on_output(self, frame: Frame) -> None:
        write_escaped(self._config, frame.header["stream"], frame.blob.decode("utf-8", "replace"))

    def _on_end(self, frame: Frame) -> None:
        told = self._end = frame.header
        self.summary = told.get("summary") or {}
        if told["status"] == "failed":
            self._fail(told["message"], told.get("help"), told["exit_code"])
        else:
            self._complete = True
            self._estimate()
        with contextlib.suppress(EngineGone):
            self._bridge.send("bye")

    # Output

    def _hook(self, nodeid: str) -> Any:
        """The hooks that apply to a test: conftests of other directories don't see it."""
        path = nodeid.partition("::")[0]
        hook = self._hooks.get(path)
        if hook is None:
            applying = self._session.gethookproxy(self._config.rootpath / path)
            hook = self._hooks[path] = Hooks(self._config.pluginmanager, applying)
        return hook

"""A worker: one pytest session that collects and runs what its queue tells, and reports as it goes.

To plugins it looks like a worker of pytest-xdist. A test's teardown report waits until the next is known,
so that wider fixtures live as long as in one pytest process. Never decides what to run.
"""

import base64
import contextlib
import copy
import faulthandler
import os
import sys
import types
from time import perf_counter, time

import pytest
from _pytest.config import ConftestImportFailure
from _pytest.outcomes import Exit

from .worker_channel import LATE, NONE, RESULTS, dump, private
from .worker_collection import Collection
from .worker_garbage import collecting_rarely, exhaust
from .worker_groups import HELP, apart, groups
from .worker_options import add_missing_options, neutralise
from .worker_paths import PathMap
from .worker_reports import Reports, warning
from .worker_shortcuts import HookProxies, remember_paths, remember_sources
from .worker_teardown import joined, tear_down_to
from .worker_tests import Finished, Tests
from .worker_watch import Watch

HOOKS_OF_A_SCREEN = (
    "pytest_collectreport",
    "pytest_collection",
    "pytest_collection_finish",
    "pytest_runtest_logstart",
    "pytest_runtest_logreport",
    "pytest_runtest_logfinish",
    "pytest_warning_recorded",
    "pytest_sessionfinish",
)


class Nowhere:
    """What the terminal reporter writes to."""

    encoding = "utf-8"

    def write(self, text):
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


class WorkerPlugin:
    """What makes a pytest session a worker's."""

    def __init__(self, number, session, basetemp, channel, watched=None):
        self.up = False
        self.failure = None
        self.stopped = None
        self.output = {}
        self._id = "gw%d" % number
        self._description = session
        self._basetemp = basetemp
        self._channel = channel
        self.errors = private(2)
        self.watch = None if watched is None else Watch(watched)
        self._paths = PathMap(session["paths"])
        self._tests = Tests()
        self._current = None
        self._silenced = False
        self._session = self._config = self._collection = self._reports = self._subtests = None

    # Start

    def pytest_addoption(self, parser):
        parser.prog = (
            os.path.basename(self._description["mainargv"][0]) if self._description["mainargv"] else "pytest"
        )

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config, parser, args):
        add_missing_options(early_config, parser, args)
        known = early_config.known_args_namespace
        if getattr(known, "cov_source", None):
            # The workers of a machine share a directory, where pytest-cov would take each other's data for its own.
            os.environ["COVERAGE_FILE"] = os.path.join(self._basetemp, "coverage-" + self._id)
        before = getattr(known, "numprocesses", None)
        known.numprocesses = self._description["count"]
        outcome = yield
        known.numprocesses = before
        if outcome.excinfo is not None and issubclass(outcome.excinfo[0], ConftestImportFailure):
            self.failure = ("conftest-error", "")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config):
        self._config = config
        neutralise(config, self._basetemp, self._id)
        config.workerinput = dict(decode(self._description.get("workerinput") or {}))
        config.workerinput.update(
            workerid=self._id,
            workercount=self._description["count"],
            testrunuid=self._description["testrunuid"],
            mainargv=self._description["mainargv"],
        )
        config.workeroutput = self.output
        yield

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config):
        for mark in HELP:
            config.addinivalue_line("markers", mark)
        if not config.pluginmanager.hasplugin("xdist"):
            config.pluginmanager.register(worker_fixtures(), "cloudist-worker-fixtures")
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter._tw._file = reporter._file = Nowhere()
            self._silenced = True
            for name in HOOKS_OF_A_SCREEN:
                with contextlib.suppress(ValueError):
                    getattr(config.hook, name)._remove_plugin(reporter)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session):
        self._session = session
        marks = {"worker_id": self._id, "testrun_uid": self._description["testrunuid"]}
        self._reports = Reports(self._config, self._paths, marks)
        self._collection = Collection(session, self._paths)
        self._subtests = self._config.pluginmanager.get_plugin("subtests")
        remember_paths()
        remember_sources()
        self._config.pluginmanager.register(HookProxies(session), "cloudist-hook-proxies")
        session.perform_collect = lambda *_, **__: self._collection.begin()

    def _announce(self):
        faulthandler.enable(file=self.errors)
        info = {
            "id": self._id,
            "sysplatform": sys.platform,
            "version": sys.version,
            "version_info": list(sys.version_info),
            "executable": sys.executable,
            "cwd": os.getcwd(),
            "pytest": pytest.__version__,
        }
        self._channel.tell({"t": "up", "pid": os.getpid(), "info": info})
        self.up = True

    # The loop

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self._announce()
        fresh = None
        if self._description.get("fresh"):
            from .worker_fresh import Fresh

            fresh = Fresh(session, self._channel, self._run_whole)
        finished = None
        try:
            while not (session.shouldfail or session.shouldstop):
                token = self._channel.claim()
                if finished is not None and (token is None or self._must_ask(token)):
                    self._send_early(finished)
                if token is None:
                    token = self._channel.wait()
                if token[0] == NONE:
                    break
                item = self._find(token)
                if item is not None and fresh is not None:
                    fresh.run(item, token)
                elif item is not None:
                    if finished is not None:
                        self._complete(finished, item)
                        finished = None
                    if not (session.shouldfail or session.shouldstop):
                        finished = self._run(item, token)
        except BaseException:
            if finished is not None:
                self._send_rest(finished)
            raise
        if finished is not None:
            self._complete(finished, None)
        return True

    def _must_ask(self, token):
        """Whether the runner must be asked before the token can be used, which may mean to import a file."""
        if token[0] == NONE:
            return False
        try:
            return self._tests.get(token) is None
        except KeyError:
            return True

    def _find(self, token):
        """The item to run, or None if the token asks for something else or can't be met here."""
        file, index = token
        if index == NONE:
            self._collect(file, first=True)
            return None
        if not self._tests.knows(file):
            self._collect(file, first=False)
        elif self._must_ask(token):
            self._tests.learn(file, self._channel.ask({"t": "names", "file": file})["names"])
        item = None if self._must_ask(token) else self._tests.get(token)
        if item is None:
            self._channel.tell({"t": "missing", "tests": [token]})
        return item

    def _collect(self, file, first):
        known = None
        if first:
            spec = self._channel.spec(file)
        else:
            answer = self._channel.ask({"t": "file", "file": file})
            spec, known = answer["spec"], answer["names"]
        start, began = time(), perf_counter()
        with collecting_rarely():
            collected = self._collection.collect(file, spec)
        seconds = perf_counter() - began
        names = self._tests.add(file, collected.items)
        if known is None:
            self._tests.number(file)
        else:
            self._tests.learn(file, known)
        header = {
            "t": "collected",
            "file": file,
            "tests": names,
            "groups": groups(collected.items) if self._description.get("groups") else [],
            "apart": apart(collected.items, self._description.get("together")) if first else [],
            "deselected": collected.deselected,
            "errors": collected.errors,
            "first": first,
            "start": round(start, 6),
            "seconds": round(seconds, 6),
            "notfound": collected.notfound,
            "notfound_messages": collected.notfound_messages,
        }
        self._channel.ask(header, self._reports.collect(collected.reports))

    def _run(self, item, token):
        finished = self._current = Finished(item, token)
        if self.watch is not None:
            self.watch.begin(token)
        try:
            sibling = copy.copy(item)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=sibling)
        finally:
            self._current = None
            if self.watch is not None:
                self.watch.pause()
        return finished

    def _run_whole(self, item, token):
        """A test and all that is to be torn down after it."""
        self._complete(self._run(item, token), None)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report):
        current = self._current
        if current is None:
            return
        if current.teardown is not None:
            self._put(current, current.teardown)
            current.teardown = None
        if report.when == "teardown":
            current.teardown = report
        else:
            if self._subtests is not None and report.when == "call" and current.called:
                self._config.hook.pytest_report_teststatus(report=report, config=self._config)
            self._put(current, report)

    def _put(self, finished, report):
        finished.add(self._reports.test(report, finished.token[1]), report)

    def _send_early(self, finished):
        """Sends a test's result while its wider fixtures still live, because nothing follows yet."""
        if not finished.sent:
            self._send(finished)

    def _complete(self, finished, following):
        """Tears down what the following test doesn't share, then sends what remains to be sent."""
        if self.watch is not None:
            self.watch.resume()
        late = tear_down_to(finished.item, following, self._config)
        if self.watch is not None:
            self.watch.pause()
        if late is not None:
            own = finished.teardown
            finished.teardown = joined(own, late)
            if late.outcome == "failed" and (own is None or own.outcome != "failed"):
                finished.item.ihook.pytest_runtest_logreport(report=finished.teardown)
        self._send_rest(finished)

    def _send_rest(self, finished):
        if finished.teardown is not None:
            self._put(finished, finished.teardown)
            finished.teardown = None
        if finished.texts or not finished.sent:
            self._send(finished)

    def _send(self, finished):
        kind = LATE if finished.sent else RESULTS
        texts, failed, seconds = finished.take()
        body = self._reports.entry(finished, texts)
        phases = finished.phases
        told = seconds, phases["setup"], phases["call"], finished.outcome, finished.reruns
        self._channel.result(kind, finished.token, failed, told, body)

    # What else is worth telling

    def pytest_collectreport(self, report):
        if self._collection is not None:
            self._collection.saw_report(report)

    def pytest_deselected(self, items):
        if self._collection is not None:
            self._collection.saw_deselected(items)

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        if when != "config":
            self._tell("warning", warning(warning_message, when, nodeid, location))

    def _tell(self, kind, value):
        self._channel.event(kind, self._paths.local_text(dump(value)))

    def pytest_internalerror(self, excrepr):
        if self.up:
            self._tell("internal-error", {"text": str(excrepr)})
        else:
            lines = ["INTERNALERROR> " + line for line in str(excrepr).split("\n")] if self._silenced else []
            self.failure = ("internal-error", "\n".join(lines))

    def pytest_keyboard_interrupt(self, excinfo):
        if isinstance(excinfo.value, Exit):
            self.stopped = str(excinfo.value.msg)
            if not self.up:
                self.failure = ("exit", "%s: %s" % (excinfo.typename, excinfo.value.msg))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session, exitstatus):
        self.output["exitstatus"] = int(exitstatus)
        self.output["shouldfail"] = session.shouldfail
        self.output["shouldstop"] = session.shouldstop
        self.stopped = self.stopped or session.shouldfail or session.shouldstop or None
        yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self, config):
        if hasattr(config.pluginmanager.get_plugin("unraisableexception"), "gc_collect_harder"):
            exhaust()


def worker_fixtures():
    """The fixtures that pytest-xdist gives, for where it isn't installed."""
    module = types.ModuleType("cloudist_worker_fixtures")

    @pytest.fixture(scope="session")
    def worker_id(request):
        """The id of the worker, "gw0" and so on."""
        return request.config.workerinput["workerid"]

    @pytest.fixture(scope="session")
    def testrun_uid(request):
        """What names this run of the tests."""
        return request.config.workerinput["testrunuid"]

    module.worker_id, module.testrun_uid = worker_id, testrun_uid
    return module


def decode(value):
    if isinstance(value, dict):
        if set(value) == {"__bytes__"}:
            return base64.b64decode(value["__bytes__"])
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value

"""The local pytest plugin: runs the tests of this pytest on machines elsewhere, through the cloudist engine.

Holds the options, and decides whether this process takes part at all. Without --cloudist it changes nothing.
"""

from __future__ import annotations

import gc
import os
from typing import Any, Dict, Iterator, List, Optional

import pytest

from . import coverage
from .bridge import Bridge
from .controller import Controller, appear, hold_xdist_back
from .flaky import Flaky
from .hello import compose
from .options import add_options, given_flags
from .progress import Display
from .replay import Run
from .screen import Screen, objection
from .terminal import count, uncaptured
from .transcript import Transcript

NAMES = ("pytest_cloudist", "cloudist")
MODES = ("test", "file", "scope", "group", "each", "no")
MARKS = (
    "cloudist_group(name): with --cloudist=group, tests of the same name run on one worker",
    "cloudist_serial: one test with this mark at a time runs in the whole run",
    "cloudist_exclusive: no other test runs on the same machine meanwhile",
)
DEFAULT_WORKERS = 2
IN_WORKER = "CLOUDIST_WORKER"
MODE_VARIABLE = "CLOUDIST_MODE"
FAILED_FIRST_VARIABLE = "CLOUDIST_FAILED_FIRST"
TRUE = ("True", "true", "1", "yes", "on")

PLAIN_RUNS = (
    "collectonly help version showfixtures show_fixtures_per_test markers setupplan setuponly cacheshow"
).split()
IMPOSSIBLE = {
    "usepdb": "--pdb: the tests run in other processes; debug this one with --cloudist=no --pdb",
    "trace": "--trace: the tests run in other processes; debug this one with --cloudist=no --trace",
}


class Alias:
    """Takes the plugin's other names, so that pytest doesn't load it once more by another way."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    for name in NAMES:
        if pluginmanager.getplugin(name) is None:
            pluginmanager.register(Alias(), name)
    group = parser.getgroup("cloudist", "tests on other machines (cloudist)")
    group.addoption(
        "--cloudist",
        choices=MODES,
        default=None,
        help="How tests are dealt out: one by one (test), together those of a file (file), of a class or module "
        "(scope), or of a group that a mark names (group), all of them on every worker (each), or not at all (no). "
        "Default: CLOUDIST_MODE, or `mode` in [tool.cloudist] of pyproject.toml, or no.",
    )
    add_options(group)


def pytest_configure(config: pytest.Config) -> None:
    # For runs without cloudist, with --strict-markers.
    for mark in MARKS:
        config.addinivalue_line("markers", mark)


def chosen_mode(config: pytest.Config, options: Any) -> str:
    if os.environ.get(IN_WORKER):
        return "no"
    given = getattr(options, "cloudist", None) or os.environ.get(MODE_VARIABLE)
    mode = given or project_setting(config, "mode") or "no"
    if mode not in MODES:
        raise pytest.UsageError(f"cloudist: the mode is {mode!r}, but should be one of {', '.join(MODES)}")
    return "no" if any(getattr(options, name, None) for name in PLAIN_RUNS) else mode


def begins_with_failures(config: pytest.Config, taking: Taking) -> bool:
    """What `--cd-failed-first` and its like say. The engine refuses words that mean nothing."""
    given = getattr(config.option, "cd_failed_first", None)
    if given or taking.bridge.inherits_settings:
        return bool(given)
    given = os.environ.get(FAILED_FIRST_VARIABLE) or project_setting(config, "failed-first")
    return str(given).strip() in TRUE


def project_setting(config: pytest.Config, name: str) -> Any:
    """A setting in the nearest pyproject.toml at or above the working directory that has a [tool.cloudist]."""
    start = config.invocation_params.dir
    for directory in (start, *start.parents):
        path = directory / "pyproject.toml"
        if path.is_file():
            settings = _cloudist_table(path.read_bytes())
            if settings is not None:
                return settings.get(name)
    return None


def _cloudist_table(document: bytes) -> Optional[Dict[str, Any]]:
    if b"tool.cloudist" not in document and b"cloudist" not in document:
        return None
    try:
        import tomllib as toml
    except ImportError:
        import tomli as toml  # type: ignore[no-redef]
    try:
        return toml.loads(document.decode("utf-8")).get("tool", {}).get("cloudist")
    except ValueError:
        return None


class Taking:
    """This process takes part: from the first sight of the options to the end of the session."""

    def __init__(self, config: pytest.Config, mode: str) -> None:
        self.mode = mode
        self.config = config
        self.run: Optional[Run] = None
        self.collects_garbage = gc.isenabled()
        # The workers wait for this process to say what to run; all that is made until then stays.
        gc.disable()
        config.add_cleanup(self.collect_garbage_again)
        with uncaptured(config):
            self.bridge = Bridge.inherited() or Bridge.started()
        config.add_cleanup(self.bridge.part)
        self.transcript = Transcript(config, self.bridge)
        config.add_cleanup(self.transcript.close)
        appear(config, DEFAULT_WORKERS)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.option.numprocesses = DEFAULT_WORKERS
        coverage.claim(config, DEFAULT_WORKERS)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        controller = Controller(self.config, DEFAULT_WORKERS)
        hello = compose(self.config, self.mode, given_flags(self.config), controller.input_from_plugins())
        hello["terminal"] = self.transcript.terminal
        hello["unviewable"] = objection(self.config)
        self.bridge.move = self.move
        self.run = Run(session, self.bridge, controller)
        self.bridge.display = Display(self.config)
        self.config.add_cleanup(self.bridge.display.close)
        self.run.greet(hello)
        self.transcript.begin()
        self.bridge.before_waiting = self.transcript.tell
        if hasattr(gc, "freeze"):
            # What was made until here stays, and needs not be looked through again and again.
            gc.freeze()
        self.collect_garbage_again()
        session.perform_collect = self.run.collect  # type: ignore[assignment, method-assign]

    def move(self, terminal: str, held: str) -> Optional[Screen]:
        """Writes to another terminal from now on, if that can be done."""
        try:
            screen = Screen(self.config, terminal, held)
        except OSError:
            return None
        if self.bridge.display is not None:
            self.bridge.display.reopen()
        return screen

    def collect_garbage_again(self) -> None:
        if self.collects_garbage:
            gc.enable()

    def pytest_report_header(self) -> str:
        provider = self.config.option.cd_provider
        return f"cloudist: mode {self.mode}" + (f", provider {provider}" if provider else "")

    def pytest_runtestloop(self) -> Optional[bool]:
        if self.run is None:
            return None
        try:
            self.run.run()
        finally:
            coverage.leave_out_this_plugin(self.config)
        return True

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Iterator[None]:
        yield
        if self.run is None or not self.run.summary:
            return
        if self.config.option.verbose >= 0:
            terminalreporter.write_line(closing_line(self.run.summary))
        if self.run.summary.get("bill") and self.config.option.verbose >= -1:
            terminalreporter.write_line(self.run.summary["bill"])
        if self.run.summary.get("report"):
            terminalreporter.write_line(self.run.summary["report"])

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        yield
        if self.run is not None and self.run.exit_code is not None:
            session.exitstatus = self.run.exit_code
            terminal = self.config.pluginmanager.getplugin("terminalreporter")
            for line in self.run.explanation if terminal is not None else ():
                terminal.write_line(line)
        if self.run is not None and hasattr(gc, "freeze"):
            # The process ends with all it holds; pytest would look through it for garbage ten times first.
            gc.freeze()


def closing_line(summary: Dict[str, Any]) -> str:
    tests, workers, machines = (
        count(summary.get(f"{noun}s", 0), noun) for noun in ("test", "worker", "machine")
    )
    provider = f" ({summary['provider']})" if summary.get("provider") else ""
    return f"cloudist: {tests} on {workers}, {machines}{provider}, {summary.get('seconds', 0):.1f} s"


def take_part(config: pytest.Config, options: Any) -> None:
    mode = chosen_mode(config, options)
    if mode != "no" and config.pluginmanager.getplugin("cloudist-taking") is None:
        config.pluginmanager.register(Taking(config, mode), "cloudist-taking")
        config.pluginmanager.register(Flaky(), "cloudist-flaky")


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    take_part(early_config, early_config.known_args_namespace)
    yield


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Iterator[None]:
    take_part(config, config.option)
    taking = config.pluginmanager.getplugin("cloudist-taking")
    if taking is not None:
        for option, reason in IMPOSSIBLE.items():
            if getattr(config.option, option, False):
                raise pytest.UsageError(f"not possible with cloudist: {reason}")
        if taking.mode == "each" and getattr(config.option, "stepwise", False):
            raise pytest.UsageError(
                "not possible with cloudist: --stepwise with --cloudist=each: each worker has an order of its own"
            )
        hold_xdist_back(config)
        if hasattr(config.option, "failedfirst") and begins_with_failures(config, taking):
            config.option.failedfirst = True
    yield

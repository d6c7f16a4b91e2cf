"""pytest's debugger in a test that failed, or in an import: as it was then if a worker holds it, else run once more."""

import os
import sys
from functools import partial

from .again_past import Gone, past
from .again_screen import Screen, counted
from .again_worker import run

PASSED_NOW, FAILED_AGAIN, QUIT = 0, 1, 2


def stop_there(script, screen, trace):
    """A plugin that has pytest's own debugger come up in the test, or in the import, and in no other."""
    import pytest

    class Stop:
        def __init__(self):
            self._out = sys.stdout

        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config):
            script.arrive = partial(self._begin, config)

        @pytest.hookimpl(tryfirst=True, hookwrapper=True)
        def pytest_runtest_protocol(self, item):
            if script.at_target:
                self._begin(item.config)
            yield

        @pytest.hookimpl(tryfirst=True)
        def pytest_exception_interact(self, call, report):
            if getattr(report, "when", "collect") == "collect":
                call.excinfo = where_it_arose(call.excinfo)

        def _begin(self, config):
            from _pytest import debugging

            screen.rest()
            config.option.usepdb = True
            plugins = config.pluginmanager
            plugins.register(debugging.PdbInvoke(), "cloudist-pdb")
            if trace:
                plugins.register(debugging.PdbTrace(), "cloudist-trace")
            reporter = plugins.get_plugin("terminalreporter")
            if reporter is not None:
                reporter._tw._file = reporter._file = self._out

    return Stop()


def where_it_arose(excinfo):
    """pytest wraps what went wrong in an import into an error of its own, which arose nowhere of interest."""
    import pytest

    cause = excinfo.value.__cause__
    if cause is None or not isinstance(excinfo.value, pytest.Collector.CollectError):
        return excinfo
    return type(excinfo).from_exc_info((type(cause), cause, cause.__traceback__))


def debug(directory, options, session=None):
    """`session` is that of a process which is a worker's already, but for the fork."""
    then = past(directory, options.worker, options.nodeid)
    if options.alone:
        then.leave_out(())
    screen = Screen(os.isatty(2))
    if then.before():
        tests = counted(len(then.before()))
        screen.say("%s after the %s before it on %s" % (options.nodeid, tests, options.worker))
    stop = partial(stop_there, screen=screen, trace=options.trace)
    script, status = run(directory, then, options.worker, screen, [stop], session)
    if status == QUIT and not script.problem:
        return QUIT
    if script.failed is None:
        raise Gone(script.problem or "pytest ended with status %d before it came there" % status)
    if script.problem:
        screen.say(script.problem)
    if not script.failed:
        screen.say("it passed this time")
    return FAILED_AGAIN if script.failed else PASSED_NOW

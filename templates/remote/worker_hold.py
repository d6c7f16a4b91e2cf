"""A test that failed is held where it did: a copy of its process waits for somebody who comes to look.

The copy costs what the process changes afterwards, and stays until its time is over, or the run has ended and the
machine isn't kept. Never delays the worker, which goes on at once.
"""

import os
import sys
import warnings
from functools import partial

from .worker_guest import LEFT, place
from .worker_visits import Host, listen

MOST = 16
QUIT = 2


class Hold:
    """The plugin of a worker whose failures are held."""

    def __init__(self, worker, side, life, seconds, channel):
        self._worker = worker
        self._side = side
        self._life = life
        self._seconds = seconds
        self._channel = channel
        self._count = 0

    def pytest_exception_interact(self, node, call, report):
        if self._count == MOST or getattr(report, "when", "collect") == "collect":
            return
        listener = listen(self._side, place(self._worker, node.nodeid))
        # The first of a test's failures is the one to look at.
        if listener is None:
            return
        self._count += 1
        with listener:
            with warnings.catch_warnings():
                # That threads are not copied is known; pytest's debugger needs the one that failed.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
            if pid == 0:
                try:
                    self._channel.close()
                    host = Host(listener, self._side, self._life, self._seconds)
                    host.serve(partial(show, node=node, call=call, report=report))
                finally:
                    os._exit(0)
        self._channel.tell({"t": "held", "pid": pid})


def show(visit, node, call, report):
    """pytest's debugger on the visitor's terminal."""
    from _pytest import debugging, outcomes
    from _pytest.config import create_terminal_writer

    visit.begin()
    capture = node.config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    visit.take_terminal()
    reporter = node.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw = create_terminal_writer(node.config, sys.stdout)
    try:
        debugging.PdbInvoke().pytest_exception_interact(node, call, report)
    except outcomes.Exit:
        return QUIT
    finally:
        sys.stdout.flush()
    return LEFT

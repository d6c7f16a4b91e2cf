"""What a worker leaves for the runner to read should its test never end: which test, since when, in which phase.

A shared file holds it, so it costs the test nothing and needs no answer. Ends nothing by itself: that is the
runner's part, since a test may be stuck where no Python runs.
"""

import faulthandler
import json
import os
import time

import pytest

from .worker_watch_format import MARK, SECTIONS, SIGNAL, STACK


class Watch:
    def __init__(self, descriptor):
        self._descriptor = descriptor
        # Held here, where a test that falsifies time doesn't find it.
        self._clock = time.monotonic
        self._token = (0, 0)
        self._began = self._spent = 0.0
        self._phase = self._kept = 0
        self._sections = []
        os.lseek(descriptor, STACK, os.SEEK_SET)
        # Writes the stacks even from within C; then the signal does what it does by default, and ends the process.
        faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=True)

    def begin(self, token):
        self._token, self._spent, self._sections, self._kept = token, 0.0, [], 0
        self._phase = 0
        self.resume()

    def resume(self):
        self._began = self._clock() - self._spent
        self._mark(True)

    def pause(self):
        """Until the rest of its teardown: nobody waits for the test now."""
        self._spent = self._clock() - self._began
        self._mark(False)

    def _mark(self, running):
        mark = MARK.pack(running, self._phase, *self._token, self._began, self._kept, os.getpid())
        os.pwrite(self._descriptor, mark, 0)

    def _enter(self, phase):
        self._phase = phase
        self._mark(True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self):
        self._enter(0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self):
        self._enter(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self):
        self._enter(2)

    def pytest_runtest_logreport(self, report):
        """What was captured in the phases before the one that hangs."""
        if report.sections and report.sections != self._sections:
            self._sections = list(report.sections)
            text = json.dumps([[name, text[-(1 << 16) :]] for name, text in report.sections[-6:]])
            data = text.encode("ascii")
            if len(data) <= STACK - SECTIONS:
                os.pwrite(self._descriptor, data, SECTIONS)
                self._kept = len(data)

    def pytest_enter_pdb(self):
        """Somebody looks at the test: it may take its time."""
        self._mark(False)

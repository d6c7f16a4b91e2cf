"""Ends a worker whose test runs for longer than it may, and finds out where it hangs.

Works from outside of the worker, so it needs nothing of it: a test stuck in C, or with signals blocked, ends
too. Never touches a worker between two tests.
"""

import json
import os
import signal
import stat
import time

from .processes import children
from .worker_paths import PathMap
from .worker_watch_format import MARK, PHASES, SECTIONS, SIGNAL, STACK

STACKS_IN, LOOK, LOOKS = 2.0, 0.01, 50
OUTPUT_BYTES = 1 << 18


class Deadline:
    """The time limit of one worker's tests."""

    def __init__(self, runner, seconds, paths):
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("cloudist-watch")
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self.seconds = seconds
        self.struck = None
        self._runner = runner
        self._paths = PathMap(paths)
        self._pid = None
        self._descendants = []
        self._sections = []

    def arm(self, pid):
        self._pid = pid
        self._runner.loop.after(self.seconds, self._check)

    def close(self):
        self._pid = None
        os.close(self.descriptor)

    def _mark(self):
        data = os.pread(self.descriptor, MARK.size, 0)
        return MARK.unpack(data) if len(data) == MARK.size else (0, 0, 0, 0, 0.0, 0, 0)

    def _check(self):
        if self._pid is None:
            return
        mark = self._mark()
        now = time.monotonic()
        # A test that begins from now on is due no earlier than that.
        due = mark[4] + self.seconds if mark[0] else now + self.seconds
        if due > now:
            self._runner.loop.after(due - now, self._check)
        elif self._signal(signal.SIGSTOP, mark[6]):
            self._when_stopped(mark, LOOKS)

    def _when_stopped(self, mark, looks):
        """The test may have ended just now: only while the process stands still is that certain."""
        if self._pid is None:
            return
        if looks and state_of(mark[6]) not in ("T", "t", None):
            return self._runner.loop.after(LOOK, lambda: self._when_stopped(mark, looks - 1))
        if self._mark()[:5] != mark[:5] and not self._overdue(self._mark()):
            self._signal(signal.SIGCONT, mark[6])
            return self._check()
        self._strike(self._mark())

    def _overdue(self, mark):
        return bool(mark[0]) and mark[4] + self.seconds <= time.monotonic()

    def _strike(self, mark):
        _, phase, file, index, began, kept, pid = mark
        self.struck = (file, index)
        self.when = PHASES[phase]
        self.took = time.monotonic() - began
        self._sections = json.loads(os.pread(self.descriptor, kept, SECTIONS).decode("ascii")) if kept else []
        for number, name in ((1, "stdout"), (2, "stderr")):
            text = captured(pid, number)
            if text:
                self._sections.append(["Captured %s %s" % (name, self.when), text])
        self._descendants = descendants(self._pid)
        self._signal(SIGNAL, pid)
        self._signal(signal.SIGCONT, pid)
        self._runner.loop.after(STACKS_IN, self._kill)

    def _kill(self):
        if self._pid is not None:
            self._runner.processes.signal_group(self._pid, signal.SIGKILL)

    def _signal(self, number, pid):
        """The process that runs the test may be a copy of the worker."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def verdict(self, claimed):
        """What the engine is told: a test whose result is out already was held up by a wider fixture's teardown."""
        running = self.struck if self.struck in claimed else None
        return {
            "running": running,
            "collecting": None,
            "last": None if running else self.struck,
            "timeout": {"seconds": self.seconds, "when": self.when},
        }

    def finish(self):
        """The process is gone; what it left goes too. Tells of the end, in the user's paths."""
        for pid in self._descendants:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        size = os.fstat(self.descriptor).st_size
        stack = os.pread(self.descriptor, max(0, min(size - STACK, 1 << 20)), STACK)
        told = {
            "stack": stack.decode("utf-8", "replace"),
            "sections": self._sections,
            "duration": self.took,
        }
        return self._paths.local_text(json.dumps(told)).encode("ascii")


def state_of(pid):
    """The letter of the process's state, where the system tells."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode("ascii")
    except OSError:
        return None


def captured(pid, descriptor):
    """What pytest has captured of a stream in the current phase, where it is in a file."""
    try:
        opened = os.open("/proc/%d/fd/%d" % (pid, descriptor), os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            file.seek(max(0, os.fstat(file.fileno()).st_size - OUTPUT_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def descendants(pid):
    """All that the process has started, and what that has, whatever groups they are in."""
    found = []
    waiting = [pid]
    while waiting:
        born = children(waiting.pop(), every_thread=True)
        found += born
        waiting += born
    return found

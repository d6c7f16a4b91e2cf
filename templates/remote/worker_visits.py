"""Processes that wait beside a run for somebody who comes to look.

Whoever comes sends a terminal along, and gets a copy of the process, so that the next one finds everything as it was.
"""

import marshal
import math
import os
import select
import signal
import socket
import sys
import time

from .worker_guest import LEFT, PASSED_ON, RIGHTS, within


def listen(side, name):
    """None if somebody waits there already."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        within(os.path.join(side, "diary"), lambda: listener.bind(name))
        listener.listen(8)
        return listener
    except OSError:
        listener.close()
        return None


class Host:
    """A process that waits for visitors: until its time is over, or the run is and the machine isn't kept."""

    def __init__(self, listener, side, life, seconds=None):
        os.setsid()
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        self._listener = listener
        self._life = life
        self._kept = os.path.join(side, "kept")
        self._end = math.inf if seconds is None else time.monotonic() + seconds

    def serve(self, show):
        """Has each visitor shown what there is, in a copy of this process: `show` gets what was asked, and returns a status."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._life, select.POLLIN)
        while True:
            left = self._end - time.monotonic()
            if left <= 0:
                return
            for descriptor, _ in poll.poll(None if left == math.inf else left * 1000):
                if descriptor == self._life:
                    poll.unregister(self._life)
                    self._end = min(self._end, time.monotonic() + self._kept_for())
                elif self._welcome(show) is False:
                    return

    def _kept_for(self):
        """The run is over: for how long the machine stays."""
        try:
            with open(self._kept) as file:
                return float(file.read()) - time.time()
        except (OSError, ValueError):
            return 0.0

    def _welcome(self, show):
        visitor, _ = self._listener.accept()
        with visitor:
            data, ancillary, _, _ = visitor.recvmsg(1 << 16, socket.CMSG_SPACE(RIGHTS.size))
            if not ancillary:
                # Told to let go of it.
                return False
            descriptors = RIGHTS.unpack(ancillary[0][2])
            if os.fork() == 0:
                self._listener.close()
                host(Visit(visitor, descriptors, *marshal.loads(data)), show)
            for descriptor in descriptors:
                os.close(descriptor)
        return True


def host(visit, show):
    """Never returns: tells the visitor how the process ended that was theirs."""
    status = LEFT
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        pid = os.fork()
        if pid == 0:
            try:
                status = show(visit)
            finally:
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        status = 128 + os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else os.WEXITSTATUS(ended)
    finally:
        visit.end(status)
        os._exit(0)


class Visit:
    """One who has come, in the process that is theirs."""

    def __init__(self, visitor, descriptors, environment, options):
        self._visitor = visitor
        self._descriptors = descriptors
        self._environment = environment
        self.options = options

    def begin(self):
        """This process is theirs to send signals to."""
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._visitor.sendall(b"%d\n" % os.getpid())

    def end(self, status):
        self._visitor.sendall(b"%d" % status)

    def take_terminal(self):
        for number, descriptor in enumerate(self._descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = open(0, closefd=False, errors="surrogateescape")
        sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")
        sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")
        os.environ.update(self._environment)

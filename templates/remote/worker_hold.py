"""A test that failed is held where it did: a copy of its process waits for somebody who comes to look.

The copy costs what the process changes afterwards, and stays until its time is over, or the run has ended and the
machine isn't kept. Whoever comes sends a terminal along and gets a copy of the copy, so that the next one finds
everything as it was. Never delays the worker, which goes on at once.
"""

import hashlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
import warnings

MOST = 16
QUIT, LEFT = 2, 1
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
RIGHTS = struct.Struct("3i")


def place(worker, nodeid):
    return "held-%s-%s" % (worker, hashlib.sha256(nodeid.encode("utf-8", "surrogatepass")).hexdigest()[:16])


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
        listener = self._listen(place(self._worker, node.nodeid))
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
                    Holder(listener, self._side, self._life, self._seconds, self._channel).serve(
                        node, call, report
                    )
                finally:
                    os._exit(0)
        self._channel.tell({"t": "held", "pid": pid})

    def _listen(self, name):
        """None if the test is held already: the first of its failures is the one to look at."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            within(os.path.join(self._side, "diary"), lambda: listener.bind(name))
            listener.listen(8)
            return listener
        except OSError:
            listener.close()
            return None


def within(directory, act):
    """A socket's path may be no longer than about 100 bytes, so it is named from its directory."""
    before = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        return act()
    finally:
        os.fchdir(before)
        os.close(before)


class Holder:
    def __init__(self, listener, side, life, seconds, channel):
        os.setsid()
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        channel.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        self._listener = listener
        self._life = life
        self._kept = os.path.join(side, "kept")
        self._end = time.monotonic() + seconds

    def serve(self, node, call, report):
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._life, select.POLLIN)
        while True:
            left = self._end - time.monotonic()
            if left <= 0:
                return
            for descriptor, _ in poll.poll(left * 1000):
                if descriptor == self._life:
                    poll.unregister(self._life)
                    self._end = min(self._end, time.monotonic() + self._kept_for())
                elif self._welcome(node, call, report) is False:
                    return

    def _kept_for(self):
        """The run is over: for how long the machine stays."""
        try:
            with open(self._kept) as file:
                return float(file.read()) - time.time()
        except (OSError, ValueError):
            return 0.0

    def _welcome(self, node, call, report):
        visitor, _ = self._listener.accept()
        with visitor:
            data, ancillary, _, _ = visitor.recvmsg(1 << 16, socket.CMSG_SPACE(RIGHTS.size))
            if not ancillary:
                # Told to let go of it.
                return False
            descriptors = RIGHTS.unpack(ancillary[0][2])
            if os.fork() == 0:
                status = LEFT
                try:
                    self._listener.close()
                    status = show(visitor, descriptors, json.loads(data.decode("ascii")), node, call, report)
                finally:
                    visitor.sendall(b"%d" % status)
                    os._exit(0)
            for descriptor in descriptors:
                os.close(descriptor)
        return True


def show(visitor, descriptors, environment, node, call, report):
    """pytest's debugger on the visitor's terminal."""
    from _pytest import debugging, outcomes
    from _pytest.config import create_terminal_writer

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    visitor.sendall(b"%d\n" % os.getpid())
    capture = node.config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False, errors="surrogateescape")
    sys.stdout = open(1, "w", buffering=1, closefd=False, errors="backslashreplace")
    sys.stderr = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")
    os.environ.update(environment)
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


def visit(directory, name, greet):
    """Looks at a test that is held, on this process's terminal. The status, or None if it isn't held any more."""
    there = reach(directory, name)
    if there is None:
        return None
    with there:
        greet()
        environment = {
            key: os.environ[key] for key in ("TERM", "NO_COLOR", "FORCE_COLOR") if key in os.environ
        }
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, RIGHTS.pack(0, 1, 2))]
        # Until it is known who is to get it, nothing that is typed is for us.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        there.sendmsg([json.dumps(environment).encode("ascii")], rights)
        said = b""
        while b"\n" not in said:
            data = there.recv(64)
            if not data:
                return None
            said += data
        pid, _, said = said.partition(b"\n")
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: pass_on(int(pid), number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        while True:
            data = there.recv(64)
            if not data:
                return int(said or LEFT)
            said += data


def pass_on(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def reach(directory, name):
    there = socket.socket(socket.AF_UNIX)
    try:
        within(directory, lambda: there.connect(name))
        return there
    except OSError:
        there.close()
        return None


def release(directory):
    """Lets go of everything that is held."""
    for name in os.listdir(directory):
        if name.startswith("held-"):
            there = reach(directory, name)
            if there is not None:
                with there:
                    there.sendall(b"end")

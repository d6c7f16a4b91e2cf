"""Starts processes for the runner, each in a session of its own, notices their end, and leaves none behind.

Knows process groups and orphans; never reads or writes what the processes say.
"""

import fcntl
import os
import select
import signal
import sys
import time
from functools import lru_cache

from .runner import read_some

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
RESTORED = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD)

PATIENCE, MOMENT = 3.0, 0.5


class StartError(Exception):
    """A program could not be started: `kind` is missing, permission, cwd or io."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class Processes:
    def __init__(self, loop):
        self.on_stranger = None
        self._loop = loop
        self._exits = {}
        self._groups = set()
        self._spared = set()
        self._adopts_orphans = False
        # What is asked for in the same breath as the greeting, a zygote, doesn't wait for it.
        loop.after(0, self._adopt_orphans)
        self._woken, waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        loop.on_readable(self._woken, self._reap)

    def _adopt_orphans(self):
        """What loses its parent below this process becomes its child."""
        if self.reaps_orphans and not self._adopts_orphans:
            self._adopts_orphans = True
            prctl()(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    @property
    def reaps_orphans(self):
        return sys.platform == "linux"

    def spawn(self, argv, env, cwd, streams, on_exit, socket=None):
        """Starts a program that leads its own group; `streams` become its descriptors 0 to 2, `socket` its 3.

        One with a socket sees by itself when the runner is gone, and has children of its own to end then.
        """
        if socket is None:
            self._adopt_orphans()
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(argv, env, cwd, streams, socket, tell)
        os.close(tell)
        with os.fdopen(told, "rb") as file:
            failure = file.read()
        if failure:
            os.waitpid(pid, 0)
            stage, number = failure.decode("ascii").split(":")
            raise start_error(argv[0], cwd, stage, int(number))
        self.adopt(pid)
        self._exits[pid] = on_exit
        return pid

    def fork(self, body, on_exit):
        """Runs `body` in a forked copy of this process, in a group of its own."""
        self._adopt_orphans()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setsid()
                self._prepare_child()
                self._die_with_runner()
                status = body()
            finally:
                os._exit(status)
        self.adopt(pid)
        self._exits[pid] = on_exit
        return pid

    def adopt(self, group):
        """Makes sure that a process group ends when the runner does."""
        self._groups.add(group)

    def spare(self, pid):
        """A process that knows by itself when to end, and may outlive the runner."""
        self._spared.add(pid)

    def signal_group(self, group, number):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def end_group(self, group):
        self.signal_group(group, signal.SIGKILL)
        self._groups.discard(group)

    def kill_all(self, spared=None):
        """Ends everything; only `spared`, which is about to end by itself, gets a moment to do so."""
        begun = time.monotonic()
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while time.monotonic() < begun + PATIENCE:
            if time.monotonic() > begun + MOMENT:
                spared = None
            for group in self._groups:
                if group != spared:
                    self.signal_group(group, signal.SIGKILL)
            for pid in children(os.getpid()):
                if pid == spared or pid in self._spared:
                    continue
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            if self._spared.issuperset(children(os.getpid())):
                return
            poll.poll(10)
            read_some(self._woken)

    def _prepare_child(self):
        signal.set_wakeup_fd(-1)
        for number in RESTORED:
            signal.signal(number, signal.SIG_DFL)

    def _die_with_runner(self):
        if self.reaps_orphans:
            prctl()(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def _become(self, argv, env, cwd, streams, socket, tell):
        stage = "io"
        try:
            os.setsid()
            self._prepare_child()
            tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, 20)
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            if socket is None:
                self._die_with_runner()
            else:
                os.dup2(socket, 3)
                os.set_inheritable(3, True)
            stage = "cwd"
            os.chdir(cwd)
            stage = "exec"
            os.execvpe(argv[0], argv, env)
        except OSError as error:
            os.write(tell, b"%s:%d" % (stage.encode("ascii"), error.errno or 0))
        finally:
            os._exit(127)

    def _reap(self):
        read_some(self._woken)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._groups and not self.signal_group(pid, 0):
                self._groups.discard(pid)
            on_exit = self._exits.pop(pid, None)
            if on_exit is not None:
                on_exit(exit_status(status))
            elif self.on_stranger is not None:
                self.on_stranger(pid, exit_status(status))


def stand_alone(*kept):
    """What a forked child has inherited belongs to the runner, and has to end with it."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for name in os.listdir("/dev/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:
                pass


@lru_cache(maxsize=None)
def prctl():
    """Loading ctypes takes longer than starting a process does."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True).prctl


def exit_status(status):
    """The exit status, or the negated number of the signal that ended the process."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def start_error(program, cwd, stage, number):
    if stage == "cwd":
        return StartError("cwd", "failed to start %s in %s: %s" % (program, cwd, os.strerror(number)))
    kind = type(OSError(number, "")).__name__
    kind = {"FileNotFoundError": "missing", "PermissionError": "permission"}.get(kind, "io")
    return StartError(kind, "failed to start %s: %s" % (program, os.strerror(number)))


def children(parent, every_thread=False):
    """The processes that have `parent` as theirs, where the system tells; without `every_thread` of its first."""
    try:
        if not every_thread:
            with open("/proc/%d/task/%d/children" % (parent, parent), "rb") as file:
                return [int(pid) for pid in file.read().split()]
    except OSError:
        pass
    found = []
    try:
        entries = os.listdir("/proc")
    except OSError:
        return found
    for entry in entries:
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry, "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry))
    return found

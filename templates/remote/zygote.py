"""The runner's line to the zygote, which has imported pytest and forks the workers.

Requests go out with the descriptors that belong to them. Never decides what to fork.
"""

import os
import select
import socket
import struct
import time

from .runner import Frames, frame, read_some
from .workers import STDERR_BYTES, last_lines

BOOT = """\
import os, sys
sys.path[:] = [entry for entry in sys.path if entry]
def take(count, data=b""):
    while len(data) < count:
        data += os.read(3, count - len(data)) or os._exit(1)
    return data
exec(compile(take(int(take(8))), "<cloudist worker>", "exec"))
"""


class Zygote:
    """The process that has imported pytest and forks the workers. Requests go out with their descriptors."""

    def __init__(self, pool, python, env, session):
        self.python = python
        self.signature = interpreter_environment(env)
        self.broken = None
        self.gone = False
        self._pool = pool
        self._loop = pool.runner.loop
        self._frames = Frames()
        self._waiting = []
        self._stderr = b""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._errors, errors = os.pipe()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        try:
            argv = [python, "-c", BOOT]
            streams = (nowhere, errors, errors)
            self.pid = pool.runner.processes.spawn(
                argv, env, "/", streams, self._exited, socket=theirs.fileno()
            )
        except BaseException:
            ours.close()
            os.close(self._errors)
            raise
        finally:
            theirs.close()
            os.close(nowhere)
            os.close(errors)
        self._socket = ours
        os.set_blocking(self._errors, False)
        self._loop.on_readable(self._errors, self._read_errors)
        self._loop.on_readable(ours.fileno(), self._read)
        source = pool.runner.sources["worker"].encode("utf-8")
        modules = {
            name: text
            for name, text in pool.runner.sources.items()
            if name.startswith("worker_") or name == "compiled"
        }
        self._send(b"%08d" % len(source) + source)
        self.request({"modules": modules, "code": pool.runner.code, "session": session})

    def request(self, header, descriptors=()):
        self._send(b"".join(frame(header)), descriptors)

    def _send(self, data, descriptors=()):
        self._waiting.append((data, descriptors))
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self):
        while self._waiting:
            data, descriptors = self._waiting[0]
            rights = struct.pack("%di" % len(descriptors), *descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
            try:
                sent = self._socket.sendmsg([data], ancillary)
            except BlockingIOError:
                return self._loop.on_writable(self._socket.fileno(), self._flush)
            except OSError:
                return self._loop.on_writable(self._socket.fileno(), None)
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._waiting[0] = (data[sent:], ())
            else:
                self._waiting.pop(0)
        self._loop.on_writable(self._socket.fileno(), None)

    def _read(self):
        """False at its end."""
        data = read_some(self._socket.fileno())
        if data:
            for header, _ in self._frames.feed(data):
                self._pool.heard(self, header)
        elif data is not None:
            self._loop.on_readable(self._socket.fileno(), None)
        return data != b""

    def listen(self, until, seconds):
        """Hears what it says, outside of the loop."""
        ends = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while not until() and poll.poll(max(0, ends - time.monotonic()) * 1000):
            if not self._read():
                return

    def _read_errors(self):
        data = read_some(self._errors)
        if data:
            self._stderr = (self._stderr + data)[-STDERR_BYTES:]
        elif data is not None:
            self._loop.on_readable(self._errors, None)

    def _exited(self, status):
        self._read()
        self.gone = True
        self._read_errors()
        message = last_lines(self._stderr) or "the interpreter ended with status %d" % status
        self.close()
        self._pool.zygote_gone(self, message)

    def close(self):
        """Lets go of it: at the end of its socket it ends, once its last worker has."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._loop.forget(self._errors)
            self._socket.close()
            os.close(self._errors)
            for _, descriptors in self._waiting:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._waiting = []


def environment(additions):
    """What an interpreter for workers starts with; `sys.path` is set from within."""
    return dict(
        os.environ, **{name: value for name, value in (additions or {}).items() if name != "PYTHONPATH"}
    )


def interpreter_environment(env):
    """The variables that a process reads once, when it starts."""
    fixed = ("PYTHON", "LC_", "LD_", "DYLD_", "MALLOC_")
    return {
        name: value for name, value in env.items() if name.startswith(fixed) or name in ("LANG", "LANGUAGE")
    }

"""The runner: one process on a machine that does what the engine says, over its stdin and stdout.

One loop reads frames, starts what they ask for and sends back what comes of it; it never blocks on a slow end.
When the engine's end closes, everything that was started here is killed. Knows nothing of pytest.
"""

import fcntl
import json
import os
import select
import signal
import struct
import sys
import time
from collections import deque
from heapq import heappop, heappush

PROTOCOL = 1
MAGIC = b"\0cloudist-runner 1\n"
FRAME_LIMIT = 64 << 20
LENGTH = struct.Struct(">I")
PACKAGE = "_cloudist"


class ProtocolError(Exception):
    """The other end said something that this version doesn't know."""


def frame(header, blob=b""):
    text = json.dumps(header).encode("ascii")
    return LENGTH.pack(len(text) + 1 + len(blob)) + text + b"\n", blob


class Frames:
    """Takes bytes as they come and yields whole frames."""

    def __init__(self):
        self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data
        start, available = 0, len(self._buffer)
        try:
            while available - start >= 4:
                (length,) = LENGTH.unpack_from(self._buffer, start)
                if length > FRAME_LIMIT:
                    raise ProtocolError("a frame of %d bytes is too long" % length)
                end = start + 4 + length
                if end > available:
                    break
                newline = self._buffer.find(b"\n", start + 4, end)
                if newline < 0:
                    raise ProtocolError("a frame has no header")
                header = json.loads(self._buffer[start + 4 : newline].decode("utf-8"))
                blob = bytes(memoryview(self._buffer)[newline + 1 : end])
                start = end
                yield header, blob
        finally:
            if start:
                del self._buffer[:start]


class Loop:
    """Calls back when a descriptor is ready or a time has come."""

    def __init__(self):
        self._poll = select.poll()
        self._readers = {}
        self._writers = {}
        self._timers = []
        self._serial = 0
        self._running = True

    def on_readable(self, descriptor, callback):
        self._set(self._readers, descriptor, callback)

    def on_writable(self, descriptor, callback):
        self._set(self._writers, descriptor, callback)

    def forget(self, descriptor):
        self._set(self._readers, descriptor, None)
        self._set(self._writers, descriptor, None)

    def _set(self, table, descriptor, callback):
        if callback is None:
            if table.pop(descriptor, None) is None:
                return
        else:
            table[descriptor] = callback
        mask = 0
        if descriptor in self._readers:
            mask |= select.POLLIN
        if descriptor in self._writers:
            mask |= select.POLLOUT
        if mask:
            self._poll.register(descriptor, mask)
        else:
            self._poll.unregister(descriptor)

    def after(self, seconds, callback):
        self._serial += 1
        heappush(self._timers, (time.monotonic() + seconds, self._serial, callback))

    def stop(self):
        self._running = False

    def run(self):
        while self._running:
            wait = None
            if self._timers:
                wait = max(0.0, self._timers[0][0] - time.monotonic()) * 1000
            for descriptor, event in self._poll.poll(wait):
                if event & ~select.POLLOUT and descriptor in self._readers:
                    self._readers[descriptor]()
                if event & ~select.POLLIN and descriptor in self._writers:
                    self._writers[descriptor]()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heappop(self._timers)[2]()


class Outlet:
    """A descriptor to write to without waiting: what doesn't fit is kept in order and follows when it does."""

    HIGH, LOW = 4 << 20, 1 << 20

    def __init__(self, loop, descriptor, broken, drained=None, written=None):
        self.descriptor = descriptor
        self.size = 0
        self._loop = loop
        self._pieces = deque()
        self._broken = broken
        self._drained = drained
        self._written = written
        self._ending = False
        os.set_blocking(descriptor, False)

    @property
    def congested(self):
        return self.size > self.HIGH

    def send(self, *pieces):
        waiting = bool(self._pieces)
        for piece in pieces:
            if piece:
                self._pieces.append(memoryview(piece))
                self.size += len(piece)
        if not waiting:
            self._flush()

    def end(self):
        """Closes the descriptor once everything has been written."""
        self._ending = True
        if not self._pieces:
            self.close()

    def close(self):
        if self.descriptor is not None:
            self._loop.forget(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = None
            self._pieces.clear()
            self.size = 0

    def _flush(self):
        if self.descriptor is None:
            return self._pieces.clear()
        was_congested = self.congested
        try:
            while self._pieces:
                count = os.writev(self.descriptor, [self._pieces[i] for i in range(min(64, len(self._pieces)))])
                self._drop(count)
        except BlockingIOError:
            self._loop.on_writable(self.descriptor, self._flush)
        except OSError:
            self.close()
            return self._broken()
        else:
            self._loop.on_writable(self.descriptor, None)
            if self._ending:
                self.close()
        if was_congested and self.size < self.LOW or self.size == 0:
            if self._drained:
                self._drained()

    def _drop(self, count):
        self.size -= count
        if self._written:
            self._written(count)
        while count:
            first = self._pieces[0]
            if count < len(first):
                self._pieces[0] = first[count:]
                return
            count -= len(first)
            self._pieces.popleft()


class Intake:
    """The descriptors whose data goes on to the engine: none is read while the engine is behind."""

    def __init__(self, loop):
        self._loop = loop
        self._callbacks = {}
        self._resting = {}
        self._held = False

    def watch(self, descriptor, callback):
        os.set_blocking(descriptor, False)
        self._callbacks[descriptor] = callback
        if not self._held:
            self._loop.on_readable(descriptor, callback)

    def rest(self, descriptor, seconds):
        """Doesn't look at the descriptor for a while, so that what comes meanwhile is taken in one go."""
        callback = self._callbacks[descriptor]
        self._loop.on_readable(descriptor, None)
        self._resting[descriptor] = callback
        self._loop.after(seconds, lambda: self._wake(descriptor, callback))

    def _wake(self, descriptor, callback):
        if self._resting.get(descriptor) is callback:
            del self._resting[descriptor]
            if not self._held:
                self._loop.on_readable(descriptor, callback)

    def forget(self, descriptor):
        self._resting.pop(descriptor, None)
        if self._callbacks.pop(descriptor, None) is not None:
            self._loop.on_readable(descriptor, None)

    def hold(self):
        if not self._held:
            self._held = True
            for descriptor in self._callbacks:
                self._loop.on_readable(descriptor, None)

    def release(self):
        if self._held:
            self._held = False
            for descriptor, callback in self._callbacks.items():
                if descriptor not in self._resting:
                    self._loop.on_readable(descriptor, callback)


def read_some(descriptor, size=1 << 18):
    """What is there: None if nothing yet, b"" at the end."""
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return None
    except OSError:
        return b""


class Runner:
    def __init__(self, source, target):
        self.loop = Loop()
        self.intake = Intake(self.loop)
        self.outlet = Outlet(self.loop, target, broken=self.loop.stop, drained=self._drained)
        self.run_id = self.base = self.tree = None
        self.sources = {}
        self.processes = self._store = self._commands = self._pool = None
        self._source = source
        self._frames = Frames()
        self._idle = deque()
        os.set_blocking(source, False)
        self.loop.on_readable(source, self._read)

    def send(self, header, blob=b""):
        self.outlet.send(*frame(header, blob))
        if self.outlet.congested:
            self.intake.hold()

    def when_drained(self, callback):
        """Calls once, as soon as the engine has taken most of what was sent."""
        if self.outlet.congested:
            self._idle.append(callback)
        else:
            self.loop.after(0, callback)

    def _drained(self):
        self.intake.release()
        while self._idle and not self.outlet.congested:
            self._idle.popleft()()

    def error(self, stage, kind, message, **subject):
        self.send(dict(subject, t="error", stage=stage, kind=kind, message=message))

    def module(self, name):
        """One of the modules that came with `hello`."""
        full = "%s.%s" % (PACKAGE, name)
        if full not in sys.modules:
            module = sys.modules[full] = type(sys)(full)
            module.__package__ = PACKAGE
            exec(compile(self.sources[name], name + ".py", "exec"), module.__dict__)
        return sys.modules[full]

    def _read(self):
        data = read_some(self._source, 4 << 20)
        if data is None:
            return
        if not data:
            return self.loop.stop()
        try:
            for header, blob in self._frames.feed(data):
                self._handle(header, blob)
        except (ProtocolError, ValueError) as error:
            self.error("protocol", "malformed", str(error))
            self.loop.stop()

    def _handle(self, header, blob):
        kind = header.get("t")
        stage = STAGES.get(kind, "protocol")
        handler = getattr(self, "_on_" + str(kind).replace("-", "_"), None)
        if handler is None:
            raise ProtocolError("unknown message %r" % kind)
        if self.run_id is None and kind != "hello":
            raise ProtocolError("%r came before hello" % kind)
        try:
            handler(header, blob)
        except Exception as error:
            subject = {"id": header["id"]} if "id" in header else {}
            word = getattr(error, "kind", None)
            if word is None and isinstance(error, OSError):
                word = KINDS.get(type(error), "io")
            if word is None:
                sys.excepthook(*sys.exc_info())
                word = "internal"
            self.error(stage, word, "%s" % error or type(error).__name__, **subject)

    def _on_hello(self, header, blob):
        if header["protocol"] != PROTOCOL:
            raise ProtocolError("the engine speaks protocol %s, this runner %d" % (header["protocol"], PROTOCOL))
        self.run_id = header["run"]
        self.base = os.path.abspath(os.path.expanduser(header["base"]))
        self.sources = json.loads(blob.decode("utf-8"))
        os.makedirs(self.base, mode=0o700, exist_ok=True)
        self.send(
            {
                "t": "ready",
                "protocol": PROTOCOL,
                "pid": os.getpid(),
                "python": list(sys.version_info[:3]),
                "executable": sys.executable,
                "platform": sys.platform,
                "cpus": processors(),
                "memory": memory(),
                "home": os.path.expanduser("~"),
                "base": self.base,
            }
        )
        self.processes = self.module("processes").Processes(self.loop)
        self._commands = self.module("commands").Commands(self)

    @property
    def store(self):
        if self._store is None:
            self._store = self.module("store").Store(self.base, self.run_id)
        return self._store

    @property
    def pool(self):
        if self._pool is None:
            self._pool = self.module("pool").Pool(self)
        return self._pool

    def _on_snapshot(self, header, blob):
        import zlib

        reply, missing = self.store.begin(header["id"], zlib.decompress(blob))
        self.tree = reply["tree"]
        self.send(dict(reply, t="need"), json.dumps(missing).encode("ascii"))

    def _on_blob(self, header, blob):
        self.store.blob(header, blob)

    def _on_build(self, header, blob):
        reply = self.store.build(header["id"])
        self.tree = reply["tree"]
        self.send(dict(reply, t="built"))

    def _on_init(self, header, blob):
        self._commands.init(header)

    def _on_exec(self, header, blob):
        self._commands.execute(header)

    def _on_stdin(self, header, blob):
        self._commands.stdin(header, blob)

    def _on_signal(self, header, blob):
        self._commands.signal(header)

    def _on_fetch(self, header, blob):
        self._commands.fetch(header)

    def _on_prepare(self, header, blob):
        self.pool.prepare(header)

    def _on_start(self, header, blob):
        self.pool.start(header)

    def _on_spawn(self, header, blob):
        self.pool.spawn(header["worker"])

    def _on_run(self, header, blob):
        self.pool.run(header)

    def _on_recall(self, header, blob):
        self.pool.recall(header["worker"], header["count"])

    def _on_close(self, header, blob):
        self.pool.close(header["worker"])

    def _on_abort(self, header, blob):
        self.pool.abort(header["grace"])

    def serve(self):
        ending = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        for number in ending:
            signal.signal(number, end)
        try:
            self.loop.run()
        finally:
            for number in ending:
                signal.signal(number, signal.SIG_IGN)
            if self.processes is not None:
                self.processes.kill_all(self._pool.finish() if self._pool else None)
            if self._store is not None:
                self._store.close()


STAGES = {
    "snapshot": "snapshot",
    "blob": "snapshot",
    "build": "snapshot",
    "init": "init",
    "prepare": "start",
    "start": "start",
    "spawn": "start",
    "exec": "exec",
    "stdin": "exec",
    "signal": "exec",
    "fetch": "fetch",
}
KINDS = {FileNotFoundError: "missing", PermissionError: "permission", NotADirectoryError: "missing"}


def processors():
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def memory():
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def private(descriptor):
    """A duplicate that no program started from here can reach, out of the way of low numbers."""
    for lowest in (200, 100, 10):
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
    raise OSError("no descriptor is free")


def end(number, _frame):
    sys.exit(128 + number)


def main():
    source, target = private(0), private(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    os.close(nowhere)
    os.write(target, MAGIC)
    sys.modules[PACKAGE] = type(sys)(PACKAGE)
    sys.modules[PACKAGE + ".runner"] = sys.modules["__main__"]
    Runner(source, target).serve()


if __name__ == "__main__":
    main()

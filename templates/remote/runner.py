"""The runner: one process on a machine that does what the engine says, over its stdin and stdout.

One loop reads frames, has them served, and sends back what comes of it; it never blocks on a slow end.
When the engine's end closes, everything that was started here is killed. Knows nothing of pytest.
"""

import sys

sys.path[:] = [entry for entry in sys.path if entry]

import fcntl
import gc
import json
import os
import select
import signal
import struct
import time
import zlib
from collections import deque
from heapq import heappop, heappush

PROTOCOL = 1
MAGIC = b"\0cloudist-runner 1\n"
FRAME_LIMIT = 64 << 20
MOMENT = 0.012
LENGTH = struct.Struct(">I")
SET_PIPE_SIZE = 1031
USUAL, WIDE = 64 << 10, 1 << 20
# A frame longer than this is read into a buffer of its own, which then is its blob.
LARGE = 64 << 10
# So much is taken before anybody has looked at it.
AHEAD = 16 << 20
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
        self._large = self._rest = None

    def receive(self, descriptor):
        """The whole frames that come of what can be read at once. Raises EOFError at the end."""
        if self._rest is None:
            data = read_some(descriptor)
            if data == b"":
                raise EOFError
            yield from self.feed(data or b"")
            self._expect_large()
            return
        try:
            count = os.readv(descriptor, [self._rest])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            raise EOFError
        self._rest = self._rest[count:] if count < len(self._rest) else None
        if self._rest is None:
            whole, self._large = self._large, None
            newline = whole.find(b"\n")
            if newline < 0:
                raise ProtocolError("a frame has no header")
            header = json.loads(whole[:newline].decode("utf-8"))
            del whole[: newline + 1]
            yield header, whole
            yield from self.feed(b"")
            self._expect_large()

    def read_ahead(self, descriptor):
        """Takes what has come, for whoever will look at it. To be called while a frame is served."""
        while len(self._buffer) < AHEAD:
            data = read_some(descriptor, WIDE)
            if not data:
                return
            self._buffer += data

    def _expect_large(self):
        """What follows of a large frame won't be copied again and again as it grows."""
        begun = len(self._buffer)
        if begun >= 4:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > LARGE:
                self._large = bytearray(length)
                self._large[: begun - 4] = memoryview(self._buffer)[4:]
                self._rest = memoryview(self._large)[begun - 4 :]
                self._buffer = bytearray()

    def feed(self, data):
        self._buffer += data
        start = 0
        try:
            # More may come while a frame is served.
            while len(self._buffer) - start >= 4:
                (length,) = LENGTH.unpack_from(self._buffer, start)
                if length > FRAME_LIMIT:
                    raise ProtocolError("a frame of %d bytes is too long" % length)
                end = start + 4 + length
                if end > len(self._buffer):
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
    """A descriptor to write to without waiting: what doesn't fit is kept, and follows when it does."""

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
                count = os.writev(
                    self.descriptor, [self._pieces[i] for i in range(min(64, len(self._pieces)))]
                )
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


def resize(descriptor, size=WIDE):
    """Has a pipe hold more, where that is possible. OpenSSH keeps what doesn't fit in a buffer that it copies whole, with
    every packet that comes. All pipes of a user together have a limit, so this isn't for ever."""
    try:
        fcntl.fcntl(descriptor, SET_PIPE_SIZE, size)
    except OSError:
        pass


class Sources:
    """Makes the modules that came along importable, each when it is first needed."""

    def __init__(self, sources):
        self._sources = sources
        self._compiled = None

    def source(self, module):
        return self._sources[module]

    def compiled_in(self, directory, key):
        """From here on code comes from where an earlier runner left it."""
        from _cloudist.compiled import Compiled

        self._compiled = Compiled(directory, key, "runner")

    def keep(self):
        if self._compiled is not None:
            self._compiled.keep()

    def find_spec(self, name, path=None, target=None):
        package, _, module = name.rpartition(".")
        return type(sys.__spec__)(name, self) if package == PACKAGE and module in self._sources else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__.rpartition(".")[2]
        source, origin = self._sources[name], name + ".py"
        kept = self._compiled
        code = compile(source, origin, "exec") if kept is None else kept.code(name, source, origin)
        exec(code, module.__dict__)


class Runner:
    """The line to the engine, and what everything that is served here shares."""

    def __init__(self, source, target):
        self.loop = Loop()
        self.intake = Intake(self.loop)
        self.outlet = Outlet(self.loop, target, broken=self.loop.stop, drained=self._drained)
        self.run_id = self.base = self.tree = self.code = None
        self.sources = {}
        self._services = self._modules = None
        self._source = source
        self._frames = Frames()
        self._idle = deque()
        self._delayed = []
        self._is_reading = False
        os.set_blocking(source, False)
        self.loop.on_readable(source, self._read)

    def send(self, header, blob=b""):
        self.outlet.send(*self._delayed, *frame(header, blob))
        self._delayed.clear()
        if self.outlet.congested:
            self.intake.hold()

    def send_soon(self, header, blob=b""):
        """Sends what nobody waits for, together with what follows it if that comes within a moment."""
        if not self._delayed:
            self.loop.after(MOMENT, self._send_delayed)
        self._delayed += frame(header, blob)

    def _send_delayed(self):
        if self._delayed:
            self.outlet.send(*self._delayed)
            self._delayed.clear()

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

    def read_ahead(self):
        """Takes what has come from the engine while a message of its is worked on: OpenSSH's server copies what isn't taken."""
        if self._is_reading:
            self._frames.read_ahead(self._source)

    def contents_have_come(self):
        """From here on little comes at a time."""
        resize(self._source, USUAL)

    def error(self, stage, kind, message, **subject):
        self.send(dict(subject, t="error", stage=stage, kind=kind, message=message))

    def _read(self):
        self._is_reading = True
        ended = self.take(self._source, self._frames) == "end"
        self._is_reading = False
        if ended:
            self.loop.stop()

    def take(self, source, frames):
        """Serves what has come from the engine that way; says when that was all."""
        try:
            for header, blob in frames.receive(source):
                if self._services is not None:
                    self._services.serve(header, blob)
                elif header.get("t") == "hello":
                    self._greet(header, blob)
                else:
                    raise ProtocolError("%r came before hello" % header.get("t"))
        except EOFError:
            return "end"
        except (ProtocolError, ValueError) as error:
            self.error("protocol", "malformed", str(error))
            self.loop.stop()

    def learn(self, blob):
        """Takes modules, in time for what needs them."""
        self.sources.update(json.loads(zlib.decompress(blob).decode("utf-8")))

    def _greet(self, header, blob):
        if header["protocol"] != PROTOCOL:
            raise ProtocolError(
                "the engine speaks protocol %s, this runner %d" % (header["protocol"], PROTOCOL)
            )
        self.run_id = header["run"]
        self.base = os.path.abspath(os.path.expanduser(header["base"]))
        self.learn(blob)
        self._modules = Sources(self.sources)
        sys.meta_path.insert(0, self._modules)
        try:
            os.makedirs(self.base, mode=0o700, exist_ok=True)
        except OSError as error:
            raise ProtocolError("failed to make %s: %s" % (self.base, error.strerror)) from error
        self.code = [os.path.join(self.base, "code"), header["code"]]
        self._modules.compiled_in(*self.code)
        from _cloudist.services import Services, description
        from _cloudist.slots import contents_known

        known = contents_known(self.base)
        self.send(dict(description(), t="ready", protocol=PROTOCOL, base=self.base, known=known))
        self._services = Services(self)
        self.loop.after(0, self._services.anticipate)

    def run(self):
        ending = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
        for number in ending:
            signal.signal(number, end)
        try:
            self.loop.run()
        finally:
            for number in ending:
                signal.signal(number, signal.SIG_IGN)
            if self._services is not None:
                self._services.end()
                self._modules.keep()


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
    # A snapshot is a hundred thousand objects that stay: looking through them for garbage finds none.
    if hasattr(gc, "set_threshold"):
        gc.set_threshold(100_000, 50)
    source, target = private(0), private(1)
    resize(source)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    os.close(nowhere)
    os.write(target, MAGIC)
    package = sys.modules[PACKAGE] = type(sys)(PACKAGE)
    package.__path__ = []
    sys.modules[PACKAGE + ".runner"] = sys.modules["__main__"]
    Runner(source, target).run()


if __name__ == "__main__":
    main()
    # Everything has been written and ended; taking the interpreter apart would only take time.
    os._exit(0)

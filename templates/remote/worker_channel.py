"""A worker's three lines to the runner: tokens in, results out, and questions that are answered at once.

Survives whatever a test does to its process: forks stay silent, and an interrupt waits until a record is out.
Never reads a token before the worker can use it.
"""

import fcntl
import json
import os
import select
import signal
import struct

TOKEN = struct.Struct("<II")
RECORD = struct.Struct("<IB")
RESULT = struct.Struct("<IIIdddBI")
LENGTH = struct.Struct(">I")
RESULTS, LATE, EVENT = b"RLE"
NONE = 0xFFFFFFFF
INTERRUPT = (signal.SIGINT,)


class Channel:
    def __init__(self, tokens, results, control):
        self._tokens = tokens
        self._results = results
        self._control = control
        self._specs = {}
        self._process = os.getpid()
        self._poll = select.poll()
        self._poll.register(tokens, select.POLLIN)
        os.set_blocking(results, True)
        os.set_blocking(control, True)

    def adopt(self):
        """In a copy of the process that takes part in the run while the process itself waits."""
        self._process = os.getpid()

    def close(self):
        """In a copy of the process that has no part in the run."""
        for descriptor in (self._tokens, self._results, self._control):
            os.close(descriptor)

    def claim(self):
        """The next token, or None if there is none yet."""
        self._end_if_forked()
        try:
            data = os.read(self._tokens, TOKEN.size)
        except BlockingIOError:
            return None
        return TOKEN.unpack(data) if data else (NONE, 0)

    def wait(self):
        while True:
            token = self.claim()
            if token is not None:
                return token
            self._poll.poll()

    def result(self, kind, token, failed, told, body):
        """`told`: seconds since the last time, seconds of setup and of call, outcome, reruns."""
        self._record(kind, RESULT.pack(*token, failed, *told) + body)

    def event(self, kind, text):
        self._record(EVENT, ("%s\n%s" % (kind, text)).encode("ascii"))

    def _record(self, kind, body):
        self._write(self._results, RECORD.pack(len(body), kind) + body)

    def tell(self, header, blob=b""):
        text = dump(header).encode("ascii") + b"\n"
        self._write(self._control, LENGTH.pack(len(text) + len(blob)) + text + blob)

    def ask(self, header, blob=b""):
        self.tell(header, blob)
        while True:
            answer = self._receive()
            if answer.get("t") != "spec":
                return answer
            self._specs[answer["file"]] = answer["spec"]

    def spec(self, file):
        """How to reach a file that a token asks to collect; it was sent ahead of the token."""
        self._end_if_forked()
        while file not in self._specs:
            sent = self._receive()
            self._specs[sent["file"]] = sent["spec"]
        return self._specs.pop(file)

    def _receive(self):
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        return json.loads(self._read(length).decode("utf-8"))

    def _read(self, size):
        data = b""
        while len(data) < size:
            piece = os.read(self._control, size - len(data))
            if not piece:
                raise EOFError("the runner is gone")
            data += piece
        return data

    def _end_if_forked(self):
        """A test has forked and both copies have come back from it: one of them must not go on."""
        if os.getpid() != self._process:
            os._exit(0)

    def _write(self, descriptor, data):
        self._end_if_forked()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPT)
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, memoryview(data)[written:])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def private(descriptor):
    """A duplicate out of the way of tests that close or write whatever low descriptors they find."""
    for lowest in (200, 100, 10):
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
    return os.dup(descriptor)


_encode = json.JSONEncoder(separators=(",", ":"), default=repr).encode


def dump(value):
    """JSON of anything: what JSON can't hold becomes its repr, value by value."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode(plain(value, 0))


def plain(value, depth):
    if depth > 50:
        return repr(type(value))
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else repr(key): plain(item, depth + 1) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    try:
        return repr(value)
    except Exception:
        return "<unprintable %s>" % type(value).__name__

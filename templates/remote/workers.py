"""A worker as the runner sees it: its process, its queue, and what it says.

Keeps what is needed to say, at its sudden end, what it was running. Never looks into a report.
"""

import os
import socket
import struct
from time import monotonic

from .queues import NONE, Queue
from .runner import Frames, Outlet, frame, read_some

RECORD = struct.Struct("<IB")
RESULT = struct.Struct("<IIIdddBI")
RESULTS, LATE, EVENT = b"RLE"
# What several tests say within this time goes to the engine in one go; what is said after a silence goes at once.
LINGER, SILENCE = 0.008, 0.25
MERGED_BYTES = 4 << 20
STDERR_BYTES, STDERR_LINES = 1 << 14, 40
WITHHELD_BYTES = 1 << 18


class Worker:
    """One process that holds a pytest session, from the fork to its last word."""

    def __init__(self, pool, number, deadline=None):
        self.number = number
        self.pid = None
        self.up = self.said_last = self._heard_all = False
        self.queue = Queue()
        self._pool = pool
        self._deadline = deadline
        self._diary = pool.diary
        self._runner = pool.runner
        self._execute = {}
        self._collecting = None
        self._last = None
        self._stderr = b""
        self._withheld = []
        self._records = bytearray()
        self._frames = Frames()
        self._results, results = os.pipe()
        ours, control = socket.socketpair()
        self._source = ours.detach()
        forget = self._runner.intake.forget
        self._control = Outlet(self._runner.loop, self._source, broken=lambda: forget(self._source))
        self._outputs = {}
        theirs = [os.dup(self.queue.reader), results, control.detach()]
        for stream in (1, 2):
            reader, writer = os.pipe()
            self._outputs[reader] = stream
            theirs.append(writer)
        if deadline is not None:
            theirs.append(os.dup(deadline.descriptor))
        if pool.holds():
            theirs.append(os.dup(pool.life))
        self.descriptors = theirs
        self._lingered, self._last_read = False, 0.0
        self._runner.intake.watch(self._results, self._results_came)
        self._runner.intake.watch(self._source, self._read_control)
        for reader in self._outputs:
            self._runner.intake.watch(reader, lambda reader=reader: self._read_output(reader))

    def forked(self, pid):
        self.pid = pid
        if self._deadline is not None:
            self._deadline.arm(pid)

    def enqueue_file(self, file, execute):
        """The way to the file is there before the worker can ask for it: nothing has to be waited for."""
        self._execute[file] = execute
        self._control.send(*frame({"t": "spec", "file": file, "spec": self._pool.specs[file]}))
        self.queue.append([(file, NONE)])

    def _results_came(self):
        """Waits a moment for what follows, unless nothing will, or somebody watches slow tests end."""
        now = monotonic()
        if self._lingered or self.queue.nearly_empty() or now - self._last_read > SILENCE:
            self._read_results()
        else:
            self._lingered = True
            self._runner.intake.rest(self._results, LINGER)

    def _read_results(self):
        """Merges all that is there into as few frames as possible."""
        self._lingered, self._last_read = False, monotonic()
        if self._heard_all:
            return
        total = 0
        while total < MERGED_BYTES:
            data = read_some(self._results)
            if not data:
                break
            total += len(data)
            self._records += data
        if not total:
            if data == b"":
                self._heard_all = True
                self._runner.intake.forget(self._results)
                self._pool.fell_silent(self)
            return
        start, available = 0, len(self._records)
        tests, told, entries = [], [], []
        while available - start >= RECORD.size:
            length, kind = RECORD.unpack_from(self._records, start)
            end = start + RECORD.size + length
            if end > available:
                break
            body = bytes(memoryview(self._records)[start + RECORD.size : end])
            start = end
            if kind == RESULTS:
                file, index, failed, seconds, setup, call, outcome, reruns = RESULT.unpack_from(body)
                tests.append((file, index, failed, round(seconds, 6)))
                told.append((chr(outcome), round(setup, 6), round(call, 6), reruns))
                entries.append(body[RESULT.size :])
                self._last = (file, index)
                self.queue.finish((file, index))
            else:
                self._send_results(tests, told, entries)
                tests, told, entries = [], [], []
                self._pass_on(kind, body)
        del self._records[:start]
        self._send_results(tests, told, entries)

    def _send_results(self, tests, told, entries):
        if tests:
            if self._diary is not None:
                self._diary.ran(self, [test[:3] for test in tests], self._pool.specs, self._pool.names)
            header = {"t": "results", "worker": self.number, "tests": tests, "told": told}
            self._runner.send(header, b"[%b]" % b",".join(entries))

    def _pass_on(self, kind, body):
        if kind == LATE:
            file, index, failed, seconds, *_ = RESULT.unpack_from(body)
            header = {"t": "late", "worker": self.number, "file": file, "index": index, "failed": failed}
            header["seconds"] = round(seconds, 6)
            if failed and self._diary is not None:
                self._diary.failed_late(self, file, index)
            self._runner.send(header, body[RESULT.size :])
        else:
            name, _, blob = body.partition(b"\n")
            self._runner.send({"t": "event", "worker": self.number, "kind": name.decode("ascii")}, blob)

    def _read_control(self):
        data = read_some(self._source)
        if data:
            for header, blob in self._frames.feed(data):
                getattr(self, "_on_" + header["t"])(header, blob)
        elif data is not None:
            self._runner.intake.forget(self._source)

    def _on_up(self, header, blob):
        self.up = True
        self._runner.send(dict(header, worker=self.number))
        for stream, data in self._withheld:
            self._runner.send({"t": "output", "worker": self.number, "stream": stream}, data)
        self._withheld = []

    def _on_file(self, header, blob):
        """The worker has claimed a test of a file that it must collect first."""
        file = header["file"]
        self._collecting = file
        self._reply({"spec": self._pool.specs[file], "names": self._pool.names_of(file)})

    def _on_names(self, header, blob):
        self._reply({"names": self._pool.names_of(header["file"])})

    def _reply(self, header):
        self._control.send(*frame(header))

    def _on_collected(self, header, blob):
        file = header["file"]
        self._collecting = None
        if header["first"]:
            self.queue.finish((file, NONE))
            if self._diary is not None:
                self._diary.collected(self, file, self._pool.specs[file], header["tests"], header["errors"])
            if self._execute.pop(file, False):
                apart = {index for index, _ in header["apart"]}
                self.queue.insert(
                    [(file, index) for index in range(len(header["tests"])) if index not in apart]
                )
        self._reply({})
        # Something is on its way just now: what the first tests say goes with what follows them.
        self._last_read = monotonic()
        if not header["errors"] and not self.queue.nearly_empty():
            self._runner.send_soon(dict(header, worker=self.number), blob)
        else:
            self._runner.send(dict(header, worker=self.number), blob)

    def _on_held(self, header, blob):
        self._runner.processes.spare(header["pid"])

    def _on_missing(self, header, blob):
        for file, index in header["tests"]:
            self.queue.finish((file, index))
        self._runner.send(dict(header, worker=self.number))

    def _on_failed(self, header, blob):
        self._drain()
        printed = b"".join(data for _, data in self._withheld).decode("utf-8", "replace")
        message = "\n".join(part for part in (printed.strip(), header["message"]) if part)
        self.said_last = True
        self._runner.send({"t": "failed", "worker": self.number, "kind": header["kind"], "message": message})

    def _on_down(self, header, blob):
        self._drain()
        self.said_last = True
        self._runner.send(dict(header, worker=self.number), blob)

    def _drain(self):
        self._read_results()
        for reader in list(self._outputs):
            self._read_output(reader)

    def _read_output(self, reader):
        # What a test writes comes after the results of those before it.
        self._read_results()
        data = read_some(reader, 1 << 16)
        stream = self._outputs[reader]
        if not data:
            if data is not None:
                self._runner.intake.forget(reader)
            return
        if stream == 2:
            self._stderr = (self._stderr + data)[-STDERR_BYTES:]
        if self.said_last:
            return
        if self.up:
            self._runner.send({"t": "output", "worker": self.number, "stream": stream}, data)
        elif sum(len(piece) for _, piece in self._withheld) < WITHHELD_BYTES:
            self._withheld.append((stream, data))

    def ended(self, status):
        """The process is gone: sends what it still said, and how it died if it didn't say goodbye."""
        self._read_control()
        self._drain()
        if not self.said_last:
            claimed = self.queue.claimed()
            tests = [token for token in claimed if token[1] != NONE]
            files = [token[0] for token in claimed if token[1] == NONE]
            collecting = self._collecting
            if collecting is None and files and claimed[0][1] == NONE:
                collecting = files[0]
            running = list(tests[0]) if tests and collecting is None else None
            if running and self._diary is not None:
                self._diary.ran(self, [(*running, 1)], self._pool.specs, self._pool.names)
            header = {
                "t": "died",
                "worker": self.number,
                "pid": self.pid,
                "status": status,
                "running": running,
                "collecting": collecting,
                "last": list(self._last) if self._last else None,
                "stderr": last_lines(self._stderr),
            }
            told = b""
            if self._deadline is not None and self._deadline.struck is not None:
                header.update(self._deadline.verdict(tests))
                told = self._deadline.finish()
            self._runner.send(header, told)
        self._release()

    def _release(self):
        for descriptor in [self._results, self._source, *self._outputs]:
            self._runner.intake.forget(descriptor)
        for descriptor in [self._results, *self._outputs]:
            os.close(descriptor)
        if self._deadline is not None:
            self._deadline.close()
        if self._diary is not None:
            self._diary.close(self)
        self._control.close()
        self.queue.close()
        self._outputs = {}


def last_lines(data):
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-STDERR_LINES:])

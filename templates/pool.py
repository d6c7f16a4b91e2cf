"""The pytest workers of a machine: their processes, their queues, and the results they send.

Keeps what is needed to say, at any worker's sudden end, what it was running. Never looks into a report.
"""

import json
import os
import signal
import socket
import struct

from .processes import StartError
from .runner import Frames, Outlet, frame, read_some

RECORD = struct.Struct("<IB")
RESULT = struct.Struct("<IIId")
RESULTS, LATE, EVENT = b"RLE"
REST = 0.004
MERGED_BYTES = 4 << 20
STDERR_BYTES, STDERR_LINES = 1 << 14, 40
WITHHELD_BYTES = 1 << 18
KILL_AFTER = 5.0


class Worker:
    """One process that holds a pytest session, from the fork to its last word."""

    def __init__(self, pool, number):
        self.number = number
        self.pid = None
        self.up = self.said_last = False
        self.queue = pool.module("queues").Queue()
        self._pool = pool
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
        self.descriptors = theirs
        self._runner.intake.watch(self._results, self._read_results)
        self._runner.intake.watch(self._source, self._read_control)
        for reader in self._outputs:
            self._runner.intake.watch(reader, lambda reader=reader: self._read_output(reader))

    def enqueue_file(self, file, execute):
        self._execute[file] = execute
        self.queue.append([(file, self._pool.none)])

    def _read_results(self):
        """Merges all that is there into as few frames as possible."""
        total = 0
        while total < MERGED_BYTES:
            data = read_some(self._results)
            if not data:
                break
            total += len(data)
            self._records += data
        if not total:
            if data == b"":
                self._runner.intake.forget(self._results)
                self._pool.fell_silent(self)
            return
        start, available = 0, len(self._records)
        tests, entries = [], []
        while available - start >= RECORD.size:
            length, kind = RECORD.unpack_from(self._records, start)
            end = start + RECORD.size + length
            if end > available:
                break
            body = bytes(memoryview(self._records)[start + RECORD.size : end])
            start = end
            if kind == RESULTS:
                file, index, failed, seconds = RESULT.unpack_from(body)
                tests.append((file, index, failed, round(seconds, 6)))
                entries.append(body[RESULT.size :])
                self._last = (file, index)
                self.queue.finish((file, index))
            else:
                self._send_results(tests, entries)
                tests, entries = [], []
                self._pass_on(kind, body)
        del self._records[:start]
        self._send_results(tests, entries)
        self._runner.intake.rest(self._results, REST)

    def _send_results(self, tests, entries):
        if tests:
            header = {"t": "results", "worker": self.number, "tests": tests}
            self._runner.send(header, b"[%b]" % b",".join(entries))

    def _pass_on(self, kind, body):
        if kind == LATE:
            file, index, failed, _ = RESULT.unpack_from(body)
            header = {"t": "late", "worker": self.number, "file": file, "index": index, "failed": failed}
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
        """The worker has claimed a test or a file that it must collect first."""
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
        self._runner.send(dict(header, worker=self.number), blob)
        if header["first"]:
            self.queue.finish((file, self._pool.none))
            if self._execute.pop(file, False):
                self.queue.insert([(file, index) for index in range(len(header["tests"]))])
        self._reply({})

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
            tests = [token for token in claimed if token[1] != self._pool.none]
            files = [token[0] for token in claimed if token[1] == self._pool.none]
            collecting = self._collecting
            if collecting is None and files and claimed[0][1] == self._pool.none:
                collecting = files[0]
            running = list(tests[0]) if tests and collecting is None else None
            self._runner.send(
                {
                    "t": "died",
                    "worker": self.number,
                    "pid": self.pid,
                    "status": status,
                    "running": running,
                    "collecting": collecting,
                    "last": list(self._last) if self._last else None,
                    "stderr": last_lines(self._stderr),
                }
            )
        self._release()

    def _release(self):
        for descriptor in [self._results, self._source, *self._outputs]:
            self._runner.intake.forget(descriptor)
        for descriptor in [self._results, *self._outputs]:
            os.close(descriptor)
        self._control.close()
        self.queue.close()
        self._outputs = {}


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
            self.pid = pool.runner.processes.spawn(argv, env, "/", streams, self._exited, socket=theirs.fileno())
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
        modules = {name: text for name, text in pool.runner.sources.items() if name.startswith("worker_")}
        self._send(b"%08d" % len(source) + source)
        self.request({"modules": modules, "session": session})

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
        data = read_some(self._socket.fileno())
        if data:
            for header, _ in self._frames.feed(data):
                self._pool.heard(self, header)
        elif data is not None:
            self._loop.on_readable(self._socket.fileno(), None)

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


class Pool:
    def __init__(self, runner):
        self.runner = runner
        self.specs = {}
        self.none = self.module("queues").NONE
        self._names = {}
        self._workers = {}
        self._session = None
        self._count = 0
        self._zygote = None
        self._fits = False
        self._waiting = []
        self._aborting = False
        runner.processes.on_stranger = self._stranger_ended

    def module(self, name):
        return self.runner.module(name)

    def names_of(self, file):
        return [[index, nodeid, k] for index, (nodeid, k) in self._names.get(file, {}).items()]

    def prepare(self, header):
        """Starts importing pytest ahead of `start`, where that can be known to help."""
        python = header["python"]
        if self._zygote is not None or "/" in python and not python.startswith(("/", "~")):
            return
        try:
            self._zygote = Zygote(self, os.path.expanduser(python), environment(header.get("env")), None)
        except StartError:
            self._zygote = None

    def start(self, header):
        self._session = header["session"]
        self._count = header["count"]
        for number in header["workers"]:
            self.spawn(number)

    def spawn(self, number):
        worker = self._workers[number] = Worker(self, number)
        if self._aborting:
            self._end(worker)
        self._waiting.append(worker)
        if self._fits:
            self._fork_waiting()
        elif len(self._waiting) == 1:
            self._ask_zygote()

    def _ask_zygote(self):
        python = self._session["python"]
        if "/" in python:
            python = os.path.join(self._session["cwd"], os.path.expanduser(python))
        env = environment(self._session.get("env"))
        zygote = self._zygote
        if zygote and not zygote.broken and zygote.python == python and zygote.signature == interpreter_environment(env):
            return zygote.request({"t": "session", "session": self._described()})
        if zygote:
            zygote.close()
        try:
            self._zygote = Zygote(self, python, env, self._described())
        except StartError as error:
            self._zygote = None
            kind = {"missing": "python-missing"}.get(error.kind, error.kind)
            self._fail_waiting(kind, str(error))

    def _described(self):
        return dict(self._session, count=self._count, run=self.runner.run_id)

    def heard(self, zygote, header):
        kind = header["t"]
        if zygote is not self._zygote and kind in ("fit", "stale", "broken"):
            return
        if kind == "fit":
            self._fits = True
            self._fork_waiting()
        elif kind == "stale":
            zygote.broken = "stale"
            self._ask_zygote()
        elif kind == "broken":
            zygote.broken = header["kind"]
            if header["final"]:
                self._fail_waiting(header["kind"], header["message"])
            elif self._waiting:
                self._ask_zygote()
        elif kind == "forked":
            worker = self._workers[header["worker"]]
            worker.pid = header["pid"]
            self.runner.processes.adopt(worker.pid)
        elif kind == "not-forked":
            self._fail(self._workers[header["worker"]], "fork", header["message"])
        elif kind == "ended":
            self._ended(header["pid"], header["status"])

    def _fork_waiting(self):
        for worker in self._waiting:
            self._zygote.request({"t": "fork", "worker": worker.number}, worker.descriptors)
        self._waiting = []

    def _fail_waiting(self, kind, message):
        waiting, self._waiting = self._waiting, []
        for worker in waiting:
            for descriptor in worker.descriptors:
                os.close(descriptor)
            self._fail(worker, kind, message)

    def _fail(self, worker, kind, message):
        worker.said_last = True
        del self._workers[worker.number]
        worker.ended(0)
        self.runner.send({"t": "failed", "worker": worker.number, "kind": kind, "message": message})

    def _ended(self, pid, status):
        for worker in list(self._workers.values()):
            if worker.pid == pid:
                del self._workers[worker.number]
                self.runner.processes.end_group(pid)
                worker.ended(status)

    def _stranger_ended(self, pid, status):
        """A worker whose zygote has died is reaped here."""
        self._ended(pid, status)

    def fell_silent(self, worker):
        """Nobody holds the worker's end of the results any more."""
        zygote_gone = self._zygote is None or self._zygote.gone
        if worker.pid is not None and zygote_gone and not self.runner.processes.reaps_orphans:
            self._ended(worker.pid, -signal.SIGKILL)

    def zygote_gone(self, zygote, message):
        if zygote is not self._zygote:
            return
        self._zygote = None
        self._fits = False
        waiting = bool(self._waiting)
        for worker in list(self._workers.values()):
            if worker.pid is None and worker not in self._waiting:
                self._fail(worker, "start", message)
        if waiting:
            self._fail_waiting("start", message)

    def finish(self):
        """Lets the zygote end in order; tells which process that is."""
        if self._zygote is None:
            return None
        self._zygote.close()
        return self._zygote.pid

    def run(self, header):
        file = header["file"]
        self.specs[file] = header["spec"]
        worker = self._workers.get(header["worker"])
        tests = header.get("tests")
        if tests is not None:
            self._names.setdefault(file, {}).update((index, (nodeid, k)) for index, nodeid, k in tests)
        if worker is None:
            return
        if tests is None:
            worker.enqueue_file(file, bool(header["execute"]))
        else:
            worker.queue.append([(file, index) for index, _, _ in tests])

    def recall(self, number, count):
        worker = self._workers.get(number)
        taken = worker.queue.recall(count) if worker else []
        tests = [token for token in taken if token[1] != self.none]
        files = [token[0] for token in taken if token[1] == self.none]
        self.runner.send({"t": "recalled", "worker": number, "tests": tests, "files": files})

    def close(self, number):
        worker = self._workers.get(number)
        if worker is not None:
            self._end(worker)

    def _end(self, worker):
        worker.queue.append([self.module("queues").END])

    def abort(self, grace):
        self._aborting = True
        for worker in list(self._workers.values()):
            worker.queue.recall(1 << 30)
            self._end(worker)
        self.runner.loop.after(grace, self._interrupt)

    def _interrupt(self):
        self._signal_all(signal.SIGINT)
        self.runner.loop.after(KILL_AFTER, lambda: self._signal_all(signal.SIGKILL))

    def _signal_all(self, number):
        for worker in self._workers.values():
            if worker.pid is not None:
                self.runner.processes.signal_group(worker.pid, number)


BOOT = """\
import os, sys
sys.path[:] = [entry for entry in sys.path if entry]
def take(count, data=b""):
    while len(data) < count:
        data += os.read(3, count - len(data)) or os._exit(1)
    return data
exec(compile(take(int(take(8))), "worker.py", "exec"))
"""


def environment(additions):
    """What an interpreter for workers starts with; `sys.path` is set from within."""
    return dict(os.environ, **{name: value for name, value in (additions or {}).items() if name != "PYTHONPATH"})


def interpreter_environment(env):
    """The variables that a process reads once, when it starts."""
    fixed = ("PYTHON", "LC_", "LD_", "DYLD_", "MALLOC_")
    return {name: value for name, value in env.items() if name.startswith(fixed) or name in ("LANG", "LANGUAGE")}


def last_lines(data):
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-STDERR_LINES:])

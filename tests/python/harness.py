"""A machine as the engine sees it: the real runner behind two pipes, and the frames that go through them.

Boots exactly as over SSH. Holds no expectations: tests say what should come back.
"""

import functools
import hashlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "remote"
BOOTSTRAP = (
    'import os,zlib;f=lambda n,b=b"":b if len(b)>=n else f(n,b+(os.read(0,n-len(b))or os._exit(1)));'
    'exec(compile(zlib.decompress(f(int(f(8)))),"runner.py","exec"))'
)
MAGIC = b"\0cloudist-runner 1\n"
LENGTH = struct.Struct(">I")
PATIENCE = 30.0


@functools.cache
def digests():
    found = {}
    exec((TEMPLATES / "digests.py").read_text(), found)
    return found


def digest(data):
    """The name of a content."""
    return digests()["digest"](data)


def encoded(header, blob=b""):
    """A frame."""
    text = json.dumps(header).encode() + b"\n"
    return LENGTH.pack(len(text) + len(blob)) + text + blob


class Frame:
    def __init__(self, header, blob):
        self.header = header
        self.blob = blob

    def __getitem__(self, name):
        return self.header[name]

    def get(self, name, default=None):
        return self.header.get(name, default)

    def json(self):
        return json.loads(self.blob.decode("utf-8"))

    def __repr__(self):
        return "<%s %d bytes>" % (self.header, len(self.blob))


class Closed(Exception):
    """The runner's output has ended."""


def modules():
    names = [path.stem for path in TEMPLATES.glob("*.py") if path.stem not in ("runner", "steward")]
    return {name: (TEMPLATES / (name + ".py")).read_text() for name in names}


class Machine:
    def __init__(self, base, python="python3", env=None, run="run-1"):
        self.frames = []
        self.base = Path(base)
        self.run = run
        self._buffer = bytearray()
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("PYTEST", "COV_", "CLOUDIST"))
        }
        environment.update(env or {})
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", "exec %s -c '%s'" % (python, BOOTSTRAP)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=str(base),
            bufsize=0,
        )
        self._out = self.process.stdout.fileno()
        source = zlib.compress((TEMPLATES / "runner.py").read_bytes())
        self.process.stdin.write(b"%08d" % len(source) + source)
        while MAGIC not in self._buffer:
            self._fill(PATIENCE)
        del self._buffer[: self._buffer.index(MAGIC) + len(MAGIC)]

    def hello(self):
        text = json.dumps(modules()).encode()
        code = hashlib.sha256(text).hexdigest()
        hello = {"t": "hello", "protocol": 1, "run": self.run, "base": str(self.base), "code": code}
        self.send(hello, zlib.compress(text))
        self.ready = self.wait("ready")
        return self

    def send(self, header, blob=b""):
        self.write(encoded(header, blob))

    def write(self, data):
        data = memoryview(data)
        while data:
            data = data[self.process.stdin.write(data) :]

    def _fill(self, patience):
        if not select.select([self._out], [], [], patience)[0]:
            raise TimeoutError("nothing came within %.1f s; so far: %s" % (patience, self.frames[-8:]))
        data = os.read(self._out, 1 << 20)
        if not data:
            raise Closed("the runner ended with %s; so far: %s" % (self.process.wait(), self.frames[-8:]))
        self._buffer += data

    def receive(self, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while True:
            if len(self._buffer) >= 4:
                end = 4 + LENGTH.unpack_from(self._buffer)[0]
                if len(self._buffer) >= end:
                    header, _, blob = bytes(self._buffer[4:end]).partition(b"\n")
                    del self._buffer[:end]
                    frame = Frame(json.loads(header.decode("utf-8")), blob)
                    self.frames.append(frame)
                    return frame
            self._fill(max(0.0, deadline - time.monotonic()))

    def wait(self, t, patience=PATIENCE, **wanted):
        """The next frame of a type; everything before it is kept in `frames`."""
        deadline = time.monotonic() + patience
        while True:
            frame = self.receive(max(0.0, deadline - time.monotonic()))
            if frame["t"] == t and all(frame.get(key) == value for key, value in wanted.items()):
                return frame
            if frame["t"] in ("error", "failed") and t not in ("error", "failed"):
                raise AssertionError("the runner said %s" % frame)

    def all(self, t, **wanted):
        return [f for f in self.frames if f["t"] == t and all(f.get(k) == v for k, v in wanted.items())]

    def hang_up(self):
        self.process.stdin.close()
        return self.process.wait(PATIENCE)

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        self.process.stdout.close()

    def snapshot(self, files):
        """Sends files as a snapshot, all at once; returns the tree."""
        import hashlib

        records = []
        for path, content in sorted(files.items()):
            data = content if isinstance(content, bytes) else content.encode()
            records.append(b"f %d %s %s\0" % (len(data), digest(data), path.encode()))
        manifest = b"cloudist-manifest 2\n" + b"".join(records)
        snapshot = hashlib.sha256(manifest).hexdigest()
        contents = [
            content if isinstance(content, bytes) else content.encode()
            for _, content in sorted(files.items())
        ]
        frames = (
            ({"t": "snapshot", "id": snapshot, "key": "0123456789abcdef"}, zlib.compress(manifest)),
            ({"t": "pack", "files": list(range(len(contents))), "z": False}, b"".join(contents)),
            ({"t": "build", "id": snapshot}, b""),
        )
        self.write(b"".join(encoded(*frame) for frame in frames))
        return self.wait("built")["tree"]


class Project:
    """A directory of tests on the machine, and what the local pytest would have said about it."""

    def __init__(self, root, python):
        self.root = Path(root)
        self.python = python
        self.args = []
        self.env = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        self.files = []
        self.local = "/home/user/project"

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def session(self, **changes):
        session = {
            "python": self.python,
            "cwd": str(self.root),
            "sys_path": [str(self.root)],
            "args": self.args,
            "rootdir": str(self.root),
            "inifile": None,
            "env": self.env,
            "paths": [[str(self.root), self.local]],
            "mainargv": ["pytest"],
            "testrunuid": "uid-1",
            "workerinput": None,
        }
        inis = [self.root / name for name in ("pytest.ini", "tox.ini") if (self.root / name).exists()]
        if inis:
            session["inifile"] = str(inis[0])
        session.update(changes)
        return session

    def chain(self, path, packages_only):
        directories = [
            parent for parent in reversed(path.parents) if parent == self.root or self.root in parent.parents
        ]
        if packages_only:
            directories = [directory for directory in directories if (directory / "__init__.py").exists()]
        return [str(directory) for directory in directories]

    def spec(self, name, packages_only=False, select=None):
        path = self.root / name
        return {"path": str(path), "chain": self.chain(path, packages_only), "select": select}


class Run:
    """Workers on one machine that run a project's files; keeps what each test came to."""

    def __init__(self, machine, project, workers=1, **changes):
        self.machine = machine
        self.project = project
        self.names = {}
        self.packages_only = False
        machine.send(
            {
                "t": "start",
                "workers": list(range(workers)),
                "count": workers,
                "session": project.session(**changes),
            }
        )
        for _ in range(workers):
            self.info = machine.wait("up")["info"]
        self.packages_only = self.info["pytest"].startswith("7.")

    def file(self, number, name, worker=0, execute=True, tests=None, select=None, wait=True):
        spec = self.project.spec(name, self.packages_only, select)
        header = {
            "t": "run",
            "worker": worker,
            "file": number,
            "spec": spec,
            "tests": tests,
            "execute": execute,
        }
        self.machine.send(header)
        if tests is None and wait:
            collected = self.machine.wait("collected", file=number)
            self.names[number] = collected["tests"]
            return collected

    def again(self, number, name, indices, worker):
        """Has tests run by name, on a worker that may not know the file."""
        self.file(number, name, worker, tests=[[index, *self.names[number][index]] for index in indices])

    def close(self, worker=0):
        self.machine.send({"t": "close", "worker": worker, "interrupt": False})
        return self.machine.wait("down", worker=worker)

    def results(self, count):
        """Waits until that many tests are finished."""
        while len(self.tests()) < count:
            self.machine.receive()
        return self.tests()

    def finish(self, count):
        """Waits for the tests and ends the session, so that no teardown report is missing."""
        self.results(count)
        self.close()
        return self.tests()

    def tests(self):
        """Every finished test so far: (file, index) and what its reports said, late ones included."""
        found = {}
        for frame in self.machine.frames:
            if frame["t"] == "results":
                for (file, index, failed, seconds), entry in zip(frame["tests"], frame.json()):
                    assert (file, index) not in found
                    found[file, index] = Outcome(frame["worker"], failed, seconds, entry)
            elif frame["t"] == "late":
                found[frame["file"], frame["index"]].add(frame["failed"], frame.json())
        return found

    def by_name(self):
        return {outcome.name: outcome for outcome in self.tests().values()}


class Outcome:
    def __init__(self, worker, failed, seconds, entry):
        self.worker = worker
        self.failed = failed
        self.seconds = seconds
        self.nodeid = entry["nodeid"]
        self.entry = entry
        self.late = False
        self.reports = [report(each) for each in entry["reports"]]

    @property
    def name(self):
        return self.nodeid.partition("::")[2]

    def add(self, failed, entry):
        assert entry["nodeid"] == self.nodeid
        self.late = True
        self.failed += failed
        self.reports += [report(each) for each in entry["reports"]]

    def when(self, when):
        return next(each for each in self.reports if each["when"] == when)

    @property
    def outcomes(self):
        return [(each["when"], each["outcome"]) for each in self.reports]

    @property
    def passed(self):
        return self.outcomes == [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]

    def text(self, when="call"):
        """All that the report of a phase would show."""
        return json.dumps(self.when(when))


def report(value):
    if isinstance(value, list):
        return {"when": value[0], "duration": value[1], "outcome": "passed", "short": True, "sections": []}
    return value


def pythons():
    """The worker interpreters to test with."""
    given = os.environ.get("CLOUDIST_TEST_PYTHONS")
    return given.split(":") if given else [sys.executable]

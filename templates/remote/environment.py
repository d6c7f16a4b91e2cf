"""The Python environment of a run: found if this machine has it, else built by a forked keeper.

Answers a request for an environment that is there without waiting for anything; passes on what a build prints.
Never builds itself, and never writes down what `access` holds.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
import zlib

from .commands import PIECE, TAIL_BYTES, TAIL_LINES, prune
from .runner import read_some

KEPT = 8


class DamagedFile(Exception):
    kind = "environment"


def key_of(request):
    """Everything that decides what the environment holds; secrets have no part in it."""
    here = [platform.system(), platform.machine(), list(platform.libc_ver())]
    text = json.dumps([request["decisive"], here], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def system_key(request):
    return hashlib.sha256(json.dumps(request["system"], sort_keys=True).encode("utf-8")).hexdigest()[:32]


class Places:
    """Where things lie below the machine's cloudist directory."""

    def __init__(self, base, request):
        self.base = base
        self.home = os.path.join(base, "environments")
        self.wheels = os.path.join(base, "wheels")
        key = key_of(request)
        self.environment = os.path.join(self.home, key)
        self.stamp = os.path.join(self.environment, "cloudist.json")
        self.lock = os.path.join(self.home, key + ".lock")
        wanted = any(request["system"].values())
        self.system = os.path.join(base, "system-" + system_key(request)) if wanted else None

    def found(self):
        """What was told of the environment when it was built, if it is whole."""
        try:
            with open(self.stamp) as file:
                told = json.load(file)
        except (OSError, ValueError):
            return None
        return told if os.access(told["python"], os.X_OK) else None

    def system_ready(self):
        return self.system is None or os.path.exists(self.system)


class Environments:
    def __init__(self, runner):
        self.runner = runner
        self._held = {}
        self._arriving = None

    def request(self, blob):
        request = json.loads(zlib.decompress(blob).decode("utf-8"))
        places = Places(self.runner.base, request)
        os.makedirs(places.home, mode=0o700, exist_ok=True)
        if request.get("files") is not None:
            lacking = [file for file in request["files"] if not os.path.exists(self._file(file))]
            if lacking:
                return self.runner.send({"t": "env-need", "what": "files", "lacking": lacking})
        if places.system_ready() and request["decisive"]["how"] not in ("existing", "none"):
            if self._hold(places.lock):
                told = places.found()
                if told:
                    os.utime(places.stamp)
                    return self.done(dict(told, cached=True), 0.0)
                self._release(places.lock)
        Build(self, places, request)

    def file(self, header, blob):
        """A piece of a file that the machine lacks; whole files alone get their names."""
        path = self._file(header)
        if header["offset"] == 0:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._arriving = (open(path + ".partial", "wb"), hashlib.sha256())
        file, digest = self._arriving
        file.write(blob)
        digest.update(blob)
        if header["offset"] + len(blob) == header["size"]:
            file.close()
            if digest.hexdigest() != header["sha256"]:
                raise DamagedFile("%s arrived damaged" % header["name"])
            os.rename(path + ".partial", path)

    def _file(self, file):
        name = os.path.basename(file["name"])
        if not all(letter in "0123456789abcdef" for letter in file["sha256"]) or not name:
            raise DamagedFile("a file has no proper name")
        return os.path.join(self.runner.base, "wheels", file["sha256"], name)

    def _hold(self, lock):
        """Keeps an environment from being pruned while this runner lives; false while it is being built."""
        if lock not in self._held:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._held[lock] = descriptor
        return True

    def _release(self, lock):
        os.close(self._held.pop(lock))

    def finish(self, places, report, seconds):
        if report["status"] == "done" and report.get("own"):
            self._hold(places.lock)
        if report["status"] == "need":
            return self.runner.send({"t": "env-need", "what": "wheelhouse", "machine": report["machine"]})
        self.done(report, seconds)

    def done(self, report, seconds):
        reply = {
            "t": "env-done",
            "status": 0 if report.get("status", "done") == "done" else 1,
            "python": report.get("python"),
            "cached": report.get("cached", False),
            "seconds": round(seconds, 3),
            "log": report.get("log", ""),
            "tail": report.get("tail", ""),
        }
        found = json.dumps(report.get("found")).encode("ascii")
        self.runner.send(reply, found)


class Build:
    """One build: the keeper's output on its way to the log and the engine, and its report at the end."""

    def __init__(self, environments, places, request):
        self._environments, self._places = environments, places
        self._runner = environments.runner
        self._begun = time.monotonic()
        self._tail = b""
        logs = os.path.join(self._runner.base, "logs")
        os.makedirs(logs, exist_ok=True)
        prune(logs)
        self._log = os.path.join(logs, "init-environment-%s.log" % self._runner.run_id)
        self._file = open(self._log, "ab", buffering=0)
        self._output, output = os.pipe()
        self._report, report = os.pipe()

        def keeper():
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(report, 3, inheritable=False)
            os.closerange(4, 4096)
            from .environment_build import keep

            told = keep(places, request)
            with os.fdopen(3, "wb") as file:
                file.write(json.dumps(told).encode("ascii"))
            return 0

        self._runner.processes.fork(keeper, self._done)
        os.close(output)
        os.close(report)
        self._told = b""
        self._runner.intake.watch(self._output, self._pump)
        self._runner.intake.watch(self._report, self._hear)

    def _pump(self):
        data = read_some(self._output, 1 << 16)
        if data:
            self._file.write(data)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._runner.send({"t": "env-output"}, data)
        elif data is not None:
            self._runner.intake.forget(self._output)
        return data

    def _hear(self):
        data = read_some(self._report)
        if data:
            self._told += data
        elif data is not None:
            self._runner.intake.forget(self._report)
        return data

    def _done(self, status):
        budget = PIECE
        while budget > 0:
            data = self._pump()
            if not data:
                break
            budget -= len(data)
        while self._hear():
            pass
        for descriptor in (self._output, self._report):
            self._runner.intake.forget(descriptor)
            os.close(descriptor)
        self._file.close()
        try:
            report = json.loads(self._told.decode("utf-8"))
        except ValueError:
            report = {"status": "failed"}
        tail = self._tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:]
        report.update(log=self._log, tail="\n".join(tail))
        self._environments.finish(self._places, report, time.monotonic() - self._begun)


def prune_environments(home, keep):
    """Removes the environments that were longest not used, but none that a run holds."""
    dated = []
    for name in os.listdir(home):
        path = os.path.join(home, name)
        if os.path.isdir(path) and path != keep:
            stamp = os.path.join(path, "cloudist.json")
            dated.append((os.path.getmtime(stamp) if os.path.exists(stamp) else 0.0, path))
    for _, path in sorted(dated, reverse=True)[KEPT - 1 :]:
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(descriptor)

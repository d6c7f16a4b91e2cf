"""Commands on the machine: the init command, whatever `exec` asks for, and the files that come back.

Starts them, pumps their bytes both ways without ever waiting for either end, and tells how they ended.
Never touches pytest workers.
"""

import fcntl
import json
import os
import signal
import stat
import time

from .runner import Outlet, read_some

PIECE = 1 << 20
TAIL_BYTES, TAIL_LINES = 1 << 13, 40
KEPT_LOGS = 20


class Command:
    """A running command: its group, its stdin while that is open, and its two output streams."""

    def __init__(self, commands, number, header):
        self._runner = commands.runner
        self._commands = commands
        self._number = number
        self._streams = {}
        self.stdin = None
        given, held = [], []
        try:
            if header.get("stdin"):
                reader, writer = os.pipe()
                given.append(reader)
                held.append(writer)
            else:
                given.append(os.open(os.devnull, os.O_RDONLY))
            for _ in (1, 2):
                reader, writer = os.pipe()
                given.append(writer)
                held.append(reader)
            argv = header.get("argv") or ["/bin/sh", "-c", header["shell"]]
            cwd = commands.directory(header.get("cwd"))
            env = environment(header, cwd)
            self.group = self._runner.processes.spawn(argv, env, cwd, given, self._exited)
        except BaseException:
            for descriptor in held:
                os.close(descriptor)
            raise
        finally:
            for descriptor in given:
                os.close(descriptor)
        if header.get("stdin"):
            taken = self._taken if header.get("account") else None
            self.stdin = Outlet(self._runner.loop, held.pop(0), broken=lambda: None, written=taken)
        for stream, descriptor in zip((1, 2), held):
            self._streams[descriptor] = stream
            self._runner.intake.watch(descriptor, lambda descriptor=descriptor: self._pump(descriptor))

    def _taken(self, size):
        self._runner.send({"t": "stdin-taken", "id": self._number, "size": size})

    def _pump(self, descriptor):
        data = read_some(descriptor, 1 << 16)
        if data:
            stream = self._streams[descriptor]
            self._runner.send({"t": "output", "id": self._number, "stream": stream}, data)
        elif data is not None:
            self._close(descriptor)
        return data

    def _close(self, descriptor):
        self._runner.intake.forget(descriptor)
        del self._streams[descriptor]
        os.close(descriptor)

    def _exited(self, status):
        """Sends what the command itself wrote; what its leftovers write from now on is thrown away."""
        for descriptor in list(self._streams):
            budget = PIECE
            while budget > 0 and descriptor in self._streams:
                data = self._pump(descriptor)
                if not data:
                    break
                budget -= len(data)
            if descriptor in self._streams:
                self._runner.intake.forget(descriptor)
                self._discard(descriptor)
        if self.stdin is not None:
            self.stdin.close()
        self._commands.ended(self._number)
        self._runner.send({"t": "exited", "id": self._number, "status": status})

    def _discard(self, descriptor):
        def swallow():
            if read_some(descriptor) == b"":
                self._runner.loop.on_readable(descriptor, None)
                os.close(descriptor)

        self._runner.loop.on_readable(descriptor, swallow)


class Init:
    """The init command of a tree. A forked keeper waits for the tree's lock, so that the loop needn't."""

    def __init__(self, commands, header):
        self._runner = commands.runner
        self._begun = time.monotonic()
        self._tail = b""
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in header["key"])[:80]
        cwd = commands.directory(header.get("cwd"))
        place = os.path.join(self._runner.tree or cwd, ".cloudist-init")
        logs = os.path.join(self._runner.base, "logs")
        os.makedirs(place, exist_ok=True)
        os.makedirs(logs, exist_ok=True)
        prune(logs)
        self._log = os.path.join(logs, "init-%s-%s.log" % (name[:16], self._runner.run_id))
        self._file = open(self._log, "ab", buffering=0)
        self._output, output = os.pipe()
        self._report, report = os.pipe()

        def keeper():
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(report, 3, inheritable=False)
            os.closerange(4, 4096)
            return keep(place, name, header["command"], environment(header, cwd), cwd, self._log)

        self._runner.processes.fork(keeper, self._done)
        os.close(output)
        os.close(report)
        self._runner.intake.watch(self._output, self._pump)

    def _pump(self):
        data = read_some(self._output, 1 << 16)
        if data:
            self._file.write(data)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._runner.send({"t": "init-output"}, data)
        elif data is not None:
            self._runner.intake.forget(self._output)
        return data

    def _done(self, status):
        budget = PIECE
        while budget > 0:
            data = self._pump()
            if not data:
                break
            budget -= len(data)
        self._runner.intake.forget(self._output)
        os.close(self._output)
        self._file.close()
        os.set_blocking(self._report, False)
        told = read_some(self._report)
        os.close(self._report)
        report = (
            json.loads(told.decode("utf-8"))
            if told
            else {"status": status or 1, "cached": False, "log": self._log}
        )
        tail = self._tail
        if report["cached"]:
            os.unlink(self._log)
            tail = b""
        elif report.get("message"):
            tail += report["message"].encode("utf-8")
        reply = {
            "t": "init-done",
            "status": report["status"],
            "cached": report["cached"],
            "log": report["log"],
        }
        reply["seconds"] = round(time.monotonic() - self._begun, 3)
        reply["tail"] = "\n".join(tail.decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
        self._runner.send(reply)


def keep(place, name, command, env, cwd, log):
    """The keeper's life: waits for the lock, runs the command unless its stamp is there, stamps success."""
    stamp = os.path.join(place, name)
    lock = os.open(os.path.join(place, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with open(stamp) as file:
            report = {"status": 0, "cached": True, "log": file.read()}
    except FileNotFoundError:
        report = {"cached": False, "log": log}
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(cwd)
                os.execve("/bin/sh", ["/bin/sh", "-c", command], env)
            except OSError as error:
                os.write(
                    2,
                    ("failed to start the init command in %s: %s\n" % (cwd, error.strerror)).encode("utf-8"),
                )
            finally:
                os._exit(127)
        status = os.waitpid(pid, 0)[1]
        report["status"] = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if status == 0:
            with open(stamp + ".new", "w") as file:
                file.write(log)
            os.rename(stamp + ".new", stamp)
    os.write(3, json.dumps(report).encode("ascii"))
    return 0


class Fetch:
    """Sends the files that match, a piece at a time, as fast as the engine takes them."""

    def __init__(self, commands, header):
        self._runner = commands.runner
        self._number = header["id"]
        self._directory = commands.directory(header.get("cwd"))
        self._pieces = self._read(matching(self._directory, header["globs"]))
        self._count = 0
        self._step()

    def _step(self):
        for _ in range(8):
            try:
                reply, data = next(self._pieces)
            except StopIteration:
                return self._runner.send({"t": "fetched", "id": self._number, "count": self._count})
            self._runner.send(reply, data)
            if self._runner.outlet.congested:
                break
        self._runner.when_drained(self._step)

    def _read(self, paths):
        for path in paths:
            try:
                with open(path, "rb") as file:
                    self._count += 1
                    yield from self._read_file(path, file)
            except OSError as error:
                message = "failed to read %s: %s" % (os.fsdecode(path), error.strerror)
                yield {
                    "t": "error",
                    "stage": "fetch",
                    "id": self._number,
                    "kind": "io",
                    "message": message,
                }, b""

    def _read_file(self, path, file):
        status = os.fstat(file.fileno())
        relative = os.path.relpath(path, self._directory)
        reply = {
            "t": "fetched-file",
            "id": self._number,
            "path": relative.encode("utf-8", "backslashreplace").decode("utf-8"),
            "mode": stat.S_IMODE(status.st_mode),
            "size": status.st_size,
        }
        offset, data = 0, file.read(PIECE)
        while True:
            following = file.read(PIECE) if len(data) == PIECE else b""
            yield dict(reply, offset=offset, last=not following), data
            if not following:
                return
            offset += len(data)
            data = following


def matching(directory, globs):
    """The regular files that the globs name, each once; a directory stands for everything below it."""
    import glob

    seen = set()
    for pattern in globs:
        for match in sorted(glob.iglob(os.path.join(glob.escape(directory), pattern), recursive=True)):
            if os.path.isdir(match):
                found = (os.path.join(at, name) for at, _, names in os.walk(match) for name in sorted(names))
            else:
                found = (match,)
            for path in found:
                path = os.path.normpath(path)
                if path not in seen and os.path.isfile(path):
                    seen.add(path)
                    yield path


def prune(logs):
    """Leaves room for one more log."""
    dated = []
    with os.scandir(logs) as entries:
        for entry in entries:
            if entry.name.startswith("init-"):
                dated.append((entry.stat().st_mtime, entry.path))
    for _, path in sorted(dated, reverse=True)[KEPT_LOGS - 1 :]:
        os.unlink(path)


def environment(header, cwd):
    """What a command starts with; the run's interpreter is found first if it was given with a directory."""
    env = dict(os.environ, **(header.get("env") or {}))
    python = header.get("python") or ""
    if "/" in python:
        directory = os.path.dirname(os.path.join(cwd, os.path.expanduser(python)))
        env["PATH"] = os.pathsep.join(part for part in (directory, env.get("PATH")) if part)
        if os.path.exists(os.path.join(directory, os.pardir, "pyvenv.cfg")):
            env["VIRTUAL_ENV"] = os.path.dirname(os.path.normpath(directory))
    return env


class Commands:
    def __init__(self, runner):
        self.runner = runner
        self._running = {}

    def directory(self, cwd):
        """Where a command runs: as told, relative to the tree, or else where the project's root is in it."""
        tree = self.runner.tree
        home = os.path.expanduser("~")
        if cwd:
            return os.path.normpath(os.path.join(tree or home, os.path.expanduser(cwd)))
        if tree is None:
            return home
        first = [name for name in os.listdir(tree) if name.startswith("0-")]
        return os.path.join(tree, first[0]) if first else tree

    def init(self, header):
        Init(self, header)

    def execute(self, header):
        self._running[header["id"]] = Command(self, header["id"], header)

    def ended(self, number):
        self._running.pop(number, None)

    def stdin(self, header, blob):
        command = self._running.get(header["id"])
        if command is None or command.stdin is None or command.stdin.descriptor is None:
            return
        command.stdin.send(blob)
        if header.get("eof"):
            command.stdin.end()

    def signal(self, header):
        command = self._running.get(header["id"])
        if command is not None:
            number = getattr(signal, "SIG" + header["signal"])
            self.runner.processes.signal_group(command.group, number)

    def fetch(self, header):
        Fetch(self, header)

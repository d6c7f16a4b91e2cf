"""The zygote: imports pytest once in the worker interpreter, then forks a worker whenever the runner asks.

Stays single-threaded and imports nothing of the project, so that every worker starts as a fresh interpreter
would. Never runs a test itself.
"""

import atexit
import errno
import fcntl
import gc
import importlib
import importlib.machinery
import json
import os
import select
import signal
import socket
import struct
import sys

PACKAGE = "_cloudist"
LENGTH = struct.Struct(">I")
OLDEST_PYTEST = (7, 0)
IMPORTED_BY_EVERY_SESSION = ("faulthandler", "pdb")


class Link:
    """The socket to the runner: frames, with descriptors beside them."""

    def __init__(self, descriptor):
        self._socket = socket.socket(fileno=fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 100))
        os.close(descriptor)
        self._buffer = b""
        self.descriptors = []

    def fileno(self):
        return self._socket.fileno()

    def close(self):
        self._socket.close()

    def send(self, header):
        text = json.dumps(header).encode("ascii") + b"\n"
        self._socket.sendall(LENGTH.pack(len(text)) + text)

    def receive(self):
        """Reads once and returns the frames that are whole, or None at the end."""
        data, ancillary, _, _ = self._socket.recvmsg(1 << 18, socket.CMSG_SPACE(4 * 64))
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.descriptors += struct.unpack("%di" % (len(rights) // 4), rights[: len(rights) // 4 * 4])
        if not data:
            return None
        self._buffer += data
        frames = []
        while len(self._buffer) >= 4:
            end = 4 + LENGTH.unpack_from(self._buffer)[0]
            if end > len(self._buffer):
                break
            frames.append(json.loads(self._buffer[4:end].decode("utf-8")))
            self._buffer = self._buffer[end:]
        return frames


class Zygote:
    def __init__(self, link):
        self._link = link
        self._workers = set()
        self._session = self._modules = None
        self._paths = None
        self._pytest = None
        self._basetemp = None
        self._woken, waker = os.pipe()
        for descriptor in (self._woken, waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self):
        """Returns what a forked worker is to do; the zygote itself never returns."""
        poll = select.poll()
        poll.register(self._link.fileno(), select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._woken:
                    self._reap()
                    continue
                frames = self._link.receive()
                if frames is None:
                    self._end()
                for header in frames:
                    body = getattr(self, "_on_" + header.get("t", "boot"))(header)
                    if body is not None:
                        return body

    def _on_boot(self, header):
        self._modules = install(header["modules"])
        if header["code"] is not None:
            self._modules.compiled_in(*header["code"])
        paths = importlib.import_module(PACKAGE + ".worker_paths")
        self._paths = paths.InterpreterPaths()
        session = header["session"]
        if session is not None:
            self._adopt(session)
        problem = self._import_pytest()
        if problem:
            self._link.send(dict(problem, t="broken", final=session is not None))
        elif session is not None:
            self._preload()

    def _preload(self):
        """Imports what workers needn't import, each for itself."""
        names = self._session.get("preload")
        if names:
            module = importlib.import_module(PACKAGE + ".worker_preload")
            try:
                for name, reason in module.preload(names, self._paths):
                    self._link.send({"t": "left", "module": name, "reason": reason})
            except module.Spoilt as error:
                return self._link.send({"t": "spoilt", "module": error.module, "reason": error.reason})
            gc.freeze()
        self._link.send({"t": "fit"})

    def _import_pytest(self):
        """Imports pytest and its own plugins, none of anybody else's."""
        try:
            import pytest
        except ModuleNotFoundError as error:
            kind = "pytest-missing" if error.name == "pytest" else "pytest-broken"
            return {"kind": kind, "message": "%s: %s (%s)" % (type(error).__name__, error, sys.executable)}
        except Exception as error:
            return {
                "kind": "pytest-broken",
                "message": "%s: %s (%s)" % (type(error).__name__, error, sys.executable),
            }
        if tuple(int(part) for part in pytest.__version__.split(".")[:2]) < OLDEST_PYTEST:
            oldest = "%d.%d" % OLDEST_PYTEST
            message = "pytest %s or later is needed, %s has %s" % (oldest, sys.executable, pytest.__version__)
            return {"kind": "pytest-too-old", "message": message}
        from _pytest.config import default_plugins

        for name in default_plugins:
            importlib.import_module("_pytest." + name)
        for name in IMPORTED_BY_EVERY_SESSION:
            importlib.import_module(name)
        importlib.import_module(PACKAGE + ".worker_process")
        gc.freeze()
        self._pytest = pytest
        return None

    def _on_session(self, header):
        session = header["session"]
        reason = self._paths.misfit(session["sys_path"], session["paths"])
        if reason:
            self._link.send({"t": "stale", "reason": reason})
        else:
            self._adopt(session)
            self._preload()

    def _adopt(self, session):
        self._session = session
        session["environment_path"] = self._paths.apply(session["sys_path"], session["paths"])

    def _on_fork(self, header):
        count = header["descriptors"]
        descriptors, self._link.descriptors = self._link.descriptors[:count], self._link.descriptors[count:]
        if self._basetemp is None:
            self._basetemp = importlib.import_module(PACKAGE + ".worker_process").make_basetemp()
        try:
            pid = os.fork()
        except OSError as error:
            self._link.send({"t": "not-forked", "worker": header["worker"], "message": error.strerror})
            pid = None
        if pid == 0:
            return lambda: self._become(header["worker"], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if pid is not None:
            self._workers.add(pid)
            self._link.send({"t": "forked", "worker": header["worker"], "pid": pid})
            self._modules.keep()

    def _become(self, number, descriptors):
        importlib.import_module(PACKAGE + ".worker_garbage").thaw_when_looked_at()
        gc.enable()
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._link.close()
        os.close(self._woken)
        private = importlib.import_module(PACKAGE + ".worker_channel").private
        own = descriptors[:3] + descriptors[5:]
        tokens, results, control, *further = [private(descriptor) for descriptor in own]
        for descriptor in own:
            os.close(descriptor)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        for target, descriptor in enumerate((nowhere, *descriptors[3:5])):
            os.dup2(descriptor, target)
            os.close(descriptor)
        module = importlib.import_module(PACKAGE + ".worker_process")
        channel = module.Channel(tokens, results, control)
        if self._session.get("preload"):
            importlib.import_module(PACKAGE + ".worker_preload").forked()
        return module.work(number, self._session, self._basetemp, channel, further)

    def _on_standby(self, header):
        (life,), self._link.descriptors = self._link.descriptors[:1], self._link.descriptors[1:]
        pid = os.fork()
        if pid == 0:
            return lambda: self._stand_by(life)
        os.close(life)
        self._link.send({"t": "standing", "pid": pid})

    def _stand_by(self, life):
        signal.set_wakeup_fd(-1)
        self._link.close()
        os.close(self._woken)
        importlib.import_module(PACKAGE + ".worker_garbage").thaw_when_looked_at()
        gc.enable()
        return importlib.import_module(PACKAGE + ".worker_standby").serve(self._session, self._modules, life)

    def _reap(self):
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            pass
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._workers:
                self._workers.discard(pid)
                status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                try:
                    self._link.send({"t": "ended", "pid": pid, "status": status})
                except ConnectionError:
                    self._end()

    def _end(self):
        """The runner is gone, or done: no worker outlives that."""
        for pid in self._workers:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    os.kill(pid, signal.SIGKILL)
        atexit._run_exitfuncs()
        # Nothing is left to be flushed, and taking pytest apart would only take time.
        os._exit(0)


def install(sources):
    """Makes the modules that came along importable, each when it is first needed."""
    package = sys.modules[PACKAGE] = type(sys)(PACKAGE)
    package.__path__ = []
    modules = Modules(sources)
    sys.meta_path.insert(0, modules)
    return modules


class Modules:
    def __init__(self, sources):
        self._sources = sources
        self._compiled = None

    def compiled_in(self, directory, key):
        """From here on code comes from where an earlier process of this kind left it."""
        compiled = importlib.import_module(PACKAGE + ".compiled")
        self._compiled = compiled.Compiled(directory, key, "worker")

    def keep(self):
        if self._compiled is not None:
            self._compiled.keep()

    def add(self, sources):
        self._sources.update(sources)

    def find_spec(self, name, path=None, target=None):
        package, _, module = name.rpartition(".")
        if package == PACKAGE and module in self._sources:
            return importlib.machinery.ModuleSpec(name, self, origin="<cloudist %s>" % module)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name, origin = module.__name__.rpartition(".")[2], module.__spec__.origin
        source, kept = self._sources[name], self._compiled
        code = compile(source, origin, "exec") if kept is None else kept.code(name, source, origin)
        exec(code, module.__dict__)

    def get_source(self, name):
        return self._sources[name.rpartition(".")[2]]


def main():
    # What is imported here stays; looking for garbage meanwhile finds none.
    gc.disable()
    body = Zygote(Link(3)).serve()
    status = 1
    try:
        status = body()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()

"""What the engine can ask of a machine: each message is led to the part of the runner that serves it.

Loads those parts when they are first needed, and turns their failures into `error` messages. Serves nothing
itself.
"""

import json
import os
import sys

from .runner import ProtocolError

STAGES = {
    "snapshot": "snapshot",
    "pack": "snapshot",
    "part": "snapshot",
    "build": "snapshot",
    "lanes": "snapshot",
    "seed": "snapshot",
    "fetch-from": "snapshot",
    "init": "init",
    "environment": "environment",
    "env-file": "environment",
    "prepare": "start",
    "start": "start",
    "spawn": "start",
    "exec": "exec",
    "stdin": "exec",
    "signal": "exec",
    "fetch": "fetch",
}
# On more cores the disk, or the engine, is what a tree waits for.
MOST_WRITERS = 4
KINDS = {FileNotFoundError: "missing", PermissionError: "permission", NotADirectoryError: "missing"}


class Services:
    def __init__(self, runner):
        from .processes import Processes

        runner.processes = Processes(runner.loop)
        self._runner = runner
        self._opened_store = self._made_commands = self._made_pool = self._made_environments = None
        self._lanes = None

    @property
    def _store(self):
        if self._opened_store is None:
            from .store import Store

            runner, cores = self._runner, processors()
            crew = None
            if cores > 1:
                crew = (runner.processes.fork, runner.loop.on_readable, min(cores, MOST_WRITERS))
            self._opened_store = Store(runner.base, runner.run_id, crew=crew, meanwhile=runner.read_ahead)
        return self._opened_store

    @property
    def _commands(self):
        if self._made_commands is None:
            from .commands import Commands

            self._made_commands = Commands(self._runner)
        return self._made_commands

    @property
    def _pool(self):
        if self._made_pool is None:
            from .pool import Pool

            self._made_pool = Pool(self._runner)
        return self._made_pool

    @property
    def _environments(self):
        if self._made_environments is None:
            from .environment import Environments

            self._made_environments = Environments(self._runner)
        return self._made_environments

    def anticipate(self):
        """What can be done before the engine has said what it wants: the store's code is loaded in any case."""
        from .faults import StoreError

        try:
            self._store.guess()
        except StoreError:
            pass  # It is told when the store is asked for something.

    def serve(self, header, blob):
        if self._lanes is None:
            return self._serve(header, blob)
        for header, blob in self._lanes.in_order(header, blob):
            self._serve(header, blob)

    def _serve(self, header, blob):
        kind = header.get("t")
        handler = getattr(self, "_on_%s" % str(kind).replace("-", "_"), None)
        if handler is None:
            raise ProtocolError("unknown message %r" % kind)
        try:
            handler(header, blob)
        except Exception as error:
            subject = {"id": header["id"]} if "id" in header else {}
            word = getattr(error, "kind", None)
            if word is None and isinstance(error, OSError):
                word = KINDS.get(type(error), "io")
            if word is None:
                word = "internal"
                sys.excepthook(*sys.exc_info())
            self._runner.error(
                STAGES.get(kind, "protocol"), word, str(error) or type(error).__name__, **subject
            )

    def end(self):
        spared = self._made_pool.finish() if self._made_pool else None
        self._runner.processes.kill_all(spared)
        self._close_lanes()
        if self._opened_store is not None:
            self._opened_store.close()

    def _on_modules(self, header, blob):
        self._runner.learn(blob)

    def _on_snapshot(self, header, blob):
        self._store.snapshot(header, blob)

    def _on_pack(self, header, blob):
        self._store.pack(header, blob)

    def _on_part(self, header, blob):
        self._store.part(header, blob)

    def _on_build(self, header, blob):
        self._build(header["id"])

    def _build(self, snapshot):
        reply, missing = self._store.build(snapshot)
        if missing is None:
            self._runner.tree = reply["tree"]
            self._runner.contents_have_come()
            self._close_lanes()
        self._runner.send(reply, b"" if missing is None else json.dumps(missing).encode("ascii"))

    def _on_lanes(self, header, blob):
        from .lanes import Lanes

        self._lanes = Lanes(self._runner)
        self._lanes.open()

    def _close_lanes(self):
        if self._lanes is not None:
            self._lanes.close()

    def _on_environment(self, header, blob):
        self._environments.request(blob)

    def _on_env_file(self, header, blob):
        self._environments.file(header, blob)

    def _on_seed(self, header, blob):
        from .seeding import Seeding

        Seeding(self._runner, self._store).begin(header)

    def _on_fetch_from(self, header, blob):
        from .fetching import Fetching

        Fetching(self._runner, self._store, self._build).begin(header)

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
        self._pool.prepare(header)

    def _on_start(self, header, blob):
        self._pool.start(header)

    def _on_spawn(self, header, blob):
        self._pool.spawn(header["worker"])

    def _on_run(self, header, blob):
        self._pool.run(header)

    def _on_recall(self, header, blob):
        self._pool.recall(header["worker"], header["count"])

    def _on_close(self, header, blob):
        self._pool.close(header["worker"], header["interrupt"])

    def _on_abort(self, header, blob):
        self._pool.abort(header["grace"])


def description():
    """The machine in the words of `ready`."""
    return {
        "pid": os.getpid(),
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "platform": sys.platform,
        "cpus": processors(),
        "memory": memory(),
        "home": os.path.expanduser("~"),
    }


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

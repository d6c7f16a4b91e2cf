"""The pytest workers of a machine: which there are, who forks them, and what the engine wants of each.

Leads every request to its worker and every death to the engine. Knows nothing of results.
"""

import os
import signal

from .deadlines import Deadline
from .diary import Diary
from .processes import StartError
from .queues import END, NONE
from .slots import SIDE
from .workers import Worker
from .zygote import Zygote, environment, interpreter_environment

KILL_AFTER = 5.0
# How long the end of a run waits for the process that waits for visitors to be there.
SUMMONED = 1.0


class Pool:
    def __init__(self, runner):
        self.runner = runner
        self.specs = {}
        self.names = {}
        self.diary = self.life = None
        self._workers = {}
        self._session = None
        self._count = 0
        self._zygote = None
        self._fits = False
        self._waiting = []
        self._aborting = self._summoned = False
        runner.processes.on_stranger = self._stranger_ended

    def names_of(self, file):
        return [[index, nodeid, k] for index, (nodeid, k) in self.names.get(file, {}).items()]

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
        if self._session.get("remember") and self.runner.tree:
            # Those who wait for visitors see by its end that the run is over.
            self.life, self._living = os.pipe()
            session = dict(self._described(), code=self.runner.code)
            self.diary = Diary(self.runner.tree + SIDE, session, self.runner.sources, self._stand_by)
        for number in header["workers"]:
            self.spawn(number)

    def spawn(self, number):
        worker = self._workers[number] = Worker(self, number, self._deadline())
        if self._aborting:
            self._end(worker)
        self._waiting.append(worker)
        if self._fits:
            self._fork_waiting()
        elif len(self._waiting) == 1:
            self._ask_zygote()

    def _deadline(self):
        seconds = self._session.get("timeout")
        return Deadline(self.runner, seconds, self._session["paths"]) if seconds else None

    def _ask_zygote(self):
        python = self._session["python"]
        if "/" in python:
            python = os.path.join(self._session["cwd"], os.path.expanduser(python))
        env = environment(self._session.get("env"))
        zygote = self._zygote
        if (
            zygote
            and not zygote.broken
            and zygote.python == python
            and zygote.signature == interpreter_environment(env)
        ):
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
        side = (self.runner.tree or "") + SIDE
        return dict(self._session, count=self._count, run=self.runner.run_id, side=side)

    def heard(self, zygote, header):
        kind = header["t"]
        if zygote is not self._zygote and kind in ("fit", "stale", "broken", "left", "spoilt"):
            return
        if kind == "fit":
            self._fits = True
            self._fork_waiting()
        elif kind == "stale":
            zygote.broken = "stale"
            self._ask_zygote()
        elif kind in ("left", "spoilt"):
            self._leave_out(zygote, kind, header)
        elif kind == "broken":
            zygote.broken = header["kind"]
            if header["final"]:
                self._fail_waiting(header["kind"], header["message"])
            elif self._waiting:
                self._ask_zygote()
        elif kind == "forked":
            worker = self._workers[header["worker"]]
            worker.forked(header["pid"])
            self.runner.processes.adopt(worker.pid)
        elif kind == "not-forked":
            self._fail(self._workers[header["worker"]], "fork", header["message"])
        elif kind == "ended":
            self._ended(header["pid"], header["status"])
        elif kind == "standing":
            self._summoned = False
            self.runner.processes.spare(header["pid"])

    def _stand_by(self):
        """Something has failed: there is pytest for those who come to see it once more."""
        if self._zygote is not None and not self._zygote.broken:
            self._summoned = True
            self._zygote.request({"t": "standby"}, [os.dup(self.life)])

    def holds(self):
        return bool(self._session.get("hold"))

    def _leave_out(self, zygote, kind, header):
        """A module is imported by each worker after all."""
        told = {"module": header["module"], "reason": header["reason"]}
        self.runner.send(dict(told, t="not-preloaded"))
        if kind == "spoilt":
            self._session["preload"].remove(header["module"])
            zygote.broken = "spoilt"
            self._ask_zygote()

    def _fork_waiting(self):
        for worker in self._waiting:
            header = {"t": "fork", "worker": worker.number, "descriptors": len(worker.descriptors)}
            self._zygote.request(header, worker.descriptors)
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
        self._zygote.listen(lambda: not self._summoned, SUMMONED)
        self._zygote.close()
        return self._zygote.pid

    def run(self, header):
        file = header["file"]
        self.specs[file] = header["spec"]
        worker = self._workers.get(header["worker"])
        tests = header.get("tests")
        if tests is not None:
            self.names.setdefault(file, {}).update((index, (nodeid, k)) for index, nodeid, k in tests)
        if worker is None:
            return
        if tests is None:
            worker.enqueue_file(file, bool(header["execute"]))
        else:
            worker.queue.append([(file, index) for index, _, _ in tests])

    def recall(self, number, count):
        worker = self._workers.get(number)
        taken = worker.queue.recall(count) if worker else []
        tests = [token for token in taken if token[1] != NONE]
        files = [token[0] for token in taken if token[1] == NONE]
        self.runner.send({"t": "recalled", "worker": number, "tests": tests, "files": files})

    def close(self, number, interrupt):
        worker = self._workers.get(number)
        if worker is None:
            return
        self._end(worker)
        if interrupt and worker.queue.is_claimed():
            self._interrupt(lambda: [there for there in self._workers.values() if there is worker])

    def _end(self, worker):
        worker.queue.append([END])

    def abort(self, grace):
        self._aborting = True
        for worker in list(self._workers.values()):
            worker.queue.recall(1 << 30)
            self._end(worker)
        self.runner.loop.after(grace, lambda: self._interrupt(self._workers.values))

    def _interrupt(self, workers):
        """Has pytest end sessions in order, and ends those that it can't."""
        self._signal(workers(), signal.SIGINT)
        self.runner.loop.after(KILL_AFTER, lambda: self._signal(workers(), signal.SIGKILL))

    def _signal(self, workers, number):
        for worker in workers:
            if worker.pid is not None:
                self.runner.processes.signal_group(worker.pid, number)

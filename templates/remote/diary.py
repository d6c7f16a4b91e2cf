"""What each worker process has run, in order, kept beside the tree for those who come to look at a failure.

One file for each process, a line for each thing it did, written as it becomes known, so that nothing is missing
whenever somebody comes. Never read by the run itself.
"""

import json
import os

from .disk import remove

DIRECTORY = "diary"


class Diary:
    def __init__(self, side, session, sources, failed):
        """`failed` is called once, when the first thing has."""
        self._failed = failed
        self._directory = os.path.join(side, DIRECTORY)
        remove(os.fsencode(self._directory))
        os.makedirs(self._directory, 0o700)
        self._names = {}
        self._files = {}
        self._known = {}
        self._write("session.json", session)
        self._write("sources.json", sources)
        with self._open("guest.py") as file:
            file.write(sources["worker_guest"].encode("utf-8"))

    def _write(self, name, value):
        with self._open(name) as file:
            file.write(json.dumps(value).encode("ascii"))

    def _open(self, name):
        path = os.path.join(self._directory, name)
        # Variables of the run are in there.
        return open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab", buffering=0
        )

    def collected(self, worker, file, spec, names, errors):
        """A process has collected a file for the first time on any machine; its numbers for the tests count."""
        for index, (nodeid, k) in enumerate(names):
            self._names[file, index] = (nodeid, k)
        self._note(worker, [self._spec(worker, file, spec), {"collected": file, "errors": errors}])
        self._tell_of(errors)

    def ran(self, worker, tests, specs, names):
        """`tests`: file, index, failures."""
        lines = []
        for file, index, failed in tests:
            lines.append(self._spec(worker, file, specs[file]))
            nodeid, k = self._names.get((file, index)) or names[file][index]
            lines.append({"ran": [file, index, nodeid, k], "failed": bool(failed)})
        self._note(worker, lines)
        self._tell_of(any(failed for _, _, failed in tests))

    def failed_late(self, worker, file, index):
        """The end of its teardown, after its result."""
        self._note(worker, [{"late": [file, index]}])
        self._tell_of(True)

    def _tell_of(self, failure):
        if failure and self._failed is not None:
            failed, self._failed = self._failed, None
            failed()

    def _spec(self, worker, file, spec):
        known = self._known.setdefault(worker, set())
        if file in known:
            return None
        known.add(file)
        return {"file": file, "spec": spec}

    def _note(self, worker, lines):
        file = self._files.get(worker)
        if file is None:
            file = self._files[worker] = self._open("gw%d-%d.jsonl" % (worker.number, worker.pid))
        file.write("".join(json.dumps(line) + "\n" for line in lines if line).encode("ascii"))

    def close(self, worker):
        self._known.pop(worker, None)
        file = self._files.pop(worker, None)
        if file is not None:
            file.close()

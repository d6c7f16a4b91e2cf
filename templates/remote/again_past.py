"""What a worker's diary tells of a failure, and the worker's channel that plays it once more."""

import glob
import json
import os

COLLECT = 0xFFFFFFFF


class Gone(Exception):
    """What is asked for isn't in the diary, or can't be run any more."""


class Past:
    """What one worker process did until a test of it failed, or a file."""

    def __init__(self, path, nodeid, root):
        self.specs, self.names, self.tokens = {}, {}, []
        self.of_file = {}
        # Files that could not be imported then, either.
        self.broken = set()
        found = None
        wanted = os.path.normpath(os.path.join(root, nodeid))
        with open(path, encoding="ascii") as lines:
            for line in map(json.loads, lines):
                if "spec" in line:
                    self.specs[line["file"]] = line["spec"]
                elif "collected" in line:
                    self.tokens.append((line["collected"], COLLECT))
                    if line["errors"]:
                        self.broken.add(line["collected"])
                        if os.path.normpath(self.specs[line["collected"]]["path"]) == wanted:
                            found = len(self.tokens)
                elif "ran" in line:
                    file, index, name, k = line["ran"]
                    self.names[file, index] = (name, k)
                    self.of_file.setdefault(file, []).append([index, name, k])
                    self.tokens.append((file, index))
                    if line["failed"] and name == nodeid:
                        found = len(self.tokens)
                elif self.names.get(tuple(line["late"]), ("",))[0] == nodeid:
                    found = self.tokens.index(tuple(line["late"])) + 1
        self.failed = found is not None
        del self.tokens[found:]

    @property
    def target(self):
        return self.tokens[-1]

    def before(self):
        """The tests that ran before it."""
        return [token for token in self.tokens[:-1] if token[1] != COLLECT]

    def leave_out(self, kept):
        """Of the tests before it, only those whose positions are named run; what they need is collected with them."""
        tests = [token for position, token in enumerate(self.before()) if position in kept]
        self.tokens = [*tests, self.target]


def past(directory, worker, nodeid):
    with open(os.path.join(directory, "session.json"), encoding="ascii") as file:
        root = json.load(file)["rootdir"]
    paths = glob.glob(os.path.join(glob.escape(directory), worker + "-*.jsonl"))
    for path in sorted(paths, key=os.path.getmtime, reverse=True):
        found = Past(path, nodeid, root)
        if found.failed:
            return found
    raise Gone("%s is not known to have failed on %s" % (nodeid, worker))


class Script:
    """The worker's channel: tells it what the diary holds, and hears what becomes of it."""

    def __init__(self, past, screen):
        self._past = past
        self._left = list(reversed(past.tokens))
        self._target = past.target
        self._screen = screen
        self._done = 0
        # Is done when it comes to the import of a file that is to be looked at.
        self.arrive = lambda: None
        self.failed = None
        self.problem = ""

    @property
    def at_target(self):
        return not self._left

    def claim(self):
        token = self._left.pop() if self._left else (COLLECT, 0)
        if token == self._target and token[1] == COLLECT:
            self.arrive()
        return token

    def wait(self):
        return self.claim()

    def spec(self, file):
        return self._past.specs[file]

    def ask(self, header, blob=b""):
        file = header["file"]
        if header["t"] == "collected" and (file, COLLECT) == self._target:
            self.failed = bool(header["errors"])
        elif header["t"] == "collected" and header["errors"] and file not in self._past.broken:
            self.problem = "a file could not be imported: %s" % self.spec(file)["path"]
        return {"spec": self.spec(file), "names": self._past.of_file.get(file, [])}

    def tell(self, header, blob=b""):
        if header["t"] == "missing":
            names = [self._past.names[tuple(token)][0] for token in header["tests"]]
            self.problem = "not there any more: " + ", ".join(names)
        elif header["t"] == "failed":
            self.problem = header["message"] or "pytest could not start"

    def result(self, kind, token, failed, told, body):
        if token == self._target:
            self.failed = bool(failed or self.failed)
        else:
            self._done += 1
            self._screen.progress(self._done, len(self._past.before()))

    def event(self, kind, text):
        if kind == "internal-error":
            self.problem = json.loads(text)["text"]

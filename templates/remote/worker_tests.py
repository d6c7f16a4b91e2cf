"""The tests a worker knows, by the numbers the engine gave them, and the one whose result is still open.

Holds them; never runs or sends any.
"""

from .worker_reports import is_failed

PASSED, FAILED, ERROR, SKIPPED, XFAILED, XPASSED = b"pfesxX"
PLAIN = (PASSED, XPASSED)
SEVERITY = (PASSED, XPASSED, SKIPPED, XFAILED, ERROR, FAILED)


class Finished:
    """A test that has run, with all of its reports but perhaps the last, which may still grow."""

    def __init__(self, item, token):
        self.item = item
        self.token = token
        self.texts = []
        self.keywords = ()
        self.failed = 0
        self.seconds = 0.0
        self.teardown = None
        self.outcome, self.reruns = PASSED, 0
        self.phases = {"setup": 0.0, "call": 0.0, "teardown": 0.0}
        self.called = self.sent = False

    def add(self, text, report):
        self.texts.append(text)
        self.keywords = getattr(report, "keywords", self.keywords)
        self.called = self.called or report.when == "call"
        self.failed += is_failed(report)
        took = getattr(report, "duration", 0.0)
        self.seconds += took
        self.phases[report.when] = self.phases.get(report.when, 0.0) + took
        self.reruns += report.outcome == "rerun"
        self.outcome = outcome(report, self.outcome)

    def take(self):
        """What hasn't been sent yet."""
        taken = self.texts, self.failed, self.seconds
        self.texts, self.failed, self.seconds = [], 0, 0.0
        self.sent = True
        return taken


def outcome(report, before):
    """What a test's reports amount to, this one included."""
    if report.outcome == "failed":
        return FAILED if report.when == "call" else max(before, ERROR, key=SEVERITY.index)
    expected = hasattr(report, "wasxfail")
    if report.outcome == "skipped":
        return XFAILED if expected else SKIPPED
    if report.outcome == "passed" and report.when == "call" and before in PLAIN:
        return XPASSED if expected else PASSED
    return before


class Tests:
    """The tests of the files that this worker has collected, by the numbers the engine knows them by."""

    def __init__(self):
        self._by_index = {}
        self._by_name = {}

    def knows(self, file):
        return file in self._by_name

    def add(self, file, items):
        names, counts = {}, {}
        for item in items:
            k = counts[item.nodeid] = counts.get(item.nodeid, -1) + 1
            names[item.nodeid, k] = item
        self._by_name[file] = names
        self._by_index[file] = {}
        return list(names)

    def number(self, file):
        """The engine numbers the tests as they were collected here."""
        self._by_index[file] = dict(enumerate(self._by_name[file].values()))

    def learn(self, file, names):
        """The engine numbers the tests as they were collected elsewhere."""
        tests = self._by_index[file]
        for index, nodeid, k in names:
            if index not in tests:
                tests[index] = self._by_name[file].get((nodeid, k))

    def get(self, token):
        """The item, None if there is no such test here, KeyError if its name isn't known yet."""
        return self._by_index[token[0]][token[1]]

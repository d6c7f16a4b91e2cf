"""A test that failed, or a file that could not be imported, once more, as its worker came to it: the same session, and the
tests before it, in one process.

Plays the runner to a worker, from what its diary tells. Started by those who come to look; never during a run's work.
"""

import argparse
import fcntl
import glob
import json
import os
import subprocess
import sys
import traceback
from functools import partial
from types import SimpleNamespace

PACKAGE = "_cloudist"
COLLECT = 0xFFFFFFFF
BOOT = """\
import json, sys
exec(compile(json.load(open(sys.argv[1] + "/sources.json"))["again"], "<cloudist again>", "exec"))
"""
PASSED_NOW, FAILED_AGAIN, QUIT, NOT_THERE, INTERRUPTED = 0, 1, 2, 91, 130


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


class Screen:
    """Lines of our own, past whatever pytest captures."""

    def __init__(self, redraws):
        self._descriptor = os.dup(2)
        self._redraws = redraws
        self._pending = False

    def say(self, text):
        self.rest()
        os.write(self._descriptor, ("cloudist: %s\n" % text).encode("utf-8", "backslashreplace"))

    def progress(self, done, total):
        if self._redraws:
            self._pending = True
            os.write(self._descriptor, b"\r\x1b[Kcloudist: %d of %d tests before it" % (done, total))

    def rest(self):
        if self._pending:
            self._pending = False
            os.write(self._descriptor, b"\r\x1b[K")


def stop_there(script, screen, trace):
    """A plugin that has pytest's own debugger come up in the test, or in the import, and in no other."""
    import pytest

    class Stop:
        def __init__(self):
            self._out = sys.stdout

        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config):
            script.arrive = partial(self._begin, config)

        @pytest.hookimpl(tryfirst=True, hookwrapper=True)
        def pytest_runtest_protocol(self, item):
            if script.at_target:
                self._begin(item.config)
            yield

        @pytest.hookimpl(tryfirst=True)
        def pytest_exception_interact(self, call, report):
            if getattr(report, "when", "collect") == "collect":
                call.excinfo = where_it_arose(call.excinfo)

        def _begin(self, config):
            from _pytest import debugging

            screen.rest()
            config.option.usepdb = True
            plugins = config.pluginmanager
            plugins.register(debugging.PdbInvoke(), "cloudist-pdb")
            if trace:
                plugins.register(debugging.PdbTrace(), "cloudist-trace")
            reporter = plugins.get_plugin("terminalreporter")
            if reporter is not None:
                reporter._tw._file = reporter._file = self._out

    return Stop()


def where_it_arose(excinfo):
    """pytest wraps what went wrong in an import into an error of its own, which arose nowhere of interest."""
    import pytest

    cause = excinfo.value.__cause__
    if cause is None or not isinstance(excinfo.value, pytest.Collector.CollectError):
        return excinfo
    return type(excinfo).from_exc_info((type(cause), cause, cause.__traceback__))


def controllers():
    """A plugin that stands in for what other plugins have on the side of the controller, which is gone."""
    import pytest

    class Controllers:
        @pytest.hookimpl(tryfirst=True)
        def pytest_configure(self, config):
            rerunfailures = config.pluginmanager.get_plugin("rerunfailures")
            if hasattr(rerunfailures, "XDistHooks") and hasattr(rerunfailures, "ServerStatusDB"):
                database = rerunfailures.ServerStatusDB()
                # Its own thread does so too, at some time.
                database.sock.listen()
                ours = SimpleNamespace(failures_db=database)
                node = SimpleNamespace(config=ours, workerinput=config.workerinput)
                rerunfailures.XDistHooks().pytest_configure_node(node)

    return Controllers()


def install(directory):
    """Makes the modules of a worker importable, as they are to one."""
    with open(os.path.join(directory, "sources.json"), encoding="ascii") as file:
        sources = json.load(file)
    sys.path[:] = [entry for entry in sys.path if entry]
    zygote = {"__name__": PACKAGE + ".worker"}
    exec(compile(sources["worker"], "<cloudist worker>", "exec"), zygote)
    zygote["install"]({name: text for name, text in sources.items() if name.startswith("worker_")})


def enter(directory):
    """Makes this process what the zygote is to a worker."""
    with open(os.path.join(directory, "session.json"), encoding="ascii") as file:
        session = json.load(file)
    # Each failure is to be seen, and none to be mended by chance.
    session["retries"] = 0
    from _cloudist import worker_paths

    session["environment_path"] = worker_paths.InterpreterPaths().apply(session["sys_path"], session["paths"])
    return session


def run(directory, then, worker, screen, others=()):
    """Has a worker go through it all. The script, which tells what became of the test, and pytest's exit status."""
    session = enter(directory)
    from _cloudist import worker_process

    script = Script(then, screen)
    plugins = [controllers(), *(make(script) for make in others)]
    status = worker_process.work(
        int(worker[2:]), session, worker_process.make_basetemp(), script, others=plugins
    )
    screen.rest()
    return script, status


def debug(directory, options):
    if not (options.again or options.alone or options.trace):
        from _cloudist import worker_hold

        greeting = "%s as it was when it failed on %s" % (options.nodeid, options.worker)
        name = worker_hold.place(options.worker, options.nodeid)
        status = worker_hold.visit(directory, name, lambda: Screen(False).say(greeting))
        if status is not None:
            return status
    then = past(directory, options.worker, options.nodeid)
    if options.alone:
        then.leave_out(())
    screen = Screen(os.isatty(2))
    if then.before():
        tests = counted(len(then.before()))
        screen.say("%s after the %s before it on %s" % (options.nodeid, tests, options.worker))
    stop = partial(stop_there, screen=screen, trace=options.trace)
    script, status = run(directory, then, options.worker, screen, [stop])
    if status == QUIT and not script.problem:
        return QUIT
    if script.failed is None:
        raise Gone(script.problem or "pytest ended with status %d before it came there" % status)
    if script.problem:
        screen.say(script.problem)
    if not script.failed:
        screen.say("it passed this time")
    return FAILED_AGAIN if script.failed else PASSED_NOW


def judge(directory, options):
    """One try of `bisect`. What comes of it is written to a descriptor: any exit status may be a test's own doing."""
    told = fcntl.fcntl(options.judge, fcntl.F_DUPFD_CLOEXEC, 300)
    os.close(options.judge)
    verdict = b"gone"
    try:
        then = past(directory, options.worker, options.nodeid)
        then.leave_out({int(position) for position in sys.stdin.read().split(",") if position})
        script, _ = run(directory, then, options.worker, Screen(False))
        if script.failed is None:
            raise Gone(script.problem or "it was not run")
        verdict = b"failed" if script.failed else b"passed"
    finally:
        os.write(told, verdict)
    return PASSED_NOW


def bisect(directory, options):
    """Which of the tests before it the failure depends on, each tried in a process of its own."""
    then = past(directory, options.worker, options.nodeid)
    names = [then.names[token][0] for token in then.before()]
    screen = Screen(False)
    everything = list(range(len(names)))
    nowhere = os.open(os.devnull, os.O_RDWR)

    def fails(kept):
        told, tell = os.pipe()
        words = [sys.executable, "-c", BOOT, directory, "--judge=%d" % tell]
        words += ["--worker=" + options.worker, "--test=" + options.nodeid]
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=nowhere, stderr=subprocess.PIPE, pass_fds=[tell]
        )
        os.close(tell)
        # There may be more of them than a command line holds.
        said = process.communicate(",".join(map(str, kept)).encode("ascii"))[1]
        with os.fdopen(told, "rb") as file:
            verdict = file.read()
        if verdict == b"gone":
            raise Gone("the test could not be run: %s" % said.decode("utf-8", "replace").strip())
        # Without a verdict the test has ended its process.
        screen.say("%s after %s" % ("passes" if verdict == b"passed" else "fails", counted(len(kept))))
        return verdict != b"passed"

    screen.say("%s failed on %s after %s" % (options.nodeid, options.worker, counted(len(everything))))
    if fails([]):
        sys.stdout.write("%s fails by itself\n" % options.nodeid)
        return PASSED_NOW
    if not fails(everything):
        sys.stdout.write("%s passes after the same tests too: it does not depend on them\n" % options.nodeid)
        return FAILED_AGAIN
    needed = smallest(everything, fails)
    sys.stdout.write("%s fails after\n" % options.nodeid)
    sys.stdout.writelines("  %s\n" % names[position] for position in needed)
    return PASSED_NOW


def counted(count):
    return "1 test" if count == 1 else "%d tests" % count


def smallest(items, fails):
    """Items of which none can be left out, by delta debugging (Zeller and Hildebrandt)."""
    parts = 2
    while len(items) > 1:
        size = -(-len(items) // parts)
        pieces = [items[start : start + size] for start in range(0, len(items), size)]
        rests = [[item for item in items if item not in set(piece)] for piece in pieces] if parts > 2 else []
        for fewer, following in [(piece, 2) for piece in pieces] + [
            (rest, max(parts - 1, 2)) for rest in rests
        ]:
            if fails(fewer):
                items, parts = fewer, following
                break
        else:
            if size == 1:
                break
            parts = min(len(items), parts * 2)
    return items


def main():
    parser = argparse.ArgumentParser(prog="cloudist pdb")
    parser.add_argument("directory")
    parser.add_argument("--worker")
    parser.add_argument("--test", dest="nodeid")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--bisect", action="store_true")
    parser.add_argument("--judge", type=int)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--trace", action="store_true")
    options = parser.parse_args()
    status = NOT_THERE
    try:
        install(options.directory)
        if options.release:
            from _cloudist import worker_hold

            worker_hold.release(options.directory)
            os._exit(0)
        act = bisect if options.bisect else debug if options.judge is None else judge
        status = act(options.directory, options)
        sys.stdout.flush()
    except (Gone, OSError) as error:
        sys.stderr.write("cloudist: %s\n" % error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


main()

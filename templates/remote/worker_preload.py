"""Modules that are imported once on a machine, before workers are forked: those of which a worker can't tell.

What isn't the interpreter's own, or would be rewritten by pytest, is left to the workers. An import that leaves something
behind that a fork doesn't carry over, or that its importer was to see, spoils the process: the caller begins anew without it.
"""

import atexit
import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import warnings

SHARED_FILES = ("socket:", "pipe:", "anon_inode:")


class Spoilt(Exception):
    """This process is no longer what a worker would be."""

    def __init__(self, module, reason):
        super().__init__(reason)
        self.module, self.reason = module, reason


def preload(names, paths):
    """Imports these modules. Yields, for each that it leaves alone, its name and why."""
    rewritten = rewritten_by_pytest()
    for name in names:
        reason = why_not(name, paths, rewritten)
        if reason is None:
            reason = load(name, paths, rewritten)
        if reason is not None:
            yield name, reason


def why_not(name, paths, rewritten):
    try:
        # Those within it are found by its own import.
        spec = importlib.util.find_spec(name.partition(".")[0])
    except Exception as error:
        return "it can't be found: %s: %s" % (type(error).__name__, error)
    if spec is None:
        return "%s doesn't have it" % sys.executable
    if not paths.are_the_interpreters(spec):
        return "it is a part of the project, and workers import that"
    if is_within(name, rewritten):
        return "it belongs to a plugin of pytest, which rewrites its assertions"
    return None


def load(name, paths, rewritten):
    before, held, files, handlers = set(sys.modules), holders(), shared_files(), signal_handlers()
    exits = []
    with warnings.catch_warnings(record=True) as warned:
        # As pytest has it while a file is imported.
        for category in (DeprecationWarning, PendingDeprecationWarning):
            warnings.filterwarnings("always", category=category)
        with noting(exits):
            try:
                importlib.import_module(name)
                problem = None
            except BaseException as error:
                problem = "its import fails: %s: %s" % (type(error).__name__, error)
    if threads() > 1:
        raise Spoilt(name, "its import starts threads, which a fork leaves behind")
    if shared_files() - files:
        raise Spoilt(name, "its import opens connections, which all workers would share")
    if signal_handlers() != handlers:
        raise Spoilt(name, "its import handles signals, as this process must")
    if holders() > held:
        raise Spoilt(name, "its import keeps the standard output, which pytest captures")
    if exits:
        raise Spoilt(name, "%s has something done at the end of the process that imports it" % exits[0])
    if warned:
        raise Spoilt(name, "its import warns: %s" % warned[0].message)
    if problem is not None:
        raise Spoilt(name, problem)
    for other in sorted(set(sys.modules) - before):
        if not paths.are_the_interpreters(getattr(sys.modules[other], "__spec__", None)):
            raise Spoilt(name, "it imports %s, a part of the project" % other)
        if is_within(other, rewritten):
            raise Spoilt(name, "it imports %s, whose assertions pytest rewrites" % other)
    return None


@contextlib.contextmanager
def noting(exits):
    """Notes what modules, other than the standard library's, register for the end of the process."""
    register = atexit.register

    def note(function, *arguments, **options):
        module = getattr(function, "__module__", None) or "it"
        if not is_standard(module):
            exits.append(module)
        return register(function, *arguments, **options)

    atexit.register = note
    try:
        yield
    finally:
        atexit.register = register


def is_standard(module):
    origin = getattr(getattr(sys.modules.get(module), "__spec__", None), "origin", None) or ""
    standard = os.path.dirname(os.__file__)
    return (
        origin in ("built-in", "frozen")
        or os.path.dirname(origin).startswith(standard)
        and "-packages" not in origin
    )


def forked():
    """What a worker does that its own import would have done: no two have the same random numbers."""
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()


def rewritten_by_pytest():
    """The packages and modules of the plugins that are installed."""
    from importlib.metadata import distributions

    from _pytest.config import _iter_rewritable_modules

    plugins = [
        there for there in distributions() if any(point.group == "pytest11" for point in there.entry_points)
    ]
    return set(_iter_rewritable_modules([str(file) for there in plugins for file in there.files or ()]))


def is_within(name, packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


def threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def shared_files():
    """What is open and would be the same for all workers."""
    shared = set()
    try:
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink("/proc/self/fd/" + descriptor)
            except OSError:
                continue
            if target.startswith(SHARED_FILES):
                shared.add((descriptor, target))
    except OSError:
        return shared
    return shared


def signal_handlers():
    return [signal.getsignal(number) for number in sorted(signal.valid_signals())]


def holders():
    """How many objects refer to the standard output, or to the standard error."""
    streams = (sys.stdout, sys.stderr)
    return sum(sys.getrefcount(part) for stream in streams for part in (stream, stream.buffer))

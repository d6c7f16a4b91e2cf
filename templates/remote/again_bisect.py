"""Which of the tests before it a failure depends on: each try in a process of its own."""

import fcntl
import os
import subprocess
import sys

from .again_past import Gone, past
from .again_screen import Screen, counted
from .again_worker import run

BOOT = """\
import json, sys
exec(compile(json.load(open(sys.argv[1] + "/sources.json"))["again"], "<cloudist again>", "exec"))
"""
FOUND, NOT_DEPENDENT = 0, 1


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
    return FOUND


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
        return FOUND
    if not fails(everything):
        sys.stdout.write("%s passes after the same tests too: it does not depend on them\n" % options.nodeid)
        return NOT_DEPENDENT
    needed = smallest(everything, fails)
    sys.stdout.write("%s fails after\n" % options.nodeid)
    sys.stdout.writelines("  %s\n" % names[position] for position in needed)
    return FOUND


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

"""One who comes to a machine to look at a failure: goes to the process that waits with it, or else starts the test once more.

Read from the diary and run by itself; imports as little as it can, since somebody waits for the prompt.
"""

import marshal
import os
import signal
import socket
import struct
import sys

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

LEFT = 1
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
RIGHTS = struct.Struct("3i")
STANDBY = "held-standby"


def place(worker, nodeid):
    name = blake2b(nodeid.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return "held-%s-%s" % (worker, name)


def within(directory, act):
    """A socket's path may be no longer than about 100 bytes, so it is named from its directory."""
    before = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        return act()
    finally:
        os.fchdir(before)
        os.close(before)


def visit(directory, name, greeting, options):
    """Looks at what waits there, on this process's terminal. The status, or None if nothing waits there any more."""
    there = reach(directory, name)
    if there is None:
        return None
    with there:
        if greeting:
            os.write(2, ("cloudist: %s\n" % greeting).encode("utf-8", "backslashreplace"))
        environment = {
            key: os.environ[key] for key in ("TERM", "NO_COLOR", "FORCE_COLOR") if key in os.environ
        }
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, RIGHTS.pack(0, 1, 2))]
        # Until it is known who is to get it, nothing that is typed is for us.
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        there.sendmsg([marshal.dumps((environment, options), 2)], rights)
        said = b""
        while b"\n" not in said:
            data = there.recv(64)
            if not data:
                return None
            said += data
        pid, _, said = said.partition(b"\n")
        for number in PASSED_ON:
            signal.signal(number, lambda number, _: pass_on(int(pid), number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        while True:
            data = there.recv(64)
            if not data:
                return int(said or LEFT)
            said += data


def pass_on(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def reach(directory, name):
    there = socket.socket(socket.AF_UNIX)
    try:
        within(directory, lambda: there.connect(name))
        return there
    except OSError:
        there.close()
        return None


def release(directory):
    """Lets go of everything that waits."""
    for name in os.listdir(directory):
        if name.startswith("held-"):
            there = reach(directory, name)
            if there is not None:
                with there:
                    there.sendall(b"end")


def main(directory, *options):
    if "--release" in options:
        return release(directory)
    named = dict(option.split("=", 1) for option in options if "=" in option)
    worker, nodeid = named["--worker"], named["--test"]
    status = None
    if not {"--again", "--alone", "--trace", "--bisect"}.intersection(options):
        greeting = "%s as it was when it failed on %s" % (nodeid, worker)
        status = visit(directory, place(worker, nodeid), greeting, options)
    if status is None and "--bisect" not in options:
        status = visit(directory, STANDBY, None, options)
    if status is not None:
        os._exit(status)
    import json

    with open(os.path.join(directory, "sources.json"), encoding="ascii") as file:
        source = json.load(file)["again"]
    exec(compile(source, "<cloudist again>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs each test in a process of its own: a copy of the worker, made when the test's file is imported and nothing has run.

What a test leaves in memory ends with its copy. The worker waits meanwhile, and takes over what the rest of the run has to
know. Never runs a test itself.
"""

import base64
import json
import os
import signal
import sys
import traceback
import warnings

INTERRUPTED, BROKEN = 130, 3


class Fresh:
    """What forks the copies. `run` is the worker's own way to run one test to its end."""

    def __init__(self, session, channel, run):
        self._session = session
        self._config = session.config
        self._channel = channel
        self._run = run

    def run(self, item, token):
        # Not a pipe: whatever a test has started may hold its end for ever.
        words = last_words()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        with warnings.catch_warnings():
            # That threads are not copied is known: a copy runs one test, on this one.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            self._live(item, token, words)
        with words:
            status = waited(pid)
            words.seek(0)
            told = words.read()
        if os.WIFSIGNALED(status) or not told:
            self._follow(status)
        self._take_over(json.loads(told.decode("ascii")))

    def _live(self, item, token, words):
        """The life of a copy."""
        status = BROKEN
        try:
            self._channel.adopt()
            restart_capture(self._config)
            failed = self._session.testsfailed
            self._run(item, token)
            told = {
                "failed": self._session.testsfailed - failed,
                "shouldfail": self._session.shouldfail,
                "shouldstop": self._session.shouldstop,
                "coverage": coverage(),
            }
            words.write(json.dumps(told, default=str).encode("ascii"))
            words.flush()
            status = 0
        except KeyboardInterrupt:
            status = INTERRUPTED
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            text = traceback.format_exc()
            self._channel.event("internal-error", json.dumps({"text": text}))
        finally:
            leave(status)

    def _take_over(self, told):
        session = self._session
        session.testsfailed += told["failed"]
        session.shouldfail = session.shouldfail or told["shouldfail"]
        session.shouldstop = session.shouldstop or told["shouldstop"]
        if told["coverage"]:
            add_coverage(base64.b64decode(told["coverage"]))

    def _follow(self, status):
        """The copy has ended before its test: so does the worker, in the same way, and the runner tells of it."""
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == INTERRUPTED:
            raise KeyboardInterrupt
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
            os.kill(os.getpid(), number)
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else BROKEN)


def last_words():
    """A file without a name."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("cloudist-fresh"), "w+b")
    import tempfile

    return tempfile.TemporaryFile()


def waited(pid):
    """The status of a copy. An interrupt reaches the copy too, which ends by it."""
    try:
        return os.waitpid(pid, 0)[1]
    except KeyboardInterrupt:
        os.waitpid(pid, 0)
        raise


def restart_capture(config):
    """The files that output is captured in are shared with the process that this one was copied from."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None and capture.is_globally_capturing():
        capture.stop_global_capturing()
        capture.start_global_capturing()


def coverage():
    """What was measured in this process, if anything was."""
    current = measuring()
    if current is None:
        return None
    current.stop()
    return base64.b64encode(current.get_data().dumps()).decode("ascii")


def add_coverage(data):
    current = measuring()
    if current is not None:
        other = sys.modules["coverage"].CoverageData(no_disk=True)
        other.loads(data)
        current.get_data().update(other)


def measuring():
    module = sys.modules.get("coverage")
    return None if module is None else module.Coverage.current()


def leave(status):
    """Ends the process and nothing else: what is to be done at the end of the worker is the worker's."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)

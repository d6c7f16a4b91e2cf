"""A worker that goes through its past: in the session that it had, with those plugins that controllers serve."""

import json
import os
from types import SimpleNamespace

from . import worker_paths, worker_process
from .again_past import Script


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


def counted(count):
    return "1 test" if count == 1 else "%d tests" % count


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


def enter(directory):
    """Makes this process what the zygote is to a worker."""
    with open(os.path.join(directory, "session.json"), encoding="ascii") as file:
        session = json.load(file)
    # Each failure is to be seen, and none to be mended by chance.
    session["retries"] = 0
    session["environment_path"] = worker_paths.InterpreterPaths().apply(session["sys_path"], session["paths"])
    return session


def run(directory, then, worker, screen, others=()):
    """Has a worker go through it all. The script, which tells what became of the test, and pytest's exit status."""
    session = enter(directory)
    script = Script(then, screen)
    plugins = [controllers(), *(make(script) for make in others)]
    status = worker_process.work(
        int(worker[2:]), session, worker_process.make_basetemp(), script, others=plugins
    )
    screen.rest()
    return script, status

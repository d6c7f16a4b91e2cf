"""A worker that goes through its past: in the session that it had, with those plugins that controllers serve."""

import json
import os
from types import SimpleNamespace

from . import worker_paths
from .again_past import Script


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
    session["environment_path"] = worker_paths.InterpreterPaths().apply(session["sys_path"], session["paths"])
    return session


def run(directory, then, worker, screen, others=(), session=None):
    """Has a worker go through it all. The script, which tells what became of the test, and pytest's exit status."""
    # Each failure is to be seen, and none to be mended by chance.
    session = dict(session or enter(directory), retries=0)
    # Now that pytest is looked for where workers look for it.
    from . import worker_process

    script = Script(then, screen)
    plugins = [controllers(), *(make(script) for make in others)]
    status = worker_process.work(
        int(worker[2:]), session, worker_process.make_basetemp(), script, others=plugins
    )
    screen.rest()
    return script, status

"""The life of a worker process, from the fork to its exit status: environment, pytest, last words.

Never touches a test.
"""

import atexit
import base64
import faulthandler
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import pytest
from _pytest.pathlib import LOCK_TIMEOUT, cleanup_numbered_dir, make_numbered_dir_with_cleanup

from .worker_channel import Channel, dump
from .worker_options import worker_arguments
from .worker_session import WorkerPlugin

INTERRUPTED = 2


def make_basetemp():
    """Where the workers of this machine keep temporary directories, numbered and pruned as pytest does."""
    import getpass

    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        user = "unknown"
    root = Path(os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()).resolve() / (
        "pytest-of-" + user
    )
    root.mkdir(mode=0o700, exist_ok=True)
    options = {"prefix": "pytest-", "root": root, "keep": 3, "lock_timeout": LOCK_TIMEOUT, "mode": 0o700}
    if "register" in make_numbered_dir_with_cleanup.__code__.co_varnames:
        options["register"] = atexit.register
    return str(make_numbered_dir_with_cleanup(**options))


def set_up_process(number, session):
    atexit.unregister(cleanup_numbered_dir)
    env = {name: value for name, value in (session.get("env") or {}).items() if name != "PYTHONPATH"}
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.update(env)
    if "/" in session["python"]:
        directory = os.path.dirname(os.path.join(session["cwd"], os.path.expanduser(session["python"])))
        os.environ["PATH"] = os.pathsep.join([directory, os.environ.get("PATH", os.defpath)])
    os.environ["PYTHONPATH"] = os.pathsep.join(session["environment_path"])
    os.environ["CLOUDIST_WORKER"] = os.environ["PYTEST_XDIST_WORKER"] = "gw%d" % number
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(session["count"])
    os.environ["PYTEST_XDIST_TESTRUNUID"] = session["testrunuid"]
    if "TZ" in env:
        time.tzset()
    sys.argv[:] = session["mainargv"] or ["pytest"]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    os.chdir(session["cwd"])


def work(number, session, basetemp, channel, descriptors=(), others=()):
    """The life of a worker process, from the fork to its exit status. `others` are further plugins."""
    further = iter(descriptors)
    watched = next(further) if session.get("timeout") and descriptors else None
    plugins = [WorkerPlugin(number, session, basetemp, channel, watched), *others]
    if session.get("retries"):
        from .worker_retries import Retries

        plugins.append(Retries(session["retries"]))
    if session.get("hold") and descriptors:
        from .worker_hold import Hold

        plugins.append(Hold("gw%d" % number, session["side"], next(further), session["hold"], channel))
    plugin = plugins[0]
    if plugin.watch is not None:
        plugins.append(plugin.watch)
    code = None
    try:
        faulthandler.enable(file=plugin.errors)
        set_up_process(number, session)
        code = int(pytest.main(worker_arguments(session), plugins=plugins))
    except SystemExit as error:
        plugin.failure = ("exit", "the session ended by SystemExit(%r)" % (error.code,))
    except KeyboardInterrupt:
        # The run was broken off while the session ended, where pytest doesn't expect it.
        code = INTERRUPTED
    except BaseException:
        plugin.failure = ("internal-error", traceback.format_exc())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    if not plugin.up:
        kind, message = plugin.failure or ({4: "usage-error"}.get(code, "start"), "")
        channel.tell({"t": "failed", "kind": kind, "message": message})
        return 1
    if code is None:
        code = 3
        channel.event("internal-error", dump({"text": plugin.failure[1]}))
    output = dump(encode(plugin.output)).encode("ascii")
    channel.tell({"t": "down", "exitstatus": code, "stopped": plugin.stopped}, output)
    leave()
    return code


def leave():
    """What the interpreter would still do at its end."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        return


def encode(value):
    """`workeroutput` as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return {"__bytes__": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value

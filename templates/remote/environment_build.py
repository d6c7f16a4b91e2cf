"""Builds a Python environment, in a process of its own: packages of the system, uv, an interpreter, distributions.

Leaves either a whole environment with its stamp, or none.
"""

import fcntl
import json
import os
import platform
import shutil
import sys

from .environment import prune_environments
from .environment_desk import Desk, Failed, NeedsFiles
from .environment_index import Unreachable
from .environment_install import conda, with_pip, with_uv
from .environment_system import install_system
from .environment_tool import present_tool


def keep(places, request):
    """Waits for the lock, then builds unless somebody else has; answers the report."""
    desk = Desk(places, request)
    lock = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    how = request["decisive"]["how"]
    try:
        if not places.system_ready():
            install_system(desk, places.system, request["system"])
        if how == "none":
            return {"status": "done", "python": None, "found": None}
        if how == "existing":
            return existing(desk, request["path"])
        told = places.found()
        if told:
            return dict(told, status="done", cached=True, own=True)
        shutil.rmtree(places.environment, ignore_errors=True)
        python = build(desk, how)
        told = {"python": python, "found": describe(desk, python)}
        with open(places.stamp + ".new", "w") as file:
            json.dump(told, file)
        os.rename(places.stamp + ".new", places.stamp)
        prune_environments(places.home, places.environment)
        return dict(told, status="done", own=True)
    except (NeedsFiles, Unreachable) as error:
        shutil.rmtree(places.environment, ignore_errors=True)
        if desk.offline or how in ("project", "conda"):
            desk.say("%s" % error)
            return {"status": "failed"}
        desk.say("%s: what it lacks is brought from where the run was started" % error)
        return {"status": "need", "machine": machine(desk)}
    except Failed as error:
        shutil.rmtree(places.environment, ignore_errors=True)
        desk.say(str(error))
        return {"status": "failed"}
    except OSError as error:
        shutil.rmtree(places.environment, ignore_errors=True)
        desk.say("%s: %s" % (error.strerror or error, error.filename or places.environment))
        return {"status": "failed"}
    finally:
        os.close(lock)


def machine(desk):
    """What decides which wheels fit here, and whether uv has to come with them."""
    decisive = desk.request["decisive"]
    name, libc = platform.libc_ver()
    return {
        "system": sys.platform,
        "machine": platform.machine(),
        "libc": [name or "musl", libc],
        "version": decisive["version"],
        "implementation": decisive["implementation"],
        "tool": decisive["how"] != "pip" and present_tool(desk) is None,
    }


def existing(desk, path):
    python = os.path.expanduser(path)
    if os.path.isdir(python):
        python = os.path.join(python, "bin", "python")
    if os.sep in python and not os.access(python, os.X_OK):
        raise Failed("there is no interpreter at %s" % path)
    python = python if os.sep in python else shutil.which(python)
    if python is None:
        raise Failed("%s is not on the PATH of this machine" % path)
    return {"status": "done", "python": python, "found": describe(desk, python)}


def describe(desk, python):
    from .runner import Sources

    source = next(finder for finder in sys.meta_path if isinstance(finder, Sources)).source("distributions")
    return json.loads(desk.run([python, "-I", "-c", source], quiet=True))


def build(desk, how):
    environment = desk.places.environment
    python = os.path.join(environment, "bin", "python")
    if how == "conda":
        conda(desk)
    if how == "pip":
        with_pip(desk, python)
    else:
        with_uv(desk, how, python)
    return python

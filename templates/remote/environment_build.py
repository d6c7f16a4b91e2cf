"""Builds a Python environment, in a process of its own: packages of the system, uv, an interpreter, distributions.

Whatever it prints has been cleared of secrets, which live in this process and its children's environment alone.
Leaves either a whole environment with its stamp, or none.
"""

import fcntl
import json
import os
import platform
import re
import shutil
import subprocess
import sys

from .environment import prune_environments
from .environment_index import Unreachable, check_reachable, environment_of, options_of, secrets_of
from .environment_system import install_system
from .environment_tool import find_tool, present_tool

CREDENTIALS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s\"']+@")


class Failed(Exception):
    """A step failed; what it printed says why."""


class NeedsFiles(Exception):
    """This machine can't fetch what it needs: it has to be brought."""


class Desk:
    """What the steps of a build share: where to print and how to run a program."""

    def __init__(self, places, request):
        self.places, self.request = places, request
        self.access = request["access"]
        self.offline = request.get("files") is not None
        self._secrets = secrets_of(self.access)

    def clear(self, text):
        text = CREDENTIALS.sub(r"\1****@", text)
        for secret in self._secrets:
            text = text.replace(secret, "****")
        return text

    def say(self, text):
        os.write(1, self.clear(text.rstrip("\n") + "\n").encode("utf-8", "replace"))

    def run(self, argv, env=None, cwd=None, quiet=False):
        """Runs a program and passes on what it prints; answers its output."""
        merged = dict(os.environ, **(env or {}))
        try:
            process = subprocess.Popen(
                argv,
                env=merged,
                cwd=cwd or self.places.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise Failed("failed to start %s: %s" % (argv[0], error.strerror))
        lines = []
        for line in process.stdout:
            lines.append(line.decode("utf-8", "replace"))
            if not quiet:
                self.say(lines[-1])
        if process.wait() != 0:
            raise Failed("%s ended with status %d" % (os.path.basename(argv[0]), process.returncode))
        return "".join(lines)

    def brought_tool(self):
        """The uv that was brought, as a program or as a wheel."""
        for file in self.request.get("files") or ():
            if file["role"] == "tool":
                return os.path.join(self.places.wheels, file["sha256"], os.path.basename(file["name"]))
        return None


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
        if desk.offline or how in ("project", "pylock", "conda"):
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


def conda(desk):
    program = next((path for path in map(shutil.which, ("micromamba", "mamba", "conda")) if path), None)
    if program is None:
        raise Failed("this machine has none of micromamba, mamba and conda on its PATH")
    listing = desk.places.environment + ".explicit"
    with open(listing, "w") as file:
        file.write(desk.request["decisive"]["explicit"])
    try:
        desk.run([program, "create", "-y", "-p", desk.places.environment, "--file", listing])
    finally:
        os.unlink(listing)


def wheelhouse(desk):
    """A directory with the wheels that were brought, under their own names."""
    directory = desk.places.environment + ".wheels"
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    for file in desk.request["files"]:
        if file["role"] == "wheel":
            name = os.path.basename(file["name"])
            os.symlink(os.path.join(desk.places.wheels, file["sha256"], name), os.path.join(directory, name))
    return directory


def requirements(desk):
    """What was brought has been verified where it was collected, and is named by version alone."""
    path = desk.places.environment + ".txt"
    with open(path, "w") as file:
        decisive = desk.request["decisive"]
        file.write(decisive["names"] if desk.offline else decisive["requirements"])
    return path


def with_uv(desk, how, python):
    decisive = desk.request["decisive"]
    tool = find_tool(desk, NeedsFiles)
    env = dict(environment_of(desk.access, "uv"), UV_CACHE_DIR=os.path.join(desk.places.base, "uv-cache"))
    env["UV_NO_CONFIG"] = "1"
    env["UV_NO_PROGRESS"] = "1"
    if how != "conda":
        base = interpreter(desk, tool, env, decisive)
        desk.run([tool, "venv", "-q", "--no-project", "--python", base, desk.places.environment], env)
    if how in ("project", "pylock"):
        return from_lock(desk, tool, env, how, python, decisive["files"])
    if not decisive["requirements"].strip():
        return None
    if not desk.offline:
        check_reachable(desk.access)
    listing = requirements(desk)
    argv = [tool, "pip", "install", "--python", python, "-r", listing]
    if decisive["exact"]:
        argv.append("--no-deps")
    if decisive["require_hashes"] and not desk.offline:
        argv.append("--require-hashes")
    house = wheelhouse(desk) if desk.offline else None
    argv += ["--offline", "--no-index", "--find-links", house] if house else options_of(desk.access)
    install(desk, argv, env, listing, house)


def install(desk, argv, env, listing, house):
    """Runs an installer and takes away what it was given. What the index lacks, the engine may have."""
    try:
        desk.run(argv, env)
    except Failed:
        if not desk.offline and desk.access["local_links"]:
            raise NeedsFiles("the index does not have everything")
        raise
    finally:
        os.unlink(listing)
        if house:
            shutil.rmtree(house)


def from_lock(desk, tool, env, how, python, files):
    """A project's own lock, in a directory that holds nothing but it and the project files that it speaks of."""
    directory = desk.places.environment + ".lock-files"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        for name, text in files.items():
            path = os.path.normpath(os.path.join(directory, name))
            if not path.startswith(directory + os.sep):
                raise Failed("%s lies outside the project" % name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        if how == "pylock":
            lock = os.path.join(directory, "pylock.toml")
            argv = [tool, "pip", "install", "--python", python, "-r", lock]
        else:
            env = dict(env, UV_PROJECT_ENVIRONMENT=desk.places.environment)
            argv = [tool, "sync", "--frozen", "--no-install-workspace", "--python", python]
        desk.run(argv, env, cwd=directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def interpreter(desk, tool, env, decisive):
    """One of the very version, else of the same generation, else one that uv can get, else what is there."""
    full = decisive["version"]
    short = ".".join(full.split(".")[:2])
    prefix = "" if decisive["implementation"] == "CPython" else decisive["implementation"].lower() + "@"
    find = [tool, "python", "find", "--no-project", "--system", "--no-python-downloads"]
    for wanted in (full, short):
        try:
            return desk.run(find + [prefix + wanted], env, quiet=True).splitlines()[-1].strip()
        except (Failed, IndexError):
            continue
    if not desk.offline:
        try:
            desk.run([tool, "python", "install", prefix + short], env)
            managed = [tool, "python", "find", "--no-project", "--no-python-downloads", prefix + short]
            return desk.run(managed, env, quiet=True).splitlines()[-1].strip()
        except (Failed, IndexError):
            pass
    desk.say("there is no Python %s here, and none could be fetched: %s is used" % (short, sys.executable))
    return sys.executable


def with_pip(desk, python):
    decisive = desk.request["decisive"]
    base = shutil.which("python" + ".".join(decisive["version"].split(".")[:2])) or sys.executable
    desk.run([base, "-m", "venv", desk.places.environment])
    if not decisive["requirements"].strip():
        return
    if not desk.offline:
        check_reachable(desk.access)
    listing = requirements(desk)
    argv = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", listing]
    if decisive["exact"]:
        argv.append("--no-deps")
    if decisive["require_hashes"] and not desk.offline:
        argv.append("--require-hashes")
    house = wheelhouse(desk) if desk.offline else None
    if house:
        argv += ["--no-index", "--find-links", house]
    install(desk, argv, {} if house else environment_of(desk.access, "pip"), listing, house)

"""Puts an interpreter and distributions in place: by uv, by the machine's own pip, or by its conda.

Never judges whether an environment is whole: that is for whoever builds with this.
"""

import os
import platform
import shutil
import sys

from .environment_desk import Failed, NeedsFiles
from .environment_index import Reachability, environment_of, options_of
from .environment_tool import find_tool


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


def wanted(desk):
    """The options that say how to install, what is installed, and the files that the options need."""
    decisive = desk.request["decisive"]
    argv, files = ["--no-deps"] if decisive["exact"] else [], []
    if decisive["constraints"]:
        files.append(desk.places.environment + ".constraints")
        with open(files[0], "w") as file:
            file.write(decisive["constraints"])
        argv += ["-c", files[0]]
    # What was brought has been verified where it was collected, and is named by version alone.
    if desk.offline:
        return argv, decisive["names"], files
    argv += ["--require-hashes"] if decisive["require_hashes"] else []
    return argv, decisive["requirements"], files


def halves(requirements):
    """What has hashes and what has none: pip takes hashes for all that it is given or for none of it."""
    lines = requirements.splitlines(True)
    hashed = [line for line in lines if " --hash=" in line]
    rest = [line for line in lines if " --hash=" not in line]
    return ["".join(half) for half in (hashed, rest) if half]


def with_uv(desk, how, python):
    decisive = desk.request["decisive"]
    # A project's lock names the places to fetch from itself.
    fetching = not desk.offline and how != "project" and decisive["requirements"].strip()
    reachability = Reachability(desk.access) if fetching else None
    tool = find_tool(desk, NeedsFiles)
    if reachability:
        reachability.check()
    env = dict(environment_of(desk.access, "uv"), UV_CACHE_DIR=os.path.join(desk.places.base, "uv-cache"))
    env["UV_NO_CONFIG"] = "1"
    env["UV_NO_PROGRESS"] = "1"
    if how != "conda":
        base = interpreter(desk, tool, env, decisive)
        desk.run([tool, "venv", "-q", "--no-project", "--python", base, desk.places.environment], env)
    if how in ("project", "pylock") and not desk.offline:
        return from_lock(desk, tool, env, how, python, decisive["files"])
    if not decisive["requirements"].strip():
        return None
    house = wheelhouse(desk) if desk.offline else None
    argv = [tool, "pip", "install", "--python", python, "-r", "-"]
    argv += ["--offline", "--no-index", "--find-links", house] if house else options_of(desk.access)
    install(desk, argv, env, house)


def install(desk, argv, env, house, parts=lambda text: [text]):
    """Runs an installer and takes away what it was given. What the index lacks, the engine may have."""
    options, text, files = wanted(desk)
    try:
        for part in parts(text):
            # No file holds the requirements: an address in them may have credentials.
            desk.run(argv + options, env, stdin=part)
    except Failed:
        if not desk.offline and desk.access["local_links"]:
            raise NeedsFiles("the index does not have everything")
        raise
    finally:
        for path in files:
            os.unlink(path)
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
    here = (platform.python_implementation(), platform.python_version())
    if here == (decisive["implementation"], full) and sys.executable:
        return sys.executable
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
        Reachability(desk.access).check()
    argv = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", "/dev/stdin"]
    house = wheelhouse(desk) if desk.offline else None
    if house:
        argv += ["--no-index", "--find-links", house]
    env = {} if house else environment_of(desk.access, "pip")
    if decisive["exact"]:
        return install(desk, argv, env, house, halves)
    install(desk, argv, env, house)

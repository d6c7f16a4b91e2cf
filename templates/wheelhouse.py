"""Collects, here, what a machine that can fetch nothing needs: wheels for its platform, and uv.

Runs with the project's interpreter and its pip, so with the user's own indexes and credentials. Prints, as JSON,
where the files are; a collection that is there already is used as it is.
"""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile


def pip():
    """How to run pip here: the one that is installed, or the one that comes with the interpreter."""
    try:
        import pip  # noqa: F401

        return [sys.executable, "-m", "pip"], {}
    except ImportError:
        import ensurepip

        bundled = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
        places = [bundled, "/usr/share/python-wheels"]
        wheels = [
            os.path.join(place, name)
            for place in places
            if os.path.isdir(place)
            for name in os.listdir(place)
        ]
        wheel = next(path for path in wheels if os.path.basename(path).startswith("pip-"))
        return [sys.executable, "-m", "pip"], {"PYTHONPATH": wheel}


def run(arguments, requirements=""):
    """Requirements are read from stdin: a file might outlive this program, and addresses may hold credentials."""
    program, env = pip()
    done = subprocess.run(
        program + arguments,
        env=dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", **env),
        input=requirements.encode("utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        sys.stderr.buffer.write(b"\n".join(done.stdout.splitlines()[-15:]) + b"\n")
        sys.exit(1)


def same_platform(machine):
    libc, version = platform.libc_ver()
    mine = (sys.platform, platform.machine(), libc or "musl", platform.python_implementation())
    theirs = (machine["system"], machine["machine"], machine["libc"][0], machine["implementation"])

    def numbers(text):
        return [int(part) for part in text.split(".") if part.isdigit()]

    generation = machine["version"].split(".")[:2] == platform.python_version().split(".")[:2]
    return mine == theirs and generation and numbers(version) <= numbers(machine["libc"][1])


def tags(machine):
    """What pip has to be told of another platform."""
    short = "".join(machine["version"].split(".")[:2])
    arguments = ["--only-binary=:all:", "--python-version", ".".join(machine["version"].split(".")[:2])]
    arguments += ["--implementation", "cp", "--abi", "cp" + short, "--abi", "abi3", "--abi", "none"]
    libc, version = machine["libc"]
    if libc == "glibc":
        newest = int((version.split(".") + ["17"])[1])
        names = ["manylinux_2_%d_%s" % (minor, machine["machine"]) for minor in range(newest, 4, -1)]
        names += [
            "%s_%s" % (old, machine["machine"]) for old in ("manylinux2014", "manylinux2010", "manylinux1")
        ]
    else:
        names = ["musllinux_1_%d_%s" % (minor, machine["machine"]) for minor in (2, 1)]
    for name in names + ["linux_" + machine["machine"]]:
        arguments += ["--platform", name]
    return arguments


def collect_wheels(wish, directory):
    wanted = wish["collection"]
    if not wanted["requirements"].strip():
        return
    arguments = ["-q", "-r", "/dev/stdin"] + (["--no-deps"] if wanted["exact"] else [])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        if wanted["constraints"]:
            constraints.write(wanted["constraints"])
            constraints.flush()
            arguments += ["-c", constraints.name]
        if same_platform(wish["machine"]):
            arguments = ["wheel", "-w", directory] + arguments
        else:
            arguments = ["download", "-d", directory] + arguments + tags(wish["machine"])
        for text in halves(wanted["requirements"]) if wanted["exact"] else [wanted["requirements"]]:
            run(arguments, text)


def halves(requirements):
    """What has hashes and what has none: pip takes hashes for all or for none."""
    lines = requirements.splitlines(True)
    hashed = [line for line in lines if " --hash=" in line]
    rest = [line for line in lines if " --hash=" not in line]
    return ["".join(half) for half in (hashed, rest) if half]


def collect_tool(wish, directory):
    machine = wish["machine"]
    if (machine["system"], machine["machine"]) == (sys.platform, platform.machine()):
        beside = os.path.join(os.path.dirname(sys.executable), "uv")
        for program in (beside, shutil.which("uv")):
            if program and os.access(program, os.X_OK) and is_program(program):
                shutil.copy(program, os.path.join(directory, "uv"))
                return
    where = "musllinux_1_1_" + machine["machine"]
    arguments = ["--no-deps", "--only-binary=:all:", "--platform", where, "uv==" + wish["collection"]["uv"]]
    run(["download", "-q", "-d", directory] + arguments)


def is_program(path):
    """Not a script that leads to one: that would be of no use elsewhere."""
    with open(path, "rb") as file:
        return file.read(4) in (b"\x7fELF", b"\xcf\xfa\xed\xfe")


def listed(directory, role):
    if not os.path.isdir(directory):
        return
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
        size = os.path.getsize(path)
        yield {"name": name, "path": path, "role": role, "sha256": digest.hexdigest(), "size": size}


def main():
    wish = json.load(sys.stdin)
    home = os.path.join(wish["cache"], "wheelhouses")
    os.makedirs(home, exist_ok=True)
    decisive = [wish["collection"], wish["machine"]]
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode("utf-8")).hexdigest()[:32]
    whole = os.path.join(home, key)
    with open(whole + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.isdir(whole):
            shutil.rmtree(whole + ".partial", ignore_errors=True)
            wheels, tool = (os.path.join(whole + ".partial", part) for part in ("wheels", "tool"))
            os.makedirs(wheels)
            os.makedirs(tool)
            collect_wheels(wish, wheels)
            if wish["machine"]["tool"]:
                collect_tool(wish, tool)
            os.rename(whole + ".partial", whole)
        files = list(listed(os.path.join(whole, "wheels"), "wheel"))
        files += listed(os.path.join(whole, "tool"), "tool")
    print(json.dumps(files))


main()

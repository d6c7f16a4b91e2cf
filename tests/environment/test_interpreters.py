"""A machine with another Python than the one here: named before the first test, and an error where that is asked for."""

from __future__ import annotations

import os
import pathlib
import platform
import subprocess
import sys

import pytest

from places import Server

PROBE = "import platform; print(platform.python_implementation(), platform.python_version())"
OTHERS = [f"python3.{minor}" for minor in range(14, 7, -1)] + ["pypy3"]


def version(python: pathlib.Path) -> str:
    done = subprocess.run([str(python), "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip()


@pytest.fixture(scope="session")
def other() -> pathlib.Path:
    """A Python of another generation, or of another kind."""
    places = [pathlib.Path(place) for place in os.environ["PATH"].split(os.pathsep)]
    places += sorted(
        pathlib.Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob("versions/*/bin")
    )
    mine = platform.python_version_tuple()[:2]
    for name in OTHERS:
        for python in (place / name for place in places):
            # A shim that leads nowhere is there, too.
            found = version(python) if os.access(python, os.X_OK) else ""
            if found and (name == "pypy3" or tuple(found.split()[1].split(".")[:2]) != mine):
                return python.resolve()
    pytest.fail("these tests need a Python of another version, or pypy3")


class Foreign(Server):
    """A machine whose only Python is another one."""

    def __init__(self, directory: pathlib.Path, python: pathlib.Path) -> None:
        self._programs = directory / "programs"
        self._programs.mkdir(parents=True)
        for program in pathlib.Path("/usr/bin").iterdir():
            if not program.name.startswith(("python", "pypy", "pip", "uv")):
                (self._programs / program.name).symlink_to(program)
        # Through a script, since a link would take the interpreter away from its library.
        for name in ("python3", "python3." + version(python).split(".")[1]):
            (self._programs / name).write_text(f'#!/bin/sh\nexec {python} "$@"\n')
            (self._programs / name).chmod(0o755)
        super().__init__("foreign", directory, "127.0.0.1")

    def _configuration(self) -> str:
        lines = super()._configuration().splitlines()
        (path,) = (word for word in lines[-1].split() if word.startswith("PATH="))
        # Interpreters are to be had from nowhere.
        mirror = "UV_PYTHON_INSTALL_MIRROR=http://127.0.0.1:9"
        return "\n".join(lines[:-1] + [lines[-1].replace(path, f"PATH={self._programs} {mirror}")]) + "\n"


@pytest.fixture
def foreign(tmp_path: pathlib.Path, other: pathlib.Path):
    server = Foreign(tmp_path / "foreign", other)
    yield server
    server.end()


def test_it_is_named_before_the_first_test(run_on, local, foreign, other, index):
    local.install("apple==1.0")
    done = run_on(
        foreign, "python", "-c", f"{PROBE}; import apple; print(apple.VERSION)", PIP_INDEX_URL=index.url
    )
    assert done.check(0).out.splitlines() == [version(other), "1.0"]
    here = f"CPython {platform.python_version()}"
    assert f"{version(other)} there, {here} here" in done.err, done
    done = run_on(foreign, "echo", "begun", options=("--env-strict",), PIP_INDEX_URL=index.url).check(98)
    assert f"{version(other)} there, {here} here" in done.err and "begun" not in done.out, done


def test_what_differs_is_named_and_may_be_an_error(run, local, tmp_path):
    local.install("apple==1.0")
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", str(other)], check=True)
    done = run("true", options=(f"--env={other}",)).check(0)
    assert "differs" in done.err and "no apple there, 1.0 here" in done.err, done
    done = run("echo", "begun", options=(f"--env={other}", "--env-strict")).check(98)
    assert "no apple there, 1.0 here" in done.err and "help: " in done.err and "begun" not in done.out, done


def test_another_platform_is_named(run, local, tmp_path):
    """An interpreter that says it was made for another processor."""
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", str(other)], check=True)
    python = other / "bin" / "python"
    real = python.resolve()
    python.unlink()
    python.write_text(f'#!/bin/sh\n_PYTHON_HOST_PLATFORM=linux-riscv64 exec {real} "$@"\n')
    python.chmod(0o755)
    done = run("echo", "begun", options=(f"--env={other}", "--env-strict")).check(98)
    assert "platform linux-riscv64 there, " in done.err and "begun" not in done.out, done

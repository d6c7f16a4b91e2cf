"""Fixtures: the tool and machines of the command line's tests, a local environment, and an index of its own.

Every machine has a home directory that nothing was ever done in. CLOUDIST_BIN names the program under test.
"""

from __future__ import annotations

import ensurepip
import os
import pathlib
import subprocess
import sys
import uuid
from typing import Callable, Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))

from places import Server  # noqa: E402
from tool import Done, Tool  # noqa: E402

from wheels import Index, make_wheel  # noqa: E402

UV = "0.13.9"


@pytest.fixture(scope="session")
def uv_wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("uv")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(directory)]
        + ["--platform", "musllinux_1_1_" + os.uname().machine, "uv==" + UV],
        check=True,
    )
    return next(directory.iterdir())


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, uv_wheel: pathlib.Path) -> pathlib.Path:
    """A directory of wheels: three small packages in two versions each, and uv."""
    directory = tmp_path_factory.mktemp("packages")
    for name in ("apple", "pear", "plum"):
        for version in ("1.0", "2.0"):
            make_wheel(directory, name, version)
    (directory / uv_wheel.name).write_bytes(uv_wheel.read_bytes())
    # What a virtual environment of this Python begins with.
    for wheel in (pathlib.Path(ensurepip.__file__).parent / "_bundled").glob("setuptools-*.whl"):
        (directory / wheel.name).write_bytes(wheel.read_bytes())
    return directory


@pytest.fixture
def index(packages: pathlib.Path) -> Iterator[Index]:
    index = Index(packages)
    yield index
    index.end()


class Local:
    """A virtual environment here, and what is in it."""

    def __init__(self, directory: pathlib.Path, packages: pathlib.Path) -> None:
        self.python = directory / "bin" / "python"
        self._packages = packages
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)

    def install(self, *what: str) -> None:
        pip = [str(self.python), "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
        subprocess.run([*pip, "--find-links", str(self._packages), *what], check=True)


@pytest.fixture
def local(tmp_path: pathlib.Path, packages: pathlib.Path) -> Local:
    return Local(tmp_path / "venv", packages)


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Iterator[Server]:
    server = Server("fresh", tmp_path / "machine", "127.0.0.1")
    yield server
    server.end()


@pytest.fixture
def run(tmp_path: pathlib.Path, machine: Server, local: Local) -> Callable[..., Done]:
    """Runs a command on the machine with the local environment mirrored there."""
    config = tmp_path / "ssh_config"
    config.write_text(machine.client_configuration())
    root = tmp_path / "project"
    root.mkdir()
    (root / "pytest.ini").write_text("[pytest]\n")

    def command(*words: str, options=(), **variables: str) -> Done:
        tool = Tool(tmp_path / "cache", uuid.uuid4().hex, CLOUDIST_SSH_CONFIG=str(config))
        env = {"CLOUDIST_ENV": None, "PIP_CONFIG_FILE": os.devnull, **variables}
        arguments = ("ssh-run", "-n1", "--hosts=fresh", f"--local-python={local.python}", *options, "--", *words)
        return tool(*arguments, cwd=root, env=env, patience=120)

    command.root = root
    return command

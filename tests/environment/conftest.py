"""Fixtures: the tool and machines of the command line's tests, a local environment, and an index of its own.

Every machine has a home directory that nothing was ever done in. CLOUDIST_BIN names the program under test.
"""

from __future__ import annotations

import ensurepip
import functools
import os
import pathlib
import subprocess
import sys
import zipfile
from typing import Callable, Iterator

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))

from places import Server  # noqa: E402
from tool import Done  # noqa: E402

from mirror import Local, Run  # noqa: E402
from wheels import Index, make_wheel  # noqa: E402

UV = "0.13.9"


@pytest.fixture(scope="session")
def uv_wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("uv")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(directory),
        ]
        + ["--platform", "musllinux_1_1_" + os.uname().machine, "uv==" + UV],
        check=True,
    )
    return next(directory.iterdir())


@pytest.fixture(scope="session")
def uv(uv_wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The program itself, to make locks with."""
    program = tmp_path_factory.mktemp("tool") / "uv"
    with zipfile.ZipFile(uv_wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        program.write_bytes(archive.read(name))
    program.chmod(0o755)
    return program


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


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A virtual environment in which nothing was ever installed."""
    directory = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    return directory


@pytest.fixture
def local(tmp_path: pathlib.Path, fresh: pathlib.Path, packages: pathlib.Path) -> Local:
    return Local(tmp_path / "venv", fresh, packages)


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Iterator[Server]:
    server = Server("fresh", tmp_path / "machine", "127.0.0.1")
    yield server
    server.end()


@pytest.fixture
def run_on(tmp_path: pathlib.Path, local: Local) -> Run:
    return Run(tmp_path, local)


@pytest.fixture
def run(run_on: Run, machine: Server) -> Callable[..., Done]:
    command = functools.partial(run_on, machine)
    command.root = run_on.root
    return command

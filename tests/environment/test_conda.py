"""A conda environment, from a channel on loopback, with what pip has installed in it.

What installs is a stand-in that does for an explicit list what conda does, since no package registry has conda; CLOUDIST_TEST_CONDA names a
conda, mamba or micromamba to use instead.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from apart import Repository
from channel import INSTALLER, Channel
from mirror import Run
from places import Server

VERSIONS = ("python", "-c", "import apple, pear, sys; print(apple.VERSION, pear.VERSION, sys.prefix)")


class Conda:
    """A channel, and a program that installs from it."""

    def __init__(self, directory: pathlib.Path) -> None:
        channel = directory / "channel"
        channel.mkdir()
        self._channel = Channel(channel)
        self._channel.add_python()
        for version in ("1.0", "2.0"):
            self._channel.add_module("apple", version)
        self.served = Repository(channel)
        self.programs = directory / "programs"
        self.programs.mkdir()
        real = os.environ.get("CLOUDIST_TEST_CONDA")
        self.program = self.programs / (pathlib.Path(real).name if real else "micromamba")
        if real:
            self.program.symlink_to(real)
        else:
            self.program.write_text(INSTALLER.replace("{python}", sys.executable))
            self.program.chmod(0o755)

    def create(self, prefix: pathlib.Path, version: str) -> None:
        listing = prefix.with_suffix(".txt")
        lines = self._channel.explicit(self.served.url, "python", "apple").splitlines()
        other = "2.0" if version == "1.0" else "1.0"
        listing.write_text("\n".join(line for line in lines if f"apple-{other}" not in line) + "\n")
        env = {**os.environ, "HOME": str(prefix.parent), "CONDA_PKGS_DIRS": str(prefix.parent / "pkgs")}
        command = [str(self.program), "create", "-y", "-p", str(prefix), "--file", str(listing)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture
def conda(tmp_path):
    made = Conda(tmp_path)
    yield made
    made.served.end()


class Machine(Server):
    """A machine with conda on its PATH."""

    def __init__(self, directory: pathlib.Path, programs: pathlib.Path) -> None:
        self._programs = programs
        super().__init__("snake", directory, "127.0.0.1")

    def _configuration(self) -> str:
        return super()._configuration().replace(" PATH=", f" PATH={self._programs}:")


@pytest.fixture
def snake(tmp_path, conda):
    server = Machine(tmp_path / "snake", conda.programs)
    yield server
    server.end()


class Local:
    def __init__(self, prefix: pathlib.Path) -> None:
        self.python = prefix / "bin" / "python"


@pytest.fixture
def run_conda(tmp_path, conda, uv, packages):
    """The local environment: apple by conda, pear by pip's like."""
    prefix = tmp_path / "local"
    conda.create(prefix, "1.0")
    command = [
        str(uv),
        "pip",
        "install",
        "-q",
        "--python",
        str(prefix / "bin/python"),
        "--no-index",
        "pear==1.0",
    ]
    env = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "uv-cache")}
    subprocess.run([*command, "--find-links", str(packages)], env=env, check=True)
    return Run(tmp_path / "user", Local(prefix))


def test_both_kinds_of_packages(run_conda, conda, snake, index):
    done = run_conda(
        snake, *VERSIONS, options=("--env=conda", "--env-strict"), PIP_INDEX_URL=index.url
    ).check(0)
    assert done.out.startswith(f"1.0 1.0 {snake.home}/.cache/cloudist/environments/"), done
    (stamp,) = (snake.home / ".cache/cloudist/environments").glob("*/cloudist.json")
    assert (stamp.parent / "conda-meta" / "apple-1.0-0.json").is_file()

    asked = len(conda.served.asked), len(index.asked)
    again = run_conda(snake, *VERSIONS, options=("--env=conda",), PIP_INDEX_URL=index.url).check(0)
    assert again.out == done.out
    assert (len(conda.served.asked), len(index.asked)) == asked


def test_another_content_is_refused(run_conda, conda, snake, index):
    (package,) = conda.served.directory.glob("*/apple-1.0-0.tar.bz2")
    other = package.with_name("apple-2.0-0.tar.bz2")
    shutil.copy(other, package)
    shutil.rmtree(snake.home)
    snake.home.mkdir()
    done = run_conda(snake, *VERSIONS, options=("--env=conda",), PIP_INDEX_URL=index.url).check(95)
    assert "apple-1.0-0" in done.err, done
    assert not list((snake.home / ".cache/cloudist/environments").glob("*/cloudist.json"))


def test_a_machine_without_conda(run_conda, machine, index):
    if any(shutil.which(program) for program in ("micromamba", "mamba", "conda")):
        pytest.fail("this computer has a conda on its PATH, and with it every machine here")
    done = run_conda(machine, "true", options=("--env=conda",), PIP_INDEX_URL=index.url).check(95)
    assert "none of micromamba, mamba and conda" in done.err, done


def test_here_is_no_conda_environment(run, index):
    done = run("true", options=("--env=conda",), PIP_INDEX_URL=index.url).check(95)
    assert "needs a conda environment here" in done.err and "help: " in done.err, done

"""`cloudist bake`: an image with the environment in place, found again, used, and removed."""

from __future__ import annotations

import ensurepip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from typing import Iterator

import pytest

from command_line import CommandLine
from renter import SCRIPTS, Done, all_gone

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "environment"))

from apart import Repository, make_deb  # noqa: E402
from wheels import Index, make_wheel  # noqa: E402

CHOICE = pathlib.Path(__file__).resolve().parents[2] / "src/environment/choice.rs"
UV_VERSION = re.compile(r'UV_VERSION: &str = "([\d.]+)"')
VERSION = ("python", "-c", "import apple; print(apple.VERSION)")


class Baker:
    """A user with a local environment of one package, and an index that has it."""

    def __init__(self, cloudist: CommandLine, directory: pathlib.Path) -> None:
        self.cloudist, self.rig = cloudist, cloudist.rig
        self.environment = "pip"
        self.options: tuple = ()
        packages = directory / "packages"
        packages.mkdir()
        for version in ("1.0", "2.0"):
            make_wheel(packages, "apple", version)
        for wheel in (pathlib.Path(ensurepip.__file__).parent / "_bundled").glob("setuptools-*.whl"):
            (packages / wheel.name).write_bytes(wheel.read_bytes())
        self.packages = packages
        self.index = Index(packages)
        self.python = directory / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(directory / "venv")], check=True)
        self.install("apple==1.0")
        (cloudist.root / "secret.py").write_text("PASSWORD = 'opensesame'\n")

    def install(self, what: str) -> None:
        pip = [str(self.python), "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--find-links", str(self.packages), what], check=True)

    def arguments(self, command: str, *options: str) -> tuple:
        return (
            command,
            f"--local-python={self.python}",
            f"--env={self.environment}",
            *self.options,
            *options,
        )

    @property
    def variables(self) -> dict:
        return {"PIP_INDEX_URL": self.index.url, "PIP_CONFIG_FILE": os.devnull, "CLOUDIST_PYTHON": None}

    def bake(self) -> Done:
        return self.cloudist.run(*self.arguments("bake"), env=self.variables, patience=120)

    def run(self, *words: str) -> Done:
        options = ("--provider=ec2", "-n1", "--", *(words or VERSION))
        return self.cloudist.run(*self.arguments("ssh-run", *options), env=self.variables, patience=120)

    def images(self) -> list:
        return self.cloudist.rig.listing()["images"]


@pytest.fixture
def baker(rigs, tmp_path: pathlib.Path, cache: pathlib.Path) -> Iterator[Baker]:
    made = Baker(CommandLine(rigs(machine_path=[SCRIPTS]), tmp_path, cache), tmp_path)
    yield made
    made.index.end()
    all_gone(made.cloudist.tool.mark)


def test_the_next_run_starts_from_the_image_and_installs_nothing(baker):
    done = baker.bake().check(0)
    (image,) = baker.images()
    assert done.out.startswith(f"{image} is ready"), done
    assert baker.rig.listing()["instances"] == [] and baker.cloudist.records() == []

    asked = len(baker.index.asked)
    done = baker.run().check(0)
    assert done.out == "1.0\n" and image in done.err, done
    assert len(baker.index.asked) == asked
    assert baker.cloudist.launched()[-1].image.id == image

    baker.install("apple==2.0")
    done = baker.run().check(0)
    assert done.out == "2.0\n" and image not in done.err, done
    assert baker.cloudist.launched()[-1].image.id != image

    baker.install("apple==1.0")
    (row,) = json.loads(baker.cloudist("bake", "--list", "--json").check(0).out)
    assert (row["image"], row["state"], row["base"]) == (image, "available", "al2023")
    baker.cloudist("bake", "--remove", image).check(0)
    assert baker.run().check(0).out == "1.0\n"
    baker.cloudist.nothing_left()


def test_with_uv(baker):
    """The default: uv is fetched while the image is made, and is in it with what it has installed."""
    version = UV_VERSION.search(CHOICE.read_text())[1]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", f"uv=={version}"]
        + ["-d", str(baker.packages), "--platform", "musllinux_1_1_" + os.uname().machine],
        check=True,
    )
    baker.environment = "auto"
    baker.bake().check(0)
    (image,) = baker.images()
    asked = list(baker.index.asked)
    assert any("/uv-" in path for path in asked) and any("/apple-" in path for path in asked)
    done = baker.run().check(0)
    assert done.out == "1.0\n" and image in done.err, done
    assert baker.index.asked == asked
    baker.install("apple==2.0")
    assert baker.run().check(0).out == "2.0\n"


APT = """
Dir::State "/home/ec2-user/apt/";
Dir::State::status "/home/ec2-user/apt/dpkg/status";
Dir::Cache "/home/ec2-user/apt/";
Dir::Etc::sourcelist "/etc/apt/own.list";
Dir::Etc::sourceparts "-";
DPkg::Options { "--root=/home/ec2-user/apt/system"; "--admindir=/home/ec2-user/apt/dpkg"; "--force-not-root"; "--force-bad-path"; };
Dir::Log "/home/ec2-user/apt/log";
APT::Update::Pre-Invoke:: "cd /home/ec2-user && mkdir -p apt/system apt/log apt/dpkg/info apt/dpkg/updates";
APT::Update::Pre-Invoke:: "touch /home/ec2-user/apt/dpkg/status";
"""
"""Nobody is root on these machines, and an image of theirs is of the home directory: so all that apt does is there."""


def test_with_packages_of_the_system(rigs, tmp_path, cache):
    packages = tmp_path / "repository"
    packages.mkdir()
    make_deb(packages, "cloudist-pebble", "a pebble")
    repository = Repository(packages)
    files = {
        "/etc/apt/apt.conf.d/99own": APT,
        "/etc/apt/own.list": f"deb [trusted=yes] {repository.url} ./\n",
    }
    baker = Baker(CommandLine(rigs(machine_path=[SCRIPTS], machine_files=files), tmp_path, cache), tmp_path)
    try:
        baker.options = ("--apt=cloudist-pebble",)
        baker.bake().check(0)
        (image,) = baker.images()
        asked = len(repository.asked)
        assert any(path.endswith(".deb") for path in repository.asked)
        done = baker.run("/home/ec2-user/apt/system/usr/bin/cloudist-pebble").check(0)
        assert done.out == "a pebble\n" and image in done.err, done
        assert len(repository.asked) == asked
        # Other packages are another environment.
        baker.options = ()
        assert image not in baker.run().check(0).err
    finally:
        baker.index.end()
        repository.end()
        all_gone(baker.cloudist.tool.mark)


def test_nothing_of_the_first_machine_is_in_the_image(baker):
    baker.bake().check(0)
    home = baker.rig.account.images.own()[0].home
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(path.name == "apple.py" for path in files)
    assert not (home / ".ssh/authorized_keys").exists()
    assert not any(path.name == "secret.py" or b"opensesame" in path.read_bytes() for path in files)


def test_ec2_makes_no_image(baker):
    baker.rig.faults.error("CreateImage", "ImageLimitExceeded")
    done = baker.bake().check(91)
    assert "CreateImage" in done.err
    baker.cloudist.nothing_left()


def test_killed_while_the_image_is_made(baker):
    process = baker.cloudist.start(*baker.arguments("bake"), env=baker.variables)
    baker.rig.wait_call("CreateImage", timeout=120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    baker.cloudist.sweep()
    baker.cloudist("bake", "--remove", "--all").check(0)
    baker.cloudist.nothing_left()


def test_an_image_that_is_pending(baker):
    """Whoever was killed while it is made has not lost it; until it's there it's of no use, and no hindrance."""
    baker.rig.account.images.become("pending")
    process = baker.cloudist.start(*baker.arguments("bake"), env=baker.variables)
    baker.rig.wait_call("CreateImage", timeout=120)
    process.send_signal(signal.SIGKILL)
    process.wait()
    baker.cloudist.sweep()
    (image,) = baker.images()
    (row,) = json.loads(baker.cloudist("bake", "--list", "--json").check(0).out)
    assert (row["image"], row["state"]) == (image, "pending")
    done = baker.run().check(0)
    assert done.out == "1.0\n" and image not in done.err, done

    baker.rig.account.images.become("available")
    done = baker.run().check(0)
    assert done.out == "1.0\n" and image in done.err, done
    baker.rig.account.images.become("pending")
    baker.cloudist("bake", "--remove", image).check(0)
    baker.cloudist.nothing_left()


def test_an_image_that_fails(baker):
    baker.rig.account.images.become("failed")
    done = baker.bake().check(91)
    assert "failed" in done.err, done
    baker.cloudist.nothing_left()


def test_interrupted_before_there_is_an_image(baker):
    process = baker.cloudist.start(*baker.arguments("bake"), env=baker.variables)
    baker.rig.wait_call("CreateFleet", timeout=120)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert len(baker.rig.calls["CreateImage"]) == 0 and baker.images() == []
    baker.cloudist.nothing_left()


def test_there_has_to_be_an_environment(baker):
    done = baker.cloudist("bake", "--env=none").check(90)
    assert "no environment to bake" in done.err
    assert len(baker.rig.calls["CreateFleet"]) == 0
    baker.cloudist("bake", "--remove", "ami-0123").check(90)

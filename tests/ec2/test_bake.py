"""`cloudist bake`: an image with the environment in place, found again, used, and removed."""

from __future__ import annotations

import ensurepip
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import Iterator

import pytest

from command_line import CommandLine
from renter import SCRIPTS, Done, all_gone

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "environment"))

from wheels import Index, make_wheel  # noqa: E402

VERSION = ("python", "-c", "import apple; print(apple.VERSION)")


class Baker:
    """A user with a local environment of one package, and an index that has it."""

    def __init__(self, cloudist: CommandLine, directory: pathlib.Path) -> None:
        self.cloudist, self.rig = cloudist, cloudist.rig
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
        return (command, f"--local-python={self.python}", "--env=pip", *options)

    @property
    def variables(self) -> dict:
        return {"PIP_INDEX_URL": self.index.url, "PIP_CONFIG_FILE": os.devnull, "CLOUDIST_PYTHON": None}

    def bake(self) -> Done:
        return self.cloudist.run(*self.arguments("bake"), env=self.variables, patience=120)

    def run(self) -> Done:
        options = ("--provider=ec2", "-n1", "--", *VERSION)
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

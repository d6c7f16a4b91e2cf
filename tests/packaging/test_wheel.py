"""The wheel: the command and the pytest plugin in one, as `pip install .` makes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "templates" / "demo"


def run(*command, **options):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return result.returncode, result.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment that has nothing of this project but its wheel, and the pytest of this one."""
    place = tmp_path_factory.mktemp("wheel")
    maturin = Path(sys.executable).with_name("maturin")
    status, output = run(maturin, "build", "--release", "--locked", "--out", str(place), cwd=ROOT)
    assert status == 0, output
    (wheel,) = place.glob("*.whl")
    status, output = run(sys.executable, "-m", "venv", str(place / "venv"))
    assert status == 0, output
    python = place / "venv" / "bin" / "python"
    status, output = run(python, "-m", "pip", "install", "-q", f"pytest=={pytest.__version__}", str(wheel))
    assert status == 0, output
    return python


def test_pytest_knows_the_plugin_and_the_plugin_finds_the_command(environment, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(DEMO, project)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDIST_")}
    clean.update({f"CLOUDIST_{name.upper()}_DIR": str(tmp_path / name) for name in ("state", "cache")})
    status, output = run(environment, "-m", "pytest", "--cloudist=test", cwd=project, env=clean)
    assert status == 1, output
    assert "1 failed, 68 passed, 1 xfailed" in output
    assert "cloudist: 70 tests on 2 workers" in output


def test_without_being_asked_the_plugin_stays_out_of_the_way(environment, tmp_path):
    (tmp_path / "test_plain.py").write_text("def test_one(): pass\n")
    status, output = run(environment, "-m", "pytest", "-q", cwd=tmp_path)
    assert status == 0, output
    assert "1 passed" in output and "cloudist" not in output


def test_the_command_says_its_version(environment):
    status, output = run(environment.with_name("cloudist"), "--version")
    assert (status, output) == (0, "cloudist 0.1.0\n")

"""A machine for every test that asks for one, and a project for each interpreter in CLOUDIST_TEST_PYTHONS."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from harness import Machine, Project, Run, pythons  # noqa: E402


def pytest_generate_tests(metafunc):
    if "python" in metafunc.fixturenames:
        metafunc.parametrize(
            "python", pythons(), ids=lambda path: os.path.basename(os.path.dirname(os.path.dirname(path)))
        )


@pytest.fixture
def boot(tmp_path):
    """Starts machines that share a base directory."""
    machines = []

    def start(**options):
        base = options.pop("base", tmp_path / "base")
        base.mkdir(exist_ok=True)
        machines.append(Machine(base, sys.executable + " -IS", **options))
        return machines[-1].hello()

    yield start
    for each in machines:
        each.end()


@pytest.fixture
def machine(boot):
    return boot()


@pytest.fixture
def project(tmp_path, python):
    assert os.access(python, os.X_OK), "no interpreter at %s" % python
    return Project(tmp_path / "project", python)


@pytest.fixture
def start(machine, project):
    """Starts workers for the project."""

    def begin(workers=1, **changes):
        return Run(machine, project, workers, **changes)

    return begin

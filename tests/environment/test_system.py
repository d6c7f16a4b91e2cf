"""Packages of the operating system: real package managers, over repositories on loopback, on a machine whose system is its own."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import pytest

from apart import Apart, Repository, make_deb, make_rpm

NAME, SAYS = "cloudist-pebble", "a pebble"


@pytest.fixture(scope="module", autouse=True)
def root() -> None:
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.fail("a system of its own is made of namespaces: run these tests as root on Linux")


@pytest.fixture
def repository(tmp_path: pathlib.Path):
    directory = tmp_path / "repository"
    directory.mkdir()
    served = Repository(directory)
    yield served
    served.end()


@pytest.fixture
def debian(tmp_path, repository):
    make_deb(repository.directory, NAME, SAYS)
    setup = f"""
        rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
        echo 'deb [trusted=yes] {repository.url} ./' >/etc/apt/sources.list
    """
    machine = Apart(tmp_path / "machine", setup)
    yield machine
    machine.end()


@pytest.fixture
def fedora(tmp_path, repository):
    for program in ("dnf", "rpmbuild", "createrepo_c"):
        assert shutil.which(program), f"{program} is not there: `tests/run environment` installs it"
    make_rpm(repository.directory, NAME, SAYS)
    setup = f"""
        mkdir -p /etc/yum.repos.d
        rm -f /etc/yum.repos.d/*
        printf '[own]\\nname=own\\nbaseurl={repository.url}\\ngpgcheck=0\\n' >/etc/yum.repos.d/own.repo
    """
    machine = Apart(tmp_path / "machine", setup)
    yield machine
    machine.end()


@pytest.mark.parametrize(("manager", "kind"), [("apt", "debian"), ("dnf", "fedora")])
def test_packages_are_installed_once(run_on, repository, request, manager, kind):
    machine = request.getfixturevalue(kind)
    options = (f"--{manager}={NAME}", "--env=none")
    done = run_on(machine, NAME, options=options).check(0)
    assert done.out == f"{SAYS}\n", done
    asked = len(repository.asked)
    assert asked
    assert run_on(machine, NAME, options=options).check(0).out == f"{SAYS}\n"
    assert len(repository.asked) == asked
    assert shutil.which(NAME) is None, "it is on this computer as well"


def test_beside_an_environment(run_on, local, debian, index):
    local.install("apple==1.0")
    script = f"{NAME} && python -c 'import apple; print(apple.VERSION)'"
    done = run_on(debian, "sh", "-c", script, options=(f"--apt={NAME}",), PIP_INDEX_URL=index.url).check(0)
    assert done.out == f"{SAYS}\n1.0\n"


@pytest.mark.parametrize(("manager", "kind"), [("apt", "debian"), ("dnf", "fedora")])
def test_a_package_that_is_nowhere(run_on, request, manager, kind):
    machine = request.getfixturevalue(kind)
    done = run_on(machine, "true", options=(f"--{manager}=cloudist-boulder", "--env=none")).check(95)
    assert "cloudist-boulder" in done.err and "help: " in done.err, done


def test_what_is_no_name_is_refused(run_on, debian, repository):
    done = run_on(debian, "true", options=("--apt=-oDebug=1", "--env=none")).check(95)
    assert "'-oDebug=1' is not the name of a package" in done.err and not repository.asked, done


def test_a_machine_without_the_package_manager(run_on, tmp_path):
    machine = Apart(tmp_path / "machine", "rm -f /usr/bin/dnf*")
    try:
        done = run_on(machine, "true", options=("--dnf=tree", "--env=none")).check(95)
    finally:
        machine.end()
    assert "this machine has no dnf" in done.err, done


def test_one_of_two_managers(run_on, debian):
    done = run_on(debian, NAME, options=(f"--apt={NAME}", "--dnf=other", "--env=none")).check(0)
    assert done.out == f"{SAYS}\n"

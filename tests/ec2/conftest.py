"""Fixtures for the tests over an EC2 account on loopback. Needs root on Linux and OpenSSH's server."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Callable, Generator, Iterator

import pytest

from client import Client
from renter import SCRIPTS, Renter, all_gone
from rig import Rig
from tool import BINARY


def pytest_configure(config: pytest.Config) -> None:
    if sys.platform != "linux" or os.getuid() != 0:
        raise pytest.UsageError(
            "the machines of the EC2 rig are made of namespaces: run this as root on Linux"
        )
    if not os.access("/usr/sbin/sshd", os.X_OK):
        raise pytest.UsageError("/usr/sbin/sshd is not there or cannot be executed")
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"{BINARY} is not there or cannot be executed")


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or not report.passed
    return report


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    """Makes rigs that end with the test."""
    made = []

    def make(*arguments: object, **named: object) -> Rig:
        made.append(Rig(*arguments, **named))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
    assert not [problem for rig in made for problem in rig.problems]


@pytest.fixture
def rig(rigs: Callable[..., Rig]) -> Rig:
    return rigs()


@pytest.fixture
def client(rig: Rig, tmp_path: pathlib.Path) -> Client:
    return Client(rig, tmp_path)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What is known of the market is kept here from test to test."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def renters(
    request: pytest.FixtureRequest, rigs: Callable[..., Rig], tmp_path: pathlib.Path, cache: pathlib.Path
) -> Iterator[Callable[..., Renter]]:
    """Makes users of the tool, each with an account of its own, on whose machines pytest is installed."""
    made = []

    def make(own_cache: bool = False, **named: object) -> Renter:
        place = tmp_path / f"renter-{len(made)}"
        rig = rigs(**{"machine_path": [SCRIPTS], **named})
        made.append(Renter(rig, place, place / "cache" if own_cache else cache))
        return made[-1]

    yield make
    failed = request.node.stash[FAILED]
    for renter in made:
        if failed:
            renter.close()
        all_gone(renter.tool.mark)


@pytest.fixture
def renter(renters: Callable[..., Renter]) -> Renter:
    return renters()

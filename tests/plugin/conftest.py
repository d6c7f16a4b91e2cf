"""Fixtures for the tests of the local plugin: one project directory per test, for each interpreter in turn.

CLOUDIST_TEST_PYTHONS names the interpreters, separated by colons; CLOUDIST_BIN names the engine.
"""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from suites import ENGINE, Suite

PYTHONS = [path for path in os.environ.get("CLOUDIST_TEST_PYTHONS", sys.executable).split(":") if path]


def pytest_configure(config: pytest.Config) -> None:
    for path in [*PYTHONS, ENGINE]:
        if not os.access(path, os.X_OK):
            raise pytest.UsageError(f"{path} is not there or cannot be executed")


@pytest.fixture(params=PYTHONS, ids=lambda path: pathlib.Path(path).parent.parent.name)
def suite(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Suite:
    root = tmp_path / "project"
    root.mkdir()
    (root / "pytest.ini").write_text("[pytest]\n")
    return Suite(root, request.param)

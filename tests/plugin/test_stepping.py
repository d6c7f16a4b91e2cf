"""Failures are held and run again with each pytest: `cloudist pdb` after `pytest --cd-hold-failures`."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Dict, Iterator

import pytest

from suites import ENGINE, PATIENCE, Suite

SUITE = """
    import unittest
    import pytest

    SEEN = []

    @pytest.fixture(scope="module")
    def resource():
        yield "wide"

    def test_first(resource):
        SEEN.append(resource)

    class TestCase(unittest.TestCase):
        def test_method(self):
            place = "in a case"
            assert SEEN == []

    @pytest.mark.parametrize("value", ["a b", "[é]"])
    def test_second(resource, value):
        place = "in a function"
        assert value not in "a b[é]"
"""


@pytest.fixture
def environment(suite: Suite, tmp_path: pathlib.Path) -> Iterator[Dict[str, str]]:
    suite.write({"test_some.py": SUITE})
    own = {f"CLOUDIST_{name.upper()}_DIR": str(tmp_path / name) for name in ("state", "cache")}
    done = suite.cloudist("--cd-hold-failures", workers=1, **own)
    assert done.exit == 1 and "3 failed, 1 passed" in done.out, done.out + done.err
    yield suite.environment(**own)
    subprocess.run([ENGINE, "down", "--all"], env=suite.environment(**own), check=True, timeout=PATIENCE)


def pdb(
    suite: Suite, environment: Dict[str, str], *arguments: str, say: str = "p place, len(SEEN)\nc\n"
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ENGINE, "pdb", *arguments],
        cwd=suite.root,
        env=environment,
        input=say,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("options", [[], ["--again"]], ids=["held", "again"])
def test_each_kind_of_test_is_stepped_into(suite: Suite, environment: Dict[str, str], options: list) -> None:
    tests = {"test_method": "case", "[a b]": "function", "[\\xe9]": "function"}
    for test, place in tests.items():
        done = pdb(suite, environment, test, *options)
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"('in a {place}', 1)" in done.stdout, done.stdout + done.stderr
        assert ("as it was" in done.stderr) == (not options)


@pytest.mark.parametrize("text", ["EMPTY = []\nvalue = EMPTY[7]\n", "EMPTY = []\nimport nothing_like_it\n"])
def test_a_file_that_could_not_be_imported_is_stepped_into(suite: Suite, tmp_path: pathlib.Path, text: str) -> None:
    suite.write({"test_some.py": text})
    own = {f"CLOUDIST_{name.upper()}_DIR": str(tmp_path / name) for name in ("state", "cache")}
    assert suite.cloudist("--cd-keep-on-failure", workers=1, **own).exit == 2
    environment = suite.environment(**own)
    done = pdb(suite, environment, "test_some.py", say="p EMPTY, 'in the file'\nc\n")
    assert done.returncode == 1 and "([], 'in the file')" in done.stdout, done.stdout + done.stderr
    subprocess.run([ENGINE, "down", "--all"], env=environment, check=True, timeout=PATIENCE)

"""--cd-speculate: a test that takes far too long is tried a second time, and whichever try ends first counts."""

from __future__ import annotations

import pathlib

import pytest

from suites import Outcome, Suite

CONFTEST = """
    import os
    import pathlib
    import pytest

    PLACE = pathlib.Path({place!r})

    @pytest.fixture
    def is_first():
        try:
            os.close(os.open(PLACE / "first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            (PLACE / "second").touch()
            return False
        return True

    def pytest_sessionfinish():
        (PLACE / os.environ.get("PYTEST_XDIST_WORKER", "here")).touch()
"""

TESTS = """
    import pathlib
    import time
    import pytest

    PLACE = pathlib.Path({place!r})

    {straggler}

    @pytest.mark.parametrize("number", range(8))
    def test_quick(number):
        time.sleep(0.05)
"""

FIRST_HANGS = """
    def test_straggles(is_first):
        if is_first:
            time.sleep(600)
"""

SECOND_HANGS = """
    def test_straggles(is_first):
        while not (PLACE / "second").exists():
            time.sleep(0.01)
        if not is_first:
            time.sleep(600)
"""

FIRST_CANNOT_BE_INTERRUPTED = """
    def test_straggles(is_first):
        while is_first:
            try:
                time.sleep(600)
            except KeyboardInterrupt:
                pass
"""

SECOND_FAILS = """
    def test_straggles(is_first):
        if is_first:
            time.sleep(600)
        assert is_first, "by itself"
"""


def straggling(suite: Suite, place: pathlib.Path, straggler: str, *options: str) -> Outcome:
    place.mkdir()
    tests = TESTS.format(place=str(place), straggler=straggler.strip())
    suite.write({"conftest.py": CONFTEST.format(place=str(place)), "test_some.py": tests})
    return suite.cloudist("--cd-speculate", *options)


@pytest.mark.parametrize("straggler, won", [(FIRST_HANGS, 1), (SECOND_HANGS, 0)], ids=["second", "first"])
def test_whichever_ends_first_counts(suite: Suite, tmp_path: pathlib.Path, straggler: str, won: int) -> None:
    place = tmp_path / "place"
    done = straggling(suite, place, straggler)
    assert done.exit == 0, done.out + done.err
    assert " 9 passed" in done.out
    told = f"1 test took far longer than expected and had a second try, which ended first for {won}"
    assert told in done.out
    # The one that is interrupted ends its session in order, too.
    assert {path.name for path in place.iterdir()} == {"first", "second", "here", "gw0", "gw1"}


def test_one_that_cannot_be_interrupted_is_ended(suite: Suite, tmp_path: pathlib.Path) -> None:
    done = straggling(suite, tmp_path / "place", FIRST_CANNOT_BE_INTERRUPTED)
    assert done.exit == 0, done.out + done.err
    assert " 9 passed" in done.out


def test_a_failure_is_an_outcome(suite: Suite, tmp_path: pathlib.Path) -> None:
    done = straggling(suite, tmp_path / "place", SECOND_FAILS)
    assert done.exit == 1, done.out + done.err
    assert " 1 failed, 8 passed" in done.out
    assert "by itself" in done.out


@pytest.mark.parametrize(
    "option, why",
    [
        ("--cloudist=file", "mode `file` keeps tests on one worker"),
        ("--cd-tasks-per-worker-target=2", "chunks stay on one worker"),
    ],
)
def test_not_where_tests_stay_together(suite: Suite, tmp_path: pathlib.Path, option: str, why: str) -> None:
    done = straggling(suite, tmp_path / "place", FIRST_HANGS, option)
    assert done.exit == 90
    assert why in done.out + done.err

"""--cd-retries: tests that fail run again, and those that pass then are told apart."""

from __future__ import annotations

import re

import pytest

from suites import Suite

SUITE = """
    import warnings
    import pytest

    STATE = {}

    def again(name, times):
        STATE[name] = STATE.get(name, 0) + 1
        print(name, "attempt", STATE[name])
        return STATE[name] > times

    @pytest.fixture(scope="module")
    def wide():
        assert again("wide", 1), "the wide one isn't there yet"
        yield STATE["wide"]

    @pytest.fixture
    def ends():
        yield
        assert again("ends", 1)

    def test_passes():
        pass

    def test_call(record_property):
        record_property("tried", STATE.get("call", 0))
        assert again("call", 2), "not yet"

    def test_setup(wide):
        assert wide == 2

    def test_teardown(ends):
        pass

    def test_never():
        assert again("never", 99), "never"

    @pytest.mark.xfail(strict=True)
    def test_expected():
        assert again("expected", 99)

    def test_skips():
        pytest.skip("not here")

    class TestOld:
        def test_method(self):
            assert not hasattr(self, "used"), "one of the attempt before"
            self.used = True
            assert again("method", 1)
"""


def counted(out: str) -> dict:
    return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", out.splitlines()[-1])}


@pytest.fixture
def retried(suite: Suite) -> Suite:
    suite.write({"test_some.py": SUITE})
    return suite


def test_what_passes_when_it_is_run_again_is_flaky(retried: Suite) -> None:
    done = retried.cloudist("--cd-retries=2", "-v", "--junitxml=report.xml", workers=1)
    assert done.exit == 1
    told = counted(done.out)
    assert {word: told[word] for word in ("failed", "passed", "skipped", "xfailed", "rerun")} == {
        "failed": 1,
        "passed": 5,
        "skipped": 1,
        "xfailed": 1,
        "rerun": 7,
    }
    assert "error" not in told and "errors" not in told
    for name, line in {
        "test_call": "failed 2 times: AssertionError: not yet",
        "test_setup": "failed once: AssertionError: the wide one isn't there yet",
        "test_teardown": "failed once",
        "TestOld::test_method": "failed once",
    }.items():
        assert f"FLAKY test_some.py::{name} - {line}" in done.out
    assert done.out.count("FLAKY") == 4
    assert done.out.count("test_some.py::test_call RERUN") == 2
    # What the attempts before the last printed belongs to them.
    assert "never attempt 3" in done.out and "never attempt 2" not in done.out
    # The file tells of the last attempt.
    report = (retried.root / "report.xml").read_text()
    assert (
        report.count('name="tried"') == report.count('name="tried" value="2"') == 1
        and 'failures="1"' in report
    )


def test_without_the_option_nothing_runs_again(retried: Suite) -> None:
    done = retried.cloudist("-k", "test_call or test_passes", workers=1)
    assert counted(done.out)["failed"] == 1 and "rerun" not in counted(done.out)
    assert "FLAKY" not in done.out


def test_only_the_last_failure_counts_for_x(retried: Suite) -> None:
    done = retried.cloudist("--cd-retries=3", "-x", workers=1)
    assert "test_some.py::test_never" in done.out and "stopping after 1 failures" in done.out
    assert counted(done.out)["failed"] == 1 and counted(done.out)["rerun"] == 7


def test_a_suite_may_bring_a_way_of_its_own_to_run_a_test(retried: Suite) -> None:
    retried.write({"conftest.py": """
        def pytest_runtest_protocol(item, nextitem):
            if item.name == "test_never" and hasattr(item.config, "workerinput"):
                from _pytest.runner import runtestprotocol
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                runtestprotocol(item, nextitem=nextitem)
                item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
                return True
    """})
    done = retried.cloudist("--cd-retries=3", "-k", "test_never", workers=1)
    assert "never attempt 1" in done.out and "never attempt 2" not in done.out

"""Mode `each`: all tests on every worker, each told with its worker's name."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Dict, List

import pytest

from suites import Outcome, Suite

CONFTEST = """
    import pathlib
    import pytest

    ORDER = pathlib.Path({order!r})

    @pytest.fixture(autouse=True)
    def written_down(request, worker_id):
        with open(ORDER / worker_id, "a") as file:
            file.write(request.node.nodeid + "\\n")
"""

SUITE = {
    "test_b.py": """
        import pytest

        @pytest.fixture(scope="module")
        def wide():
            return []

        @pytest.mark.parametrize("number", [1, 2, 3])
        def test_grows(wide, number):
            wide.append(number)
            assert len(wide) == number

        @pytest.mark.skip(reason="never")
        def test_skipped(): pass
    """,
    "below/test_a.py": """
        def test_differs(worker_id):
            assert worker_id == "gw0", "not as on the others"

        class TestMore:
            def test_more(self): pass
    """,
}
TESTS = [
    "below/test_a.py::test_differs",
    "below/test_a.py::TestMore::test_more",
    *(f"test_b.py::test_grows[{number}]" for number in (1, 2, 3)),
]


def each(
    suite: Suite, files: Dict[str, str], order: pathlib.Path, *options: str, workers: int = 2
) -> Outcome:
    order.mkdir(exist_ok=True)
    suite.write({"conftest.py": CONFTEST.format(order=str(order)), **files})
    return suite.cloudist("--cloudist=each", *options, workers=workers)


def told(out: str, word: str) -> List[str]:
    """The verbose lines with this word, each as worker and node id."""
    return sorted(re.findall(rf"^\[(gw\d+)\] \[ *\d+%\] {word} (\S+)", out, re.MULTILINE))


def test_every_worker_runs_all_tests_in_pytest_s_order(suite: Suite, tmp_path: pathlib.Path) -> None:
    done = each(suite, SUITE, tmp_path / "order", "-v", "--cd-local-machines=2", workers=3)
    assert done.exit == 1, done.out + done.err
    plain = suite.plain("-v", "-p", "xdist")
    ran = [line.split()[0] for line in plain.out.splitlines() if " PASSED" in line or " FAILED" in line]
    assert sorted(ran) == sorted(TESTS)
    for worker in ("gw0", "gw1", "gw2"):
        assert (tmp_path / "order" / worker).read_text().split() == ran
    passed = [(worker, test) for worker in ("gw0", "gw1", "gw2") for test in TESTS]
    failed = [("gw1", TESTS[0]), ("gw2", TESTS[0])]
    assert told(done.out, "PASSED") == sorted(set(passed) - set(failed))
    assert told(done.out, "FAILED") == failed
    assert told(done.out, "SKIPPED") == [
        (worker, "test_b.py::test_skipped") for worker in ("gw0", "gw1", "gw2")
    ]
    assert "2 failed, 13 passed, 3 skipped" in done.out and "collected 18 items" in done.out
    assert "[100%]" in done.out and "18 tests on 3 workers" in done.out


def test_it_is_seen_which_worker_is_which_and_where_a_test_failed(
    suite: Suite, tmp_path: pathlib.Path
) -> None:
    done = each(suite, SUITE, tmp_path / "order", "-v", "--cd-local-machines=2", "--junitxml=junit.xml")
    for worker in ("gw0", "gw1"):
        assert re.search(rf"^\[{worker}\] local-\d: linux, Python 3\.\d+\.\d+, pytest \d", done.out, re.M)
    failure = done.out.partition("FAILURES")[2]
    assert re.search(r"^\[gw1\] \w+ -- Python 3\.", failure, re.M) and "[gw0]" not in failure
    assert len([case for case in done.cases() if "<testcase" in case]) == 12


def test_a_test_that_passes_elsewhere_is_known_to_have_failed(suite: Suite, tmp_path: pathlib.Path) -> None:
    assert each(suite, SUITE, tmp_path / "order").exit == 1
    known = json.loads((suite.root / ".pytest_cache/v/cache/lastfailed").read_text())
    assert known == {TESTS[0]: True}
    again = each(suite, SUITE, tmp_path / "again", "--lf")
    assert "1 failed, 1 passed" in again.out


def test_machines_need_not_have_the_same_tests(suite: Suite, tmp_path: pathlib.Path) -> None:
    files = {
        "test_a.py": """
            import os
            def test_everywhere(): pass
            if os.environ["PYTEST_XDIST_WORKER"] == "gw1":
                def test_there(): pass
            def test_last(): pass
        """,
    }
    done = each(suite, files, tmp_path / "order", "-v", "-k", "not last")
    assert done.exit == 0, done.out + done.err
    assert told(done.out, "PASSED") == [
        ("gw0", "test_a.py::test_everywhere"),
        ("gw1", "test_a.py::test_everywhere"),
        ("gw1", "test_a.py::test_there"),
    ]
    assert "3 passed, 2 deselected" in done.out


def test_an_error_of_one_worker_stops_all_and_is_told_with_its_name(
    suite: Suite, tmp_path: pathlib.Path
) -> None:
    files = {**SUITE, "test_c.py": 'import os\nassert os.environ["PYTEST_XDIST_WORKER"] == "gw0"'}
    done = each(suite, files, tmp_path / "order")
    assert done.exit == 2, done.out + done.err
    assert "1 error during collection" in done.out and re.search(r"^\[gw1\] ", done.out, re.M)
    assert list((tmp_path / "order").iterdir()) == []
    both = each(suite, {**SUITE, "test_c.py": "assert 0"}, tmp_path / "order")
    assert "2 errors during collection" in both.out


def test_a_crash_takes_nothing_else_along(suite: Suite, tmp_path: pathlib.Path) -> None:
    files = {
        "test_a.py": """
            import os
            def test_before(): pass
            def test_crash(worker_id):
                if worker_id == "gw1": os._exit(7)
            def test_after(): pass
        """,
    }
    done = each(suite, files, tmp_path / "order", "-v")
    assert done.exit == 1, done.out + done.err
    assert told(done.out, "FAILED") == [("gw1", "test_a.py::test_crash")]
    assert "1 failed, 5 passed" in done.out and "exit status 7" in done.out


def test_the_first_failure_on_any_worker_can_be_the_last(suite: Suite, tmp_path: pathlib.Path) -> None:
    done = each(suite, SUITE, tmp_path / "order", "-x")
    assert done.exit == 1 and "stopping after 1 failures" in done.out
    assert "1 failed" in done.out and "[gw1]" in done.out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--cd-num-workers=auto"], "how many workers there are to be"),
        (["--cd-tasks-per-worker-target=2"], "mode `each` has no chunks"),
    ],
)
def test_what_has_no_meaning_is_refused(suite: Suite, options: List[str], message: str) -> None:
    suite.write(SUITE)
    done = suite.cloudist("--cloudist=each", *options)
    assert done.exit == 90 and message in done.out + done.err

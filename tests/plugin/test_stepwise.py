"""--stepwise: whatever the order in which results come, the next run begins where plain pytest's would."""

from __future__ import annotations

import json

import pytest

from suites import Suite

FILES = {
    "test_a.py": "import time\ndef test_a0(): time.sleep(0.3)\ndef test_a1(): pass\n",
    "test_b.py": """
        import os, time
        def test_b0(): pass
        def test_b1():
            time.sleep(0.5)
            assert "b1" not in os.environ.get("BROKEN", "")
        def test_b2(): pass
        def test_b3(): assert "b3" not in os.environ.get("BROKEN", "")
    """,
    "test_c.py": """
        import os
        def test_c0(): assert "c0" not in os.environ.get("BROKEN", "")
        def test_c1(): pass
    """,
}
STOPPED = "Interrupted: Test failed, continuing from this test next run."


@pytest.fixture
def stepping(suite: Suite) -> Suite:
    return suite.write(FILES)


def step(suite: Suite, broken: str, *options: str, workers: int = 2):
    # A variable of one's own doesn't travel unasked.
    return suite.cloudist("--stepwise", "--cd-passenv=BROKEN", *options, workers=workers, BROKEN=broken)


def kept(suite: Suite):
    told = json.loads((suite.root / ".pytest_cache/v/cache/stepwise").read_text())
    return told["last_failed"] if isinstance(told, dict) else told


@pytest.mark.parametrize("workers", [1, 3])
def test_it_ends_with_the_first_failure_in_order(stepping: Suite, workers: int) -> None:
    done = step(stepping, "b1 b3 c0", workers=workers)
    assert done.exit == 2 and STOPPED in done.out, done.out
    assert kept(stepping) == "test_b.py::test_b1"
    assert "no previously failed tests, not skipping" in done.out
    # All that pytest would have run before it has run.
    for name in ("test_a0", "test_a1", "test_b0"):
        assert "passed" in done.out and f"{name} FAILED" not in done.out


def test_it_goes_on_where_it_failed(stepping: Suite) -> None:
    step(stepping, "b1")
    done = step(stepping, "c0", "-v")
    assert "stepwise: skipping what comes before test_b.py::test_b1." in done.out, done.out
    assert "test_a.py" not in done.out and "test_b.py::test_b0" not in done.out, done.out
    for name in ("b1", "b2", "b3"):
        assert f"test_b.py::test_{name} PASSED" in done.out, done.out
    assert done.exit == 2 and kept(stepping) == "test_c.py::test_c0"
    last = step(stepping, "")
    assert last.exit == 0 and "2 passed" in last.out and kept(stepping) is None, last.out
    whole = step(stepping, "")
    assert whole.exit == 0 and "8 passed" in whole.out, whole.out


def test_plain_pytest_goes_on_where_it_failed(stepping: Suite) -> None:
    step(stepping, "b1")
    plain = stepping.plain("--stepwise", BROKEN="")
    assert plain.exit == 0 and "5 passed, 3 deselected" in plain.out, plain.out


def test_it_goes_on_where_plain_pytest_failed(stepping: Suite) -> None:
    assert stepping.plain("--stepwise", BROKEN="b3").exit == 2
    done = step(stepping, "")
    assert done.exit == 0 and "3 passed, 3 deselected" in done.out, done.out


def test_one_failure_is_left_alone(stepping: Suite) -> None:
    step(stepping, "b1")
    done = step(stepping, "b1 b3 c0", "--stepwise-skip", "-v")
    assert "test_b.py::test_b1 FAILED" in done.out and "test_b.py::test_b2 PASSED" in done.out, done.out
    assert done.exit == 2 and kept(stepping) == "test_b.py::test_b3"


def test_a_failure_that_is_gone_skips_nothing(stepping: Suite) -> None:
    step(stepping, "b1")
    (stepping.root / "test_b.py").unlink()
    done = step(stepping, "")
    assert "previously failed test not found, not skipping" in done.out and "4 passed" in done.out, done.out


def test_it_can_begin_anew(stepping: Suite) -> None:
    if "--stepwise-reset" not in stepping.plain("--help").out:
        pytest.skip("this pytest can't")
    step(stepping, "c0")
    done = step(stepping, "", "--stepwise-reset")
    assert "resetting state, not skipping" in done.out and "8 passed" in done.out, done.out


def test_what_crashes_counts_as_a_failure(stepping: Suite) -> None:
    stepping.write(
        {"test_b.py": "import os\ndef test_b0(): pass\ndef test_b1(): os._exit(7)\ndef test_b2(): pass\n"}
    )
    done = step(stepping, "c0")
    assert done.exit == 2 and kept(stepping) == "test_b.py::test_b1", done.out


def test_each_worker_has_an_order_of_its_own(stepping: Suite) -> None:
    done = stepping._run(stepping.command("-p", "pytest_cloudist", "--cloudist=each", "--sw"), {})
    assert done.exit == 4 and "--stepwise with --cloudist=each" in done.err, done.err

"""--cd-fresh-process: no test sees what another has left in memory, and all else is as in plain pytest."""

from __future__ import annotations

import pytest

from suites import Suite, assert_same

LEAKS = """
    import os
    import pytest

    LEFT = []

    @pytest.fixture(scope="module")
    def wide():
        LEFT.append("wide")
        yield os.getpid()
        print("torn down in", "its own process" if LEFT[0] == "wide" else LEFT)

    @pytest.mark.parametrize("number", range(5))
    def test_finds_nothing(number, wide):
        assert LEFT == ["wide"]
        LEFT.append(number)
        assert wide == os.getpid()

    def test_environment():
        assert "LEAK" not in os.environ
        os.environ["LEAK"] = "1"

    def test_environment_again():
        assert "LEAK" not in os.environ
        os.environ["LEAK"] = "1"
"""
OUTCOMES = """
    import os
    import sys
    import warnings
    import pytest

    @pytest.fixture
    def noisy():
        print("fixture out")
        yield
        print("teardown out")
        sys.stderr.write("teardown err\\n")

    @pytest.fixture(scope="module")
    def broken_end():
        yield
        print("last words")
        raise RuntimeError("the end of a wider fixture")

    @pytest.mark.parametrize("number", range(6))
    def test_fails(number, noisy):
        print("out of", number)
        os.write(2, b"raw err of %d\\n" % number)
        assert number < 0, "as told"

    def test_passes(noisy):
        pass

    def test_warns():
        warnings.warn("careful")

    @pytest.mark.xfail
    def test_expected():
        assert 0

    def test_skipped():
        pytest.skip("not here")

    def test_temporary(tmp_path, capfd, caplog):
        (tmp_path / "file").write_text("x")
        print("seen")
        assert capfd.readouterr().out == "seen\\n"

    def test_wide(broken_end):
        pass
"""


def test_nothing_is_left_for_the_next(suite: Suite) -> None:
    suite.write({"test_leaks.py": LEAKS})
    assert suite.plain().exit == 1
    done = suite.cloudist("--cd-fresh-process", workers=1)
    assert done.exit == 0 and "7 passed" in done.out, done.out


def test_outcomes_and_output_are_those_of_plain_pytest(suite: Suite) -> None:
    suite.write({"test_outcomes.py": OUTCOMES})
    options = ["-rA", "--junitxml=junit.xml"]
    assert_same(suite.plain(*options), suite.cloudist(*options, "--cd-fresh-process"))


def test_output_without_capture(suite: Suite) -> None:
    suite.write({"test_prints.py": "def test_a(): print('from a')\ndef test_b(): print('from b')\n"})
    done = suite.cloudist("-s", "--cd-fresh-process", workers=1)
    assert done.exit == 0 and done.out.count("from a") == done.out.count("from b") == 1, done.out


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_a_test_that_ends_its_process_fails_alone(suite: Suite, end: str) -> None:
    suite.write({"test_ends.py": f"import os\ndef test_a(): pass\ndef test_b(): {end}\ndef test_c(): pass\n"})
    done = suite.cloudist("--cd-fresh-process", workers=1)
    assert (
        done.exit == 1 and "1 failed, 2 passed" in done.out and "test_ends.py::test_b" in done.out
    ), done.out


def test_what_a_test_leaves_running_holds_nothing_up(suite: Suite) -> None:
    leaves = """
        import os, time

        def test_a():
            if os.fork() == 0:
                time.sleep(1000)

        def test_b():
            pass
    """
    suite.write({"test_leaves.py": leaves})
    done = suite.cloudist("--cd-fresh-process", workers=1)
    assert done.exit == 0 and "2 passed" in done.out, done.out


def test_it_stops_at_the_first_failure(suite: Suite) -> None:
    suite.write(
        {
            "test_stops.py": "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_n(n): assert n != 3\n"
        }
    )
    done = suite.cloudist("-x", "--cd-fresh-process", workers=1)
    assert (
        done.exit == 1 and "1 failed, 3 passed" in done.out and "stopping after 1 failures" in done.out
    ), done.out


def test_a_test_can_stop_the_session(suite: Suite) -> None:
    stops = """
        def test_a(request):
            request.session.shouldstop = "enough of this"

        def test_b():
            pass
    """
    suite.write({"test_stops.py": stops})
    done = suite.cloudist("--cd-fresh-process", workers=1)
    assert "enough of this" in done.out and "1 passed" in done.out, done.out


def test_retries_and_time_limits_hold(suite: Suite) -> None:
    suite.write({"test_more.py": """
                import time
                COUNT = []

                def test_flaky():
                    COUNT.append(1)
                    assert len(COUNT) > 1

                def test_hangs():
                    print("so far")
                    time.sleep(1000)

                def test_after():
                    pass
            """})
    done = suite.cloudist("--cd-fresh-process", "--cd-retries=1", "--cd-timeout=1s", "-v", workers=1)
    assert done.exit == 1 and "1 failed, 2 passed, 1 rerun" in done.out, done.out
    assert "Timeout: its call was not over after 1 s" in done.out and "time.sleep(1000)" in done.out, done.out
    assert "so far" in done.out, done.out


def test_coverage_is_that_of_all_processes(suite: Suite) -> None:
    suite.write(
        {
            "pkg/__init__.py": "def one():\n    return 1\n\n\ndef two():\n    return 2\n\n\ndef three():\n    return 3\n",
            "tests/test_cov.py": "import pkg\ndef test_one(): pkg.one()\ndef test_two(): pkg.two()\n",
        }
    )
    options = ["--cov=pkg", "--cov-report=term-missing", "tests"]
    assert_same(suite.plain(*options), suite.cloudist(*options, "--cd-fresh-process", workers=1))

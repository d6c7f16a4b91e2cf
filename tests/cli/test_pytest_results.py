"""`cloudist pytest` beside plain pytest: the same exit status and the same closing lines."""

from __future__ import annotations

import re
import sys

import pytest

SUITE = {
    "tests/test_pass.py": """
        import pytest
        @pytest.mark.parametrize("n", range(8))
        def test_n(n): pass
        """,
    "tests/test_fail.py": """
        def test_bad(): assert 1 == 2
        def test_good(): pass
        """,
    "tests/sub/test_more.py": """
        import pytest
        def test_skipped(): pytest.skip("not today")
        @pytest.mark.xfail
        def test_expected(): assert 0
        class TestGroup:
            def test_one(self): pass
            def test_two(self): pass
        """,
}
ONE_FAILING = {
    f"test_{n:02}.py": "def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass" for n in range(12)
}


def plain(cloudist, *arguments, cwd):
    return cloudist(command=[sys.executable, "-m", "pytest", *arguments], cwd=cwd)


def closing(done):
    """From the short summary on, without times and what is cloudist's own, in any order but for the last line."""
    lines = done.out.splitlines()
    begin = next((at for at, line in enumerate(lines) if "short test summary" in line), len(lines) - 1)
    kept = [
        re.sub(r"\d+\.\d+s", "N s", line.strip("= "))
        for line in lines[begin:]
        if not line.startswith("cloudist:")
    ]
    return sorted(kept[:-1]), kept[-1]


def assert_same(cloudist, root, *arguments, options=(), cwd=None):
    expected = plain(cloudist, *arguments, cwd=cwd or root)
    done = cloudist("pytest", *options, "--", *arguments, cwd=cwd or root)
    done.check(expected.exit)
    assert closing(done) == closing(expected), done
    return done


def test_a_suite_that_passes(cloudist, project, place):
    root = project(SUITE)
    done = assert_same(cloudist, root, "tests/test_pass.py", options=place.arguments)
    assert (done.exit, done.counts()) == (0, "8 passed")


@pytest.mark.parametrize("mode", ["test", "file"])
def test_a_suite_with_a_failure(cloudist, project, mode):
    done = assert_same(cloudist, project(SUITE), "-rA", options=["--mode", mode, "-n3"])
    assert done.exit == 1


def test_one_test_alone(cloudist, project):
    root = project({"test_only.py": "def test_only(): pass"})
    assert assert_same(cloudist, root, options=["-n8"]).counts() == "1 passed"


def test_no_test_at_all(cloudist, project):
    assert assert_same(cloudist, project({"test_empty.py": ""})).exit == 5
    assert assert_same(cloudist, project({"test_empty.py": ""}), "-q").exit == 5


@pytest.mark.parametrize("mode", ["test", "file"])
def test_a_selection(cloudist, project, mode):
    root = project(SUITE)
    assert assert_same(cloudist, root, "-k", "nothing_like_that", options=["--mode", mode]).exit == 5
    assert assert_same(cloudist, root, "-k", "one or good", options=["--mode", mode]).exit == 0
    assert_same(cloudist, root, "--deselect", "tests/test_fail.py::test_bad", options=["--mode", mode])


def test_node_ids_and_files_as_arguments(cloudist, project):
    root = project(SUITE)
    ids = [
        "tests/test_pass.py::test_n[3]",
        "tests/sub/test_more.py::TestGroup",
        "tests/test_fail.py::test_good",
    ]
    assert assert_same(cloudist, root, *ids).counts() == "4 passed"
    assert assert_same(cloudist, root, "tests/test_pass.py::test_not_there").exit == 4
    assert assert_same(cloudist, root, "no/such/file.py").exit == 4


def test_below_the_root_directory(cloudist, project):
    root = project(
        {**SUITE, "tests/conftest.py": "import pytest\n@pytest.fixture(autouse=True)\ndef every(): yield"}
    )
    done = assert_same(cloudist, root, "-v", "sub", "test_pass.py", cwd=root / "tests")
    assert "tests/sub/test_more.py::TestGroup::test_one PASSED" in done.out or "sub/test_more.py" in done.out


def test_an_option_that_pytest_does_not_know(cloudist, project):
    done = cloudist("pytest", "--", "--no-such-option", cwd=project(SUITE)).check(4)
    assert "--no-such-option" in done.err


def test_the_first_failure_stops_it(cloudist, project):
    done = cloudist("pytest", "--", "-x", cwd=project(ONE_FAILING)).check(1)
    assert "stopping after 1 failures" in done.out, done
    assert "1 failed" in done.counts(), done


def test_so_many_failures_stop_it(cloudist, project):
    done = cloudist("pytest", "--", "--maxfail=3", cwd=project(ONE_FAILING)).check(1)
    assert "stopping after 3 failures" in done.out, done
    assert "3 failed" in done.counts(), done


def test_an_error_in_collection_stops_it(cloudist, project):
    root = project({**SUITE, "tests/test_broken.py": "import no_such_module"})
    assert assert_same(cloudist, root).exit == 2
    assert assert_same(cloudist, root, "--continue-on-collection-errors").exit == 1


def test_mode_no_is_plain_pytest(cloudist, project):
    done = cloudist("pytest", "--mode", "no", "--", "-q", "tests/test_pass.py", cwd=project(SUITE)).check(0)
    assert "8 passed" in done.out and "cloudist" not in done.out


def test_pytests_own_information_is_left_to_it(cloudist, project):
    root = project(SUITE)
    assert "test_n[7]" in cloudist("pytest", "--", "--collect-only", "-q", cwd=root).check(0).out
    assert cloudist("pytest", "--", "--version", cwd=root).check(0)


def test_output_of_tests_is_shown_as_asked(cloudist, project):
    root = project(
        {"test_p.py": "import sys\ndef test_p(): print('to out'); print('to err', file=sys.stderr); assert 0"}
    )
    done = cloudist("pytest", cwd=root).check(1)
    assert "Captured stdout call" in done.out and "to out" in done.out and "to err" in done.out
    assert "to out" in cloudist("pytest", "--", "-s", cwd=root).check(1).out

"""`cloudist rerun`: the tests of an earlier run once more."""

from __future__ import annotations

SUITE = {
    "tests/conftest.py": """
        def pytest_addoption(parser):
            parser.addoption("--cure", action="store_true")
        """,
    "tests/test_moods.py": """
        import pytest

        @pytest.mark.parametrize("text", ["fine", "b::ad", "[worse]"])
        def test_text(text, request):
            assert text == "fine" or request.config.getoption("cure")

        class TestClass:
            def test_always(self): assert 0
            def test_good(self): pass
        """,
    "tests/deep/test_more.py": """
        import pytest

        @pytest.fixture
        def broken(request):
            assert request.config.getoption("cure")

        def test_setup(broken): pass
        def test_good(): pass
        """,
}
LOCAL = ("--provider=local", "-n", "2")
BAD = {
    "tests/deep/test_more.py::test_setup",
    "tests/test_moods.py::TestClass::test_always",
    "tests/test_moods.py::test_text[[worse]]",
    "tests/test_moods.py::test_text[b::ad]",
}


def ran(done) -> set:
    return {
        line.split(" ")[0]
        for line in done.out.splitlines()
        if " PASSED" in line or " FAILED" in line or " ERROR" in line and "::" in line.split(" ")[0]
    }


def test_what_failed_runs_again(cloudist, project, place):
    root, there = project(SUITE), [*place.arguments, "-n", "2"]
    cloudist("pytest", *there, "--", "tests", cwd=root).check(1)
    again = cloudist("rerun", "--failed", *there, "--report=told", "--", "-v", cwd=root).check(1)
    assert ran(again) == BAD and "3 failed, 1 error" in again.out
    assert (root / "told" / "report.html").is_file()
    cured = cloudist("rerun", "--failed", *there, "--", "-v", "--cure", cwd=root / "tests").check(1)
    assert len(ran(cured)) == 4 and "1 failed, 3 passed" in cured.out
    last = cloudist("rerun", "--failed", *there, "--", "-v", cwd=root).check(1)
    assert ran(last) == {"tests/test_moods.py::TestClass::test_always"}, "of the last run, not of the first"


def test_a_run_by_its_number_and_all_of_it(cloudist, project):
    root = project(SUITE)
    cloudist("pytest", *LOCAL, "--", "tests/deep", "--cure", cwd=root).check(0)
    cloudist("pytest", *LOCAL, "--", "tests", cwd=root).check(1)
    again = cloudist("rerun", "1", *LOCAL, "--", "-v", "--cure", cwd=root).check(0)
    assert ran(again) == {"tests/deep/test_more.py::test_setup", "tests/deep/test_more.py::test_good"}
    assert "no test failed in run 1" in cloudist("rerun", "1", "--failed", *LOCAL, cwd=root).check(0).out


def test_a_run_that_is_not_there_is_named(cloudist, project):
    root = project(SUITE)
    nothing = cloudist("rerun", *LOCAL, cwd=root).check(90)
    assert "no run of" in nothing.err and "cloudist history" in nothing.err
    cloudist("pytest", *LOCAL, "--", "tests", cwd=root).check(1)
    assert "no run 7 of" in cloudist("rerun", "7", *LOCAL, cwd=root).check(90).err


def test_tests_that_are_gone_are_told_as_pytest_does(cloudist, project):
    root = project(SUITE)
    cloudist("pytest", *LOCAL, "--", "tests", cwd=root).check(1)
    path = root / "tests" / "deep" / "test_more.py"
    path.write_text(path.read_text().replace("test_setup", "test_renamed"))
    gone = cloudist("rerun", "--failed", *LOCAL, cwd=root).check(4)
    assert "test_more.py::test_setup" in gone.out + gone.err

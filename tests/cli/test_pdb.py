"""Into a test that failed, on the machine that was kept: `cloudist pdb` and `cloudist bisect`."""

from __future__ import annotations

import pathlib
from typing import Callable

import pytest

from places import Place
from tool import Tool, ended

Project = Callable[..., pathlib.Path]

POLLUTED = """
    import pytest

    SEEN = []

    @pytest.mark.parametrize("n", range(20))
    def test_before(n):
        if n in (3, 11):
            SEEN.append(n)

    def test_polluted():
        value = {"seen": SEEN}
        print("said before it")
        assert len(SEEN) < 2

    def test_after():
        pass
"""
ALONE = ["-n", "1", "--keep-on-failure"]
PLAIN = ["--", "-p", "no:randomly"]


@pytest.fixture
def polluted(place: Place, cloudist: Tool, project: Project):
    root = project({"test_some.py": POLLUTED})
    cloudist("pytest", *place.arguments, *ALONE, *PLAIN, cwd=root).check(1)
    yield root
    cloudist("down", "--all", cwd=root).check(0)


def test_the_debugger_comes_up_where_the_test_fails_after_what_ran_before_it(
    polluted: pathlib.Path, cloudist: Tool
) -> None:
    terminal = cloudist.terminal("pdb", cwd=polluted)
    terminal.expect_exact("test_some.py::test_polluted after the 20 tests before it on gw0")
    terminal.expect_exact("said before it")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("p value, request_is_not_there")
    terminal.expect_exact("NameError")
    terminal.sendline("p value")
    terminal.expect_exact("{'seen': [3, 11]}")
    terminal.sendline("c")
    assert ended(terminal) == 1
    terminal = cloudist.terminal("pdb", "polluted", cwd=polluted)
    terminal.expect_exact("(Pdb) ")
    terminal.sendintr()
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("q")
    assert ended(terminal) == 2
    terminal = cloudist.terminal("pdb", cwd=polluted)
    terminal.expect_exact("(Pdb) ")
    terminal.sendeof()
    assert ended(terminal) == 2


def test_alone_the_test_passes_and_can_be_traced(polluted: pathlib.Path, cloudist: Tool) -> None:
    done = cloudist("pdb", "--alone", cwd=polluted).check(0)
    assert "it passed this time" in done.err
    done = cloudist("pdb", "--alone", "--trace", "1", cwd=polluted, input=b"n\np value\nc\n").check(0)
    assert "{'seen': []}" in done.out


def test_the_tests_that_it_depends_on_are_found(polluted: pathlib.Path, cloudist: Tool) -> None:
    done = cloudist("bisect", cwd=polluted).check(0)
    first, *found = done.out.splitlines()
    assert first == "test_some.py::test_polluted fails after"
    assert found == ["  test_some.py::test_before[3]", "  test_some.py::test_before[11]"]


def test_of_several_failures_one_is_named(cloudist: Tool, project: Project) -> None:
    suite = """
        import os

        def test_one():
            assert False, "by itself"

        def test_once(tmp_path_factory):
            mark = tmp_path_factory.getbasetemp().parents[2] / "was-here"
            if not mark.exists():
                mark.touch()
                assert False

        def test_dies():
            os._exit(7)
    """
    root = project({"test_some.py": suite})
    options = ["--provider=local", f"--setenv=PYTEST_DEBUG_TEMPROOT={root.parent}"]
    cloudist("pytest", *options, *ALONE, *PLAIN, cwd=root).check(1)
    done = cloudist("pdb", cwd=root).check(91)
    for line in ("3 tests failed", "1  test_some.py::test_one", "3  test_some.py::test_dies"):
        assert line in done.err
    assert "not exactly one" in cloudist("pdb", "test_on", cwd=root).check(91).err
    assert "not exactly one" in cloudist("pdb", "4", cwd=root).check(91).err
    done = cloudist("pdb", "test_one", cwd=root, input=b"c\n").check(1)
    assert "by itself" in done.out
    assert "fails by itself" in cloudist("bisect", "1", cwd=root).check(0).out
    assert "passes after the same tests too" in cloudist("bisect", "test_once", cwd=root).check(1).out
    assert cloudist("pdb", "3", cwd=root).exit == 7
    assert "fails by itself" in cloudist("bisect", "3", cwd=root).check(0).out
    cloudist("down", "--all", cwd=root).check(0)
    assert "no machine is there" in cloudist("pdb", cwd=root).check(91).err


def test_a_file_that_another_worker_collected(cloudist: Tool, project: Project) -> None:
    """Many files are handed out as they are collected, so tests go to workers that haven't seen theirs."""
    files = {f"test_{number:02}.py": "def test_it():\n    assert True\n" for number in range(40)}
    files["test_10.py"] = """
        import os
        import time
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_fails(n):
            time.sleep(0.1)
            assert False, f"on {os.environ['CLOUDIST_WORKER']}"
    """
    root = project(files)
    options = ["--provider=local", "-n", "2", "--keep-on-failure"]
    done = cloudist("pytest", *options, *PLAIN, cwd=root).check(1)
    assert "on gw0" in done.out and "on gw1" in done.out
    for number in (0, 7):
        done = cloudist("pdb", f"test_fails[{number}]", cwd=root, input=b"c\n").check(1)
        assert f"test_fails[{number}] after" in done.err
    cloudist("down", "--all", cwd=root).check(0)


def test_what_a_fixture_leaves_behind_can_be_gone_into(cloudist: Tool, project: Project) -> None:
    suite = """
        import pytest

        @pytest.fixture(scope="module")
        def resource():
            handle = "open"
            yield handle
            assert handle == "closed"

        def test_uses(resource):
            pass
    """
    root = project({"test_some.py": suite, "test_zome.py": "def test_it(): pass\n"})
    cloudist("pytest", "--provider=local", *ALONE, *PLAIN, cwd=root).check(1)
    done = cloudist("pdb", cwd=root, input=b"p handle\nc\n").check(1)
    assert "'open'" in done.out
    cloudist("down", "--all", cwd=root).check(0)

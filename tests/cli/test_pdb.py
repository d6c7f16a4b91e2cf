"""Into a test that failed, on the machine that was kept: `cloudist pdb` and `cloudist bisect`."""

from __future__ import annotations

import pathlib
from typing import Callable, List

import pytest

from machines import machines
from places import Place
from processes import until
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
SEND_HOME = """
import os, socket
base, trees, within = os.getcwd().partition("/trees/")
os.chdir(base + trees + within.partition("/")[0] + ".cloudist/diary")
waiting = socket.socket(socket.AF_UNIX)
waiting.connect("held-standby")
waiting.sendall(b"end")
assert waiting.recv(1) == b""
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


def test_where_nothing_waits_for_those_who_come_it_begins_from_nothing(
    polluted: pathlib.Path, cloudist: Tool
) -> None:
    cloudist("exec", "--", "python3", "-c", SEND_HOME, cwd=polluted).check(0)
    done = cloudist("pdb", cwd=polluted, input=b"p value\nc\n").check(1)
    assert "(Pdb) {'seen': [3, 11]}" in done.out
    done = cloudist("pdb", "--alone", cwd=polluted, input=b"").check(0)
    assert "it passed this time" in done.err


def test_a_search_is_broken_off_by_ctrl_c(polluted: pathlib.Path, cloudist: Tool) -> None:
    terminal = cloudist.terminal("bisect", cwd=polluted)
    terminal.expect_exact("fails after 20 tests")
    terminal.sendintr()
    assert ended(terminal) == 130


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


HELD = """
    import os
    import pathlib
    import time

    def test_once(tmp_path_factory):
        mark = pathlib.Path(os.environ["MARK"])
        value = [1]
        assert not mark.exists(), "the second time it passes"
        mark.touch()
        value.append(2)
        assert value == [1], "the first time it fails"

    def test_waits():
        while not pathlib.Path(os.environ["GATE"]).exists():
            time.sleep(0.02)
"""


def held(place: Place, root: pathlib.Path, *more: str) -> List[str]:
    variables = [f"--setenv={name.upper()}={root.parent / name}" for name in ("mark", "gate")]
    return ["pytest", *place.arguments, "-n", "1", *variables, *more, *PLAIN]


def at_its_second_test(cloudist: Tool, root: pathlib.Path) -> bool:
    workers = [one for machine in machines(cloudist, root) for one in machine["workers"]]
    return any("test_waits" in (one["now"] or "") for one in workers)


def test_a_test_that_is_held_is_gone_into_as_it_was_during_the_run_and_after_it(
    place: Place, cloudist: Tool, project: Project
) -> None:
    root = project({"test_some.py": HELD})
    run = cloudist.start(*held(place, root, "--hold-failures"), cwd=root)
    until(lambda: at_its_second_test(cloudist, root), "the second test runs")
    for _ in range(2):
        terminal = cloudist.terminal("pdb", cwd=root)
        terminal.expect_exact("as it was when it failed on gw0")
        terminal.expect_exact("the first time it fails")
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("p value")
        terminal.expect_exact("\n[1, 2]")
        terminal.sendline("value.append(3)")
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("import time; print('sle' + 'eps'); time.sleep(1000)")
        terminal.expect_exact("sleeps\r\n")
        terminal.sendintr()
        terminal.expect_exact("KeyboardInterrupt")
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("p value")
        terminal.expect_exact("\n[1, 2, 3]")
        terminal.sendline("q")
        assert ended(terminal) == 2
    (root.parent / "gate").touch()
    cloudist.finish(run).check(1)
    done = cloudist("pdb", cwd=root, input=b"p value\nc\n").check(1)
    assert "\n(Pdb) [1, 2]" in done.out
    assert "it passed this time" not in done.err
    done = cloudist("pdb", "--again", cwd=root, input=b"c\n").check(1)
    assert "the second time it passes" in done.out
    cloudist("down", "--all", cwd=root).check(0)
    place.all_gone()


def test_what_is_held_ends_with_its_time(place: Place, cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": HELD})
    (root.parent / "gate").touch()
    cloudist(*held(place, root, "--hold-failures=8s"), cwd=root).check(1)
    assert cloudist("pdb", cwd=root, input=b"c\n").check(1).out.count("(Pdb)") == 1
    place.all_gone()


def test_nothing_is_held_of_a_run_that_was_killed(place: Place, cloudist: Tool, project: Project) -> None:
    root = project({"test_some.py": HELD})
    run = cloudist.start(*held(place, root, "--hold-failures"), cwd=root)
    until(lambda: at_its_second_test(cloudist, root), "the second test runs")
    run.kill()
    cloudist.finish(run)
    place.all_gone()


def test_all_parts_of_a_test_are_held_and_so_many(cloudist: Tool, project: Project) -> None:
    suite = """
        import threading
        import pytest

        threading.Thread(target=threading.Event().wait, daemon=True).start()

        @pytest.fixture
        def broken():
            place = "setup"
            raise RuntimeError(place)

        @pytest.fixture
        def leaky():
            place = "teardown"
            yield
            raise RuntimeError(place)

        def test_setup(broken):
            pass

        def test_teardown(leaky):
            pass

        def test_caught(capfd, monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)
            print("captured by itself")
            place = "call"
            assert not place

        @pytest.mark.parametrize("n", range(20))
        def test_many(n):
            assert n < 0

        @pytest.mark.xfail
        def test_expected():
            assert False
    """
    root = project({"test_some.py": suite})
    done = cloudist("pytest", "--provider=local", "-n", "1", "--hold-failures", *PLAIN, cwd=root).check(1)
    assert "21 failed, 1 passed, 1 xfailed, 2 errors" in done.out and "DeprecationWarning" not in done.out
    for part in ("setup", "teardown", "call"):
        name = {"call": "test_caught"}.get(part, f"test_{part}")
        done = cloudist("pdb", name, cwd=root, input=b"p place, 'is the place'\nc\n").check(1)
        assert f"('{part}', 'is the place')" in done.out and "as it was" in done.err
    assert "as it was" in cloudist("pdb", "many[12]", cwd=root, input=b"c\n").check(1).err
    done = cloudist("pdb", "many[13]", cwd=root, input=b"c\n").check(1)
    assert "after the 16 tests before it" in done.err
    cloudist("down", "--all", cwd=root).check(0)


BROKEN = {
    "source/__init__.py": "",
    "source/rates.py": "def of(names):\n    wanted = names[3]\n    return wanted\n",
    "test_a_good.py": "def test_one():\n    pass\n",
    "test_rates.py": "from source import rates\nNAMES = ['one']\nFIRST = rates.of(NAMES)\ndef test_it():\n    pass\n",
    "test_lacking.py": "PLACE = 'in the test file'\nfrom source import nothing_like_it\n",
}


def test_a_file_that_could_not_be_imported_is_gone_into(
    place: Place, cloudist: Tool, project: Project
) -> None:
    root = project(BROKEN)
    done = cloudist("pytest", *place.arguments, *ALONE, *PLAIN, cwd=root).check(2)
    assert "`cloudist pdb` steps into it" in done.err
    listed = cloudist("pdb", cwd=root).check(91).err
    assert "2 files failed" in listed and "1  test_lacking.py" in listed and "2  test_rates.py" in listed
    terminal = cloudist.terminal("pdb", "test_rates.py", cwd=root)
    terminal.expect_exact("IndexError")
    terminal.expect_exact("source/rates.py(2)of()")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("p names")
    terminal.expect_exact("['one']")
    terminal.sendline("u")
    terminal.expect_exact("test_rates.py(3)<module>()")
    terminal.sendline("q")
    assert ended(terminal) == 2
    # An ImportError, of which pytest makes one of its own.
    done = cloudist("pdb", "lacking", cwd=root, input=b"p PLACE\nc\n").check(1)
    assert "'in the test file'" in done.out
    assert "fails by itself" in cloudist("bisect", "test_rates.py", cwd=root).check(0).out
    cloudist("down", "--all", cwd=root).check(0)


def test_a_directory_that_could_not_be_collected_is_gone_into(cloudist: Tool, project: Project) -> None:
    # Here it can be loaded: the local pytest does so too.
    conftest = "import os\nvalue = [1]\nif 'CLOUDIST_WORKER' in os.environ:\n    value[7]\n"
    root = project({"below/conftest.py": conftest, "below/test_it.py": "def test_it(): pass\n"})
    cloudist("pytest", "--provider=local", *ALONE, *PLAIN, cwd=root).check(2)
    done = cloudist("pdb", "below/test_it.py", cwd=root, input=b"p value\nc\n").check(1)
    assert "(Pdb) [1]" in done.out, done
    cloudist("down", "--all", cwd=root).check(0)


def test_an_import_that_fails_after_some_test_is_searched(cloudist: Tool, project: Project) -> None:
    files = {f"test_{number:02}.py": "def test_it():\n    pass\n" for number in range(40)}
    files["test_07.py"] = "import sys\ndef test_it():\n    sys.modules['graphlib'] = None\n"
    files["test_39.py"] = "import graphlib\ndef test_it():\n    pass\n"
    root = project(files)
    # So many files are not collected before the first test runs.
    cloudist("pytest", "--provider=local", *ALONE, *PLAIN, cwd=root).check(2)
    done = cloudist("bisect", cwd=root).check(0)
    assert done.out.splitlines() == ["test_39.py fails after", "  test_07.py::test_it"]
    cloudist("down", "--all", cwd=root).check(0)

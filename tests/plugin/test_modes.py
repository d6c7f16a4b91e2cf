"""What stays together in the modes `scope` and `group`, and that nothing else does."""

from __future__ import annotations

import pathlib
from typing import Dict

import pytest

from suites import Outcome, Suite, assert_same

CONFTEST = """
    import pathlib, time
    import pytest

    SEEN = pathlib.Path({seen!r})

    @pytest.fixture(autouse=True)
    def seen(request, worker_id):
        (SEEN / request.node.nodeid.replace("/", "|")).write_text(worker_id)

    @pytest.fixture
    def others():
        \"""Until a test has begun whose name holds this: on another worker, since this one waits.\"""
        def wait(name):
            deadline = time.monotonic() + 60
            while not any(name in path.name for path in SEEN.iterdir()):
                assert time.monotonic() < deadline, f"{{name}} has not begun"
                time.sleep(0.01)
        return wait
"""

FOR_ONE = """
    import pytest

    @pytest.fixture
    def others():
        return lambda name: None
"""

SCOPES = {
    "test_scopes.py": """
        import pytest

        class TestOne:
            def test_first(self, others): others("TestTwo::test_")
            @pytest.mark.parametrize("text", ["a::b", "[c]"])
            def test_more(self, text): pass

        class TestTwo:
            def test_first(self, others): others("TestOne::")
            class TestInner:
                def test_deep(self): pass
                def test_deeper(self): pass
            def test_last(self): pass

        def test_loose(): pass
        def test_looser(): pass
    """,
}

GROUPS = {
    "test_a.py": """
        import pytest

        @pytest.mark.cloudist_group("db")
        def test_base(others): others("test_single")

        def test_single(others): others("test_base")
        def test_alone(): pass
    """,
    "test_b.py": """
        import pytest

        @pytest.mark.cloudist_group(name="db")
        class TestBase:
            def test_more(self): pass
            @pytest.mark.xdist_group("elsewhere")
            def test_ours_stands_before_that_of_xdist(self): pass

        @pytest.mark.xdist_group("other")
        def test_other(): pass
    """,
    "test_c.py": """
        import pytest

        @pytest.mark.xdist_group(name="other")
        def test_other(): assert 0

        def test_alone(): pass
    """,
}

OPTIONS = {"scope": ("--cloudist=scope",), "group": ("--cloudist=group", "--strict-markers", "-p", "xdist")}


def run(suite: Suite, files: Dict[str, str], seen: pathlib.Path, mode: str) -> Outcome:
    seen.mkdir()
    suite.write({"conftest.py": CONFTEST.format(seen=str(seen)), **files})
    return suite.cloudist(*OPTIONS[mode], "-v")


def workers(seen: pathlib.Path, *names: str) -> set:
    """Of the tests whose node ids hold one of these."""
    found = [path.read_text() for path in seen.iterdir() if any(name in path.name for name in names)]
    assert len(found) > 1, f"{names} among {list(seen.iterdir())}"
    return set(found)


def test_the_tests_of_a_class_or_module_stay_together(suite: Suite, tmp_path: pathlib.Path) -> None:
    seen = tmp_path / "seen"
    done = run(suite, SCOPES, seen, "scope")
    assert done.exit == 0, done.out + done.err
    assert "9 passed" in done.out
    one, two = workers(seen, "TestOne::"), workers(seen, "TestTwo::test_")
    assert len(one) == len(two) == 1 and one != two, "a file is shared out, its classes are not"
    assert len(workers(seen, "TestInner::")) == 1 and len(workers(seen, "::test_loose")) == 1


def test_the_tests_of_a_group_stay_together_whatever_their_files(
    suite: Suite, tmp_path: pathlib.Path
) -> None:
    seen = tmp_path / "seen"
    done = run(suite, GROUPS, seen, "group")
    assert done.exit == 1, done.out + done.err
    assert "1 failed, 7 passed" in done.out and "Unknown" not in done.out
    base = workers(seen, "test_base", "TestBase::")
    assert len(base) == 1 and len(workers(seen, "test_other")) == 1
    single = (seen / "test_a.py::test_single").read_text()
    assert single not in base, "what is in no group goes to whoever is free"


@pytest.mark.parametrize("mode", ["scope", "group"])
def test_reports_are_those_of_plain_pytest(suite: Suite, mode: str) -> None:
    suite.write({**SCOPES, **GROUPS, "conftest.py": FOR_ONE})
    report = ("-v", "-rA", "--junitxml=junit.xml")
    assert_same(
        suite.plain("-p", "pytest_cloudist", "-p", "xdist", *report),
        suite.cloudist(f"--cloudist={mode}", "-p", "xdist", *report),
    )


def test_there_are_no_chunks_of_scopes(suite: Suite) -> None:
    suite.write(SCOPES)
    done = suite.cloudist("--cloudist=scope", "--cd-tasks-per-worker-target=4")
    assert done.exit not in (0, 1)
    assert "mode `scope` has no chunks" in done.out + done.err

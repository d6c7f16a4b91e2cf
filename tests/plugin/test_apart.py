"""Tests that don't run beside others: one at a time in the whole run, or alone on their machine."""

from __future__ import annotations

import pathlib
from typing import Dict, List

import pytest

from suites import Suite, assert_same

# Each test looks who else runs: anywhere, or on its machine, which has a home of its own.
CONFTEST = """
    import os, pathlib, time
    import pytest

    SEEN = pathlib.Path({seen!r})
    HERE = SEEN / os.environ["HOME"].replace("/", "|")

    def kinds(item):
        return [kind for kind in ("serial", "exclusive") if item.get_closest_marker("cloudist_" + kind)]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_pyfunc_call(pyfuncitem):
        HERE.mkdir(exist_ok=True)
        me = HERE / (os.environ["PYTEST_XDIST_WORKER"] + "+" + "+".join(kinds(pyfuncitem)))
        me.touch()
        for _ in range(10):
            others = [path for path in SEEN.glob("*/*") if path != me]
            for other in others:
                both_serial = "serial" in me.name and "serial" in other.name
                here = other.parent == HERE and ("exclusive" in me.name or "exclusive" in other.name)
                if both_serial or here:
                    (SEEN / "trouble").write_text(f"{{me}} runs beside {{other}}")
            if others:
                (SEEN / "beside").touch()
            time.sleep(0.003)
        yield
        me.unlink()
"""

PLAIN: Dict[str, str] = {
    f"test_{name}.py": """
        import pytest

        @pytest.mark.parametrize("number", range(12))
        def test_plain(number): pass
    """
    for name in ("plain", "plainer", "plainest")
}

FILES: Dict[str, str] = {
    f"test_{name}.py": """
        import pytest

        def test_before(): pass
        def test_beside(): pass

        @pytest.mark.cloudist_serial
        def test_serial(): pass

        @pytest.mark.cloudist_exclusive
        @pytest.mark.parametrize("number", range(2))
        def test_exclusive(number): pass

        @pytest.mark.cloudist_serial
        @pytest.mark.cloudist_exclusive
        class TestBoth:
            def test_both(self): pass

        @pytest.mark.parametrize("number", range(6))
        def test_after(number): pass
    """
    for name in "abcdef"
}


WAYS = [(mode, collect, []) for mode in ("test", "file", "scope", "each") for collect in ("first", "stream")]
WAYS += [("test", "stream", ["--cd-fresh-process"]), ("test", "first", ["--cd-fresh-process", "--cd-speculate"])]


@pytest.mark.parametrize("mode, collect, further", WAYS, ids=lambda part: "".join(part))
def test_marked_tests_run_beside_no_others(
    suite: Suite, tmp_path: pathlib.Path, mode: str, collect: str, further: List[str]
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    suite.write({"conftest.py": CONFTEST.format(seen=str(seen)), **FILES, **PLAIN})
    machines = ("--cd-local-machines=2", f"--cd-collect={collect}", "--strict-markers", *further)
    done = suite.cloudist(f"--cloudist={mode}", *machines, workers=4)
    assert done.exit == 0, done.out + done.err
    copies = 4 if mode == "each" else 1
    assert f"{108 * copies} passed" in done.out, done.out
    trouble = seen / "trouble"
    assert not trouble.exists(), trouble.read_text()
    assert (seen / "beside").exists(), "no two tests ever ran at once"


def test_reports_are_those_of_plain_pytest(suite: Suite) -> None:
    suite.write(FILES)
    options = ("-v", "-rA", "--strict-markers", "--junitxml=junit.xml", "-p", "pytest_cloudist")
    assert_same(suite.plain(*options), suite.cloudist(*options, "--cd-local-machines=2", workers=4))

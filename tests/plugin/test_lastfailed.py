"""pytest's cache: what is written is what plain pytest writes, and --lf and --ff act on it."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from suites import Outcome, Suite

FILES = {
    "test_a.py": """
        import pytest

        @pytest.mark.parametrize("text", ["one", "two::2", "[three]"])
        def test_text(text):
            assert text != "two::2"

        class TestGroup:
            def test_good(self): pass
            def test_bad(self): assert 0
    """,
    "test_b.py": "def test_fine(): pass",
    "test_c.py": "def test_broken(): assert 0",
    "test_d.py": "def test_fine(): pass",
}


def cached(suite: Suite, name: str) -> object:
    return json.loads((suite.root / ".pytest_cache" / "v" / "cache" / name).read_text())


def forget(suite: Suite) -> None:
    shutil.rmtree(suite.root / ".pytest_cache")


def status(done: Outcome) -> list:
    return [line for line in done.out.splitlines() if line.startswith("run-last-failure")]


def ran(done: Outcome) -> list:
    return sorted(
        line.split(" ")[0] for line in done.out.splitlines() if " PASSED" in line or " FAILED" in line
    )


def test_the_cache_is_the_same(suite: Suite) -> None:
    suite.write(FILES)
    suite.plain()
    expected = [cached(suite, name) for name in ("lastfailed", "nodeids")]
    forget(suite)
    suite.cloudist()
    assert [cached(suite, name) for name in ("lastfailed", "nodeids")] == expected


@pytest.mark.parametrize(
    "options", [["--lf"], ["--ff"], ["--lf", "test_a.py"], ["--lf", "test_b.py"]], ids=" ".join
)
def test_after_failures(suite: Suite, options: list) -> None:
    suite.write(FILES)
    suite.plain()
    plain = suite.plain("-v", "--tb=no", *options)
    cloudist = suite.cloudist("-v", "--tb=no", *options)
    assert status(cloudist) == status(plain)
    assert ran(cloudist) == ran(plain)
    assert cloudist.exit == plain.exit


def test_without_failures(suite: Suite) -> None:
    suite.write({"test_b.py": "def test_fine(): pass"})
    for options in (["--lf"], ["--lf", "--lfnf=none"]):
        plain, cloudist = suite.plain(*options), suite.cloudist(*options)
        assert status(cloudist) == status(plain)
        assert cloudist.exit == plain.exit


def test_a_failure_that_is_gone(suite: Suite) -> None:
    suite.write(FILES)
    suite.plain()
    suite.write({"test_a.py": "def test_new(): pass", "test_c.py": "def test_new(): pass"})
    plain, cloudist = suite.plain("-v", "--lf"), suite.cloudist("-v", "--lf")
    assert status(cloudist) == status(plain)
    assert ran(cloudist) == ran(plain)


def test_a_fixed_test_is_forgotten(suite: Suite) -> None:
    suite.write(FILES)
    suite.cloudist()
    suite.write({"test_c.py": "def test_broken(): pass"})
    suite.cloudist("--lf")
    assert sorted(cached(suite, "lastfailed")) == [
        "test_a.py::TestGroup::test_bad",
        "test_a.py::test_text[two::2]",
    ]


LONG_AND_BAD = {
    "test_a.py": "import time\ndef test_long(): time.sleep(0.5)\n",
    "test_b.py": "import time\ndef test_longer(): time.sleep(0.8)\n",
    "test_c.py": "def test_bad(): assert 0\n",
}


def order(done: Outcome) -> list:
    lines = (line.split(" ")[0] for line in done.out.splitlines() if " PASSED" in line or " FAILED" in line)
    return [line.split("::")[0] for line in lines if "::" in line]


@pytest.mark.parametrize("how", ["--ff", "--cd-failed-first", "variable", "file"])
def test_failures_go_first_though_others_are_known_to_be_longer(suite: Suite, how: str) -> None:
    suite.write(LONG_AND_BAD)
    assert order(suite.cloudist("-v", "--tb=no", workers=1)) == ["test_a.py", "test_b.py", "test_c.py"]
    assert order(suite.cloudist("-v", "--tb=no", workers=1)) == ["test_b.py", "test_a.py", "test_c.py"]
    if how == "file":
        suite.write({"pyproject.toml": "[tool.cloudist]\nfailed-first = true\n"})
    variables = {"CLOUDIST_FAILED_FIRST": "1"} if how == "variable" else {}
    options = [how] if how.startswith("--") else []
    again = suite.cloudist("-v", "--tb=no", *options, workers=1, **variables)
    assert order(again) == ["test_c.py", "test_a.py", "test_b.py"]
    assert status(again) == ["run-last-failure: rerun previous 1 failure first"]


def test_the_newest_go_first(suite: Suite) -> None:
    suite.write({f"test_{letter}.py": "def test_it(): pass\n" for letter in "abc"})
    for age, letter in enumerate("bca"):
        os.utime(suite.root / f"test_{letter}.py", (10**9 - age, 10**9 - age))
    assert order(suite.cloudist("-v", workers=1)) == ["test_a.py", "test_b.py", "test_c.py"]
    suite.write({"test_d.py": "def test_it(): pass\n"})
    os.utime(suite.root / "test_d.py", (10**8, 10**8))
    cloudist = suite.cloudist("-v", "--nf", workers=1)
    assert order(cloudist) == ["test_d.py", "test_b.py", "test_c.py", "test_a.py"]
    known = cached(suite, "nodeids")
    (suite.root / ".pytest_cache" / "v" / "cache" / "nodeids").write_text(
        json.dumps([nodeid for nodeid in known if "test_d" not in nodeid])
    )
    assert order(suite.plain("-v", "--nf")) == order(cloudist)
    assert cached(suite, "nodeids") == known

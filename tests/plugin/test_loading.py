"""The ways in: -p, the entry point of an installed wheel, and the block in conftest.py, alone and together."""

from __future__ import annotations

from typing import Dict, List

import pytest

from suites import ENGINE, TEMPLATES, Suite

BLOCK = (TEMPLATES / "conftest.py").read_text()
CHOSEN = ["--cloudist=test", "--cd-provider=local"]
WAYS = ["option", "entry point", "conftest"]


def prepare(suite: Suite, ways: List[str]) -> Dict[str, object]:
    """Writes what the ways need; returns arguments and environment."""
    suite.write({"test_a.py": "def test_1(): pass", "conftest.py": "def pytest_configure(config): pass\n"})
    search = []
    if "option" in ways or "entry point" in ways:
        search.append(str(TEMPLATES))
    if "entry point" in ways:
        installed = suite.root.parent / "installed"
        metadata = installed / "cloudist-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cloudist\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[pytest11]\ncloudist = pytest_cloudist\n")
        search.append(str(installed))
    if "conftest" in ways:
        with (suite.root / "conftest.py").open("a") as stream:
            stream.write("\n\n" + BLOCK)
    return {
        "arguments": ["-p", "pytest_cloudist"] if "option" in ways else [],
        "environment": {"PYTHONPATH": ":".join(search), "CLOUDIST_BIN": ENGINE},
    }


def run(suite: Suite, ways: List[str], *options: str, **environment: str):
    prepared = prepare(suite, ways)
    command = suite.command(*prepared["arguments"], *options)
    return suite._run(command, {**prepared["environment"], **environment})


@pytest.mark.parametrize("ways", [[way] for way in WAYS] + [WAYS[1:], WAYS], ids=" and ".join)
def test_every_way_in(suite: Suite, ways: List[str]) -> None:
    done = run(suite, ways, *CHOSEN)
    assert done.exit == 0, done.out + done.err
    assert done.out.count("cloudist: mode test") == 1
    assert "cloudist: 1 test on " in done.out
    assert "warning" not in done.out


@pytest.mark.parametrize("ways", [[way] for way in WAYS] + [WAYS], ids=" and ".join)
def test_nothing_happens_unless_asked(suite: Suite, ways: List[str]) -> None:
    done = run(suite, ways)
    assert done.exit == 0, done.out + done.err
    assert "cloudist:" not in done.out


def test_the_mode_comes_from_the_environment_or_the_project(suite: Suite) -> None:
    environment = {"CLOUDIST_MODE": "file"}
    assert "cloudist: mode file" in run(suite, ["option"], "--cd-provider=local", **environment).out
    assert "cloudist:" not in run(suite, ["option"], "--cloudist=no", **environment).out
    suite.write({"pyproject.toml": "[tool.cloudist]\nmode = 'test'\nprovider = 'local'\n"})
    assert "cloudist: mode test" in run(suite, ["option"]).out
    assert run(suite, ["option"], CLOUDIST_MODE="sometimes").exit == 4


@pytest.mark.parametrize("spelling", [["--cloudist", "test"], ["--cloudist=test"]], ids=" ".join)
def test_without_the_program(suite: Suite, spelling: List[str]) -> None:
    prepare(suite, ["conftest"])
    nowhere = {"PYTHONPATH": "", "CLOUDIST_BIN": str(suite.root / "nowhere")}
    assert suite._run(suite.command(), nowhere).exit == 0
    done = suite._run(suite.command(*spelling), nowhere)
    assert done.exit == 4
    assert "cloudist is not installed: put it on PATH" in done.err


def test_the_block_keeps_other_plugins(suite: Suite) -> None:
    prepared = prepare(suite, [])
    for before in ("pytest_plugins = ['other_plugin']", "pytest_plugins = 'other_plugin'"):
        suite.write(
            {
                "conftest.py": f"{before}\n\n{BLOCK}",
                "other_plugin.py": "import pytest\n@pytest.fixture\ndef other(): return 1\n",
                "test_a.py": "def test_1(other): assert other == 1",
            }
        )
        done = suite._run(suite.command(*CHOSEN), dict(prepared["environment"]))
        assert done.exit == 0, done.out + done.err
        assert "cloudist: 1 test on " in done.out


@pytest.mark.parametrize(
    "option", ["--help", "--version", "--collect-only", "--fixtures", "--markers", "--setup-plan"]
)
def test_plain_runs_need_no_engine(suite: Suite, option: str) -> None:
    prepared = prepare(suite, ["option"])
    command = suite.command("-p", "pytest_cloudist", "--cloudist=test", option)
    done = suite._run(command, {**prepared["environment"], "CLOUDIST_BIN": str(suite.root / "nowhere")})
    assert done.exit == 0, done.out + done.err


def test_no_part_is_taken_inside_a_worker(suite: Suite) -> None:
    done = run(
        suite, ["option", "conftest"], "--cloudist=test", CLOUDIST_WORKER="gw3", CLOUDIST_BIN="nowhere"
    )
    assert done.exit == 0, done.out + done.err
    assert "cloudist:" not in done.out

"""`cloudist init`, and `pytest --cloudist` through what it wrote."""

from __future__ import annotations

import sys

import pytest

TESTS = "import os\nimport pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_n(n): assert os.environ.get('PYTEST_XDIST_WORKER')\n"
OWN_CONFTEST = '''
"""The project's own."""
import pytest

pytest_plugins = ["helper_plugin"]


def pytest_addoption(parser):
    parser.addoption("--colour", default="red")


@pytest.fixture
def colour(request):
    return request.config.getoption("--colour")
'''


@pytest.fixture
def run_pytest(cloudist):
    """pytest itself, as a user has it who put cloudist on the PATH."""

    def run(*arguments, cwd, **env):
        variables = {"CLOUDIST_BIN": cloudist.command()[0], **env}
        return cloudist(command=[sys.executable, "-m", "pytest", *arguments], cwd=cwd, env=variables)

    return run


@pytest.mark.parametrize("mode", ["test", "file"])
def test_a_project_without_a_conftest(cloudist, project, run_pytest, mode):
    root = project({"test_a.py": TESTS})
    assert "created" in cloudist("init", cwd=root).check(0).out
    assert "4 passed" in run_pytest(f"--cloudist={mode}", "--cd-provider=local", cwd=root).check(0).out
    done = run_pytest(cwd=root).check(1)
    assert "4 failed" in done.out, "without the option the tests run here"


def test_over_ssh(cloudist, project, run_pytest, place):
    root = project({"test_a.py": TESTS})
    cloudist("init", cwd=root).check(0)
    done = run_pytest("--cloudist=test", "--cd-num-workers=3", *place.as_pytest_options(), cwd=root).check(0)
    assert "3 workers" in done.out and "4 passed" in done.out


def test_a_conftest_that_has_options_and_plugins(cloudist, project, run_pytest):
    root = project(
        {
            "conftest.py": OWN_CONFTEST,
            "helper_plugin.py": "import pytest\n@pytest.fixture\ndef helped(): return 1\n",
            "test_a.py": "def test_a(colour, helped): assert (colour, helped) == ('blue', 1)",
        }
    )
    cloudist("init", cwd=root).check(0)
    assert (root / "conftest.py").read_text().startswith(OWN_CONFTEST.lstrip())
    run = ("--cloudist=test", "--cd-provider=local", "--colour=blue")
    assert "1 passed" in run_pytest(*run, cwd=root).check(0).out


def test_again_and_out_again(cloudist, project):
    root = project({"conftest.py": OWN_CONFTEST})
    before = (root / "conftest.py").read_bytes()
    cloudist("init", cwd=root).check(0)
    once = (root / "conftest.py").read_bytes()
    assert once != before
    assert "nothing to change" in cloudist("init", cwd=root).check(0).out
    assert (root / "conftest.py").read_bytes() == once
    cloudist("init", "--remove", cwd=root).check(0)
    assert (root / "conftest.py").read_bytes() == before
    assert "nothing to change" in cloudist("init", "--remove", cwd=root).check(0).out


def test_remove_takes_away_the_file_that_it_made(cloudist, project):
    root = project({})
    cloudist("init", cwd=root).check(0)
    cloudist("init", "--remove", cwd=root).check(0)
    assert not (root / "conftest.py").exists()


def test_it_finds_the_root_from_below(cloudist, project, run_pytest):
    root = project({"tests/unit/test_a.py": TESTS})
    cloudist("init", cwd=root / "tests/unit").check(0)
    assert (root / "conftest.py").exists()
    assert (
        "4 passed"
        in run_pytest("--cloudist=test", "--cd-provider=local", cwd=root / "tests/unit").check(0).out
    )


def test_a_damaged_block_is_left_alone(cloudist, project):
    text = "# >>> cloudist >>>\nhalf = 1\n"
    root = project({"conftest.py": text})
    done = cloudist("init", cwd=root).check(90)
    assert "does not end" in done.err and "help: " in done.err
    assert (root / "conftest.py").read_text() == text


def test_a_directory_that_is_not_there(cloudist, project):
    done = cloudist("init", "no/such", cwd=project({})).check(2)
    assert "no/such" in done.err


def test_without_cloudist_the_block_is_silent(cloudist, project, run_pytest):
    root = project({"test_a.py": "def test_a(): pass"})
    cloudist("init", cwd=root).check(0)
    gone = {"CLOUDIST_BIN": str(root / "not-there")}
    done = run_pytest(cwd=root, **gone).check(0)
    assert "1 passed" in done.out and "cloudist:" not in done.out + done.err
    done = run_pytest("--cloudist=test", cwd=root, **gone).check(4)
    assert "CLOUDIST_BIN" in done.err


def test_in_both_ways_at_once(cloudist, project):
    root = project({"test_a.py": TESTS})
    cloudist("init", cwd=root).check(0)
    assert "4 passed" in cloudist("pytest", cwd=root).check(0).out


def test_the_plugin_path_is_printed(cloudist, project):
    done = cloudist("plugin-path", cwd=project({})).check(0)
    assert done.raw_out.endswith(b"\n") and done.err == ""
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); import pytest_cloudist",
        done.out.strip(),
    ]
    cloudist(command=command, cwd=project({})).check(0)

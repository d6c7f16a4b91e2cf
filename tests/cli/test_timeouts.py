"""--timeout: a test that takes too long fails, is told where it hung, and takes nothing else with it."""

from __future__ import annotations

import re

import pytest

from processes import running

HANGS = {
    "python": ("import time; time.sleep(1000)", "time.sleep(1000)"),
    "C": ("import re; re.match(r'(a+)+$', 'a' * 60 + 'b')", "test_hang"),
    "signals blocked": (
        "import signal, time; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64)); time.sleep(1000)",
        "did not tell where it was",
    ),
}


@pytest.mark.parametrize("mode", ["test", "file"])
@pytest.mark.parametrize("how", HANGS)
def test_a_test_that_hangs_fails_alone(cloudist, project, how, mode):
    body, told = HANGS[how]
    root = project(
        {
            "test_a.py": "def test_a(): pass",
            "test_b.py": f"def test_before(): pass\ndef test_hang():\n    print('so far')\n    {body}\n"
            "def test_after(): pass",
        }
    )
    done = cloudist("pytest", "-n2", "--timeout=1s", "--mode", mode, "--", "-v", cwd=root).check(1)
    assert "1 failed, 3 passed" in done.counts(), done
    assert len(re.findall(r"^test_b.py::test_hang FAILED", done.out, re.MULTILINE)) == 1, done
    assert "Timeout: its call was not over after 1 s" in done.out and told in done.out, done
    assert "so far" in done.out, done
    if how != "signals blocked":
        assert f'File "{root}/test_b.py", line' in done.out, done


def test_more_hanging_tests_than_a_worker_may_have_deaths(cloudist, project):
    root = project(
        {
            "test_a.py": "import pytest, time\n@pytest.mark.parametrize('n', range(7))\n"
            "def test_n(n): time.sleep(1000)\ndef test_after(): pass"
        }
    )
    done = cloudist("pytest", "-n1", "--timeout=0.3", cwd=root).check(1)
    assert "7 failed, 1 passed" in done.counts(), done


@pytest.mark.parametrize("scope", ["function", "module", "session"])
@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_a_fixture_that_hangs(cloudist, project, when, scope):
    before, after = ("time.sleep(1000)", "pass") if when == "setup" else ("pass", "time.sleep(1000)")
    root = project(
        {
            "test_a.py": f"import pytest, time\n@pytest.fixture(scope={scope!r})\ndef slow():\n"
            f"    {before}\n    yield\n    {after}\ndef test_slow(slow): pass",
            "test_b.py": "def test_b(): pass",
        }
    )
    done = cloudist("pytest", "-n2", "--timeout=1", cwd=root).check(1)
    assert f"Timeout: its {when} was not over" in done.out and "1 error" in done.counts(), done
    assert "in slow" in done.out, done


def test_what_a_hanging_test_has_started_ends_with_it(cloudist, project, tmp_path):
    root = project(
        {
            "test_a.py": "import subprocess, sys, time\ndef test_hang():\n"
            "    code = 'import time; time.sleep(1000)'\n"
            "    subprocess.Popen([sys.executable, '-c', code, 'left-behind'], start_new_session=True)\n"
            "    time.sleep(1000)",
            # Runs after that, while the machine still lives, and has the same limit.
            "test_b.py": "import os\ndef alive():\n"
            "    for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "        try:\n"
            "            command = open(f'/proc/{pid}/cmdline', 'rb').read()\n"
            "            here = os.readlink(f'/proc/{pid}/cwd') == os.getcwd()\n"
            "        except OSError:\n            continue\n"
            "        if b'left-behind' in command and here: return True\n"
            "def test_b():\n    while alive(): pass",
        }
    )
    done = cloudist("pytest", "-n1", "--timeout=3", cwd=root).check(1)
    assert "1 failed, 1 passed" in done.counts(), done
    assert running(cloudist.mark, "left-behind") == []


def test_a_limit_that_makes_no_sense(cloudist, project):
    done = cloudist("pytest", "--timeout=soon", cwd=project({"test_a.py": "def test_a(): pass"}))
    assert done.exit != 0 and "a duration above 0" in done.out + done.err, done

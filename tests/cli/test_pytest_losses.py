"""Workers and machines that die under a test run: which tests fail, which run again, and what is said."""

from __future__ import annotations

import os
import re
import signal

import pytest

from processes import running, until

CRASHES = {
    "os._exit": "import os; os._exit(7)",
    "SIGSEGV": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}


def outcomes(done):
    """Each verbose line's node id with its outcome; a node id that is reported twice fails here."""
    found = {}
    for node, word in re.findall(
        r"^(?:\[gw\d+\].* )?(\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED)", done.out, re.MULTILINE
    ):
        assert node not in found, f"{node} was reported twice\n{done}"
        found[node] = word
    return found


@pytest.mark.parametrize("mode", ["test", "file"])
@pytest.mark.parametrize("how", CRASHES)
def test_a_test_that_ends_its_process_fails_alone(cloudist, project, how, mode):
    root = project(
        {
            "test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_n(n): pass",
            "test_b.py": f"def test_before(): pass\ndef test_crash(): {CRASHES[how]}\ndef test_after(): pass",
        }
    )
    done = cloudist("pytest", "-n2", "--mode", mode, "--", "-v", cwd=root).check(1)
    found = outcomes(done)
    assert len(found) == 9, done
    assert [node for node, word in found.items() if word == "FAILED"] == ["test_b.py::test_crash"], done
    assert "1 failed, 8 passed" in done.counts(), done
    assert {"os._exit": "exit status 7", "SIGSEGV": "SEGV", "SIGKILL": "KILL"}[how] in done.out, done


def test_every_test_that_crashes_is_told_once(cloudist, project):
    root = project(
        {f"test_{n}.py": "import os\ndef test_a(): os._exit(1)\ndef test_b(): pass" for n in range(4)}
    )
    done = cloudist("pytest", "-n2", "--", "-v", cwd=root).check(1)
    assert "4 failed, 4 passed" in done.counts(), done


def test_a_file_that_crashes_when_imported(cloudist, project):
    root = project(
        {"test_a.py": "def test_a(): pass", "test_b.py": "import os; os._exit(3)\ndef test_b(): pass"}
    )
    done = cloudist("pytest", "-n2", cwd=root)
    assert done.exit != 0 and "test_b.py" in done.out and "exit status 3" in done.out, done
    done.check_no_fault()


def slow_suite(marker):
    """Tests that wait until the file appears; each can be seen by the process that it waits with."""
    wait = f"""
        import os, subprocess, sys
        import pytest
        CODE = "import os, sys, time\\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)"
        @pytest.mark.parametrize("n", range(5))
        def test_n(n):
            subprocess.run([sys.executable, "-c", CODE, {str(marker)!r}, "waiting-test"], check=True)
        """
    return {f"test_{name}.py": wait for name in "abc"}


def two_machines_at_work(mark):
    until(lambda: len(running(mark, "waiting-test")) >= 2, "both workers run a test")
    machines = running(mark, "cloudist machine")
    assert len(machines) == 2
    return machines


def test_the_tests_of_a_machine_that_is_killed_run_elsewhere(cloudist, project, tmp_path):
    go = tmp_path / "go"
    process = cloudist.start("pytest", "-n2", "--local-machines=2", "--", "-v", cwd=project(slow_suite(go)))
    os.kill(two_machines_at_work(cloudist.mark)[0], signal.SIGKILL)
    go.touch()
    done = cloudist.finish(process).check(0)
    assert len(outcomes(done)) == 15 and "15 passed" in done.counts(), done
    assert "local-" in done.out + done.err, "the loss is told"


def test_with_every_machine_killed_it_ends_and_says_so(cloudist, project, tmp_path):
    process = cloudist.start(
        "pytest", "-n2", "--local-machines=2", "--", "-v", cwd=project(slow_suite(tmp_path / "never"))
    )
    for machine in two_machines_at_work(cloudist.mark):
        os.kill(machine, signal.SIGKILL)
    done = cloudist.finish(process)
    assert done.exit in (91, 96), done
    done.check_no_fault()
    text = done.out + done.err
    assert "local-0" in text and "local-1" in text, done


def test_one_host_that_is_down_is_made_up_for(cloudist, project, servers, ssh_config):
    down = (
        servers["one"]
        .client_configuration()
        .replace("Host one", "Host gone")
        .replace(f"Port {servers['one'].port}", "Port 1")
    )
    config = ssh_config(servers["one"].client_configuration(), down)
    root = project(
        {"test_a.py": "import pytest\n@pytest.mark.parametrize('n', range(6))\ndef test_n(n): pass"}
    )
    done = cloudist(
        "pytest", "-n2", "--hosts=gone,one", cwd=root, env={"CLOUDIST_SSH_CONFIG": str(config)}, patience=100
    )
    assert "6 passed" in done.check(0).out

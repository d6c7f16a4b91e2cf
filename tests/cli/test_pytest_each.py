"""Mode `each` where a worker is lost, and what is known of such a run afterwards."""

from __future__ import annotations

import json
import os
import signal

from processes import running, until

WAITS = """
    import os, subprocess, sys

    CODE = "import os, sys, time\\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)"

    def test_first(): pass

    def test_waits():
        subprocess.run([sys.executable, "-c", CODE, {go!r}, "waiting-test"], check=True)

    def test_last(): pass
"""
BOTH = ("pytest", "--provider=local", "--mode=each", "-n2", "--local-machines=2")


def test_what_a_lost_worker_has_not_run_is_named(cloudist, project, tmp_path):
    go = tmp_path / "go"
    files = {"test_a.py": WAITS.format(go=str(go)), "test_b.py": "def test_other(): pass"}
    process = cloudist.start(*BOTH, "--collect=first", "--", "-v", cwd=project(files))
    until(lambda: len(running(cloudist.mark, "waiting-test")) >= 2, "both workers run a test")
    os.kill(running(cloudist.mark, "cloudist machine")[0], signal.SIGKILL)
    until(lambda: len(running(cloudist.mark, "waiting-test")) == 1, "one of them is gone")
    go.touch()
    done = cloudist.finish(process).check(96)
    words = [line.split() for line in done.out.splitlines() if line.startswith("[gw")]
    (lost,) = {line[0] for line in words if "FAILED" in line or "ERROR" in line}
    missing = sorted(line[-1] for line in words if "FAILED" in line or "ERROR" in line)
    # What it ran when it was lost counts as tried, and runs nowhere else.
    assert missing == ["test_a.py::test_last", "test_a.py::test_waits", "test_b.py::test_other"], done
    assert "5 passed, 3 errors" in done.counts(), done
    assert f"{lost[1:-1]} is gone, and no other worker came in its place" in done.out


def test_fewer_workers_than_were_asked_for(cloudist, project, servers, ssh_config):
    one = servers["one"]
    down = one.client_configuration().replace("Host one", "Host gone").replace(f"Port {one.port}", "Port 1")
    config = ssh_config(one.client_configuration(), down)
    root = project({"test_a.py": "def test_a(): pass", "test_b.py": "def test_b(): pass"})
    env = {"CLOUDIST_SSH_CONFIG": str(config)}
    done = cloudist("pytest", "--mode=each", "-n2", "--hosts=gone,one", cwd=root, env=env, patience=100)
    done.check(96)
    assert "2 passed, 2 errors" in done.counts(), done
    assert "not as many workers came as were asked for, which was 2" in done.out


def test_the_history_and_a_report_tell_of_every_worker(cloudist, project):
    body = "def test_moody(worker_id): assert worker_id == 'gw0'\ndef test_sure(): pass"
    root = project({"test_a.py": body})
    cloudist(*BOTH, "--report=out", cwd=root).check(1)
    (run,) = json.loads(cloudist("history", "--json", cwd=root).check(0).out)
    assert (run["mode"], run["tests"], run["failed"], run["workers"]) == ("each", 4, 1, 2)
    # It has failed on one of two machines, which isn't a change of mind.
    assert json.loads(cloudist("flaky", "--json", cwd=root).check(0).out) == []
    again = cloudist("rerun", "--failed", "-n1", cwd=root).check(0)
    assert "1 passed" in again.counts()
    events = [json.loads(line) for line in (root / "out" / "events.jsonl").read_text().splitlines()]
    tests = [(event["worker"], event["id"], event["outcome"]) for event in events if event["t"] == "test"]
    assert sorted(tests) == [
        (0, "test_a.py::test_moody", "passed"),
        (0, "test_a.py::test_sure", "passed"),
        (1, "test_a.py::test_moody", "failed"),
        (1, "test_a.py::test_sure", "passed"),
    ]

"""What is written down of a run, what is made of it, and what is kept."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import suites
from conftest import Visit, events


def test_every_test_is_in_the_events_once(varied: pathlib.Path) -> None:
    happened = events(varied)
    tests = [event for event in happened if event["t"] == "test"]
    outcomes = collections.Counter(test["outcome"] for test in tests)
    assert outcomes == {"passed": 46, "failed": 2, "error": 1, "skipped": 1, "xfailed": 1}
    assert len({test["id"] for test in tests}) == len(tests)
    assert [test["reruns"] for test in tests if "reruns" in test] == [1]
    times = [event["at"] for event in happened]
    assert times == sorted(times)
    # What pytest says at its end comes after that of the run.
    assert happened[0]["t"] == "run-started"
    assert [event["t"] for event in happened if event["t"] != "printed"][-1] == "run-ended"
    assert "3 failed" in happened[-1]["text"] or "1 error" in happened[-1]["text"]
    for test in tests:
        assert [phase[0] for phase in test["phases"]][:1] == ["setup"]


@pytest.mark.parametrize("report", ["varied", "large", "commanded"])
def test_the_workers_time_has_its_kinds(report: str, visit: Visit, request: pytest.FixtureRequest) -> None:
    visit.open(request.getfixturevalue(report))
    said = visit.page.inner_text("#time .note")
    assert float(said.partition(" ")[0]) >= 99.0, said


def test_the_trace_is_one_that_perfetto_reads(varied: pathlib.Path) -> None:
    trace = json.loads((varied / "trace.json").read_text())
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert all(span["dur"] >= 0 and span["ts"] >= 0 for span in spans)
    tests = [span for span in spans if span["cat"] == "test"]
    assert len(tests) == 51
    assert {name["name"] for name in trace["traceEvents"] if name["ph"] == "M"} == {"process_name", "thread_name"}
    for thread in {span["tid"] for span in spans}:
        own = sorted((span for span in spans if span["tid"] == thread), key=lambda span: span["ts"])
        for one, next_one in zip(own, own[1:]):
            assert one["ts"] + one["dur"] <= next_one["ts"] + 2, (one, next_one)


def test_a_report_can_be_made_later(tmp_path: pathlib.Path) -> None:
    project = suites.write(suites.many(2, 3), tmp_path)
    none = suites.cloudist(project, "report")
    assert none.returncode == 90 and "no run's events are kept yet" in none.stderr
    for _ in range(3):
        assert suites.run(project, "--keep-events", "2", "--", "-q").returncode == 0
    listed = suites.cloudist(project, "report", "--list").stdout.splitlines()
    assert len(listed) == 2
    older = listed[1].split()[0]
    made = suites.cloudist(project, "report", older, "--to", "older")
    assert made.stdout == "older/report.html\n" and older in (project / "older" / "report.html").read_text()
    assert suites.cloudist(project, "report").returncode == 0
    again = suites.cloudist(project, "report", "older", "--to", "again")
    assert again.returncode == 0
    assert (project / "again" / "report.html").read_text() == (project / "older" / "report.html").read_text()


def test_nothing_is_kept_of_what_was_no_run(tmp_path: pathlib.Path) -> None:
    project = suites.write(suites.many(1, 1), tmp_path)
    assert suites.run(project, "--", "--help").returncode == 0
    assert suites.run(project, "--keep-events", "0").returncode == 0
    assert suites.cloudist(project, "report", "--list").stdout == ""


def test_a_run_that_was_killed_leaves_what_it_had(tmp_path: pathlib.Path) -> None:
    """Cut anywhere, the events make a report, or are said to be none."""
    project = suites.write(suites.many(4, 50), tmp_path)
    assert suites.run(project, "--", "-q").returncode == 0
    (kept,) = (project / ".state" / "events").iterdir()
    whole = kept.read_bytes()
    for part in (0.3, 0.6, 0.9):
        kept.write_bytes(whole[: int(len(whole) * part)])
        made = suites.cloudist(project, "report")
        assert made.returncode == 0, made
        assert "The run broke off" in (project / "cloudist-report" / "report.html").read_text()
    kept.write_bytes(b"")
    refused = suites.cloudist(project, "report")
    assert refused.returncode in (90, 97) and "error: " in refused.stderr and "panicked" not in refused.stderr


def test_a_stopped_run_has_its_report(tmp_path: pathlib.Path) -> None:
    suite = dict(suites.many(1, 3), **{"tests/test_stuck.py": "import time\ndef test_stuck():\n    time.sleep(600)\n"})
    project = suites.write(suite, tmp_path)
    command = [suites.BINARY, "pytest", "--provider", "local", "--local-python", sys.executable, "--report", "out"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CLOUDIST_CACHE_DIR": str(tmp_path / ".cache")}
    environment["CLOUDIST_STATE_DIR"] = str(tmp_path / ".state")
    with subprocess.Popen(
        [*command, "--", "-v"],
        cwd=project,
        env={**environment, "AWS_EC2_METADATA_DISABLED": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "test_trivial[1] PASSED" in line:
                break
        # As a terminal does it.
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 2, rest
    assert "The run was stopped" in (project / "out" / "report.html").read_text()


def test_what_is_in_the_way_of_a_report_is_said(tmp_path: pathlib.Path) -> None:
    project = suites.write(suites.many(1, 1), tmp_path)
    (project / "taken").write_text("a file")
    done = suites.run(project, "--report", "taken")
    assert done.returncode == 0
    assert "cloudist: there is no report of this run: failed to make " in done.stdout, done

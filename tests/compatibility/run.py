"""Runs the own suites of real projects by plain pytest and through cloudist, and compares what each run told its reporters.

Needs CLOUDIST_BIN, and Python 3.11 with pip; makes all else below target/compatibility. Ends with 1 if a suite came out differently
in a way that projects.toml does not explain.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from comparison import Record, Verdict, differences, judge
from projects import CACHE, HERE, PreparationError, Project, load

PLUGINS = HERE / "plugins"
TIMEOUT = 300
WORKERS = 2
SHOWN_DIFFERENCES = 25
SHOWN_LINES = 60
# Some plain runs are repeated to learn which tests are flaky; more than this is not worth the wait.
FLAKY_RUNS = 2
# Of the caller's environment these would change what pytest does.
DROPPED = ("PYTEST_", "CLOUDIST_", "PYTHON", "COV_", "COVERAGE_", "VIRTUAL_ENV", "CI", "GITHUB_")


@dataclass
class Run:
    """One run of a suite that has ended."""

    seconds: float
    record: Record | None
    output: str


@dataclass
class Result:
    project: Project
    plain: Run | None = None
    cloudist: Run | None = None
    verdict: Verdict | None = None
    trouble: str | None = None

    @property
    def good(self) -> bool:
        return self.trouble is None and self.verdict is not None and not self.verdict.unexplained

    @property
    def word(self) -> str:
        return self.trouble or self.verdict.word


def environment(project: Project, record: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    own = {name: value.format(source=project.source) for name, value in project.env.items()}
    return {
        **kept,
        **own,
        "PATH": f"{project.python.parent}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(PLUGINS),
        "OUTCOME_RECORD": str(record),
        "CLOUDIST_CACHE_DIR": str(CACHE / "cache"),
        "CLOUDIST_STATE_DIR": str(CACHE / "state"),
        "COLUMNS": "200",
    }


def pytest_args(project: Project) -> list[str]:
    return ["-p", "outcome_recorder", *project.args]


def plain_command(project: Project) -> list[str]:
    return [str(project.python), "-m", "pytest", *pytest_args(project)]


def cloudist_command(project: Project, binary: str) -> list[str]:
    options = ["--provider", "local", "-n", str(WORKERS), "--local-python", str(project.python)]
    return [binary, "pytest", *options, "--", *pytest_args(project)]


def run(project: Project, command: list[str], name: str) -> Run:
    record = project.home / f"{name}.json"
    record.unlink(missing_ok=True)
    output = project.home / f"{name}.txt"
    began = time.monotonic()
    with open(output, "wb") as file:
        process = subprocess.Popen(
            command,
            cwd=project.source,
            env=environment(project, record),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
    seconds = time.monotonic() - began
    text = output.read_text(encoding="utf-8", errors="replace")
    if status is None or not record.is_file():
        return Run(seconds, None, text)
    return Run(seconds, replace(Record.read(record, project.volatile), exit_status=status), text)


def flaky_nodes(project: Project, plain: Record) -> set[str]:
    """The nodes that plain pytest does not always report alike."""
    nodes: set[str] = set()
    for attempt in range(FLAKY_RUNS):
        again = run(project, plain_command(project), f"plain-again-{attempt + 1}")
        if again.record is not None:
            nodes.update(found.nodeid for found in differences(plain, again.record))
    return nodes


def compare(project: Project, binary: str) -> Result:
    result = Result(project)
    try:
        project.prepare()
    except PreparationError as error:
        result.trouble = "not prepared"
        print(error)
        return result
    result.plain = run(project, plain_command(project), "plain")
    if result.plain.record is None:
        result.trouble = "no plain run"
        print(tail(result.plain))
        return result
    result.cloudist = run(project, cloudist_command(project, binary), "cloudist")
    if result.cloudist.record is None:
        result.trouble = "no end" if result.cloudist.seconds >= TIMEOUT else "broke off"
        print(tail(result.cloudist))
        return result
    before, after = result.plain.record, result.cloudist.record
    found = list(differences(before, after))
    result.verdict = judge(found, project.explanations, set())
    if result.verdict.unexplained:
        result.verdict = judge(found, project.explanations, flaky_nodes(project, before))
    return result


def tail(run: Run) -> str:
    return "\n".join(f"    | {line}" for line in run.output.splitlines()[-SHOWN_LINES:])


def show(result: Result) -> None:
    """One line, then every difference."""
    plain = f"{result.plain.seconds:7.1f} s" if result.plain else ""
    through = f"{result.cloudist.seconds:7.1f} s" if result.cloudist else ""
    tests = result.plain.record.tests if result.plain and result.plain.record else 0
    print(
        f"{result.project.name:22}{result.project.version:12}{tests:7}{plain:>12}{through:>12}   {result.word}"
    )
    if result.verdict is not None:
        lines = [f"  different: {item}" for item in result.verdict.unexplained]
        lines += [f"  flaky: {item}" for item in result.verdict.flaky]
        lines += [f"  explained: {item}\n      because {why}" for item, why in result.verdict.explained]
        print(*lines[:SHOWN_DIFFERENCES], sep="\n", end="\n" if lines else "")
        if len(lines) > SHOWN_DIFFERENCES:
            print(f"  and {len(lines) - SHOWN_DIFFERENCES} more")
    sys.stdout.flush()


def markdown(results: list[Result]) -> str:
    rows = ["| project | version | tests | plain s | cloudist s | outcome |", "|---|---|---:|---:|---:|---|"]
    for result in results:
        tests = f"{result.plain.record.tests:,}" if result.plain and result.plain.record else ""
        plain = f"{result.plain.seconds:.1f}" if result.plain else ""
        through = f"{result.cloudist.seconds:.1f}" if result.cloudist else ""
        rows.append(
            f"| {result.project.name} | {result.project.version} | {tests} | {plain} | {through} | {result.word} |"
        )
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="projects to run; all without any")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table for docs/compatibility.md at the end"
    )
    parser.add_argument("--prepare", action="store_true", help="only download and install")
    parser.add_argument("--list", action="store_true", help="only print the projects")
    options = parser.parse_args()
    projects = load(options.names)
    if options.list:
        print(*(f"{project.name} {project.version}: {project.brings}" for project in projects), sep="\n")
        return 0
    if options.prepare:
        for project in projects:
            project.prepare()
        return 0
    binary = os.environ.get("CLOUDIST_BIN")
    if not binary:
        parser.error("CLOUDIST_BIN has to name the cloudist binary")
    results = []
    for project in projects:
        results.append(compare(project, os.path.abspath(binary)))
        show(results[-1])
    if options.markdown:
        print(markdown(results))
    good = sum(result.good for result in results)
    print(f"{good} passed, {len(results) - good} failed")
    return 0 if good == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())

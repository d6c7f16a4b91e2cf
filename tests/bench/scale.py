"""Drives one engine with as many workers and tests as are asked for, on machines that run nothing: what the Rust side costs.

Speaks the bridge's protocol in the local pytest's place, so that no pytest is in the figures; `--replay` puts a real one there
and shows what that costs. All of SSH, the scheduler, the events and the history is in it. Needs CLOUDIST_BIN. Linux only.
Judges nothing: it prints tables, and with `--plot` draws them.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from run import interpreter, named_binary

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "target" / "bench"
LENGTH = struct.Struct(">I")
PER_FILE = 100
PER_MACHINE = 20
TESTS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 10, 100, 1_000)
# What varies in one series is this in the other.
USUAL_TESTS, USUAL_WORKERS = 100_000, 100
PLOTTER = ["matplotlib==3.10.3"]


@dataclass(frozen=True)
class Load:
    tests: int
    workers: int

    @property
    def machines(self) -> int:
        return -(-self.workers // PER_MACHINE)

    @property
    def files(self) -> int:
        return -(-self.tests // PER_FILE)

    def counts(self) -> list[int]:
        """How many tests each file has."""
        whole, rest = divmod(self.tests, PER_FILE)
        return [PER_FILE] * whole + ([rest] if rest else [])


@dataclass(frozen=True)
class Cost:
    tests: int
    workers: int
    start: float
    """Seconds until the first outcome."""
    stream: float
    """Seconds from the first outcome to the last."""
    end: float
    """Seconds from the last outcome to the engine's end."""
    cpu: float
    """Seconds of the engine's process alone."""
    memory: int
    """Bytes that it held at most."""

    @property
    def rate(self) -> float:
        return self.tests / self.stream


def fake_python(home: Path) -> Path:
    """An executable that stands where machines look for an interpreter."""
    path = home / "python-of-machines"
    path.write_text(f'#!/bin/sh\nexec "{interpreter()}" -IS "{HERE}/scale/fake_machine.py"\n')
    path.chmod(0o755)
    return path


def project(home: Path, load: Load) -> Path:
    root = home / "project"
    (root / "tests").mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(load.counts()):
        (root / "tests" / file_name(number, count)).touch()
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    return root


def file_name(number: int, count: int) -> str:
    return f"test_{number:05}_{count}.py"


def environment(home: Path) -> dict[str, str]:
    dropped = ("PYTEST_", "CLOUDIST_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CLOUDIST_CACHE_DIR": str(home / "cache"), "CLOUDIST_STATE_DIR": str(home / "state")}


class Engine:
    """`cloudist bridge`, and this process where the local pytest would be."""

    def __init__(self, binary: Path, root: Path, home: Path) -> None:
        self._child = subprocess.Popen(
            [binary, "bridge"],
            cwd=root,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1 << 20,
        )

    def send(self, kind: str, **fields: object) -> None:
        header = json.dumps({"t": kind, **fields}).encode() + b"\n"
        assert self._child.stdin is not None
        self._child.stdin.write(LENGTH.pack(len(header)) + header)
        self._child.stdin.flush()

    def receive(self) -> tuple[str, bytes]:
        assert self._child.stdout is not None
        prefix = self._child.stdout.read(LENGTH.size)
        if len(prefix) < LENGTH.size:
            raise SystemExit("the engine ended before the run was over")
        frame = self._child.stdout.read(LENGTH.unpack(prefix)[0])
        header = frame[: frame.index(b"\n")]
        return header.partition(b'"t":"')[2].partition(b'"')[0].decode(), header

    def wait(self) -> os.struct_rusage:
        assert self._child.stdin is not None
        self._child.stdin.close()
        _, status, usage = os.wait4(self._child.pid, 0)
        self._child.returncode = os.waitstatus_to_exitcode(status)
        if self._child.returncode:
            raise SystemExit(f"the engine ended with {self._child.returncode}")
        return usage


def hello(root: Path, fake: Path, load: Load) -> dict[str, object]:
    flags = {
        "provider": ["local"],
        "num-workers": [str(load.workers)],
        "local-machines": [str(load.machines)],
        "cpu-per-worker": ["0.01"],
        "memory-per-worker": ["0.01"],
    }
    return {
        "protocol": 1,
        "pytest": "9.2.0",
        "python": str(fake),
        "cwd": str(root),
        "rootdir": str(root),
        "inipath": str(root / "pyproject.toml"),
        "sys_path": [],
        "args": [],
        "mainargv": ["pytest"],
        "flags": flags,
        "mode": "test",
    }


def drive(binary: Path, load: Load) -> Cost:
    with tempfile.TemporaryDirectory(prefix="cloudist-scale-") as directory:
        home = Path(directory)
        root, fake = project(home, load), fake_python(home)
        began = time.monotonic()
        engine = Engine(binary, root, home)
        engine.send("hello", **hello(root, fake, load))
        tests = str(root / "tests")
        files = [
            {"path": f"{tests}/{file_name(number, count)}", "chain": [str(root), tests], "select": None}
            for number, count in enumerate(load.counts())
        ]
        for start in range(0, len(files), 64):
            engine.send("files", files=files[start : start + 64])
        engine.send("files-end", errors=0)
        seen, first, last = 0, 0.0, 0.0
        while True:
            kind, header = engine.receive()
            if kind == "results":
                last = time.monotonic()
                first = first or last
                # Each test is told as [file, index, failed, seconds].
                seen += header.partition(b'"drop"')[0].count(b"[") - 1
            elif kind == "end":
                break
        told = json.loads(header)
        if told["status"] != "done" or seen != load.tests:
            raise SystemExit(f"{seen} of {load.tests} outcomes came, and this: {header.decode()}")
        engine.send("bye")
        usage = engine.wait()
        ended = time.monotonic()
        cpu = usage.ru_utime + usage.ru_stime
        memory = usage.ru_maxrss << 10
        return Cost(load.tests, load.workers, first - began, last - first, ended - last, cpu, memory)


def replay(binary: Path, load: Load) -> tuple[float, float, float]:
    """Wall clock, CPU and memory (bytes) of the local pytest in front of the same machines."""
    with tempfile.TemporaryDirectory(prefix="cloudist-scale-") as directory:
        home = Path(directory)
        root, fake = project(home, load), fake_python(home)
        usage = home / "usage.json"
        local = home / "python"
        local.write_text(
            f'#!/bin/sh\ncase "$1" in -m) exec "{sys.executable}" "{HERE}/scale/account.py" "{usage}" "{interpreter()}" "$@";;'
            f'\n*) exec "{fake}";;\nesac\n'
        )
        local.chmod(0o755)
        flags = {name: values[0] for name, values in hello(root, fake, load)["flags"].items()}  # type: ignore[attr-defined]
        options = [f"--{name}={value}" for name, value in flags.items()]
        done = subprocess.run(
            [binary, "pytest", "--local-python", local, *options, "--", "-q", "-p", "no:cacheprovider"],
            cwd=root,
            env=environment(home),
            capture_output=True,
            text=True,
        )
        if f"{load.tests} passed" not in done.stdout:
            raise SystemExit(f"the run failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        told = json.loads(usage.read_text())
        return told["wall"], told["cpu"], told["memory"]


def table(costs: list[Cost]) -> list[str]:
    rows = [
        "| tests | workers | first outcome s | all s | outcomes/s | engine CPU s | us/outcome | peak MiB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cost in costs:
        whole = cost.start + cost.stream + cost.end
        rows.append(
            f"| {cost.tests:,} | {cost.workers:,} | {cost.start:.2f} | {whole:.2f} | {cost.rate:,.0f} "
            f"| {cost.cpu:.2f} | {cost.cpu / cost.tests * 1e6:.0f} | {cost.memory / 2**20:.0f} |"
        )
    return rows


def plot(costs: list[Cost], target: Path) -> None:
    home = CACHE / "plot-venv"
    if not (home / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([home / "bin/python", "-m", "pip", "install", "-q", *PLOTTER], check=True)
    data = json.dumps([asdict(cost) for cost in costs])
    subprocess.run(
        [home / "bin/python", HERE / "scale" / "plot.py", target], input=data, text=True, check=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, metavar="N", help="one run with so many tests")
    parser.add_argument("--workers", type=int, metavar="N", help="and so many workers (default: 1,000)")
    parser.add_argument(
        "--replay", action="store_true", help="show what the local pytest's replay costs, too"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time and memory into this SVG file")
    options = parser.parse_args()
    binary = named_binary(parser)
    if options.tests:
        loads = [Load(options.tests, options.workers or 1_000)]
    else:
        by_tests = [Load(tests, USUAL_WORKERS) for tests in TESTS]
        by_workers = [Load(USUAL_TESTS, workers) for workers in WORKERS]
        loads = by_tests + [load for load in by_workers if load not in by_tests]
    costs = []
    for load in loads:
        costs.append(drive(binary, load))
        print(costs[-1], file=sys.stderr)
    print("\n".join(table(costs)))
    if options.replay:
        print(
            "\n| tests | workers | local pytest wall s | CPU s | us/outcome | peak MiB |\n|---:|---:|---:|---:|---:|---:|"
        )
        for load in (load for load in loads if load.tests <= USUAL_TESTS):
            wall, cpu, memory = replay(binary, load)
            print(
                f"| {load.tests:,} | {load.workers:,} | {wall:.2f} | {cpu:.2f} | {cpu / load.tests * 1e6:.0f} "
                f"| {memory / 2**20:.0f} |"
            )
    if options.plot:
        plot(costs, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

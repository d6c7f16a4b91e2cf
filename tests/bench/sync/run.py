"""Measures how a project gets onto machines: cloudist beside `rsync -az` and `tar | ssh tar`, at several distances.

Needs CLOUDIST_BIN, and on Linux Python 3.11, rsync, tar, ssh and sshd; makes all else in a directory of its own. Judges nothing: it prints
tables. The others run over a connection that stands already; of cloudist the scan and the sync are counted, not the connection.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from machines import Machines
from trees import edit_inside, large_file, small_files

TARGET = Path(__file__).resolve().parents[3] / "target"
TIMING = re.compile(r"(\w+) ([\d.]+) s\b")
SENT = re.compile(r"sent (\d+) bytes")


@dataclass
class Sync:
    scan: float
    sync: float
    sent: int

    @property
    def total(self) -> float:
        return self.scan + self.sync


class Bench:
    """One project and the machines it goes to."""

    def __init__(self, project: Path, machines: Machines) -> None:
        self.project = project
        self.machines = machines
        self._cache = project.parent / "cache"
        self._control = machines.home / "control"

    def cloudist(self, workers: int = 1) -> List[Sync]:
        """Brings the project to the machines; what each of them says of it."""
        command = [
            os.environ["CLOUDIST_BIN"], "ssh-run", "-n", str(workers), "--hosts", ",".join(self.machines.names[:workers]),
            "--env", "none", "--timings", "--", "true",
        ]  # fmt: skip
        if not supports("--env"):
            del command[6:8]
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("CLOUDIST_", "PYTHON"))
            },
            "CLOUDIST_CACHE_DIR": str(self._cache),
            "CLOUDIST_STATE_DIR": str(self._cache / "state"),
            "CLOUDIST_SSH_CONFIG": str(self.machines.configuration),
            "CLOUDIST_SNAPSHOT_LIMIT": "8GiB",
        }
        done = subprocess.run(
            command,
            cwd=self.project,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        found = []
        for line in done.stderr.splitlines():
            if sent := SENT.search(line):
                steps = dict(TIMING.findall(line))
                found.append(Sync(float(steps["scan"]), float(steps["sync"]), int(sent[1])))
        return found

    def forget(self) -> None:
        self.machines.forget()
        shutil.rmtree(self._cache, ignore_errors=True)

    @property
    def home(self) -> Path:
        return self.machines.servers[0].home

    def ssh(self) -> List[str]:
        shared = [
            "-o",
            "ControlMaster=auto",
            "-o",
            f"ControlPath={self._control}",
            "-o",
            "ControlPersist=600",
        ]
        return ["ssh", "-F", str(self.machines.configuration), *shared]

    def close(self) -> None:
        self.machines.end()

    def connect(self) -> None:
        subprocess.run([*self.ssh(), "m0", "true"], check=True)

    def disconnect(self) -> None:
        subprocess.run([*self.ssh(), "-O", "exit", "m0"], check=True, capture_output=True)

    def rsync(self) -> float:
        remote = " ".join(self.ssh())
        return timed(["rsync", "-az", "--delete", "-e", remote, f"{self.project}/", f"m0:{self.home}/copy/"])

    def tar(self) -> float:
        there = "'cd && mkdir -p tarred && tar -C tarred -xf -'"
        return timed(["sh", "-c", f"tar -C {self.project} -cf - . | {' '.join(self.ssh())} m0 {there}"])


def supports(option: str) -> bool:
    help_text = subprocess.run(
        [os.environ["CLOUDIST_BIN"], "ssh-run", "--help"], capture_output=True, text=True
    )
    return f" {option} " in help_text.stdout


def timed(command: List[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - began


def repeated(times: int, before: Callable[[], None], what: Callable[[], float]) -> float:
    taken = []
    for _ in range(times):
        before()
        taken.append(what())
    return statistics.median(taken)


def row(*cells: object) -> None:
    print(
        "| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |",
        flush=True,
    )


def head(*cells: str) -> None:
    row(*cells)
    row(*("---" for _ in cells))


def edit(bench: Bench) -> None:
    with (bench.project / "package_07" / "module_00007.py").open("a") as file:
        file.write("# edited\n")


@dataclass
class Compared:
    """One case: medians of what the contenders took."""

    ours: Sync
    rsync: float
    tar: Optional[float]

    @property
    def advantage(self) -> float:
        return self.rsync / self.ours.total


def compare(
    project: Path, rtt: float, rate: float, times: int, cases: Dict[str, Callable[[Bench], None]]
) -> Iterator[Tuple[str, Compared]]:
    """Each case says what is done before each run of it; `cold` forgets all copies, and alone has a `tar`."""
    with closing(Bench(project, Machines(project.parent / "machines", 1, rtt, rate))) as bench:
        bench.connect()
        for case, before in cases.items():
            if case != "cold":
                # Copies to start from: each cold run took those of the others with it.
                bench.cloudist()
                bench.rsync()
            syncs: List[Sync] = []
            for _ in range(times):
                before(bench)
                syncs += bench.cloudist()
            ours = Sync(
                *(statistics.median(getattr(one, field.name) for one in syncs) for field in fields(Sync))
            )
            rsync = repeated(times, lambda: before(bench), bench.rsync)
            tar = repeated(times, lambda: before(bench), bench.tar) if case == "cold" else None
            yield case, Compared(ours, rsync, tar)
        bench.disconnect()


def small(home: Path, rtts: List[float], rate: float, times: int) -> None:
    project = home / "small"
    size = small_files(project)
    (project / "pytest.ini").write_text("[pytest]\n")
    print(f"\n10,000 files, {size / 1e6:.1f} MB; seconds, medians of {times}\n")
    head(
        "RTT ms",
        "case",
        "cloudist scan",
        "sync",
        "over 1 RTT",
        "rsync -az",
        "tar over ssh",
        "rsync / cloudist",
    )
    cases: Dict[str, Callable[[Bench], None]] = {
        "cold": Bench.forget,
        "unchanged": lambda _: None,
        "one edit": edit,
    }
    for rtt in rtts:
        for case, one in compare(project, rtt, rate, times, cases):
            ours = one.ours
            row(
                int(rtt * 1000),
                case,
                ours.scan,
                ours.sync,
                ours.sync - rtt,
                one.rsync,
                one.tar or "",
                one.advantage,
            )


def large(home: Path, rtts: List[float], rate: float, times: int, size: int) -> None:
    project = home / "large"
    large_file(project / "data.bin", size)
    (project / "pytest.ini").write_text("[pytest]\n")
    print(f"\nOne file of {size >> 20} MiB; seconds, medians of {times}; MB sent\n")
    head(
        "RTT ms", "case", "cloudist scan", "sync", "MB sent", "rsync -az", "tar over ssh", "rsync / cloudist"
    )
    cases: Dict[str, Callable[[Bench], None]] = {
        "cold": Bench.forget,
        "edit inside": lambda bench: edit_inside(bench.project / "data.bin"),
    }
    for rtt in rtts:
        for case, one in compare(project, rtt, rate, times, cases):
            ours = one.ours
            row(
                int(rtt * 1000),
                case,
                ours.scan,
                ours.sync,
                ours.sent / 1e6,
                one.rsync,
                one.tar or "",
                one.advantage,
            )


def many(home: Path, counts: List[int], rate: float) -> None:
    """Cold, over an uplink of `rate` bytes a second: how long until the last machine has all, and what went out."""
    project = home / "many"
    size = large_file(project / "data.bin", 8 << 20) + small_files(project, 2_000)
    (project / "pytest.ini").write_text("[pytest]\n")
    print(f"\n{size / 1e6:.1f} MB over an uplink of {rate * 8 / 1e6:.0f} Mbit/s, 20 ms away\n")
    head("machines", "seconds", "MB out", "seconds / one machine's", "MB out / MB of the project, compressed")
    first = packed = None
    for count in counts:
        with closing(Bench(project, Machines(home / "machines", count, 0.02, rate))) as bench:
            bench.forget()
            before = bench.machines.sent()
            syncs = bench.cloudist(count)
            out = bench.machines.sent() - before
        seconds = max(one.sync for one in syncs)
        first, packed = first or seconds, packed or syncs[0].sent
        row(count, seconds, out / 1e6, seconds / first, out / packed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["small", "large", "many"])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rtts", type=float, nargs="*", default=[0, 0.02, 0.1], metavar="SECONDS")
    parser.add_argument(
        "--rate",
        type=float,
        default=0,
        metavar="Mbit/s",
        help="of the uplink, for small and large; 0: as fast as it goes",
    )
    parser.add_argument("--size", type=int, default=1024, metavar="MiB", help="of the large file")
    parser.add_argument("--machines", type=int, nargs="*", default=[1, 32])
    parser.add_argument(
        "--place",
        type=Path,
        default=TARGET / "bench",
        metavar="DIR",
        help="where all is made; a tmpfs leaves the disk out",
    )
    given = parser.parse_args()
    os.environ.setdefault("CLOUDIST_BIN", str(TARGET / "release" / "cloudist"))
    # An end by a signal leaves neither servers nor files behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.place.mkdir(parents=True, exist_ok=True)
    # Removed at the end, not at the start: file systems are slow to create for a while after a mass deletion.
    rate = given.rate * 1e6 / 8
    with tempfile.TemporaryDirectory(prefix="sync-", dir=given.place) as directory:
        home = Path(directory)
        if "small" in given.cases:
            small(home, given.rtts, rate, given.times)
        if "large" in given.cases:
            large(home, given.rtts, rate, given.times, given.size << 20)
        if "many" in given.cases:
            many(home, given.machines, 20e6 / 8)


if __name__ == "__main__":
    sys.exit(main())

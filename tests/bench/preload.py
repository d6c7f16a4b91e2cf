"""A suite whose files all import one large library: in every worker, or once on the machine (`--cd-preload`).

Needs CLOUDIST_BIN, and Python 3.11 with pip on Linux; makes all else below target/bench. Judges nothing: it prints a table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measure import Measurement, measure, median
from run import BASELINE, CACHE, command, environment, interpreter, named_binary
from suites import BURN

FILES, TESTS_PER_FILE, IMPORT_SECONDS = 40, 10, 1.0
LIBRARY = "large_library"
PRELOADED = "cloudist pytest --preload"
CONTENDERS = (BASELINE, "cloudist pytest", PRELOADED)


def library(python: Path) -> None:
    """Puts a library beside pytest that takes a second of CPU to import."""
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    home = subprocess.run([python, "-c", ask], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    (Path(home) / f"{LIBRARY}.py").write_text(BURN.format(seconds=IMPORT_SECONDS))


def suite(home: Path) -> Path:
    (home / "tests").mkdir(parents=True, exist_ok=True)
    (home / "pytest.ini").write_text("[pytest]\n")
    tests = "\n\n".join(f"def test_{number:02}():\n    assert True\n" for number in range(TESTS_PER_FILE))
    for number in range(FILES):
        (home / "tests" / f"test_{number:02}.py").write_text(f"import {LIBRARY}\n\n\n{tests}")
    return home


def words(contender: str, workers: int, python: Path, binary: Path) -> list[str]:
    if contender != PRELOADED:
        return command(contender, workers, python, binary)
    plain = command("cloudist pytest", workers, python, binary)
    return [*plain[: plain.index("--")], f"--preload={LIBRARY}", *plain[plain.index("--") :]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="runs of each; the medians are shown (default: 5)"
    )
    options = parser.parse_args()
    binary, python = named_binary(parser), interpreter()
    library(python)
    where = suite(CACHE / "library")
    print("| workers | | wall s | CPU s | first result s |\n|---:|---|---:|---:|---:|")
    for workers in (2, 8):
        measured: dict[str, list[Measurement]] = {contender: [] for contender in CONTENDERS}
        for _ in range(options.runs):
            for contender in CONTENDERS:
                one = measure(words(contender, workers, python, binary), where, environment(binary))
                if f"{FILES * TESTS_PER_FILE} passed".encode() not in one.tail:
                    raise SystemExit(f"{contender} failed:\n{one.tail.decode(errors='replace')}")
                measured[contender].append(one)
        for contender, runs in measured.items():
            figures = " | ".join(f"{median(runs, name):.2f}" for name in ("wall", "cpu", "first"))
            print(f"| {workers} | {contender} | {figures} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""--cd-preload: libraries that are imported once on a machine, and those that can't be."""

from __future__ import annotations

import pathlib
import subprocess
from typing import Dict, List

import pytest

from suites import Suite, assert_same

# Which process has imported it.
NOTES = """\
import os
with open({place!r}, "a") as file:
    file.write("%s %d\\n" % (__name__, os.getpid()))
"""

# Whatever the library does besides when it is imported, and what is said of that.
LIBRARIES = {
    "starts_threads": (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "starts threads",
    ),
    "connects": ("import socket; PAIR = socket.socketpair()", "opens connections"),
    "handles_signals": (
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_DFL)",
        "its import handles signals",
    ),
    "holds_stderr": (
        "import logging, sys; HANDLER = logging.StreamHandler(sys.stderr)",
        "keeps the standard output",
    ),
    "warns": ("import warnings; warnings.warn('old', DeprecationWarning)", "its import warns: old"),
    "tidies_up": ("import atexit; atexit.register(lambda: None)", "at the end of the process"),
    "fails": ("import nowhere_to_be_found", "its import fails: ModuleNotFoundError"),
    "reaches_back": ("import ours", "it imports ours, a part of the project"),
    "is_a_plugin": ("", "it belongs to a plugin of pytest"),
}

TESTS = """
    import os
    import pathlib
    import time
    import pytest

    {imports}

    @pytest.fixture(autouse=True)
    def both_workers_have_something_to_do():
        if "PYTEST_XDIST_WORKER" in os.environ:
            met = pathlib.Path({met!r}) / os.environ["PYTEST_XDIST_TESTRUNUID"]
            met.mkdir(parents=True, exist_ok=True)
            (met / os.environ["PYTEST_XDIST_WORKER"]).touch()
            latest = time.monotonic() + 30
            while len(list(met.iterdir())) < 2:
                assert time.monotonic() < latest
                time.sleep(0.01)

    @pytest.mark.parametrize("number", range(4))
    def test_it(number):
        print("printed by", number)
        assert number != 2
"""


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    """Where the libraries note which processes have imported them."""
    return tmp_path / "imports"


@pytest.fixture
def library(suite: Suite, tmp_path: pathlib.Path, place: pathlib.Path) -> Suite:
    """The same interpreter, with further libraries installed."""
    home = tmp_path / "venv"
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    here = subprocess.run(
        [suite.python, "-c", ask], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run([suite.python, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "others.pth").write_text(here + "\n")
    for name, (does, _) in {**LIBRARIES, "large": ("", ""), "larger": ("", "")}.items():
        # A plugin is imported in any case.
        notes = NOTES.format(place=str(place)) if name != "is_a_plugin" else ""
        (site / f"{name}.py").write_text(f"{notes}{does}\n")
    metadata = site / "a_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: a-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pytest11]\na_plugin = is_a_plugin\n")
    (metadata / "RECORD").write_text("is_a_plugin.py,,\n")
    suite.python = str(home / "bin" / "python")
    return suite.write({"ours.py": "", "pytest.ini": "[pytest]\n"})


def write_tests(suite: Suite, *libraries: str) -> None:
    imports = "; ".join(f"import {library}" for library in libraries)
    text = TESTS.format(imports=imports, met=str(suite.root.parent / "met"))
    suite.write({f"test_{number}.py": text for number in range(4)})


def importers(place: pathlib.Path) -> Dict[str, List[str]]:
    """The processes that have imported each library."""
    found: Dict[str, List[str]] = {}
    for line in place.read_text().splitlines():
        library, process = line.split()
        found.setdefault(library, []).append(process)
    place.unlink()
    return found


def test_a_library_is_imported_once_for_all_workers(library: Suite, place: pathlib.Path) -> None:
    write_tests(library, "large", "larger")
    plain = library.plain()
    place.unlink()
    assert_same(plain, library.cloudist())
    once_each = importers(place)
    assert {library: len(those) for library, those in once_each.items()} == {"large": 2, "larger": 2}
    assert_same(plain, library.cloudist("--cd-preload=large,larger"))
    assert {library: len(those) for library, those in importers(place).items()} == {"large": 1, "larger": 1}
    assert_same(plain, library.cloudist("--cd-preload=large", "--cd-preload", "larger"))
    large, larger = importers(place).values()
    assert large == larger and len(large) == 1


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_one_that_would_not_be_the_same_is_left_to_the_workers(
    library: Suite, place: pathlib.Path, name: str
) -> None:
    reason = LIBRARIES[name][1]
    write_tests(library, "large", *([] if name == "fails" else [name]))
    plain = library.plain()
    place.unlink()
    done = library.cloudist(f"--cd-preload={name},large")
    assert_same(plain, done)
    told = [line for line in done.out.splitlines() if line.startswith("cloudist: ") and "each worker" in line]
    assert len(told) == 1 and reason in told[0], done.out
    assert told[0].startswith(f"cloudist: {name} is imported by each worker: "), told
    processes = importers(place)
    assert len(processes["large"]) == 1
    if name not in ("fails", "is_a_plugin"):
        assert len(set(processes[name]) - set(processes["large"])) >= 2, processes


@pytest.mark.parametrize(
    "name, reason",
    [("ours", "it is a part of the project"), ("nowhere", "doesn't have it")],
)
def test_what_is_no_library_is_told(library: Suite, name: str, reason: str) -> None:
    write_tests(library, "ours")
    done = library.cloudist(f"--cd-preload={name}")
    assert_same(library.plain(), done)
    assert f"cloudist: {name} is imported by each worker: " in done.out and reason in done.out


def test_names_of_modules_are_names(library: Suite) -> None:
    done = library.cloudist("--cd-preload=no-module")
    assert done.exit == 90
    assert "'no-module' is not the name of a module" in (done.out + done.err).replace('"', "'")

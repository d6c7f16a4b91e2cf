"""The live view on the whole terminal: what it shows, what keys do, and what is left of it when it is over."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import signal
import sys
import time
from typing import Callable, List, Optional

import pexpect
import pyte
import pytest

from processes import all_gone, marked
from tool import BINARY, PATIENCE, Tool, ended

Project = Callable[..., pathlib.Path]

ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"
VIEW = re.compile(r"\x1b\[\?1049h.*?\x1b\[\?1049l", re.DOTALL)
PROGRESS = re.compile(r"\x1bD\x1b\[1A\x1b7")
COLOUR = re.compile(r"\x1b\[[34]8;|\x1b\[[34][0-7]m")
SGR = re.compile(r"\x1b\[[0-9;]*m")
COLLECTING = re.compile(r"(\x1b\[1m)?\r?collecting [^\r\x1b]*(\x1b\[0m)?")
DURATION = re.compile(r"\d+\.\d+ ?s\b")

# Tests that wait until there is a file, so that there is a run to look at for as long as it takes.
WAITING = """
    import os, pathlib, time
    import pytest

    def waits():
        while not pathlib.Path(os.environ["GATE"]).exists():
            time.sleep(0.02)

    @pytest.mark.parametrize("n", range(2))
    def test_waits(n):
        waits()
"""
FAILING = """
    def test_adds_up():
        basket = {"apples": 3}
        print("from the basket")
        assert basket["apples"] == 4, "an apple is missing"
"""
PYTHON = str(pathlib.Path(sys.executable).with_name("python3"))
RUN = ["pytest", "--provider=local", "-n", "2", "--view=tui"]


class Looker:
    """Somebody before a terminal: reads what is on it, and presses keys."""

    def __init__(self, terminal: pexpect.spawn, rows: int = 24, columns: int = 80) -> None:
        self.terminal = terminal
        self.said = ""
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.Stream(self.screen)

    def read(self, patience: float = PATIENCE) -> bool:
        """Takes in what comes next; answers whether the terminal is still open."""
        try:
            piece = self.terminal.read_nonblocking(1 << 16, timeout=patience)
        except pexpect.EOF:
            return False
        self.said += piece
        # The screen that was there before is not what is looked at.
        *_, shown = piece.rpartition(ENTERED)
        self.stream.feed(shown)
        return True

    @property
    def shown(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def sees(self, *patterns: str) -> str:
        """Waits until all of this is on the screen at once."""
        deadline = time.monotonic() + PATIENCE
        while not all(re.search(pattern, self.shown, re.MULTILINE) for pattern in patterns):
            assert time.monotonic() < deadline, f"never {patterns} in\n{self.shown}"
            try:
                assert self.read(1.0), f"over without {patterns}\n{self.said}"
            except pexpect.TIMEOUT:
                continue
        return self.shown

    def hears(self, text: str) -> None:
        """Waits until it was written."""
        while text not in self.said:
            assert self.read(), self.said

    def resize(self, rows: int, columns: int) -> None:
        self.screen.resize(rows, columns)
        self.screen.reset()
        self.terminal.setwinsize(rows, columns)

    def press(self, keys: str) -> None:
        self.terminal.send(keys)

    def ends(self) -> int:
        while self.read():
            pass
        return ended(self.terminal)


class Stage:
    """A project whose run waits for a gate to open."""

    def __init__(self, tool: Tool, root: pathlib.Path) -> None:
        self.tool, self.root = tool, root
        self.gate = root.parent / "gate"
        tool.environment.update(TERM="xterm-256color", GATE=str(self.gate), LANG="C.UTF-8")
        tool.environment.pop("LC_ALL", None)
        tool.environment.pop("COLUMNS", None)

    def look(
        self, *arguments: str, rows: int = 24, columns: int = 80, command: Optional[List[str]] = None
    ) -> Looker:
        program, *rest = command or self.tool.command(*arguments)
        terminal = pexpect.spawn(
            program,
            rest,
            cwd=str(self.root),
            env=self.tool.variables(None),
            timeout=PATIENCE,
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="surrogateescape",
        )
        return Looker(terminal, rows, columns)

    def open(self) -> None:
        self.gate.write_text("")


@pytest.fixture
def stage(cloudist: Tool, project: Project) -> Stage:
    return Stage(cloudist, project({"test_waiting.py": WAITING}))


def plugin(stage: Stage, *arguments: str) -> List[str]:
    """A run by pytest itself, of which cloudist is a child."""
    stage.tool("init", cwd=stage.root).check(0)
    stage.tool.environment["CLOUDIST_BIN"] = BINARY
    options = ["--cloudist=test", "--cd-provider=local", "--cd-num-workers=2", "--cd-view=tui"]
    return [sys.executable, "-m", "pytest", *options, *arguments]


def test_workers_and_what_they_run(stage: Stage) -> None:
    looker = stage.look(*RUN)
    looker.sees(
        r"^cloudist  2 workers on local, mode test +0:\d\d$",
        r"  0%  0 of 2 tests$",
        r"^─ Machines: 1 ready ──",
        r"^  \S+ ready +2 workers",
        r"^▸ Workers: 2 of 2 busy ──",
        r"^  gw0 .* 0:0\d test_waiting.py::test_waits\[\d\]$",
        r"^  gw1 .* 0:0\d test_waiting.py::test_waits\[\d\]$",
        r"^─ Failures: none ──",
        r"^↑↓ choose  Tab list  Enter open  q leave  \? help$",
    )
    # Its time goes on by itself.
    looker.sees(r"^  gw0 .* 0:02 test_waiting")
    stage.open()
    assert looker.ends() == 0
    rest = looker.said.partition(LEFT)[2]
    assert "2 passed" in rest and "\x1b[?1049" not in rest


def test_failures_as_they_come_with_their_tracebacks(stage: Stage) -> None:
    (stage.root / "test_failing.py").write_text(FAILING.replace("\n    ", "\n"))
    looker = stage.look(*RUN)
    looker.sees(r"^─ Failures: 1 ──", r"^  failed  gw\d +test_failing.py::test_adds_up$", r"  1 failed")
    looker.press("f\r")
    looker.sees(
        r"^▸ Failure 1 of 1 ──",
        r"^test_failing.py::test_adds_up$",
        r"^failed on gw\d, \d\.\d\d s$",
        r"^E +AssertionError: an apple is missing",
        r"^test_failing.py:\d+: AssertionError",
        r"^from the basket$",
    )
    looker.press("\x1b")
    looker.sees(r"^▸ Failures: 1 ──", r"^─ Workers: \d of 2 busy")
    stage.open()
    assert looker.ends() == 1
    assert "an apple is missing" in looker.said.partition(LEFT)[2]


def test_what_could_not_be_collected(stage: Stage) -> None:
    (stage.root / "test_broken.py").write_text("import nothing_by_that_name\n")
    looker = stage.look(*RUN, "--", "--continue-on-collection-errors")
    looker.sees(r"^  not collected +test_broken.py$")
    looker.press("f\r")
    looker.sees(r"No module named 'nothing_by_that_name'")
    stage.open()
    assert looker.ends() == 1


def test_logs_of_machines_and_workers(stage: Stage) -> None:
    (stage.root / "conftest.py").write_text(
        "import os\ndef pytest_sessionstart():\n"
        "    if 'CLOUDIST_WORKER' in os.environ:\n        os.write(2, b'from a worker\\n')\n"
    )
    looker = stage.look(*RUN, "--init-command", "echo from; echo init")
    looker.sees(r"Workers: 2 of 2 busy")
    looker.press("m\r")
    looker.sees(r"^▸ Log of \S+ ──", r"^ready, 2 workers, ", r"^from$", r"^init$", r"^gw[01] from a worker$")
    looker.press("w")
    looker.sees(
        r"^▸ Log of gw0 on ", r"^runs test_waiting.py::test_waits\[\d\] for 0:\d\d$", r"^from a worker$"
    )
    stage.open()
    assert looker.ends() == 0


def test_the_init_command_is_seen_while_it_runs(stage: Stage) -> None:
    looker = stage.look(*RUN, "--init-command", 'echo begun; while [ ! -e "$GATE" ]; do sleep 0.05; done')
    looker.sees(r"^  \S+ init \d+s", r"^─ Machines: 0 of 1 ready")
    looker.press("m\r")
    looker.sees(r"^begun$")
    stage.open()
    assert looker.ends() == 0


def test_it_follows_the_size_of_the_terminal(stage: Stage) -> None:
    looker = stage.look(*RUN, rows=50, columns=160)
    looker.sees(r"│─ Failures: none ──|│▸ Failures", r"│─ Log of gw0 on ", r"^▸ Workers: 2 of 2 busy")
    looker.resize(12, 40)
    looker.sees(r"^▸ Workers: 2 of 2 busy ─+$", r"^  gw0 .*…est_waits\[\d\]$")
    assert "Machines" not in looker.shown and "│" not in looker.shown
    looker.resize(24, 80)
    looker.sees(r"^─ Machines: 1 ready", r"^─ Failures: none")
    looker.resize(5, 20)
    looker.sees(r"^the view needs 30x8$")
    looker.resize(10, 50)
    looker.sees(r"^▸ Workers: 2 of 2 busy ─+$")
    stage.open()
    assert looker.ends() == 0
    # What pytest writes has the width that the terminal has then.
    last = SGR.sub("", looker.said.partition(LEFT)[2]).split("\r\n")[-2]
    assert re.fullmatch(r"=+ 2 passed in \S+ =+", last) and len(last) == 50, last


@pytest.mark.parametrize("key", ["q", "\x1a", "\x1c"], ids=["q", "ctrl-z", "ctrl-backslash"])
def test_the_run_goes_on_without_the_view(stage: Stage, key: str) -> None:
    looker = stage.look(*RUN)
    looker.sees(r"2 of 2 busy")
    looker.press(key)
    looker.hears(LEFT)
    # The line below the output is there from then on.
    while not PROGRESS.search(looker.said.partition(LEFT)[2]):
        assert looker.read()
    stage.open()
    assert looker.ends() == 0
    assert not PROGRESS.search(looker.said.partition(LEFT)[0])
    assert "2 passed" in looker.said.partition(LEFT)[2]


def test_help_and_keys_that_mean_nothing(stage: Stage) -> None:
    looker = stage.look(*RUN)
    looker.sees(r"2 of 2 busy")
    looker.press("\x04x\x1b[99~?")
    looker.sees(r"^▸ Help ──", r"^q +leave the view: the run goes on, with lines$")
    looker.press("\x04 ")
    looker.sees(r"^▸ Workers")
    stage.open()
    assert looker.ends() == 0


@pytest.mark.parametrize("caller", ["cloudist pytest", "pytest --cloudist"])
def test_ctrl_c(stage: Stage, caller: str) -> None:
    looker = stage.look(*RUN, command=plugin(stage) if caller == "pytest --cloudist" else None)
    looker.sees(r"2 of 2 busy")
    looker.terminal.sendintr()
    assert looker.ends() == 2
    rest = looker.said.partition(LEFT)[2]
    assert "KeyboardInterrupt" in rest and "Traceback" not in looker.said
    all_gone(stage.tool.mark)


def test_ctrl_c_twice(stage: Stage) -> None:
    looker = stage.look(*RUN)
    looker.sees(r"2 of 2 busy")
    looker.terminal.sendintr()
    looker.terminal.sendintr()
    assert looker.ends() != 0
    assert LEFT in looker.said
    all_gone(stage.tool.mark)


@pytest.mark.parametrize("caller", ["cloudist pytest", "pytest --cloudist"])
def test_the_terminal_goes_away(stage: Stage, caller: str) -> None:
    looker = stage.look(*RUN, command=plugin(stage) if caller == "pytest --cloudist" else None)
    looker.sees(r"2 of 2 busy")
    looker.terminal.close()
    all_gone(stage.tool.mark)


def test_a_machine_that_is_lost(stage: Stage) -> None:
    looker = stage.look(*RUN, "--local-machines=2")
    looker.sees(r"Machines: 2 ready", r"2 of 2 busy")
    os.kill(the_process(stage, BINARY + " machine"), signal.SIGKILL)
    looker.sees(r"^─ Machines: 1 ready", r"^  \S+ lost  ", r"^  gw\d .* over$")
    stage.open()
    looker.ends()
    assert "2 passed" in looker.said.partition(LEFT)[2]


ODD = """
    import os, sys, warnings
    import pytest

    @pytest.mark.parametrize("name", ["plain", "\\u6e2c\\u8a66", "x" * 120])
    def test_names(name):
        pass

    def test_prints():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        warnings.warn("once")
        assert [1, 2] == [1, 3]

    @pytest.mark.skip(reason="not now")
    def test_skipped():
        pass
"""
LOUD = """
    import os, sys
    import pytest

    class Loud:
        def pytest_runtest_logreport(self, report):
            if report.when == "call" and report.failed:
                # Past all that Python knows of.
                os.write(1, b"written to 1\\n")
                os.write(2, b"written to 2, \\x1b[35mcoloured\\x1b[0m and \\xff\\n")
                os.system("echo from a child")

    def pytest_configure(config):
        if "CLOUDIST_WORKER" not in os.environ:
            config.pluginmanager.register(Loud())
"""


def timeless(said: str) -> str:
    """Without what depends on how long things took: durations, and how often pytest told what it had collected so far."""
    return COLLECTING.sub("", DURATION.sub("", said))


@pytest.mark.parametrize(
    "options", [[], ["-v", "-rA"], ["-q", "--color=no"]], ids=["plain", "verbose", "quiet"]
)
@pytest.mark.parametrize("caller", ["cloudist pytest", "pytest --cloudist"])
def test_the_output_is_that_of_a_run_without_it(
    stage: Stage, cloudist: Tool, project: Project, caller: str, options: List[str]
) -> None:
    stage.open()
    files = {
        "conftest.py": LOUD,
        "test_odd.py": ODD,
        "test_waiting.py": WAITING,
        "test_bad.py": "import no_such\n",
    }
    project(files)
    more = ["--continue-on-collection-errors", "-p", "no:cacheprovider", *options]
    if caller == "pytest --cloudist":
        command = [*plugin(stage, *more), "--cd-progress=off", "--cd-num-workers=1"]
        commands = [command, [*command, "--cd-view=line"]]
    else:
        command = stage.tool.command(*RUN, "-n", "1", "--progress=off")
        command = [word for word in command if word not in ("-n", "2", "1")]
        commands = [[*command, "-n", "1", "--", *more]]
        commands.append([word for word in commands[0] if word != "--view=tui"])
    viewed, plain = (stage.look(command=command) for command in commands)
    assert (viewed.ends(), plain.ends()) == (1, 1)
    assert VIEW.search(viewed.said) and not VIEW.search(plain.said)
    expected = timeless(plain.said)
    assert timeless(VIEW.sub("", viewed.said)) == expected
    assert "written to 1" in expected and "from a child" in expected


WAYS = {
    "to the end": (lambda looker, stage: stage.open(), 0),
    "q": (lambda looker, stage: (looker.press("q"), looker.hears(LEFT), stage.open()), 0),
    "ctrl-c": (lambda looker, stage: looker.terminal.sendintr(), 2),
    "ctrl-c twice": (lambda looker, stage: (looker.terminal.sendintr(), looker.terminal.sendintr()), None),
    "sigterm": (lambda looker, stage: os.kill(the_process(stage, BINARY + " pytest"), signal.SIGTERM), 143),
    "pytest is killed": (
        lambda looker, stage: os.kill(the_process(stage, PYTHON + " -m pytest"), signal.SIGKILL),
        137,
    ),
}


def the_process(stage: Stage, beginning: str) -> int:
    """The one whose command line begins so; a shell's holds it too."""
    return next(pid for pid, line in marked(stage.tool.mark).items() if line.startswith(beginning))


def in_a_shell(stage: Stage, command: List[str]) -> Looker:
    """Runs it as a shell does, with the settings of the terminal before and after it."""
    line = " ".join(shlex.quote(word) for word in command)
    script = f"trap : INT; stty -a > before; {line}; echo ended with $?; stty -a > after"
    return stage.look(command=["sh", "-c", script])


@pytest.mark.parametrize("way", WAYS)
def test_the_terminal_is_as_it_was(stage: Stage, way: str) -> None:
    act, status = WAYS[way]
    looker = in_a_shell(stage, stage.tool.command(*RUN))
    looker.sees(r"2 of 2 busy")
    act(looker, stage)
    looker.ends()
    assert (stage.root / "before").read_text() == (stage.root / "after").read_text()
    assert looker.said.count(ENTERED) == looker.said.count(LEFT) == 1
    assert looker.said.rindex("\x1b[?25h") > looker.said.rindex("\x1b[?25l")
    if status is not None:
        assert f"ended with {status}" in looker.said.partition(LEFT)[2]
    all_gone(stage.tool.mark)


def test_the_engine_comes_to_a_bad_end(stage: Stage) -> None:
    """The plugin gives the terminal back, with what was kept from it."""
    (stage.root / "test_failing.py").write_text(FAILING.replace("\n    ", "\n"))
    looker = in_a_shell(stage, plugin(stage, "-v", "--color=no"))
    looker.sees(r"Failures: 1", r"2 of 2 busy|1 of 2 busy")
    os.kill(the_process(stage, BINARY + " bridge"), signal.SIGKILL)
    looker.ends()
    assert (stage.root / "before").read_text() == (stage.root / "after").read_text()
    rest = looker.said.rpartition(LEFT)[2]
    assert "test_failing.py::test_adds_up FAILED" in rest and "ended with signal 9" in rest
    all_gone(stage.tool.mark)


def test_no_terminal_no_view(stage: Stage) -> None:
    stage.open()
    done = stage.tool(*RUN, cwd=stage.root).check(0)
    assert "cloudist: no live view: stdout and stderr are not both terminals\n" in done.out
    assert "\x1b" not in done.out + done.err
    command = plugin(stage)
    done = stage.tool(cwd=stage.root, command=command).check(0)
    assert "cloudist: no live view: stdout and stderr are not both terminals\n" in done.out
    done = stage.tool(
        *("ssh-run", "-n2", "--provider=local", "--view=tui", "--", "true"), cwd=stage.root
    ).check(0)
    assert done.err.splitlines() == ["cloudist: no live view: stdout and stderr are not both terminals"]


@pytest.mark.parametrize("caller", ["cloudist pytest", "pytest --cloudist"])
@pytest.mark.parametrize(
    "reason, term, size, options",
    [
        ("the terminal can't place text (TERM)", "dumb", (24, 80), []),
        ("the terminal has 80x7, and 30x8 are needed", "xterm", (7, 80), []),
        ("with -s the terminal is pytest's", "xterm", (24, 80), ["-s"]),
    ],
    ids=["dumb", "small", "uncaptured"],
)
def test_no_room_no_view(stage: Stage, caller: str, reason: str, term: str, size, options: List[str]) -> None:
    stage.open()
    stage.tool.environment["TERM"] = term
    rows, columns = size
    command = (
        plugin(stage, *options) if caller == "pytest --cloudist" else stage.tool.command(*RUN, "--", *options)
    )
    looker = stage.look(rows=rows, columns=columns, command=command)
    assert looker.ends() == 0
    assert f"cloudist: no live view: {reason}\r\n" in looker.said, looker.said
    assert ENTERED not in looker.said and "2 passed" in looker.said


def test_without_colours(stage: Stage) -> None:
    stage.tool.environment["NO_COLOR"] = "1"
    looker = stage.look(*RUN)
    looker.sees(r"2 of 2 busy")
    assert not COLOUR.search(looker.said)
    del stage.tool.environment["NO_COLOR"]
    coloured = stage.look(*RUN)
    coloured.sees(r"2 of 2 busy")
    assert COLOUR.search(coloured.said)
    stage.open()
    assert (looker.ends(), coloured.ends()) == (0, 0)


@pytest.mark.parametrize("place", ["CLOUDIST_VIEW", "pyproject.toml"])
def test_it_is_asked_for_like_everything_else(stage: Stage, place: str) -> None:
    if place == "CLOUDIST_VIEW":
        stage.tool.environment[place] = "tui"
    else:
        (stage.root / place).write_text('[tool.cloudist]\nview = "tui"\n')
    looker = stage.look("pytest", "--provider=local")
    looker.sees(r"2 of 2 busy")
    looker.press("q")
    looker.hears(LEFT)
    stage.open()
    assert looker.ends() == 0
    command = [word for word in plugin(stage) if word != "--cd-view=tui"]
    looker = stage.look(command=command)
    assert looker.ends() == 0 and ENTERED in looker.said


def test_a_server_of_ones_own_is_seen(stage: Stage) -> None:
    looker = stage.look("pytest", "--hosts=one", "-n2", "--view=tui", "--passenv=GATE")
    looker.sees(r"2 of 2 busy", r"^  one ready +2 workers", r"test_waits\[0\]")
    stage.open()
    assert looker.ends() == 0 and "2 passed" in looker.said


def test_a_command_on_every_worker(stage: Stage) -> None:
    line = 'echo line of $CLOUDIST_WORKER_INDEX; while [ ! -e "$GATE" ]; do sleep 0.05; done; exit $CLOUDIST_WORKER_INDEX'
    looker = stage.look("ssh-run", "-n2", "--provider=local", "--view=tui", "--", line)
    looker.sees(r"^cloudist  2 workers on local: ", r"  0%  0 of 2 commands", r"Workers: 2 of 2 busy")
    looker.press("w\r")
    looker.sees(r"^▸ Log of gw0 on ", r"^line of 0$")
    stage.open()
    assert looker.ends() == 1
    rest = looker.said.partition(LEFT)[2]
    assert sorted(part for part in rest.split("\r\n") if "line of" in part) == [
        "[0] line of 0",
        "[1] line of 1",
    ]


def test_a_command_that_may_read_the_terminal_keeps_it(stage: Stage) -> None:
    looker = stage.look("ssh-run", "-n1", "--provider=local", "--view=tui", "--", "read x; echo got $x")
    looker.hears("cloudist: no live view: the command may read the terminal")
    looker.terminal.sendline("this")
    assert looker.ends() == 0
    assert "got this" in looker.said and ENTERED not in looker.said

"""`cloudist ssh` and `exec -t` on terminals of their own."""

from __future__ import annotations

import os
import pathlib
import subprocess
from typing import Callable

import pytest

from machines import Watched, watched
from places import Place, Server
from tool import PATIENCE, Tool, ended

PROMPT = "there> "


@pytest.fixture
def run(place: Place, cloudist: Tool, project: Callable[..., pathlib.Path]):
    with watched(cloudist, place, project, f"--setenv=PS1={PROMPT}", "--setenv=ENV=/dev/null") as run:
        yield run


@pytest.fixture
def shell(run: Watched, monkeypatch: pytest.MonkeyPatch):
    run.tool.environment["SHELL"] = "/bin/sh"
    terminal = run.tool.terminal("ssh", cwd=run.root)
    terminal.setecho(False)
    terminal.sendline("PS1='there''> '; stty -echo; cd . && echo be''gun")
    terminal.expect_exact("begun\r\n")
    yield terminal
    terminal.close(force=True)


def test_a_shell_is_in_the_projects_directory_and_ends_with_its_status(run: Watched, shell) -> None:
    shell.sendline("pwd; echo $GATE; tty; test -t 0 && echo on a terminal; exit 9")
    shell.expect_exact(run.ps()[0]["directory"])
    shell.expect_exact(str(run.gate))
    shell.expect_exact("/dev/pts/")
    shell.expect_exact("on a terminal")
    assert ended(shell) == 9


def test_the_terminal_there_has_the_size_of_the_one_here(shell) -> None:
    shell.sendline("stty size")
    shell.expect_exact("50 100\r\n")
    shell.sendline('sh -c \'trap "stty size" WINCH; echo ar""med; while :; do sleep 0.05; done\'')
    shell.expect_exact("armed\r\n")
    shell.setwinsize(33, 77)
    shell.expect_exact("33 77\r\n")
    shell.sendintr()
    shell.sendline("exit 0")
    assert ended(shell) == 0


def test_ctrl_c_ends_what_runs_and_ctrl_d_the_shell(shell) -> None:
    shell.sendline("sh -c 'echo sle\"\"eps; exec sleep 1000'")
    shell.expect_exact("sleeps\r\n")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("echo still there")
    shell.expect_exact("still there")
    shell.sendeof()
    assert ended(shell) in (0, 130)


def test_ten_megabytes_of_output_arrive_whole(shell) -> None:
    shell.sendline("head -c 10485760 /dev/zero | tr '\\0' x; echo; echo o''ver")
    count = 0
    while True:
        text = shell.read_nonblocking(1 << 16, timeout=PATIENCE)
        count += text.count("x")
        if "over" in text or (count >= 10485760 and "ver" in text):
            break
    assert count == 10485760
    shell.sendline("exit 0")
    assert ended(shell) == 0


def test_a_tilde_and_a_dot_part_from_a_shell_that_hangs(shell) -> None:
    shell.sendline("cat >/dev/null")
    shell.send("\r~.")
    assert ended(shell) == 91


def test_a_command_on_a_terminal(run: Watched) -> None:
    terminal = run.tool.terminal(
        "exec", "-t", "--", "sh", "-c", "test -t 1 && read x && exit $x", cwd=run.root
    )
    terminal.sendline("6")
    assert ended(terminal) == 6


def test_without_a_terminal_stdin_is_a_script(run: Watched) -> None:
    done = run("ssh", input=b"pwd\nexit 4\n").check(4)
    assert done.out.strip() == run.ps()[0]["directory"]


def test_the_agent_is_lent_only_when_asked(
    cloudist: Tool, servers: dict, project: Callable[..., pathlib.Path], tmp_path: pathlib.Path
) -> None:
    server: Server = servers["one"]
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        while subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True).returncode == 2:
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", str(server.client_key)], env=environment, check=True)
        place = Place("sshd", ["--hosts=one"], [cloudist.mark, server.mark])
        with watched(cloudist, place, project) as run:
            run.tool.environment["SSH_AUTH_SOCK"] = str(socket)
            for option, expected in ((["--agent"], "SHA256:"), ([], "no agent")):
                terminal = run.tool.terminal("ssh", *option, cwd=run.root)
                terminal.sendline("ssh-add -l 2>/dev/null || echo no agent; exit 0")
                terminal.expect_exact(expected if option else "\nno agent")
                assert ended(terminal) == 0
    finally:
        agent.terminate()
        agent.wait()

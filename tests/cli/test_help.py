"""What every command says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

COMMANDS = ["", "demo", "init", "pytest", "ssh-run", "plan", "sweep", "doctor", "iam-policy", "plugin-path"]
COMMANDS += ["ps", "ssh", "exec", "logs", "cp", "forward", "ssh-config", "down", "completions", "man"]
COMMANDS += ["pdb", "bisect", "rerun", "replay", "report", "history", "slowest", "flaky", "bake"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(cloudist, tmp_path, command):
    done = cloudist(*[command] if command else [], "--help", cwd=tmp_path).check(0)
    assert len(done.out.split()) > 8 and done.err == ""
    too_long = [line for line in done.out.splitlines() if len(line) > 100]
    assert not too_long
    alone = [
        line
        for line in done.out.splitlines()
        if re.fullmatch(r"\S{0,3}[^\s:]", line) and not line.startswith(" ")
    ]
    assert not alone, f"a line is broken badly: {alone}"


def test_no_command_is_forgotten_here(cloudist, tmp_path):
    listed = cloudist("-h", cwd=tmp_path).check(0).out.partition("Commands:\n")[2].partition("\n\n")[0]
    names = {line.split()[0] for line in listed.splitlines() if re.match(r"  \S", line)}
    assert names - {"help"} == set(COMMANDS) - {""}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "plugin-path"])
def test_help_tells_the_exit_status(cloudist, tmp_path, command):
    done = cloudist(*[command] if command else [], "--help", cwd=tmp_path).check(0)
    assert "exit status" in done.out.lower(), done


@pytest.mark.parametrize("command", COMMANDS)
def test_short_help_is_shorter(cloudist, tmp_path, command):
    long = cloudist(*[command] if command else [], "--help", cwd=tmp_path).check(0).out
    short = cloudist(*[command] if command else [], "-h", cwd=tmp_path).check(0).out
    assert len(short.split()) <= len(long.split()) and "Usage: " in short


def test_the_version(cloudist, tmp_path):
    assert re.fullmatch(r"cloudist \d+\.\d+\.\d+\S*\n", cloudist("--version", cwd=tmp_path).check(0).out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_every_command(cloudist, tmp_path, shell):
    script = cloudist("completions", shell, cwd=tmp_path).check(0).out
    assert [name for name in COMMANDS if name not in script] == []
    if shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(script)
        subprocess.run([shell, "-n", str(path)], check=True)


def test_every_command_has_a_manual_page(cloudist, tmp_path):
    assert ".TH cloudist 1" in cloudist("man", cwd=tmp_path).check(0).out
    cloudist("man", "pages", cwd=tmp_path).check(0)
    pages = {path.name for path in (tmp_path / "pages").iterdir()}
    assert pages >= {f"cloudist-{name}.1" for name in COMMANDS if name} | {"cloudist.1"}
    assert "cloudist-bridge.1" not in pages
    assert "snapshot" in (tmp_path / "pages" / "cloudist-ssh.1").read_text()


def test_the_settings_of_the_table_are_all_in_the_help(cloudist, tmp_path, project):
    done = cloudist(
        "ssh-run", "--", "x", cwd=project({"pyproject.toml": "[tool.cloudist]\nunknown = 1\n"})
    ).check(90)
    known = done.err.partition("it knows ")[2].partition("\n")[0].split(", ")
    text = cloudist("pytest", "--help", cwd=tmp_path).check(0).out
    assert len(known) > 10 and [name for name in known if f"--{name}" not in text] == []


def test_the_plugins_options_are_in_pytests_help(cloudist, project):
    text = cloudist("pytest", "--", "--help", cwd=project({})).check(0).out
    for name in (
        "--cloudist",
        "--cd-num-workers",
        "--cd-interrupt-prob",
        "--cd-hosts",
        "--cd-extra-files",
        "--cd-init-command",
    ):
        assert name in text

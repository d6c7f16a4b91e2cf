"""Which environment variables reach tests, commands and the init command, and how."""

from __future__ import annotations

import pytest

HERE = {"DJANGO_A": "a b", "DJANGO_B": "", "SECRET": "s3cret", "TZ": "Asia/Tokyo"}
SHOW = "for n in DJANGO_A DJANGO_B SECRET TZ ADDED; do eval \"echo $n=\\${$n-unset}\"; done"


def test_commands_get_what_was_asked_for(cloudist, project):
    asked = ("--passenv", "DJANGO_*", "--setenv", "ADDED=x=y z")
    run = ("ssh-run", "-n1", "--hosts=one", *asked, "--", "sh", "-c", SHOW)
    done = cloudist(*run, cwd=project({}), env=HERE).check(0)
    assert done.out.splitlines() == ["DJANGO_A=a b", "DJANGO_B=", "SECRET=unset", "TZ=unset", "ADDED=x=y z"]


def test_nothing_travels_unasked_to_commands(cloudist, project):
    run = ("ssh-run", "-n1", "--hosts=one", "--", "sh", "-c", SHOW)
    done = cloudist(*run, cwd=project({}), env=HERE).check(0)
    assert {line.partition("=")[2] for line in done.out.splitlines()} == {"unset"}


def test_embedded_machines_have_this_environment(cloudist, project):
    run = ("ssh-run", "-n1", "--provider=local", "--", "sh", "-c", SHOW)
    done = cloudist(*run, cwd=project({}), env=HERE).check(0)
    assert "SECRET=s3cret" in done.out


def test_workers_get_the_documented_ones_and_those_asked_for(cloudist, project):
    root = project(
        {
            "test_it.py": """
            import os
            def test_it():
                found = {name: os.environ.get(name) for name in ("DJANGO_A", "SECRET", "TZ", "ADDED", "HOME")}
                home = found.pop("HOME")
                assert found == {"DJANGO_A": "a b", "SECRET": None, "TZ": "Asia/Tokyo", "ADDED": "1"}
                assert home != "/nowhere"
            """,
            "pyproject.toml": '[tool.cloudist]\nsetenv = ["ADDED=1"]\npassenv = ["DJANGO_A", "H*E"]\n',
        }
    )
    cloudist("pytest", "-n1", "--hosts=one", cwd=root, env=HERE).check(0)


def test_the_init_command_runs_again_when_its_variables_change(cloudist, project, place, tmp_path):
    log = tmp_path / "init.log"
    root = project({})

    def run(value):
        asked = ("--setenv", f"TOKEN={value}", "--init-command", f"echo $TOKEN >> {log}")
        cloudist("ssh-run", "-n1", *place.arguments, *asked, "--", "true", cwd=root).check(0)

    for value in ("1", "1", "2"):
        run(value)
    assert log.read_text() == "1\n2\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--setenv", "NAME"), '--setenv: "NAME" is not NAME=VALUE'),
        (("--setenv", "PYTHONPATH=x"), '--setenv: "PYTHONPATH=x" is not NAME=VALUE'),
        (("--passenv", "A["), 'passenv: "A[" is not a pattern'),
    ],
)
def test_what_makes_no_sense_is_refused(cloudist, project, arguments, message):
    done = cloudist("ssh-run", "--provider=local", *arguments, "--", "true", cwd=project({})).check(90)
    assert message in done.err

"""Where settings come from, which one wins, and what is said of wrong ones."""

from __future__ import annotations

import sys

import pytest

COUNT = ("--", "sh", "-c", "echo $CLOUDIST_NUM_WORKERS")


def workers(cloudist, root, *options, cwd=None, **env):
    done = cloudist("ssh-run", *options, *COUNT, cwd=cwd or root, env=env).check(0)
    return len(done.out.splitlines())


def test_an_option_wins_over_a_variable_and_that_over_the_file(cloudist, project):
    root = project({"pyproject.toml": "[tool.cloudist]\nnum-workers = 4\n", "below/x": ""})
    assert workers(cloudist, root) == 4
    assert workers(cloudist, root, cwd=root / "below") == 4
    assert workers(cloudist, root, CLOUDIST_NUM_WORKERS="3") == 3
    assert workers(cloudist, root, "-n2", CLOUDIST_NUM_WORKERS="3") == 2
    assert workers(cloudist, root, "--cd-num-workers=1", CLOUDIST_NUM_WORKERS="3") == 1


def test_two_workers_unless_told(cloudist, project):
    assert workers(cloudist, project({})) == 2


def test_pytest_takes_them_from_the_same_places(cloudist, project):
    root = project(
        {"test_a.py": "def test_a(worker_id): pass", "pyproject.toml": "[tool.cloudist]\nnum-workers = 3\n"}
    )
    assert "3 workers" in cloudist("pytest", cwd=root).check(0).out
    assert "1 worker," in cloudist("pytest", cwd=root, env={"CLOUDIST_NUM_WORKERS": "1"}).check(0).out


def test_options_in_addopts_count(cloudist, project):
    ini = "[pytest]\naddopts = -p no:randomly --cd-num-workers=3\n"
    root = project({"test_a.py": "def test_a(): pass", "pytest.ini": ini})
    assert "3 workers" in cloudist("pytest", cwd=root).check(0).out
    assert "1 worker," in cloudist("pytest", "-n1", cwd=root).check(0).out


def test_init_command_and_extra_files_from_the_file(cloudist, project):
    toml = '[tool.cloudist]\ninit-command = "echo made > made"\nextra-files = ["x.csv", "y.csv"]\nnum-workers = 1\n'
    root = project(
        {"pyproject.toml": toml, ".gitignore": "*.csv", ".git/HEAD": "", "x.csv": "x", "y.csv": "y"}
    )
    assert cloudist("ssh-run", "--", "cat made x.csv y.csv", cwd=root).check(0).out == "made\nxy"
    variable = {"CLOUDIST_EXTRA_FILES": "'x.csv' y.csv"}
    assert (
        cloudist("ssh-run", "--", "cat made x.csv y.csv", cwd=root, env=variable).check(0).out == "made\nxy"
    )


@pytest.mark.parametrize(
    "options, env, toml, words",
    [
        (["-n", "0"], {}, "", ["--num-workers", '"0"']),
        (["-n", "many"], {}, "", ["--num-workers", "many"]),
        (["--interrupt-prob", "101"], {}, "", ["--interrupt-prob", "0 to 100"]),
        (["--memory-per-worker", "2 cups"], {}, "", ["--memory-per-worker", "2 cups"]),
        (["--cpu-per-worker=-1"], {}, "", ["--cpu-per-worker"]),
        (["--provider", "gcp"], {}, "", ["--provider", "gcp", "local"]),
        (["--provider", "hosts"], {}, "", ["addresses", "--cd-hosts"]),
        (["--hosts", "a,b:99999"], {}, "", ["b:99999", "host 2"]),
        ([], {"CLOUDIST_NUM_WORKERS": "-3"}, "", ["CLOUDIST_NUM_WORKERS", "-3"]),
        ([], {"CLOUDIST_EXTRA_FILES": "'open"}, "", ["CLOUDIST_EXTRA_FILES", "quotes"]),
        ([], {}, "num-workers = 0", ["pyproject.toml", "num-workers"]),
        ([], {}, "interrupt-prob = 120", ["pyproject.toml", "interrupt-prob"]),
        ([], {}, "num-workers = [1, 2]\nhosts = true", ["pyproject.toml", "hosts"]),
        ([], {}, "workers = 3", ["pyproject.toml", "workers", "num-workers"]),
        ([], {}, "= broken", ["pyproject.toml", "TOML"]),
    ],
)
def test_wrong_values_name_their_place(cloudist, project, options, env, toml, words):
    root = project({"pyproject.toml": f"[tool.cloudist]\n{toml}\n"})
    for command in ("ssh-run", "pytest"):
        rest = ["--", "echo", "ran"] if command == "ssh-run" else []
        done = cloudist(command, *options, *rest, cwd=root, env=env).check(90)
        missing = [word for word in words if word not in done.err]
        assert not missing and done.err.startswith("error: ") and done.out == "", done


def test_wrong_values_given_to_pytest(cloudist, project):
    root = project({"test_a.py": "def test_a(): pass"})
    cloudist("init", cwd=root).check(0)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--cloudist=test",
        "--cd-provider=local",
        "--cd-num-workers=none",
    ]
    done = cloudist(command=command, cwd=root, env={"CLOUDIST_BIN": cloudist.command()[0]}).check(90)
    assert "--cd-num-workers" in done.out + done.err and "none" in done.out + done.err, done
    done = cloudist("pytest", "--", "--cd-num-workers=none", cwd=root).check(90)
    assert "--cd-num-workers" in done.out + done.err, done


def test_the_chance_of_interruption_is_taken_by_every_provider(cloudist, project, place):
    root = project({"test_a.py": "def test_a(): pass"})
    for percent in ("0", "5", "100"):
        run = ("pytest", "-n1", "--interrupt-prob", percent, *place.arguments)
        assert "1 passed" in cloudist(*run, cwd=root).check(0).out
    cloudist("pytest", "--", "--cd-interrupt-prob=0", cwd=root).check(0)


def test_ec2_without_credentials_is_refused_with_a_way_out(cloudist, project):
    root = project({"test_a.py": "def test_a(): pass"})
    way_out = "--cd-provider=local"
    done = cloudist("ssh-run", "--provider", "ec2", "--", "true", cwd=root).check(91)
    assert "no AWS credentials" in done.err and way_out in done.err and "cloudist doctor" in done.err, done
    for arguments in (["--provider", "ec2"], ["--", "--cd-provider=ec2"]):
        done = cloudist("pytest", *arguments, cwd=root).check(91)
        assert "no AWS credentials" in done.out and way_out in done.out, done


def test_without_credentials_the_machine_at_hand_is_used(cloudist, project):
    root = project({"test_a.py": "def test_a(): pass"})
    assert "(local)" in cloudist("pytest", cwd=root).check(0).out

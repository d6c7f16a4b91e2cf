"""`--num-workers auto`: as many workers as the recorded durations ask for."""

from __future__ import annotations

import json

import pytest

SUITE = {f"test_{letter}.py": "def test_it(): pass\ndef test_other(): pass" for letter in "abcd"}


@pytest.fixture
def root(cloudist, project):
    """Eight tests, of which it is recorded that they take 10 s each."""
    root = project(SUITE)
    durations = {f"{name}::{test}": 10 for name in SUITE for test in ("test_it", "test_other")}
    cloudist("history", "import", "-", cwd=root, input=json.dumps(durations).encode()).check(0)
    return root


def workers(cloudist, root):
    runs = json.loads(cloudist("history", "--json", cwd=root).check(0).out)
    return runs[0]["workers"]


@pytest.mark.parametrize(
    "options, chosen",
    [
        (["-n", "auto", "--target=23"], 4),
        (["--target=43s"], 2),
        (["-n", "auto"], 1),
        (["-n", "auto", "--target=1"], 8),
        (["--mode=file", "-n", "auto", "--target=1"], 4),
        (["-n", "3", "--target=1"], 3),
    ],
)
def test_the_target_chooses(cloudist, root, options, chosen):
    done = cloudist("pytest", "--hosts=one", *options, "--", "-q", cwd=root).check(0)
    assert workers(cloudist, root) == chosen, done


def test_the_choice_is_explained(cloudist, root):
    done = cloudist("pytest", "--hosts=one", "--target=23", "--", "-v", cwd=root).check(0)
    assert "1m 20s of recorded tests, 10.0s the longest, target 23.0s: 4 workers, about 23.0s" in done.out


def test_a_project_without_a_history_gets_two(cloudist, project):
    root = project(SUITE)
    done = cloudist("pytest", "--hosts=one", "-n", "auto", "--", "-v", cwd=root).check(0)
    assert "no durations of this project are recorded yet: 2 workers" in done.out
    assert workers(cloudist, root) == 2


@pytest.mark.parametrize("option", ["--target=0", "--target=soon", "--num-workers=many"])
def test_what_makes_no_sense_is_refused(cloudist, root, option):
    assert option.partition("=")[0] in cloudist("pytest", option, cwd=root).check(90).err

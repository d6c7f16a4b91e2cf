"""Files that `cloudist ssh-run --fetch` brings back."""

from __future__ import annotations

import os
import random
import stat


def tree(root):
    """The files below a directory with their contents."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_into_a_folder_for_each_worker(cloudist, project, place):
    root = project({})
    line = "mkdir -p out/deep; echo $CLOUDIST_WORKER_INDEX > out/n.txt; echo d > out/deep/d.txt; echo no > no.txt"
    run = ("ssh-run", "-n2", *place.arguments, "--fetch", "out/*.txt", "--fetch", "out/deep/*", "--", line)
    cloudist(*run, cwd=root).check(0)
    fetched = tree(root / "cloudist-fetched")
    assert {name for name in fetched} == {
        f"worker-{n}/out/{name}" for n in (0, 1) for name in ("n.txt", "deep/d.txt")
    }
    if place.name == "local":
        assert [fetched[f"worker-{n}/out/n.txt"] for n in (0, 1)] == [b"0\n", b"1\n"]


def test_stars_cross_directories_and_bits_are_kept(cloudist, project, place, tmp_path):
    big = random.Random(3).randbytes(3 << 20)
    root = project({"big": big})
    line = "mkdir -p a/b/c 'a/sp ace'; echo x > a/x.py; echo y > a/b/c/y.py; cp big a/b/big.bin; : > 'a/sp ace/empty.py'; chmod 755 a/x.py"
    to = tmp_path / "results"
    run = (
        "ssh-run",
        "-n1",
        *place.arguments,
        "--fetch",
        "a/**/*.py",
        "--fetch",
        "a/b/*.bin",
        "--fetch-to",
        str(to),
        "--",
        line,
    )
    cloudist(*run, cwd=root).check(0)
    expected = {"a/x.py": b"x\n", "a/b/c/y.py": b"y\n", "a/sp ace/empty.py": b"", "a/b/big.bin": big}
    assert tree(to / "worker-0") == dict(sorted(expected.items()))
    assert stat.S_IMODE(os.stat(to / "worker-0/a/x.py").st_mode) & 0o111
    assert not stat.S_IMODE(os.stat(to / "worker-0/a/b/big.bin").st_mode) & 0o111


def test_a_directory_and_two_stars_stand_for_all_below(cloudist, project, place):
    root = project({})
    line = "mkdir -p html/css; echo i > html/index.html; echo c > html/css/c.css"
    for number, pattern in enumerate(("html/**", "html")):
        run = (
            "ssh-run",
            "-n1",
            *place.arguments,
            "--fetch",
            pattern,
            "--fetch-to",
            f"to{number}",
            "--",
            line,
        )
        cloudist(*run, cwd=root).check(0)
        assert set(tree(root / f"to{number}")) == {"worker-0/html/index.html", "worker-0/html/css/c.css"}


def test_files_come_back_when_the_command_failed_too(cloudist, project, place):
    root = project({})
    run = ("ssh-run", "-n1", *place.arguments, "--fetch", "log", "--", "echo why > log; exit 9")
    cloudist(*run, cwd=root).check(9)
    assert (root / "cloudist-fetched/worker-0/log").read_text() == "why\n"


def test_a_second_fetch_replaces_the_first(cloudist, project, place):
    root = project({})
    for text in ("a long first text", "short"):
        cloudist(
            "ssh-run", "-n1", *place.arguments, "--fetch", "f", "--", f"rm -f f; echo {text} > f", cwd=root
        ).check(0)
    assert (root / "cloudist-fetched/worker-0/f").read_text() == "short\n"


def test_nothing_that_matches_is_said(cloudist, project, place):
    root = project({})
    done = cloudist(
        "ssh-run", "-n1", *place.arguments, "--fetch", "none/*.xml", "--", "true", cwd=root
    ).check(0)
    assert "none/*.xml" in done.err and "worker 0" in done.err
    assert not (root / "cloudist-fetched").exists()


def test_a_file_that_cannot_be_kept_is_told(cloudist, project, place):
    root = project({"cloudist-fetched": "a file in the way"})
    done = cloudist("ssh-run", "-n1", *place.arguments, "--fetch", "f", "--", "echo 1 > f", cwd=root)
    assert done.exit != 0 and "cloudist-fetched" in done.err, done
    done.check_no_fault()

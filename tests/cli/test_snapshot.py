"""What arrives on a machine of the project, what is sent again, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
from typing import Dict

import pytest

from tool import BINARY

LISTING = """
import json, os, stat
found = {}
for at, directories, names in os.walk("."):
    for name in directories + names:
        path = os.path.join(at, name)
        kind = os.readlink(path) if os.path.islink(path) else "/" if os.path.isdir(path) else stat.S_IMODE(os.stat(path).st_mode) & 0o111
        found[os.path.relpath(path)] = kind
print(json.dumps(found))
"""


def arrived(cloudist, root, *arguments: str) -> Dict[str, object]:
    """What lies in the project's directory on a machine: executable bits, `/` for a directory, or a link's target."""
    done = cloudist("ssh-run", "-n1", *arguments, "--", "python3", "-c", LISTING, cwd=root).check(0)
    return {
        name: kind for name, kind in json.loads(done.out).items() if not name.startswith(".cloudist-init")
    }


def placed(cache):
    """The files in the machines' trees, each with what tells it from one that was written anew."""
    trees = [path for path in cache.rglob("trees/*") if path.suffix != ".cloudist"]
    assert len(trees) == 1, trees
    files = [path for path in trees[0].rglob("file*.txt")]
    return {path.name: (path.stat().st_ino, path.stat().st_ctime_ns) for path in files}


@pytest.fixture
def fresh(cloudist, tmp_path):
    """A cache of its own, so that machines begin with nothing."""
    cloudist.environment["CLOUDIST_CACHE_DIR"] = str(tmp_path / "fresh")
    return cloudist


def test_all_kinds_of_files_arrive(cloudist, project, place):
    names = [
        "plain.txt",
        "with space.txt",
        "ünïcode-名前.txt",
        "new\nline.txt",
        "-dash",
        "deep/er/file",
        "'\"$x`",
    ]
    root = project({name: name for name in names})
    (root / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (root / "run.sh").chmod(0o755)
    (root / "empty/inner").mkdir(parents=True)
    (root / "link").symlink_to("deep/er/file")
    (root / "link-to-directory").symlink_to("deep")
    (root / "dangling").symlink_to("nowhere")
    found = arrived(cloudist, root, *place.arguments)
    assert {name: found.get(name) for name in names} == {name: 0 for name in names}
    assert found["run.sh"] == 0o111
    assert found["link"] == "deep/er/file" and found["link-to-directory"] == "deep"
    assert found["dangling"] == "nowhere"
    assert found["empty/inner"] == "/"
    run = ("ssh-run", "-n1", *place.arguments, "--", "./run.sh")
    assert cloudist(*run, cwd=root).check(0).out == "ran\n"


def test_ignore_files_are_heeded(cloudist, project):
    root = project(
        {
            ".gitignore": "*.log\n/build/\n!keep.log\n",
            ".cloudistignore": "/data/\n!generated.log\n",
            "a.log": "",
            "keep.log": "",
            "generated.log": "",
            "build/x": "",
            "sub/build/x": "",
            "data/big": "",
            "sub/.gitignore": "local\n",
            "sub/local": "",
            "local": "",
        }
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    found = arrived(cloudist, root, "--provider=local")
    kept = {"keep.log", "generated.log", "sub/build/x", "local"}
    assert kept <= set(found), found
    assert not {"a.log", "build", "build/x", "data", "data/big", "sub/local", ".git"} & set(found), found


def test_extra_files_come_though_ignored(cloudist, project, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "model.bin").write_text("model")
    root = project(
        {".gitignore": "*.csv\nbuild\n", "a.csv": "a", "b.csv": "b", "c/d.csv": "d", "build/out.so": "so"}
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    extra = ("--extra-files", "a.csv", "--extra-files", "c/**/*.csv", "--extra-files", "build")
    found = arrived(cloudist, root, "--provider=local", *extra)
    assert {"a.csv", "c/d.csv", "build/out.so"} <= set(found), found
    assert "b.csv" not in found
    extra = ("--extra-files", str(outside / "model.bin"))
    cloudist("ssh-run", "-n1", *extra, "--", "true", cwd=root).check(0)


def test_extra_files_that_match_nothing_are_an_error(cloudist, project):
    done = cloudist(
        "ssh-run", "-n1", "--extra-files", "nothing/*.bin", "--", "echo", "ran", cwd=project({})
    ).check(92)
    assert "nothing/*.bin" in done.err and done.out == "", done


def test_an_unchanged_project_is_not_sent_again_and_a_changed_file_alone(fresh, project, tmp_path):
    root = project({f"file{n}.txt": f"content {n}" for n in range(20)})
    run = ("ssh-run", "-n1", "--provider=local", "--", "cat", "file7.txt")
    assert fresh(*run, cwd=root).check(0).out == "content 7"
    first = placed(tmp_path / "fresh")
    assert len(first) == 20
    assert fresh(*run, cwd=root).check(0).out == "content 7"
    assert placed(tmp_path / "fresh") == first
    (root / "file7.txt").write_text("changed")
    assert fresh(*run, cwd=root).check(0).out == "changed"
    second = placed(tmp_path / "fresh")
    assert {name for name in first if first[name] != second[name]} == {"file7.txt"}
    (root / "file7.txt").unlink()
    done = fresh(*run, cwd=root).check(1)
    assert "file7.txt" in done.err
    del second["file7.txt"]
    assert placed(tmp_path / "fresh") == second


def test_an_edit_inside_a_large_file_takes_one_round_trip(cloudist, project, place):
    root = project({"large.bin": os.urandom(24 << 20)})
    run = ("ssh-run", "-n1", *place.arguments, "--timings", "--", "sha256sum large.bin")
    cloudist(*run, cwd=root).check(0)
    with (root / "large.bin").open("r+b") as file:
        file.seek(10 << 20)
        file.write(b"edited")
    done = cloudist(*run, cwd=root).check(0)
    assert hashlib.sha256((root / "large.bin").read_bytes()).hexdigest() in done.out, done
    (sent,) = re.findall(r"sent (\d+) bytes, 1 round trip\b", done.err)
    assert int(sent) < 1 << 20, done


def test_what_a_command_changes_there_does_not_harm_the_next_run(cloudist, project, place):
    root = project({"data.txt": "original"})
    spoil = (
        "ssh-run",
        "-n1",
        *place.arguments,
        "--",
        "echo spoiled >> data.txt || true; rm -f data.txt; echo new > data.txt",
    )
    cloudist(*spoil, cwd=root)
    run = ("ssh-run", "-n1", *place.arguments, "--", "cat", "data.txt")
    cloudist(*run, cwd=root).check(0)
    (root / "other.txt").write_text("makes it another snapshot")
    assert cloudist(*run, cwd=root).check(0).out == "original"


def test_too_large_a_project_is_refused_with_the_largest(cloudist, project):
    root = project({"small": "", "data/huge.bin": b"\0" * 3_000_000, "large.bin": b"\1" * 1_000_000})
    done = cloudist("ssh-run", "-n1", "--snapshot-limit", "1MiB", "--", "echo", "ran", cwd=root).check(92)
    assert "huge.bin" in done.err and "help: " in done.err, done
    assert done.err.index("huge.bin") < done.err.index("large.bin"), done
    assert done.out == ""
    cloudist("ssh-run", "-n1", "--snapshot-limit", "4MiB", "--", "true", cwd=root).check(0)


def test_a_file_that_changes_under_it_or_a_socket_is_no_obstacle(cloudist, project):
    root = project({"a": ""})
    os.mkfifo(root / "pipe")
    found = arrived(cloudist, root, "--provider=local")
    assert "a" in found and "pipe" not in found


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs another user")
def test_a_file_that_cannot_be_read_is_named(project, tmp_path, cache):
    nobody = pwd.getpwnam("nobody")
    root = project({"open.txt": "", "secret.txt": "hidden"})
    (root / "secret.txt").chmod(0o600)
    for directory in (root, *root.parents):
        if directory.stat().st_uid == os.getuid() and directory != pathlib.Path("/"):
            directory.chmod(directory.stat().st_mode | 0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    copy = tmp_path / "cloudist"
    shutil.copy(BINARY, copy)
    done = subprocess.run(
        ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", str(copy)]
        + ["ssh-run", "-n1", "--provider=local", "--local-python", "/usr/bin/python3", "--", "ls"],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "CLOUDIST_CACHE_DIR": str(home / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "secret.txt" in done.stderr and "ermission" in done.stderr, done
    assert "panicked" not in done.stderr

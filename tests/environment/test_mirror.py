"""The machine gets what is installed here: versions, editable projects, hashes."""

from __future__ import annotations

import subprocess
import threading

from wheels import make_wheel

LIST = (
    "python",
    "-c",
    "import importlib.metadata as m; "
    "print(sorted((d.metadata['Name'], d.version) for d in m.distributions() if d.metadata['Name'] != 'pip'))",
)


def here(local) -> str:
    return subprocess.run([str(local.python), *LIST[1:]], stdout=subprocess.PIPE, check=True).stdout.decode()


def environments(machine) -> list:
    home = machine.home / ".cache/cloudist/environments"
    return sorted(path.parent.name for path in home.glob("*/cloudist.json"))


def test_versions_are_those_here(run, local, machine, index):
    local.install("apple==1.0", "pear==2.0")
    done = run(*LIST, PIP_INDEX_URL=index.url).check(0)
    assert done.out == here(local), done
    first, asked = environments(machine), len(index.asked)
    assert len(first) == 1 and asked

    assert run(*LIST, PIP_INDEX_URL=index.url).check(0).out == here(local)
    assert (environments(machine), len(index.asked)) == (first, asked)

    local.install("apple==2.0")
    assert run(*LIST, PIP_INDEX_URL=index.url).check(0).out == here(local)
    assert len(environments(machine)) == 2


def test_the_environment_comes_first_on_the_path(run, local, index):
    local.install("apple==1.0")
    done = run("sh", "-c", 'echo "$VIRTUAL_ENV"; command -v python', PIP_INDEX_URL=index.url).check(0)
    environment, python = done.out.split()
    assert "/environments/" in environment and python == environment + "/bin/python"


def test_with_the_machines_own_pip(run, local, index):
    local.install("apple==1.0")
    done = run(
        "python", "-c", "import apple; print(apple.VERSION)", options=("--env=pip",), PIP_INDEX_URL=index.url
    )
    assert done.check(0).out == "1.0\n"


BACKEND = """
import os, zipfile

FILES = {
    "own.pth": os.path.abspath("src") + "\\n",
    "own-3.1.dist-info/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 3.1\\n",
    "own-3.1.dist-info/entry_points.txt": "[pytest11]\\nown = ownmodule\\n",
    "own-3.1.dist-info/WHEEL": "Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
}

def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "own-3.1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in FILES.items():
            archive.writestr(path, text)
        archive.writestr("own-3.1.dist-info/RECORD", "".join(path + ",,\\n" for path in FILES))
    return name

build_wheel = build_editable
"""


def test_an_editable_project_and_its_metadata(run, local, index, tmp_path):
    own = tmp_path / "own"
    (own / "src").mkdir(parents=True)
    (own / "src" / "ownmodule.py").write_text("VALUE = 42\n")
    (own / "backend.py").write_text(BACKEND)
    (own / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    local.install("apple==1.0")
    local.install("-e", str(own))
    code = (
        "import importlib.metadata as m, apple, ownmodule; "
        "print(ownmodule.VALUE, m.version('own'), [e.value for e in m.distribution('own').entry_points])"
    )
    done = run("python", "-c", code, PIP_INDEX_URL=index.url).check(0)
    assert done.out == "42 3.1 ['ownmodule']\n", done


def test_a_wrong_hash_is_refused(run, local, machine, index):
    local.install("apple==1.0")
    (run.root / "requirements.txt").write_text(f"apple==1.0 --hash=sha256:{'0' * 64}\n")
    done = run(*LIST, PIP_INDEX_URL=index.url).check(95)
    assert "ash mismatch" in done.err and "help: " in done.err, done
    assert environments(machine) == []


def test_a_package_that_is_nowhere(run, local, index, tmp_path):
    lonely = make_wheel(tmp_path, "lonely", "1.0")
    local.install(str(lonely))
    # As if it had come from an index that has it no more.
    for record in (local.python.parent.parent / "lib").glob("python*/site-packages/lonely*/direct_url.json"):
        record.unlink()
    done = run(*LIST, PIP_INDEX_URL=index.url).check(95)
    assert "lonely" in done.err and "failed to make the environment on fresh" in done.err, done


def test_two_runs_at_once_build_once(run, local, machine, index):
    local.install("apple==1.0")
    ends = []
    runs = [
        threading.Thread(target=lambda: ends.append(run(*LIST, PIP_INDEX_URL=index.url))) for _ in range(2)
    ]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert [end.check(0).out for end in ends] == [here(local)] * 2
    assert sum("/files/apple" in path for path in index.asked) == 1 and len(environments(machine)) == 1

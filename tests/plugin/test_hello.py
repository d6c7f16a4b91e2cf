"""What the engine is told, as an engine hears it that writes it down and then gives up."""

from __future__ import annotations

import json
from typing import Any, Dict, List

import pytest

from suites import Suite

LISTENER = """#!{python}
import json, os, struct

def read(count):
    data = b""
    while len(data) < count:
        data += os.read(0, count - len(data))
    return data

def frame():
    return json.loads(read(struct.unpack(">I", read(4))[0]).partition(b"\\n")[0])

heard = [frame()]
while heard[-1]["t"] not in ("files-end", "stop"):
    heard.append(frame())
with open({path!r}, "w") as stream:
    json.dump(heard, stream)
end = json.dumps({{"t": "end", "status": "failed", "message": "heard enough", "help": "try later", "exit_code": 93}})
os.write(1, struct.pack(">I", len(end) + 1) + end.encode() + b"\\n")
"""


def listen(suite: Suite, *options: str, **environment: str) -> List[Dict[str, Any]]:
    """The messages of a run that begins with these options."""
    engine, heard = suite.root.parent / "listener", suite.root.parent / "heard.json"
    engine.write_text(LISTENER.format(python=suite.python, path=str(heard)))
    engine.chmod(0o755)
    done = suite._run(
        suite.command("-p", "pytest_cloudist", "--cloudist=test", *options),
        {"CLOUDIST_BIN": str(engine), **environment},
    )
    assert done.exit == 93, done.out + done.err
    assert "cloudist: heard enough" in done.out
    assert done.out.splitlines()[-1] == "help: try later"
    return json.loads(heard.read_text())


def files(heard: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    return [file for message in heard if message["t"] == "files" for file in message["files"]]


@pytest.fixture
def project(suite: Suite) -> Suite:
    return suite.write(
        {
            "conftest.py": """
                def pytest_addoption(parser):
                    parser.addoption("--mine")
                    parser.addoption("--optional", nargs="?", const="x")
            """,
            "test_a.py": "import no_such_module",
            "package/__init__.py": "raise SystemExit('must not be imported')",
            "package/test_b.py": "",
            "below/test_c.py": "",
            "other.txt": "",
        }
    )


ALWAYS = ["-p", "no:randomly"]


@pytest.mark.parametrize(
    "given, told",
    [
        (["-xvs", "test_a.py"], ["-x", "-v", "-s", "test_a.py"]),
        (["-k", "a or b", "below"], ["-k", "a or b", "below"]),
        (["-kexpression", "-m", "not slow"], ["-kexpression", "-m", "not slow"]),
        (["-rA", "--tb=short", "--maxfail", "3"], ["-rA", "--tb=short", "--maxfail", "3"]),
        (["--junitxml", "out.xml", "--junit-xml=out.xml", "--lf", "--ff", "-q"], ["-q"]),
        (["-n", "3", "-n4", "--dist=load", "--tx", "popen", "-d"], []),
        (["--color=no", "-c", "pytest.ini", "--rootdir=."], []),
        (["--cd-num-workers=3", "--cd-extra-files", "*.txt", "--cd-extra-files=a", "-v"], ["-v"]),
        (["--mine", "test_a.py", "below"], ["--mine", "test_a.py", "below"]),
        (["--mine=value", "--optional", "--", "below"], ["--mine=value", "--optional", "below"]),
        (["test_a.py::TestX::test_y[a::b]", "test_a.py::test_z"], ["test_a.py"]),
        (["{root}/below", "--ignore={root}/package"], ["--ignore=package", "below"]),
        (["-p", "no:cacheprovider", "-pno:xdist", "-W", "error"], ["-p", "no:cacheprovider", "-W", "error"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_arguments_for_workers(project: Suite, given: List[str], told: List[str]) -> None:
    given = [word.format(root=project.root) for word in given]
    hello = listen(project, *given)[0]
    arguments = hello["args"]
    assert arguments.pop(arguments.index("--color=no")) == "--color=no"
    assert arguments == [*ALWAYS, *told]


def test_options_from_the_environment_come_first(project: Suite) -> None:
    hello = listen(project, "-v", PYTEST_ADDOPTS="-k 'a b' --junitxml=x.xml")[0]
    assert hello["args"] == ["-k", "a b", *ALWAYS, "-v", "--color=no"]


def test_flags_are_told_as_given(project: Suite) -> None:
    options = [
        "--cd-num-workers=8",
        "--cd-extra-files",
        "a/*",
        "--cd-extra-files=b",
        "--cd-init-command",
        "make x",
    ]
    hello = listen(project, *options)[0]
    assert hello["flags"] == {"num-workers": ["8"], "extra-files": ["a/*", "b"], "init-command": ["make x"]}
    assert hello["mode"] == "test"


def test_places_and_settings(project: Suite) -> None:
    (project.root / "lib").mkdir()
    search = project.environment()["PYTHONPATH"] + ":lib:nowhere"
    hello = listen(project, "-x", PYTHONPATH=search)[0]
    root = str(project.root)
    assert (hello["cwd"], hello["rootdir"], hello["inipath"]) == (root, root, root + "/pytest.ini")
    assert hello["sys_path"] == [root, root + "/lib"]
    assert hello["python"] == project.python
    assert (hello["maxfail"], hello["continue_on_collection_errors"]) == (1, False)


def test_files_are_found_and_never_imported(project: Suite) -> None:
    heard = listen(project)
    assert heard[-1] == {"t": "files-end", "errors": 0}
    found = {file["path"][len(str(project.root)) + 1 :]: file for file in files(heard)}
    assert list(found) == ["below/test_c.py", "package/test_b.py", "test_a.py"] or sorted(found) == [
        "below/test_c.py",
        "package/test_b.py",
        "test_a.py",
    ]
    assert all(file["select"] is None for file in found.values())
    assert found["package/test_b.py"]["chain"][-1] == str(project.root / "package")


def test_selectors_follow_their_files(project: Suite) -> None:
    found = files(
        listen(project, "test_a.py::TestX::test_y[a::b]", "below", "test_a.py::test_z", "below/test_c.py::x")
    )
    assert [(file["path"].rpartition("/")[2], file["select"]) for file in found] == [
        ("test_a.py", [["TestX", "test_y[a::b]"], ["test_z"]]),
        ("test_c.py", None),
    ]


def test_a_file_is_told_once(project: Suite) -> None:
    project.write({"pytest.ini": "[pytest]\naddopts = --doctest-modules --doctest-glob=*.txt\n"})
    paths = [
        file["path"].rpartition("/")[2]
        for file in files(listen(project, "test_a.py", "other.txt", "test_a.py"))
    ]
    assert sorted(paths) == ["other.txt", "test_a.py"]

"""What the runner does when processes die, misbehave, or have to go."""

import os
import signal
import time

import pytest

from harness import Project, Run


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, patience=10):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.01)


def test_a_test_that_exits_is_named(project, start, machine):
    project.write(
        "test_a.py", "import os\ndef test_1(): pass\ndef test_2(): os._exit(7)\ndef test_3(): pass\n"
    )
    run = start()
    run.file(0, "test_a.py")
    died = machine.wait("died")
    assert (died["status"], died["running"], died["collecting"], died["last"]) == (7, [0, 1], None, [0, 0])
    assert list(run.tests()) == [(0, 0)]


def test_a_segfault_leaves_its_stack(project, start, machine):
    project.write(
        "test_a.py",
        "import os, faulthandler\n"
        "def test_1():\n"
        "    for n in range(100):\n"
        "        try: os.close(n)\n"
        "        except OSError: pass\n"
        "    faulthandler._sigsegv()\n",
    )
    run = start()
    run.file(0, "test_a.py")
    died = machine.wait("died")
    assert died["status"] == -signal.SIGSEGV and died["running"] == [0, 0]
    assert "Segmentation fault" not in died["stderr"] or "test_1" in died["stderr"]


def test_the_stack_of_a_segfault_is_in_stderr(project, start, machine):
    project.write("test_a.py", "import faulthandler\ndef test_1(): faulthandler._sigsegv()\n")
    run = start()
    run.file(0, "test_a.py")
    died = machine.wait("died")
    assert "Segmentation fault" in died["stderr"] and "test_1" in died["stderr"]


def test_an_import_that_kills_is_named(project, start, machine):
    project.write("test_a.py", "import os\nos._exit(5)\n")
    run = start()
    run.file(0, "test_a.py", wait=False)
    died = machine.wait("died")
    assert (died["status"], died["running"], died["collecting"]) == (5, None, 0)


def test_a_worker_that_died_is_spawned_again(project, start, machine):
    project.write("test_a.py", "import os\ndef test_1(): os._exit(7)\ndef test_2(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    machine.wait("died")
    machine.send({"t": "spawn", "worker": 0})
    machine.wait("up", worker=0)
    run.again(0, "test_a.py", [1], 0)
    assert list(run.finish(1)) == [(0, 1)]


def test_hostile_tests_leave_the_protocol_whole(project, start):
    project.write(
        "test_a.py",
        "import os, subprocess, threading, time\n"
        "def test_forks():\n"
        "    if os.fork() == 0:\n        return\n"
        "def test_changes_directory(tmp_path):\n    os.chdir(tmp_path)\n"
        "def test_lingering_child():\n    subprocess.Popen(['sleep', '300'])\n"
        "def test_thread():\n    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "def test_environment():\n    os.environ.clear()\n"
        "def test_interrupt_handler():\n    import signal\n    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "def test_writes_everywhere():\n"
        "    for n in range(100):\n        try: os.write(n, b'garbage')\n        except OSError: pass\n",
    )
    project.write("test_b.py", "def test_after(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    run.results(7)
    run.file(1, "test_b.py")
    tests = run.finish(8)
    assert {outcome.name: outcome.failed for outcome in tests.values() if outcome.failed} == {}


def test_closing_low_descriptors(project, start):
    project.write(
        "test_a.py",
        "import os\n"
        "def test_1():\n"
        "    for n in range(100):\n"
        "        try: os.close(n)\n"
        "        except OSError: pass\n",
    )
    project.args.append("-s")
    run = start()
    run.file(0, "test_a.py")
    assert run.results(1)[0, 0].outcomes[:2] == [("setup", "passed"), ("call", "passed")]


def test_abort_interrupts_after_the_grace(project, start, machine):
    project.write(
        "test_a.py",
        "import time, pytest\n"
        "@pytest.fixture(scope='session', autouse=True)\n"
        "def wide():\n"
        "    yield\n"
        "    open('torn down', 'w').close()\n"
        "def test_1(): pass\ndef test_2(): time.sleep(60)\ndef test_3(): pass\n",
    )
    run = start()
    run.file(0, "test_a.py")
    run.results(1)
    began = time.monotonic()
    machine.send({"t": "abort", "grace": 0.3})
    down = machine.wait("down")
    assert 0.2 < time.monotonic() - began < 3
    assert down["exitstatus"] == 2
    assert list(run.tests()) == [(0, 0)]
    assert (project.root / "torn down").exists()


def test_abort_lets_a_short_test_finish(project, start, machine):
    project.write("test_a.py", "import time\ndef test_1(): time.sleep(0.3)\ndef test_2(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    machine.send({"t": "abort", "grace": 20})
    assert machine.wait("down")["exitstatus"] == 0
    assert list(run.tests()) in ([], [(0, 0)])


@pytest.mark.parametrize("hook", ["pytest_sessionfinish", "pytest_unconfigure"])
def test_abort_in_a_sessions_last_moments_is_no_internal_error(project, start, machine, hook):
    project.write(
        "conftest.py",
        f"import time\ndef {hook}():\n    open('ending', 'w').close()\n    time.sleep(60)\n",
    )
    project.write("test_a.py", "def test_1(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    run.results(1)
    machine.send({"t": "close", "worker": 0, "interrupt": False})
    wait_until((project.root / "ending").exists)
    machine.send({"t": "abort", "grace": 0})
    assert machine.wait("down")["exitstatus"] == 2
    assert machine.all("event", kind="internal-error") == []


def test_abort_kills_what_ignores_it(project, start, machine):
    project.write(
        "test_a.py",
        "import time, signal\n"
        "def test_1():\n"
        "    signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "    open('running', 'w').close()\n"
        "    time.sleep(60)\n",
    )
    run = start()
    run.file(0, "test_a.py")
    wait_until((project.root / "running").exists)
    machine.send({"t": "abort", "grace": 0})
    died = machine.wait("died", patience=8)
    assert (died["status"], died["running"]) == (-signal.SIGKILL, [0, 0])


def test_abort_of_idle_workers(project, start, machine):
    project.write("test_a.py", "def test_1(): pass\n")
    run = start(workers=2)
    run.file(0, "test_a.py")
    run.results(1)
    machine.send({"t": "abort", "grace": 5})
    assert {machine.wait("down")["worker"], machine.wait("down")["worker"]} == {0, 1}
    assert run.tests()[0, 0].passed


DAEMON = """
import os, subprocess, sys, time
def test_1():
    subprocess.Popen([sys.executable, "-c", '''
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open("daemon", "w").write(str(os.getpid()))
time.sleep(300)
''']).wait()
def test_2():
    open("worker", "w").write(str(os.getpid()))
    time.sleep(300)
"""


@pytest.mark.parametrize("how", ["hang up", "terminate"])
def test_the_end_of_stdin_ends_everything(project, start, machine, how):
    project.write("test_a.py", DAEMON)
    run = start()
    run.file(0, "test_a.py")
    machine.send({"t": "exec", "id": 1, "shell": "sleep 300 & echo $! $$; wait"})
    for name in ("daemon", "worker"):
        wait_until(lambda path=project.root / name: path.exists() and path.read_text())
    pids = [int((project.root / name).read_text()) for name in ("daemon", "worker")]
    pids += [int(pid) for pid in machine.wait("output", id=1).blob.split()]
    assert all(map(alive, pids))
    began = time.monotonic()
    if how == "hang up":
        machine.hang_up()
    else:
        machine.process.terminate()
        machine.process.wait(10)
    assert time.monotonic() - began < 2
    wait_until(lambda: not any(map(alive, pids)))


def test_a_killed_runner_takes_its_workers_along(project, start, machine):
    project.write(
        "test_a.py",
        "import os, time\n"
        "def test_1():\n"
        "    open('worker', 'w').write(str(os.getpid()))\n"
        "    time.sleep(300)\n",
    )
    run = start()
    run.file(0, "test_a.py")
    wait_until(lambda: (project.root / "worker").exists() and (project.root / "worker").read_text())
    machine.process.kill()
    wait_until(lambda: not alive(int((project.root / "worker").read_text())))


def test_two_runs_at_once(boot, project):
    project.write("test_a.py", "def test_1(tmp_path):\n    print(tmp_path)\n    assert 0\n")
    runs = [Run(boot(run="run-%d" % number), project) for number in range(2)]
    for run in runs:
        run.file(0, "test_a.py")
    texts = [run.finish(1)[0, 0].text() for run in runs]
    assert len(set(texts)) == 2


def test_missing_interpreter(project, machine):
    machine.send(
        {"t": "start", "workers": [0, 1], "count": 2, "session": project.session(python="/nowhere/python")}
    )
    for _ in range(2):
        failed = machine.wait("failed")
        assert failed["kind"] == "python-missing" and "/nowhere/python" in failed["message"]


def test_missing_pytest(project, machine, tmp_path):
    project.env["PYTHONNOUSERSITE"] = "1"
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\nexec %s -S -E "$@"\n' % os.path.realpath(project.python))
    bare.chmod(0o755)
    machine.send({"t": "prepare", "python": str(bare)})
    machine.send({"t": "start", "workers": [0], "count": 1, "session": project.session(python=str(bare))})
    failed = machine.wait("failed")
    assert failed["kind"] == "pytest-missing" and "No module named 'pytest'" in failed["message"]


@pytest.mark.parametrize(
    "files, args, kind, text",
    [
        ({"conftest.py": "import absent_thing\n"}, [], "conftest-error", "No module named 'absent_thing'"),
        ({}, ["--no-such-option"], "usage-error", "unrecognized arguments: --no-such-option"),
        ({}, ["-p", "absent_plugin"], "usage-error", "absent_plugin"),
        (
            {"conftest.py": "def pytest_configure(config): raise RuntimeError('broken')\n"},
            [],
            "internal-error",
            "broken",
        ),
        ({"conftest.py": "import sys\nsys.exit('leaving')\n"}, [], "exit", "leaving"),
        ({"conftest.py": "import pytest\ndef pytest_sessionstart(): pytest.exit('no')\n"}, [], "exit", "no"),
        (
            {"conftest.py": "import os\nprint('words')\n", "pytest.ini": "[pytest]\nminversion = 99\n"},
            [],
            "usage-error",
            "99",
        ),
    ],
)
def test_a_worker_that_cannot_begin_says_why(project, machine, files, args, kind, text):
    for name, content in files.items():
        project.write(name, content)
    project.root.mkdir(exist_ok=True)
    project.args += args
    machine.send({"t": "start", "workers": [0], "count": 1, "session": project.session()})
    failed = machine.wait("failed")
    assert text in failed["message"], failed
    assert failed["kind"] == kind or text == "absent_plugin"


def test_prepare_is_used(project, machine):
    project.write("test_a.py", "def test_1(): pass\n")
    machine.send({"t": "prepare", "python": project.python, "env": project.env})
    run = Run(machine, project)
    run.file(0, "test_a.py")
    assert run.finish(1)[0, 0].passed


@pytest.mark.parametrize("prepared", [True, False])
def test_the_project_may_be_what_pytest_imports(project, machine, prepared):
    project.write("iniconfig/__init__.py", "raise ImportError('the project shadows it')\n")
    if prepared:
        machine.send({"t": "prepare", "python": project.python})
    machine.send({"t": "start", "workers": [0], "count": 1, "session": project.session()})
    failed = machine.wait("failed")
    assert failed["kind"] == "pytest-broken" and "the project shadows it" in failed["message"]


def test_the_hash_seed_is_the_sessions(project, machine):
    project.write("test_a.py", "def test_1():\n    print(hash('word'))\n    assert 0\n")
    project.env["PYTHONHASHSEED"] = "7"
    machine.send({"t": "prepare", "python": project.python})
    run = Run(machine, project)
    run.file(0, "test_a.py")
    expected = os.popen("PYTHONHASHSEED=7 %s -c 'print(hash(\"word\"))'" % project.python).read().strip()
    assert "%s\\n" % expected in run.finish(1)[0, 0].text()


def test_the_interrupt_handler_is_pythons_own(project, start):
    project.write(
        "test_a.py",
        "import signal\ndef test_1():\n    assert signal.getsignal(2) is signal.default_int_handler\n",
    )
    run = start()
    run.file(0, "test_a.py")
    assert run.finish(1)[0, 0].passed


FINDER = """
import sys
from importlib.machinery import PathFinder
MAPPING = {"thing": %r}
class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return PathFinder.find_spec(name, [MAPPING[name].rpartition("/")[0]])
sys.meta_path.append(Finder)
"""


def test_finders_of_editable_installs_lead_into_the_snapshot(boot, tmp_path, python):
    local, site = tmp_path / "local", tmp_path / "site"
    for directory, where in (
        (local / "thing", "the live code"),
        (tmp_path / "remote" / "thing", "the snapshot"),
    ):
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text("WHERE = %r\n" % where)
    site.mkdir()
    (site / "sitecustomize.py").write_text("import __editable___thing_finder\n")
    (site / "__editable___thing_finder.py").write_text(FINDER % str(local / "thing"))
    project = Project(tmp_path / "remote", python)
    project.write(
        "tests/test_a.py", "import thing\ndef test_1():\n    assert thing.WHERE == 'the snapshot'\n"
    )
    run = Run(
        boot(env={"PYTHONPATH": str(site)}), project, sys_path=[], paths=[[str(project.root), str(local)]]
    )
    run.file(0, "tests/test_a.py")
    test = run.finish(1)[0, 0]
    assert test.passed, test.text()


def test_editable_installs_lead_into_the_snapshot(boot, tmp_path, python):
    local = tmp_path / "local"
    (local / "src" / "thing").mkdir(parents=True)
    (local / "src" / "thing" / "__init__.py").write_text("WHERE = 'the live code'\n")
    project = Project(tmp_path / "remote", python)
    project.write("src/thing/__init__.py", "WHERE = 'the snapshot'\n")
    project.write(
        "tests/test_a.py",
        "import subprocess, sys, thing\ndef test_1():\n    assert thing.WHERE == 'the snapshot'\n"
        "    code = 'import thing; print(thing.WHERE)'\n"
        "    out = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, check=True)\n"
        "    assert out.stdout == b'the snapshot\\n'\n",
    )
    run = Run(
        boot(env={"PYTHONPATH": str(local / "src")}),
        project,
        sys_path=[str(project.root)],
        paths=[[str(project.root), str(local)]],
    )
    run.file(0, "tests/test_a.py")
    test = run.finish(1)[0, 0]
    assert test.passed, test.text()

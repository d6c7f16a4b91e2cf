"""What becomes of tests: reports, teardowns, recalls, runs by name, and the end of a session."""

import base64
import json
import time


def test_reports_carry_output_and_local_paths(project, start):
    project.write(
        "test_a.py",
        "import os, sys\n"
        "def test_fails():\n"
        "    print('to stdout')\n"
        "    os.write(2, b'to stderr\\n')\n"
        "    assert 1 == 2, __file__\n"
        "def test_passes():\n    print('seen as well')\n"
        "def test_quiet(): pass\n",
    )
    run = start()
    run.file(0, "test_a.py")
    tests = run.finish(3)
    failing = tests[0, 0]
    assert failing.failed == 1
    report = failing.when("call")
    assert ["Captured stdout call", "to stdout\n"] in report["sections"]
    assert ["Captured stderr call", "to stderr\n"] in report["sections"]
    assert project.local + "/test_a.py" in failing.text() and str(project.root) not in json.dumps(
        failing.entry
    )
    assert (report["worker_id"], report["testrun_uid"], report["item_index"]) == ("gw0", "uid-1", 0)
    assert failing.entry["location"] == ["test_a.py", 1, "test_fails"]
    assert "test_fails" in failing.entry["keywords"]
    assert tests[0, 1].when("call")["sections"] == [["Captured stdout call", "seen as well\n"]]
    assert tests[0, 2].when("call")["short"]


def test_outcomes_of_marks(project, start):
    project.write(
        "test_a.py",
        "import pytest\n"
        "@pytest.mark.skip(reason='no')\ndef test_skip(): pass\n"
        "@pytest.mark.xfail\ndef test_xfail(): assert 0\n"
        "@pytest.mark.xfail\ndef test_xpass(): pass\n"
        "@pytest.mark.xfail(strict=True)\ndef test_strict(): pass\n"
        "def test_properties(record_property): record_property('key', {1: object()})\n"
        "@pytest.fixture\ndef broken(): raise ValueError('setup')\n"
        "def test_error(broken): pass\n",
    )
    run = start()
    run.file(0, "test_a.py")
    run.finish(6)
    tests = run.by_name()
    assert tests["test_skip"].outcomes == [("setup", "skipped"), ("teardown", "passed")]
    assert tests["test_xfail"].when("call")["wasxfail"] == "" and tests["test_xfail"].failed == 0
    assert tests["test_xpass"].when("call")["outcome"] == "passed" and "wasxfail" in tests["test_xpass"].when(
        "call"
    )
    assert tests["test_strict"].failed == 1
    assert tests["test_properties"].when("call")["user_properties"][0][0] == "key"
    assert tests["test_error"].outcomes == [("setup", "failed"), ("teardown", "passed")]


LATE = """
import pytest
@pytest.fixture(scope="module")
def wide():
    yield
    print("going down")
    raise ValueError("late trouble")
def test_first(wide): pass
def test_last(wide): print("in the test")
"""


def test_a_late_teardown_error_belongs_to_the_last_test_that_used_it(project, start):
    project.write("test_a.py", LATE)
    project.write("test_b.py", "def test_other(): pass\n")
    run = start()
    run.file(0, "test_a.py", execute=False)
    run.file(1, "test_b.py", execute=False)
    run.file(0, "test_a.py", tests=[[0, "test_a.py::test_first", 0], [1, "test_a.py::test_last", 0]])
    run.file(1, "test_b.py", tests=[[0, "test_b.py::test_other", 0]])
    run.finish(3)
    tests = run.by_name()
    assert tests["test_first"].passed and not tests["test_first"].late
    last = tests["test_last"]
    assert last.outcomes == [("setup", "passed"), ("call", "passed"), ("teardown", "failed")]
    assert last.failed == 1
    report = last.when("teardown")
    assert "late trouble" in last.text("teardown")
    assert ["Captured stdout teardown", "going down\n"] in report["sections"]
    assert ["Captured stdout call", "in the test\n"] in report["sections"]
    assert tests["test_other"].passed


def test_with_an_empty_queue_the_result_goes_out_and_its_teardown_follows(project, start, machine):
    project.write("test_a.py", LATE)
    run = start()
    run.file(0, "test_a.py")
    run.results(2)
    last = run.by_name()["test_last"]
    assert last.outcomes == [("setup", "passed"), ("call", "passed")]
    assert run.close()["exitstatus"] == 1
    last = run.by_name()["test_last"]
    assert last.late and last.failed == 1 and last.when("teardown")["outcome"] == "failed"


def test_wide_fixtures_survive_an_empty_queue(project, start):
    project.write(
        "test_a.py",
        "import pytest\nups = []\n"
        "@pytest.fixture(scope='class')\ndef wide(request):\n    ups.append(request.cls)\n"
        "class TestC:\n"
        "    def test_1(self, wide): assert len(ups) == 1\n"
        "    def test_2(self, wide): assert len(ups) == 1\n"
        "def test_3(): assert len(ups) == 1\n",
    )
    run = start()
    run.file(0, "test_a.py", execute=False)
    for index in range(3):
        run.again(0, "test_a.py", [index], 0)
        run.results(index + 1)
    run.close()
    assert all(outcome.passed for outcome in run.tests().values())


def test_own_and_wide_teardown_fail_in_one_report(project, start):
    project.write(
        "test_a.py",
        "import pytest\n"
        "@pytest.fixture(scope='module')\ndef wide():\n    yield\n    raise ValueError('wide trouble')\n"
        "@pytest.fixture\ndef own(wide):\n    yield\n    raise ValueError('own trouble')\n"
        "def test_it(own): pass\n",
    )
    run = start()
    run.file(0, "test_a.py")
    run.finish(1)
    test = run.by_name()["test_it"]
    assert [when for when, _ in test.outcomes] == ["setup", "call", "teardown"] and test.failed == 1
    assert "own trouble" in test.text("teardown") and "wide trouble" in test.text("teardown")


def test_a_late_failure_shows_the_fixture_alone(project, start):
    project.write(
        "conftest.py",
        "import pytest\n"
        "@pytest.fixture(scope='session')\n"
        "def wide():\n"
        "    yield\n"
        "    raise ValueError('late trouble')\n",
    )
    project.write("test_a.py", "def test_it(wide): pass\n")
    run = start()
    run.file(0, "test_a.py")
    run.finish(1)
    entries = run.by_name()["test_it"].when("teardown")["longrepr"]["reprtraceback"]["reprentries"]
    assert [entry["data"]["reprfileloc"]["path"] for entry in entries] == ["conftest.py"]


def test_recall_while_a_test_runs(project, start, machine):
    gate = project.root / "gate"
    project.write(
        "test_a.py",
        "import os, time, pytest\n"
        "def test_wait():\n    while not os.path.exists(%r): time.sleep(0.01)\n"
        "@pytest.mark.parametrize('n', range(2000))\ndef test_n(n): pass\n" % str(gate),
    )
    project.write("test_b.py", "def test_b(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    run.file(1, "test_b.py", wait=False)
    machine.send({"t": "recall", "worker": 0, "count": 1501})
    recalled = machine.wait("recalled", patience=2)
    assert recalled["files"] == [1]
    assert recalled["tests"] == [[0, index] for index in range(501, 2001)]
    gate.write_text("")
    run.results(501)
    run.close()
    assert sorted(run.tests()) == [(0, index) for index in range(501)]


def test_run_by_name_on_a_second_worker(project, start, machine):
    project.write(
        "test_a.py",
        "import os\n"
        "def test_1(): print(os.environ['PYTEST_XDIST_WORKER']); assert 0\n"
        "def test_2(worker_id, testrun_uid): print(worker_id, testrun_uid); assert 0\n",
    )
    run = start(workers=2)
    run.file(0, "test_a.py", worker=0, execute=False)
    run.again(0, "test_a.py", [1], 1)
    collected = machine.wait("collected", worker=1)
    assert collected["first"] is False and collected["tests"] == run.names[0]
    run.again(0, "test_a.py", [0], 1)
    tests = run.results(2)
    assert tests[0, 1].worker == 1 and "gw1 uid-1" in tests[0, 1].text()
    assert "gw1" in tests[0, 0].text()


def test_names_that_are_missing(project, start, machine):
    project.write("test_a.py", "def test_1(): pass\n")
    run = start()
    run.file(0, "test_a.py", tests=[[0, "test_a.py::test_1", 0], [5, "test_a.py::test_gone", 0]])
    missing = machine.wait("missing")
    assert missing["tests"] == [[0, 5]]
    assert run.finish(1)[0, 0].passed


def test_order_of_files_and_their_tests(project, start, machine):
    for name in "abc":
        project.write("test_%s.py" % name, "def test_1(): pass\ndef test_2(): pass\n")
    run = start()
    for number, name in enumerate("abc"):
        run.file(number, "test_%s.py" % name, wait=False)
    run.results(6)
    order = [tuple(test[:2]) for frame in machine.all("results") for test in frame["tests"]]
    assert order == [(file, index) for file in range(3) for index in range(2)]


def test_maxfail_stops_the_worker(project, start):
    project.write("test_a.py", "def test_1(): pass\ndef test_2(): assert 0\ndef test_3(): pass\n")
    project.args.append("-x")
    run = start()
    run.file(0, "test_a.py")
    down = run.machine.wait("down")
    assert down["stopped"] == "stopping after 1 failures" and down["exitstatus"] == 1
    assert sorted(run.tests()) == [(0, 0), (0, 1)]
    assert all(outcome.when("teardown") for outcome in run.tests().values())


def test_pytest_exit_ends_the_session(project, start):
    project.write(
        "test_a.py", "import pytest\ndef test_1(): pytest.exit('enough', returncode=9)\ndef test_2(): pass\n"
    )
    run = start()
    run.file(0, "test_a.py")
    down = run.machine.wait("down")
    assert (down["stopped"], down["exitstatus"]) == ("enough", 9)
    assert run.tests() == {}


def test_shouldstop_is_forwarded(project, start):
    project.write(
        "conftest.py",
        "def pytest_runtest_logfinish(nodeid): Session.shouldstop = 'a plugin says so'\n"
        "def pytest_sessionstart(session):\n    global Session\n    Session = session\n",
    )
    project.write("test_a.py", "def test_1(): pass\ndef test_2(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    assert run.machine.wait("down")["stopped"] == "a plugin says so"
    assert list(run.tests()) == [(0, 0)]


def test_workeroutput_and_workerinput_keep_bytes(project, start):
    project.write(
        "conftest.py",
        "def pytest_sessionfinish(session):\n"
        "    config = session.config\n"
        "    config.workeroutput['echo'] = (config.workerinput['data'], config.workerinput['workerid'], 7)\n",
    )
    project.write("test_a.py", "def test_1(): pass\n")
    data = {"__bytes__": base64.b64encode(b"\0\xff").decode()}
    run = start(workerinput={"data": data})
    run.file(0, "test_a.py")
    run.results(1)
    output = run.close().json()
    assert output["echo"] == [data, "gw0", 7]
    assert output["exitstatus"] == 0


def test_internal_errors_are_told(project, start, machine):
    project.write(
        "conftest.py", "def pytest_runtest_logstart(nodeid): raise RuntimeError('plugin trouble')\n"
    )
    project.write("test_a.py", "def test_1(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    assert "plugin trouble" in machine.wait("event", kind="internal-error").json()["text"]
    assert machine.wait("down")["exitstatus"] == 3


def test_subtests_belong_to_their_test(project, start):
    project.write(
        "test_a.py",
        "import unittest\n"
        "def test_sub(subtests):\n"
        "    for n in range(3):\n"
        "        with subtests.test('part', n=n):\n"
        "            assert n != 1\n",
    )
    run = start()
    if int(run.info["pytest"].split(".")[0]) < 9:
        run.close()
        return
    run.file(0, "test_a.py")
    test = run.finish(1)[0, 0]
    calls = [report for report in test.reports if report["when"] == "call"]
    assert [report["outcome"] for report in calls] == ["passed", "failed", "passed", "failed"]
    assert calls[1]["_subtest.context"]["msg"] == "part"
    assert calls[3]["longrepr"] == "contains 1 failed subtest"


def test_output_with_capture_off_comes_as_it_is_printed(project, start, machine):
    project.write(
        "test_a.py", "import sys\ndef test_1():\n    print('hello')\n    print('trouble', file=sys.stderr)\n"
    )
    project.args.append("-s")
    run = start()
    run.file(0, "test_a.py")
    run.finish(1)
    for stream, text in ((1, b"hello\n"), (2, b"trouble\n")):
        assert b"".join(frame.blob for frame in machine.all("output", worker=0, stream=stream)) == text


def test_temporary_directories_are_a_workers_own(project, start):
    project.write("test_a.py", "def test_1(tmp_path):\n    print(tmp_path)\n    assert 0\n")
    run = start(workers=2)
    run.file(0, "test_a.py", execute=False)
    run.again(0, "test_a.py", [0], 1)
    assert "popen-gw1/test_10" in run.results(1)[0, 0].text()


def test_environment_and_import_paths(project, start):
    project.write("lib/thing.py", "VALUE = 7\n")
    project.write(
        "test_a.py",
        "import os, subprocess, sys\n"
        "def test_1():\n"
        "    import thing\n"
        "    assert os.environ['GIVEN'] == 'yes' and os.environ['CLOUDIST_WORKER'] == 'gw0'\n"
        "    assert os.environ['PYTEST_XDIST_WORKER_COUNT'] == '1' and sys.argv == ['pytest']\n"
        "    assert 'PYTEST_ADDOPTS' not in os.environ\n"
        "    assert sys.stdin is None or not os.read(0, 1)\n"
        "    subprocess.run([sys.executable, '-c', 'import thing'], check=True, cwd='/')\n",
    )
    project.env["GIVEN"] = "yes"
    run = start(sys_path=[str(project.root), str(project.root / "lib")])
    run.file(0, "test_a.py")
    test = run.finish(1)[0, 0]
    assert test.passed, test.text()


def test_options_of_controllers_in_addopts_are_borne(project, start):
    project.write(
        "pytest.ini",
        "[pytest]\naddopts = -n 4 --dist loadfile --cloudist=test --cd-num-workers 3 -v --lf --pdb\n",
    )
    project.write("test_a.py", "def test_1(): pass\n")
    run = start()
    run.file(0, "test_a.py")
    assert run.finish(1)[0, 0].passed


def test_a_thousand_results_arrive_in_few_frames(project, start, machine):
    project.write(
        "test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(1000))\ndef test_n(n): pass\n"
    )
    run = start()
    run.file(0, "test_a.py")
    run.results(1000)
    assert len(machine.all("results")) < 500
    assert sorted(run.tests()) == [(0, index) for index in range(1000)]


def test_a_single_result_is_not_held_back(project, start, machine):
    project.write("test_a.py", "def test_1(): pass\n")
    run = start()
    run.file(0, "test_a.py", execute=False)
    began = time.monotonic()
    run.again(0, "test_a.py", [0], 0)
    run.results(1)
    assert time.monotonic() - began < 1.0


def test_coverage_travels_inside_the_output(project, start):
    project.write("code.py", "def double(n):\n    return 2 * n\n")
    project.write("lib/__init__.py", "def double(n):\n    return 2 * n\n")
    project.write("test_a.py", "import lib\ndef test_1(): assert lib.double(1) == 2\n")
    project.args += ["-p", "pytest_cov", "--cov=lib"]
    workerinput = {
        "cov_master_host": "elsewhere",
        "cov_master_topdir": project.local,
        "cov_master_rsync_roots": [],
    }
    run = start(workerinput=workerinput)
    run.file(0, "test_a.py")
    run.results(1)
    output = run.close().json()
    assert "cov_worker_data" in output and output["cov_worker_node_id"].startswith("gw0")


def test_random_order_is_followed(project, start):
    project.args = ["-p", "xdist", "-p", "pytest_randomly"]
    project.write(
        "test_a.py", "import pytest\n@pytest.mark.parametrize('n', range(50))\ndef test_n(n): pass\n"
    )
    run = start(workers=2, workerinput={"randomly_seed": 11})
    run.file(0, "test_a.py")
    assert [name for name, _ in run.names[0]] != ["test_a.py::test_n[%d]" % n for n in range(50)]
    run.file(0, "test_a.py", worker=1, tests=[[60, "test_a.py::test_n[7]", 0]])
    assert run.results(51)[0, 60].nodeid == "test_a.py::test_n[7]"


def test_a_test_that_looks_through_the_collector_sees_all_there_is(project, start, machine):
    project.write(
        "test_a.py",
        """
import gc
from gc import get_objects

def test_without_looking():
    assert gc.isenabled()

def test_old_objects_are_found():
    import _pytest.main
    found = get_objects()
    assert any(each is _pytest.main.Session.__dict__["isinitpath"] for each in found)
    assert gc.get_freeze_count() == 0

def test_who_looks_is_the_real_one_from_then_on():
    assert type(gc.get_referrers).__name__ == "builtin_function_or_method"
""",
    )
    run = start()
    run.file(0, "test_a.py")
    outcomes = run.finish(3)
    assert all(outcome.passed for outcome in outcomes.values()), [each.entry for each in outcomes.values()]


def test_hooks_that_come_later_apply_from_then_on(project, start, machine):
    project.write(
        "test_a.py",
        """
class Late:
    heard = []

    def pytest_runtest_setup(self, item):
        self.heard.append(item.name)

def test_1(pytestconfig):
    pytestconfig.pluginmanager.register(Late(), "late")

def test_2(): pass

def test_3(pytestconfig):
    assert Late.heard == ["test_2", "test_3"]
    pytestconfig.pluginmanager.unregister(name="late")

def test_4():
    assert Late.heard == ["test_2", "test_3"]
""",
    )
    project.write("sub/conftest.py", "def pytest_runtest_setup(item): item.sub = True\n")
    project.write("sub/test_b.py", "def test_5(request): assert request.node.sub\n")
    project.write("test_c.py", "def test_6(request): assert not hasattr(request.node, 'sub')\n")
    run = start()
    for number, name in enumerate(["test_a.py", "sub/test_b.py", "test_c.py"]):
        run.file(number, name)
    outcomes = run.finish(6)
    assert all(outcome.passed for outcome in outcomes.values()), [each.entry for each in outcomes.values()]


def test_the_collector_is_as_the_tests_left_it(project, start, machine):
    project.write(
        "test_a.py",
        "import gc\nBEFORE = gc.get_threshold()\ngc.set_threshold(123, 4, 5)\ndef test_1(): assert gc.get_threshold() == (123, 4, 5)\n",
    )
    project.write(
        "test_b.py", "import gc\ngc.set_threshold(0)\ndef test_2(): assert gc.get_threshold()[0] == 0\n"
    )
    project.write(
        "test_c.py",
        "import gc\nNOW = gc.get_threshold()\ndef test_3(): assert NOW[0] == gc.get_threshold()[0] == 0\n",
    )
    run = start()
    for number, name in enumerate(["test_a.py", "test_b.py", "test_c.py"]):
        run.file(number, name)
    outcomes = run.finish(3)
    assert all(outcome.passed for outcome in outcomes.values()), [each.entry for each in outcomes.values()]

"""How a worker collects: one file at a time, as pytest would, and never a file that wasn't asked for."""

import json


def test_a_file_that_is_not_assigned_is_not_imported(project, start):
    project.write("test_a.py", "def test_it():\n    import sys\n    assert 'test_b' not in sys.modules\n")
    project.write("test_b.py", "raise RuntimeError('imported')\n")
    run = start()
    collected = run.file(0, "test_a.py")
    assert collected["tests"] == [["test_a.py::test_it", 0]]
    assert collected["first"] is True and collected["errors"] == 0
    assert run.results(1)[0, 0].failed == 0
    assert run.close()["exitstatus"] == 0


def test_fixtures_of_nested_conftests_live_once_per_worker(project, start):
    log = project.root / "log"
    noting = """
import pytest
def note(word):
    with open({log!r}, "a") as file:
        file.write(word + "\\n")
@pytest.fixture(scope="session", autouse=True)
def {name}_session():
    note("{name} session up")
    yield
    note("{name} session down")
@pytest.fixture(scope="package", autouse=True)
def {name}_package():
    note("{name} package up")
    yield
    note("{name} package down")
@pytest.fixture(autouse=True)
def {name}_each(request):
    note("{name} each " + request.node.name)
"""
    for name, directory in (("top", ""), ("inner", "pkg/"), ("leaf", "pkg/deep/")):
        project.write(directory + "conftest.py", noting.format(log=str(log), name=name))
    project.write("pkg/__init__.py", "")
    project.write("pkg/deep/__init__.py", "")
    project.write("pkg/test_one.py", "def test_one(): pass\n")
    project.write("pkg/deep/test_two.py", "def test_two(): pass\n")
    project.write("pkg/deep/test_three.py", "def test_three(): pass\n")
    project.write("test_outside.py", "def test_outside(): pass\n")
    run = start()
    for number, name in enumerate(
        ("pkg/test_one.py", "pkg/deep/test_two.py", "pkg/deep/test_three.py", "test_outside.py")
    ):
        run.file(number, name)
    assert all(outcome.failed == 0 for outcome in run.results(4).values())
    run.close()
    lines = log.read_text().splitlines()
    for name in ("top", "inner", "leaf"):
        assert lines.count(name + " session up") == lines.count(name + " session down") == 1
    assert lines.count("inner package up") >= 1
    each = [line.split()[0] + " " + line.split()[2] for line in lines if " each " in line]
    assert each == [
        "top test_one",
        "inner test_one",
        "top test_two",
        "inner test_two",
        "leaf test_two",
        "top test_three",
        "inner test_three",
        "leaf test_three",
        "top test_outside",
    ]


def test_items_of_every_kind(project, start):
    project.write(
        "test_kinds.py",
        '''
import unittest, pytest
class TestPlain:
    def test_method(self): pass
    class TestNested:
        def test_nested(self): pass
class TestUnit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.ready = True
    def test_unit(self):
        self.assertTrue(self.ready)
@pytest.mark.parametrize("value", ["a", "b::c[d]"])
def test_parametrised(value): pass
def documented():
    """
    >>> 1 + 1
    2
    """
''',
    )
    project.args.append("--doctest-modules")
    run = start()
    collected = run.file(0, "test_kinds.py")
    names = [name for name, _ in collected["tests"]]
    assert set(names) == {
        "test_kinds.py::TestPlain::test_method",
        "test_kinds.py::TestPlain::TestNested::test_nested",
        "test_kinds.py::TestUnit::test_unit",
        "test_kinds.py::test_parametrised[a]",
        "test_kinds.py::test_parametrised[b::c[d]]",
        "test_kinds.py::test_kinds.documented",
    }
    assert all(outcome.passed for outcome in run.finish(6).values())


def test_duplicate_ids_are_told_apart(project, start):
    project.write("conftest.py", "def pytest_collection_modifyitems(items):\n    items.extend(list(items))\n")
    project.write("test_a.py", "def test_it(): pass\n")
    run = start()
    assert run.file(0, "test_a.py", execute=False)["tests"] == [
        ["test_a.py::test_it", 0],
        ["test_a.py::test_it", 1],
    ]


def test_deselection_is_told(project, start):
    project.write(
        "test_a.py",
        "import pytest\ndef test_x(): pass\ndef test_y(): pass\n@pytest.mark.slow\ndef test_xz(): pass\n",
    )
    project.write("pytest.ini", "[pytest]\nmarkers = slow\n")
    project.args += ["-k", "x", "-m", "not slow"]
    run = start()
    collected = run.file(0, "test_a.py")
    assert collected["tests"] == [["test_a.py::test_x", 0]]
    assert sorted(collected["deselected"]) == ["test_a.py::test_xz", "test_a.py::test_y"]


def test_deselect_option(project, start):
    project.write("test_a.py", "def test_x(): pass\ndef test_y(): pass\n")
    project.args += ["--deselect", "test_a.py::test_y"]
    collected = start().file(0, "test_a.py")
    assert collected["tests"] == [["test_a.py::test_x", 0]]
    assert collected["deselected"] == ["test_a.py::test_y"]


def test_selection_by_name(project, start):
    project.write(
        "test_a.py",
        "import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_p(n): pass\ndef test_q(): pass\n"
        "class TestC:\n    def test_r(self): pass\n    def test_s(self): pass\n",
    )
    run = start()
    select = [["test_p"], ["TestC", "test_s"], ["test_absent"], ["TestC", "test_absent"]]
    collected = run.file(0, "test_a.py", select=select)
    assert [name.partition("::")[2] for name, _ in collected["tests"]] == [
        "test_p[1]",
        "test_p[2]",
        "TestC::test_s",
    ]
    assert collected["notfound"] == [["test_absent"], ["TestC", "test_absent"]]
    assert "<Module test_a.py>" in collected["notfound_messages"][0]
    assert project.local + "/test_a.py::test_absent" in collected["notfound_messages"][0]
    assert all(outcome.passed for outcome in run.finish(3).values())


def test_selection_of_one_parameter(project, start):
    project.write("test_a.py", "import pytest\n@pytest.mark.parametrize('n', [1, 2])\ndef test_p(n): pass\n")
    collected = start().file(0, "test_a.py", select=[["test_p[2]"]])
    assert collected["tests"] == [["test_a.py::test_p[2]", 0]]


def test_collection_errors_carry_pytests_text_and_local_paths(project, start):
    project.write("test_a.py", "import absent_module\n")
    run = start()
    collected = run.file(0, "test_a.py")
    assert collected["errors"] == 1 and collected["tests"] == []
    (report,) = collected.json()
    assert report["outcome"] == "failed"
    assert "ModuleNotFoundError: No module named 'absent_module'" in report["longrepr"]
    assert project.local + "/test_a.py" in report["longrepr"] and str(project.root) not in json.dumps(report)
    assert run.close()["exitstatus"] == 1


def test_module_level_skip(project, start):
    project.write("test_a.py", "import pytest\npytest.skip('not here', allow_module_level=True)\n")
    collected = start().file(0, "test_a.py")
    assert collected["errors"] == 0 and collected["tests"] == []
    (report,) = collected.json()
    assert report["outcome"] == "skipped" and report["longrepr"][2] == "Skipped: not here"


def test_what_a_module_prints_is_in_its_report(project, start):
    project.write("test_a.py", "print('at import')\ndef test_it(): pass\n")
    (report,) = start().file(0, "test_a.py").json()
    assert report["sections"] == [["Captured stdout", "at import\n"]]


def test_a_broken_conftest_below_is_an_error_of_each_file_there(project, start):
    project.write("sub/conftest.py", "raise RuntimeError('broken conftest')\n")
    project.write("sub/test_a.py", "def test_it(): pass\n")
    project.write("sub/test_b.py", "def test_it(): pass\n")
    project.write("test_c.py", "def test_it(): pass\n")
    run = start()
    first, second = run.file(0, "sub/test_a.py"), run.file(1, "sub/test_b.py")
    assert first["errors"] == second["errors"] == 1
    assert "broken conftest" in json.dumps(first.json())
    run.file(2, "test_c.py")
    assert run.finish(1)[2, 0].passed


def test_warnings_at_import_and_in_tests(project, start, machine):
    project.write(
        "test_a.py",
        "import warnings\nwarnings.warn('at import', UserWarning)\n"
        "def test_it():\n    warnings.warn(DeprecationWarning('in test', 7))\n",
    )
    run = start()
    run.file(0, "test_a.py")
    run.results(1)
    run.close()
    first, second = [frame.json() for frame in machine.all("event", kind="warning")]
    assert (first["when"], first["message_str"], first["category_class_name"]) == (
        "collect",
        "at import",
        "UserWarning",
    )
    assert first["filename"] == project.local + "/test_a.py"
    assert (second["when"], second["nodeid"], second["message_args"]) == (
        "runtest",
        "test_a.py::test_it",
        ["in test", 7],
    )


def test_a_file_named_by_the_user_need_not_match_the_patterns(project, start):
    project.write("checks.py", "def test_it():\n    assert {1: 2} == {1: 3}\n")
    run = start()
    assert run.file(0, "checks.py")["tests"] == [["checks.py::test_it", 0]]
    assert "assert {1: 2} == {1: 3}" in run.results(1)[0, 0].text()
    assert "Differing items" in run.results(1)[0, 0].text()


def test_custom_files(project, start):
    project.write(
        "conftest.py",
        "import pytest\n"
        "def pytest_collect_file(parent, file_path):\n"
        "    if file_path.suffix == '.case':\n"
        "        return CaseFile.from_parent(parent, path=file_path)\n"
        "class CaseFile(pytest.File):\n"
        "    def collect(self):\n"
        "        for line in self.path.read_text().splitlines():\n"
        "            yield Case.from_parent(self, name=line)\n"
        "class Case(pytest.Item):\n"
        "    def runtest(self): assert self.name != 'bad'\n"
        "    def reportinfo(self): return self.path, None, self.name\n",
    )
    project.write("some.case", "good\nbad\n")
    run = start()
    run.file(0, "some.case")
    outcomes = run.results(2)
    assert [outcomes[0, index].failed for index in (0, 1)] == [0, 1]


def test_collection_hooks_fire(project, start):
    project.write(
        "conftest.py",
        "seen = []\n"
        "def pytest_itemcollected(item): seen.append('item ' + item.name)\n"
        "def pytest_collection_finish(session): seen.append('finish %d' % len(session.items))\n"
        "def pytest_collection_modifyitems(items): seen.append('modify %d' % len(items))\n",
    )
    project.write(
        "test_a.py",
        "def test_a(pytestconfig):\n    import conftest\n    print('; '.join(conftest.seen))\n    assert 0\n",
    )
    project.write("test_b.py", "def test_b(): pass\n")
    run = start()
    run.file(0, "test_a.py", execute=False)
    run.file(1, "test_b.py", execute=False)
    run.again(0, "test_a.py", [0], 0)
    text = run.results(1)[0, 0].text()
    for line in ("item test_a", "modify 1", "finish 1", "item test_b", "finish 2"):
        assert line in text


def test_execute_false_only_collects(project, start, machine):
    project.write("test_a.py", "def test_1(): pass\ndef test_2(): pass\n")
    run = start()
    run.file(0, "test_a.py", execute=False)
    run.again(0, "test_a.py", [1], 0)
    assert list(run.results(1)) == [(0, 1)]
    run.close()
    assert list(run.tests()) == [(0, 1)]

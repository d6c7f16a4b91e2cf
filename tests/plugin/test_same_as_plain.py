"""The promise: the same results, texts, and exit codes as plain pytest, whatever the options."""

from __future__ import annotations

import pytest

from suites import Suite, assert_same

OUTCOMES = {
    "pytest.ini": "[pytest]\njunit_family = xunit1\n",
    "test_outcomes.py": """
        import sys, warnings
        import pytest

        def test_passes():
            pass

        def test_fails():
            print("to stdout")
            print("to stderr", file=sys.stderr)
            assert {"a": 1} == {"a": 2}

        @pytest.mark.skip(reason="not today")
        def test_skipped():
            pass

        def test_skips_itself():
            pytest.skip("changed its mind")

        @pytest.mark.xfail(reason="known")
        def test_fails_as_expected():
            assert 0

        @pytest.mark.xfail
        def test_passes_unexpectedly():
            pass

        @pytest.mark.xfail(strict=True)
        def test_passes_strictly():
            pass

        @pytest.mark.parametrize("value", [1, "two", "a::b", "[c]", "é"])
        def test_with(value):
            print(value)

        @pytest.fixture
        def breaks():
            raise ValueError("in setup")

        def test_error_in_setup(breaks):
            pass

        @pytest.fixture
        def breaks_late():
            yield
            print("tearing down")
            raise ValueError("in teardown")

        def test_error_in_teardown(breaks_late):
            pass

        def test_fails_twice(breaks_late):
            assert 0, "in call"

        def test_warns():
            warnings.warn("take care")

        def test_properties(record_property):
            record_property("key", "value")
            warnings.warn(DeprecationWarning("old"))
    """,
    "test_classes.py": """
        import unittest

        class TestGroup:
            def test_one(self):
                pass

            def test_two(self):
                assert 1 == 2, "with a message"

            class TestInner:
                def test_three(self):
                    raise KeyError("three")

        class Case(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.ready = True

            def test_four(self):
                self.assertTrue(self.ready)

            @unittest.expectedFailure
            def test_five(self):
                self.fail("expected")

            @unittest.skip("never")
            def test_six(self):
                pass
    """,
    "test_skipped_module.py": """
        import pytest
        pytest.skip("the whole module", allow_module_level=True)
    """,
    "package/__init__.py": "",
    "package/conftest.py": """
        import pytest

        @pytest.fixture(autouse=True, scope="module")
        def around():
            yield

        @pytest.fixture
        def number():
            return 7
    """,
    "package/test_in_package.py": """
        def test_number(number, tmp_path):
            assert number == 7

        def test_wrong(number):
            assert number == 8
    """,
    "package/deep/test_deep.py": """
        def test_deep(number):
            '''
            Has a docstring.
            '''
            assert number + 1 == 8
    """,
}

OPTIONS = [
    [],
    ["-v", "--tb=short"],
    ["-vv", "--durations=0", "--durations-min=100", "-l"],
    ["-q", "-ra", "--tb=line"],
    ["-qq", "--tb=native"],
    ["-rA", "--show-capture=stderr"],
    ["-k", "two or deep or number"],
    ["-k", "nothing_at_all"],
    ["-m", "xfail", "--runxfail"],
    ["--deselect", "test_outcomes.py::test_fails", "--deselect=package/test_in_package.py", "--tb=no"],
    ["-W", "error::UserWarning", "-o", "console_output_style=count"],
    ["-p", "no:warnings", "--no-header", "--no-summary"],
    ["--ignore=package"],
    ["package"],
    ["test_classes.py", "package/deep"],
    ["test_classes.py::TestGroup::TestInner"],
    ["test_outcomes.py::test_with[a::b]", "test_outcomes.py::test_passes", "test_classes.py::Case"],
    ["--collect-only", "-q"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_outcomes(suite: Suite, options: list) -> None:
    suite.write(OUTCOMES)
    options = [*options, "--junitxml=junit.xml"]
    assert_same(suite.plain(*options), suite.cloudist(*options))


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers(suite: Suite, workers: int) -> None:
    suite.write(OUTCOMES)
    options = ["-rA", "--junitxml=junit.xml"]
    assert_same(suite.plain(*options), suite.cloudist(*options, workers=workers))


def test_one_worker_prints_what_pytest_prints(suite: Suite) -> None:
    suite.write(
        {"test_a.py": "def test_1(): pass\ndef test_2(): pass", "test_b.py": "def test_3(): assert 0"}
    )
    plain, cloudist = suite.plain(), suite.cloudist(workers=1)
    dots = [line for line in plain.out.splitlines() if line.startswith("test_")][:2]
    assert [line for line in cloudist.out.splitlines() if line.startswith("test_")][:2] == dots


COLLECTION = {
    "error": {
        "test_good.py": "def test_good(): pass",
        "test_broken.py": "import nowhere_to_be_found",
        "test_syntax.py": "def test_(:",
    },
    "conftest error": {
        "test_good.py": "def test_good(): pass",
        "below/conftest.py": "raise RuntimeError('no')",
        "below/test_below.py": "def test_below(): pass",
    },
    "nothing": {"test_none.py": "x = 1"},
    "no files": {"readme.txt": ""},
    "all skipped": {"test_s.py": "import pytest\npytest.skip('no', allow_module_level=True)"},
    "doctest": {
        "module.py": '"""\n>>> 1 + 1\n2\n"""\n\ndef f():\n    """\n    >>> 2 + 2\n    5\n    """\n',
        "test_text.txt": ">>> 3 + 3\n6\n",
        "test_mod.py": '"""\n>>> 1\n1\n"""\ndef test_it(): pass\n',
    },
}


@pytest.mark.parametrize(
    "options", [[], ["--continue-on-collection-errors"], ["-x"], ["--maxfail=2"]], ids=" ".join
)
@pytest.mark.parametrize("files", ["error", "conftest error"])
def test_collection_errors(suite: Suite, files: str, options: list) -> None:
    suite.write(COLLECTION[files])
    options = [*options, "--junitxml=junit.xml"]
    plain, cloudist = suite.plain(*options), suite.cloudist(*options)
    if "-x" in options:
        assert (cloudist.exit, cloudist.last_lines()[-1]) == (plain.exit, plain.last_lines()[-1])
    else:
        assert_same(plain, cloudist)


@pytest.mark.parametrize("files", ["nothing", "no files", "all skipped"])
def test_nothing_to_run(suite: Suite, files: str) -> None:
    suite.write(COLLECTION[files])
    assert_same(suite.plain("-ra"), suite.cloudist("-ra"))


def test_doctests(suite: Suite) -> None:
    suite.write(COLLECTION["doctest"])
    options = ["--doctest-modules", "-v", "--junitxml=junit.xml"]
    assert_same(suite.plain(*options), suite.cloudist(*options))


@pytest.mark.parametrize(
    "arguments",
    [
        ["test_a.py::nope"],
        ["test_a.py::test_1", "test_a.py::test_2[x]"],
        ["nowhere.py"],
        ["nowhere.py::test_1"],
        ["."],
        ["below::test_1"],
        ["test_broken.py::test_1"],
    ],
    ids=" ".join,
)
def test_arguments(suite: Suite, arguments: list) -> None:
    suite.write(
        {
            "test_a.py": "def test_1(): pass",
            "below/test_b.py": "def test_2(): pass",
            "test_broken.py": "import nowhere_to_be_found",
        }
    )
    plain, cloudist = suite.plain(*arguments), suite.cloudist(*arguments)
    assert_same(plain, cloudist)
    if "broken" not in arguments[0]:
        assert sorted(cloudist.err.splitlines()) == sorted(plain.err.splitlines())


def test_subtests(suite: Suite) -> None:
    suite.write({"test_sub.py": """
                import pytest

                def test_fixture(request):
                    try:
                        subtests = request.getfixturevalue("subtests")
                    except pytest.FixtureLookupError:
                        pytest.skip("this pytest has no subtests")
                    for i in range(3):
                        with subtests.test("numbers", i=i):
                            print("number", i)
                            assert i != 1

                def test_after():
                    pass
            """})
    for options in (["-rA"], ["-v", "--junitxml=junit.xml"], ["--maxfail=2"]):
        assert_same(suite.plain(*options), suite.cloudist(*options, workers=1))


def test_subtests_of_unittest(suite: Suite) -> None:
    suite.write({"test_sub.py": """
                import unittest

                class Case(unittest.TestCase):
                    def test_sub(self):
                        for i in range(3):
                            with self.subTest(i=i):
                                self.assertNotEqual(i, 1)
            """})
    plain, cloudist = suite.plain("-rf"), suite.cloudist("-rf")
    assert (cloudist.exit, cloudist.last_lines()) == (plain.exit, plain.last_lines())


def test_a_conftest_collects_for_the_directories_below(suite: Suite) -> None:
    suite.write(
        {
            "snippets/conftest.py": """
                import pytest

                class Check(pytest.Item):
                    def runtest(self):
                        assert "wrong" not in self.path.read_text()

                class Snippet(pytest.File):
                    def collect(self):
                        yield Check.from_parent(self, name="")

                def pytest_collect_file(parent, file_path):
                    if file_path.suffix == ".txt":
                        return Snippet.from_parent(parent, path=file_path)
            """,
            "snippets/one/a.txt": "right",
            "snippets/one/b.txt": "wrong",
            "snippets/two/deep/c.txt": "wrong",
            "test_first.py": "def test_1(): pass",
            "test_second.py": "def test_2(): pass",
        }
    )
    for arguments in ([], ["test_first.py", "snippets"], ["snippets/two", "test_second.py", "snippets/one"]):
        for workers in (1, 2):
            options = [*arguments, "-rA", "--tb=no"]
            assert_same(suite.plain(*options), suite.cloudist(*options, workers=workers))


def test_items_of_other_collectors_run_here(suite: Suite) -> None:
    suite.write(
        {
            "conftest.py": """
                import pytest

                class Check(pytest.Item):
                    def runtest(self):
                        assert self.name != "bad"

                    def reportinfo(self):
                        return self.path, 0, self.name

                if hasattr(pytest, "Directory"):
                    class Checks(pytest.Directory):
                        def collect(self):
                            for name in ("good", "bad", "left_out"):
                                yield Check.from_parent(self, name=name)

                    def pytest_collect_directory(path, parent):
                        return Checks.from_parent(parent, path=path) if path.name == "checks" else None
            """,
            "checks/readme.txt": "",
            "test_a.py": "def test_1(): pass\ndef test_left_out(): pass",
        }
    )
    for options in (["-q", "--tb=no", "-rA"], ["-q", "--tb=no", "-k", "not left_out"]):
        assert_same(suite.plain(*options), suite.cloudist(*options))


def test_paths_from_the_configuration(suite: Suite) -> None:
    suite.write(
        {
            "pytest.ini": "[pytest]\ntestpaths = checks more\npython_files = check_*.py\nnorecursedirs = skipped\n",
            "checks/check_a.py": "def test_1(): pass",
            "checks/test_ignored.py": "def test_2(): assert 0",
            "checks/conftest.py": "collect_ignore = ['check_ignored.py']",
            "checks/check_ignored.py": "def test_3(): assert 0",
            "more/skipped/check_b.py": "def test_4(): assert 0",
            "more/check_c.py": "def test_5(): pass",
            "elsewhere/check_d.py": "def test_6(): assert 0",
        }
    )
    assert_same(suite.plain("-rA"), suite.cloudist("-rA"))


def test_packages_by_name(suite: Suite) -> None:
    suite.write(
        {
            "pkg/__init__.py": "",
            "pkg/tests/__init__.py": "",
            "pkg/tests/conftest.py": "import pytest\n@pytest.fixture\ndef number(): return 3",
            "pkg/tests/test_n.py": "def test_n(number): assert number == 3\ndef test_m(number): assert 0",
        }
    )
    for arguments in (["pkg"], ["pkg.tests.test_n::test_n"]):
        assert_same(suite.plain("-rA", "--pyargs", *arguments), suite.cloudist("-rA", "--pyargs", *arguments))


def test_large_suites_start_before_all_is_collected(suite: Suite) -> None:
    suite.write({f"test_{number}.py": "def test_1(): pass\ndef test_2(): assert 1" for number in range(60)})
    done = suite.cloudist("-o", "console_output_style=progress")
    assert done.exit == 0, done.out + done.err
    assert "cloudist: 60 files on 2 workers" in done.out or "collected 120 items" in done.out
    assert "[100%]" in done.out
    assert done.out.count("[100%]") == 1
    assert "120 passed" in done.out

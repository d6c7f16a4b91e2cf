"""A browser and real runs to look at with it. CLOUDIST_BIN names the program under test."""

from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, Iterator, List

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import suites

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def varied(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The report of a run with every outcome."""
    project = suites.write(suites.VARIED, tmp_path_factory.mktemp("varied"))
    done = suites.run(project, "--report", "out")
    assert done.returncode == 1, done
    assert f"cloudist: report in {project / 'out' / 'report.html'}" in done.stdout, done
    return project / "out"


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The report of a run of 10,000 tests."""
    project = suites.write(suites.many(100, 100), tmp_path_factory.mktemp("large"))
    done = suites.run(project, "--report", "out", "--", "-q")
    assert done.returncode == 0, done
    return project / "out"


@pytest.fixture(scope="session")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The report of a command on three workers, of which one fails."""
    project = suites.write({"share.txt": "x"}, tmp_path_factory.mktemp("commanded"))
    line = "sleep 0.$CLOUDIST_WORKER_INDEX; test $CLOUDIST_WORKER_INDEX != 1"
    options = ("-n", "3", "--provider", "local", "--fetch", "*.txt", "--report", "out")
    done = suites.cloudist(project, "ssh-run", *options, "--", "sh", "-c", line)
    assert done.returncode == 1, done
    return project / "out"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """A page, and all that went wrong or over the network on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.troubles: List[str] = []
        self.requests: List[str] = []
        page.on("console", lambda message: self.troubles.append(message.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, report: pathlib.Path) -> Visit:
        self.page.goto((report / "report.html").as_uri())
        self.page.wait_for_function("performance.getEntriesByName('painted').length > 0")
        return self

    def said(self) -> str:
        return self.page.inner_text("#said")


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Opens pages; parametrize it indirectly with a context's options."""
    options: Dict[str, Any] = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    made = Visit(context.new_page())
    yield made
    context.close()
    assert made.troubles == []
    assert all(url.startswith(("file:", "data:")) for url in made.requests), made.requests


def events(report: pathlib.Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in (report / "events.jsonl").read_text().splitlines()]

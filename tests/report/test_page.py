"""The page as people use it: looked at in both lights and narrow, moved, searched, by keyboard and mouse."""

from __future__ import annotations

import pathlib

import pytest
from axe_playwright_python.sync_playwright import Axe

from conftest import Visit

SIZES = [
    {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for width in (1280, 375)
    for scheme in ("light", "dark")
]


@pytest.mark.parametrize("visit", SIZES, indirect=True, ids=lambda o: f"{o['viewport']['width']}-{o['color_scheme']}")
@pytest.mark.parametrize("report", ["varied", "commanded"])
def test_it_is_accessible_and_fits(visit: Visit, report: str, request: pytest.FixtureRequest) -> None:
    visit.open(request.getfixturevalue(report))
    found = Axe().run(visit.page)
    assert found.violations_count == 0, found.generate_report()
    shown, wide = visit.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert shown <= wide


def test_failures_are_shown_with_their_tracebacks(visit: Visit, varied: pathlib.Path) -> None:
    visit.open(varied)
    assert visit.page.inner_text(".verdict") == "3 tests failed"
    failure = visit.page.locator("#failures details", has_text="test_discount")
    if failure.get_attribute("open") is None:
        failure.locator("summary").click()
    text = failure.inner_text()
    assert "a discount too many" in text and "price list 7 was used" in text
    assert "no database" in (visit.page.locator("#failures").text_content() or "")
    failure.get_by_role("button", name="Show on the timeline").click()
    assert "test_orders.py::test_discount: failed" in visit.said()


def test_names_of_tests_stay_names(visit: Visit, varied: pathlib.Path) -> None:
    visit.open(varied)
    assert visit.page.title().startswith("cloudist run ")
    assert visit.page.locator("img").count() == 0
    visit.page.fill("#search", "</script>")
    assert visit.page.inner_text("#found-count").startswith("1 of ")
    assert "</script><script>" in visit.page.inner_text("#rows")


def test_the_keyboard_does_it_all(visit: Visit, varied: pathlib.Path) -> None:
    page = visit.open(varied).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("test_long passed")
    assert page.inner_text("#found-count") == "1 of 51 tests"
    page.keyboard.press("Escape")
    assert page.is_hidden("#found")
    assert page.evaluate("document.activeElement.id") == "canvas"
    page.keyboard.press("ArrowDown")
    assert visit.said() == "Lane gw0"
    page.keyboard.press("n")
    before = visit.said()
    page.keyboard.press("n")
    assert visit.said() != before
    page.keyboard.press("f")
    assert ": failed, " in visit.said() or ": error, " in visit.said()


def picture(visit: Visit) -> str:
    """What the canvas shows."""
    frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    visit.page.evaluate(frame)
    return str(visit.page.evaluate("document.getElementById('canvas').toDataURL()"))


def test_it_zooms_and_moves(visit: Visit, varied: pathlib.Path) -> None:
    page = visit.open(varied).page
    page.focus("#canvas")
    whole = picture(visit)
    page.keyboard.press("+")
    near = picture(visit)
    page.keyboard.press("ArrowRight")
    moved = picture(visit)
    assert len({whole, near, moved}) == 3
    page.keyboard.press("0")
    assert picture(visit) == whole
    place = page.locator("#canvas").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 60)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    by_wheel = picture(visit)
    assert by_wheel != whole
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] / 4, place["y"] + 60)
    page.mouse.up()
    assert picture(visit) != by_wheel
    page.click("#all")
    page.click("#theme")
    assert picture(visit) != whole


def test_without_motion_nothing_glides(browser, varied: pathlib.Path) -> None:
    page = browser.new_context(reduced_motion="reduce").new_page()
    Visit(page).open(varied)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_ten_thousand_tests_are_no_burden(visit: Visit, large: pathlib.Path) -> None:
    assert (large / "report.html").stat().st_size < 2_000_000
    page = visit.open(large).page
    painted = page.evaluate("performance.getEntriesByName('painted')[0].startTime")
    print(f"first painted after {painted:.0f} ms")
    page.keyboard.press("/")
    page.keyboard.type("file_042 [77]")
    assert page.inner_text("#found-count") == "1 of 10000 tests"
    page.click("#rows button")
    assert "test_file_042.py::test_trivial[77]: passed" in visit.said()


def test_a_command_has_a_page_without_tests(visit: Visit, commanded: pathlib.Path) -> None:
    page = visit.open(commanded).page
    assert page.inner_text(".verdict") == "The command failed on 1 of 3 workers"
    titles = page.locator("section:visible h2:visible").all_inner_texts()
    assert {"Timeline", "Failures", "Machines"} <= set(titles)
    assert not {"Slowest tests", "Flaky tests", "Costliest imports"} & set(titles), titles
    assert "gw1" in page.inner_text("#failures") and "status 1" in (page.text_content("#failures") or "")
    assert page.locator("#search:visible").count() == 0
    page.focus("#canvas")
    said = []
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    for _ in range(12):
        page.keyboard.press("n")
        said.append(visit.said().partition(",")[0])
    assert "command" in said, said
    assert "fetch" in page.inner_text("#legend")

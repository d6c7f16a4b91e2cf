"""Makes the pictures in docs/images: a run in a terminal, its live view, and its report. CLOUDIST_BIN names the program that is shown.

    target/venvs/report/bin/python tests/report/pictures.py
"""

from __future__ import annotations

import fcntl
import html
import os
import pathlib
import pty
import re
import subprocess
import sys
import tempfile
import termios
from typing import Callable, List, Optional

import pyte
from ansi2html import Ansi2HTMLConverter
from playwright.sync_api import Browser, sync_playwright

import suites
from conftest import CHROMIUM

IMAGES = suites.REPOSITORY / "docs" / "images"
COLUMNS = 100
VIEW_COLUMNS = 120
LINES = 34
STYLE = "body { margin: 0; padding: 14px; width: max-content } pre { font: 14px/1.3 'DejaVu Sans Mono', monospace }"


Answer = Callable[[str], Optional[bytes]]


def terminal(
    directory: pathlib.Path, command: List[str], columns: int = COLUMNS, answer: Answer = lambda said: None
) -> str:
    """What a command says to a terminal, and is answered to what it has said so far."""
    ours, theirs = pty.openpty()
    size = f"import fcntl, struct, termios; fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('4H', {LINES}, {columns}, 0, 0))"
    subprocess.run([sys.executable, "-c", size], stdout=theirs, check=True)
    environment = suites.environment(directory)
    environment.update(TERM="xterm-256color", LANG="C.UTF-8")
    with subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # Linux tells the end of a terminal so.
                break
            if not piece:
                break
            said += piece
            key = answer(piece.decode("utf-8", "replace"))
            if key is not None:
                os.write(ours, key)
    os.close(ours)
    assert process.returncode == 1, said.decode()
    return said.decode().replace("\r\n", "\n")


class Onlooker:
    """Watches the live view of a run, and keeps what it shows when a failure is open and most of the run is done."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(VIEW_COLUMNS, LINES)
        self.stream = pyte.Stream(self.screen)
        self.page = ""
        self.opened = False

    def __call__(self, said: str) -> Optional[bytes]:
        self.stream.feed(said)
        text = "\n".join(self.screen.display)
        if self.page or not re.search(r"Failures: [1-9]", text):
            return None
        if not self.opened:
            self.opened = True
            return b"f"
        if re.search(r"Failure 1 of", text) and re.search(r" [5-9]\d%", text):
            self.page = page_of(self.screen)
            return b"q"
        return None


def page_of(screen: pyte.Screen) -> str:
    """The cells of a screen, as a page."""
    lines = []
    for row in range(screen.lines):
        line = ""
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            fore = (
                "#ddd"
                if cell.fg == "default"
                else f"#{cell.fg}" if re.fullmatch("[0-9a-f]{6}", cell.fg) else cell.fg
            )
            colours = f"color:#111;background:{fore}" if cell.reverse else f"color:{fore}"
            weight = ";font-weight:bold" if cell.bold else ""
            line += f'<span style="{colours}{weight}">{html.escape(cell.data)}</span>'
        lines.append(line)
    text = "\n".join(lines)
    return f"<!doctype html><html><head><meta charset=utf-8><style>{STYLE} body {{ background: #111 }}</style></head><body><pre>{text}</pre></body></html>"


def photograph(browser: Browser, page: str, to: str, width: int, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 1120}, color_scheme=scheme, device_scale_factor=1
    )
    opened = context.new_page()
    opened.goto(page)
    if "report" in to:
        opened.wait_for_function("performance.getEntriesByName('painted').length > 0")
        opened.screenshot(path=IMAGES / to)
    else:
        opened.locator("body").screenshot(path=IMAGES / to)
    context.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cloudist-") as place, sync_playwright() as playwright:
        project = pathlib.Path(place) / "shop"
        suites.write(suites.SHOWN, project)
        command = [
            suites.BINARY,
            "pytest",
            "-n",
            "3",
            "--provider",
            "local",
            "--local-python",
            sys.executable,
        ]
        said = terminal(project, [*command, "--report", "out"])
        colours = Ansi2HTMLConverter(dark_bg=True, scheme="xterm").convert(said)
        written = project / "terminal.html"
        written.write_text(colours.replace("</head>", f"<style>{STYLE}</style></head>"))
        onlooker = Onlooker()
        shown = terminal(
            project, [*command, "--local-machines", "2", "--view", "tui"], VIEW_COLUMNS, onlooker
        )
        assert onlooker.page, shown
        live = project / "view.html"
        live.write_text(onlooker.page)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        report = (project / "out" / "report.html").as_uri()
        photograph(browser, written.as_uri(), "terminal.png", 1000, "dark")
        photograph(browser, live.as_uri(), "view.png", 1200, "dark")
        photograph(browser, report, "report.png", 1280, "light")
        photograph(browser, report, "report-dark.png", 1280, "dark")
        photograph(browser, report, "report-narrow.png", 375, "light")
        browser.close()
    for made in sorted(IMAGES.glob("*.png")):
        print(made.relative_to(suites.REPOSITORY), made.stat().st_size)


if __name__ == "__main__":
    main()

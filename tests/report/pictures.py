"""Makes the pictures in docs/images: a run in a terminal, and its report. CLOUDIST_BIN names the program that is shown.

    target/venvs/report/bin/python tests/report/pictures.py
"""

from __future__ import annotations

import os
import pathlib
import pty
import subprocess
import sys
import tempfile
from typing import List

from ansi2html import Ansi2HTMLConverter
from playwright.sync_api import Browser, sync_playwright

import suites
from conftest import CHROMIUM

IMAGES = suites.REPOSITORY / "docs" / "images"
COLUMNS = 100
LINES = 34
STYLE = "body { margin: 0; padding: 14px; width: max-content } pre { font: 14px/1.3 'DejaVu Sans Mono', monospace }"


def terminal(directory: pathlib.Path, command: List[str]) -> str:
    """What a command says to a terminal."""
    ours, theirs = pty.openpty()
    size = f"import fcntl, struct, termios; fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('4H', {LINES}, {COLUMNS}, 0, 0))"
    subprocess.run([sys.executable, "-c", size], stdout=theirs, check=True)
    environment = suites.environment(directory)
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(command, cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as process:
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
    os.close(ours)
    assert process.returncode == 1, said.decode()
    return said.decode().replace("\r\n", "\n")


def photograph(browser: Browser, page: str, to: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 1120}, color_scheme=scheme, device_scale_factor=1)
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
        command = [suites.BINARY, "pytest", "-n", "3", "--provider", "local", "--local-python", sys.executable]
        said = terminal(project, [*command, "--report", "out"])
        colours = Ansi2HTMLConverter(dark_bg=True, scheme="xterm").convert(said)
        written = project / "terminal.html"
        written.write_text(colours.replace("</head>", f"<style>{STYLE}</style></head>"))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        report = (project / "out" / "report.html").as_uri()
        photograph(browser, written.as_uri(), "terminal.png", 1000, "dark")
        photograph(browser, report, "report.png", 1280, "light")
        photograph(browser, report, "report-dark.png", 1280, "dark")
        photograph(browser, report, "report-narrow.png", 375, "light")
        browser.close()
    for made in sorted(IMAGES.glob("*.png")):
        print(made.relative_to(suites.REPOSITORY), made.stat().st_size)


if __name__ == "__main__":
    main()

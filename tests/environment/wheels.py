"""A package index on loopback over wheels that are made here, and one file of uv's own.

Speaks the simple API, with a password if it is given one. Never asks another index.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import pathlib
import threading
import zipfile
from typing import Callable, Dict, List, Optional, Tuple


def make_wheel(directory: pathlib.Path, name: str, version: str, body: str = "") -> pathlib.Path:
    path = directory / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", body or f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        names = [f"{name}.py", f"{info}/METADATA", f"{info}/WHEEL", f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return path


class Index:
    def __init__(self, directory: pathlib.Path, password: Optional[str] = None) -> None:
        self.directory, self.password = directory, password
        self.asked: List[str] = []
        # Called with each request, while whoever asks waits for the answer.
        self.watch: Callable[[], None] = lambda: None
        self._digests: Dict[Tuple[str, int], str] = {}
        index = self

        class Handler(http.server.BaseHTTPRequestHandler):
            # As real indexes do: connections are used again.
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                index.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            # uv opens fifty connections at once; one that finds no room would try again a second later.
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        login = f"user:{self.password}@" if self.password else ""
        return f"http://{login}{self.host}/simple/"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        self.watch()
        if self.password:
            expected = "Basic " + base64.b64encode(f"user:{self.password}".encode()).decode()
            if request.headers.get("Authorization") != expected:
                request.send_response(401)
                request.send_header("WWW-Authenticate", "Basic")
                request.send_header("Content-Length", "0")
                return request.end_headers()
        parts = request.path.strip("/").split("/")
        if parts[0] == "files":
            body, kind = (self.directory / parts[1]).read_bytes(), "application/octet-stream"
        elif len(parts) == 2:
            body, kind = self.page(parts[1]).encode(), "text/html"
        else:
            body, kind = b"<html></html>", "text/html"
        request.send_response(200 if body else 404)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    def page(self, project: str) -> str:
        lines = []
        for path in sorted(self.directory.glob("*.whl")):
            if path.name.split("-")[0].replace("_", "-").lower() == project:
                lines.append(f'<a href="/files/{path.name}#sha256={self._digest(path)}">{path.name}</a>')
        return "\n".join(lines)

    def _digest(self, path: pathlib.Path) -> str:
        key = (path.name, path.stat().st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._digests[key]

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()

"""A server of files on this machine that breaks off, stalls, refuses and redirects as told."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `files`, path → content.

    cuts: path → bytes after which each of the next transfers breaks off.
    stalls: path → seconds of silence in the middle of each transfer.
    statuses: path → status in place of the file.
    redirections: path → address.
    ranges: whether parts of a file are served.
    tokens: path → token that must come with a request.
    asked: method, path and headers of each request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.stalls: dict[str, float] = {}
        self.statuses: dict[str, int] = {}
        self.redirections: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.ranges = True
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def transfers(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for the content of a file."""
        return [
            headers for method, asked, headers in self.asked if (method, asked) == ("GET", path)
        ]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(content=False)

    def do_GET(self) -> None:
        self._answer(content=True)

    def _answer(self, *, content: bool) -> None:
        path, server = self.path.partition("?")[0], self.server
        server.asked.append((self.command, path, dict(self.headers)))
        if path in server.redirections:
            self.send_response(302)
            self.send_header("Location", server.redirections[path])
            self.end_headers()
            return
        token = server.tokens.get(path)
        refused = 401 if token and self.headers["Authorization"] != f"Bearer {token}" else None
        status = server.statuses.get(path) or refused or (200 if path in server.files else 404)
        if status != 200:
            self.send_error(status)
            return
        self._send(path, server.files[path], content=content)

    def _send(self, path: str, body: bytes, *, content: bool) -> None:
        server, tag = self.server, f'"{hash(body)}"'
        start = 0
        wanted = self.headers["Range"]
        if server.ranges and wanted and self.headers["If-Range"] in (None, tag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if not content:
            return
        cuts = server.cuts.get(path)
        end = start + cuts.pop(0) if cuts else len(body)
        middle = (start + end) // 2
        try:
            self.wfile.write(body[start:middle])
            self.wfile.flush()
            time.sleep(server.stalls.get(path, 0))
            self.wfile.write(body[middle:end])
        except OSError:  # the client has left
            pass


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve until the end of the block."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

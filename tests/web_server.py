"""Web server on this machine that misbehaves as required."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchharness.download.registry import RemoteFile


@dataclass
class Page:
    """What the server answers at an address.

    Attributes:
        breaks_after: Bytes of the body after which the connection ends, answer by answer; answers
            beyond the list are whole.
        announces: The Content-Length it claims, in place of the true one; 0 for none.
        has_ranges: Whether it honours Range.
        range_total: The total it claims in Content-Range, in place of the true one.
        stalls_s: Seconds it waits in the middle of the body.
    """

    body: bytes = b""
    status: int = 200
    location: str = ""
    breaks_after: list[int] = field(default_factory=list)
    announces: int | None = None
    has_ranges: bool = True
    range_total: int | None = None
    stalls_s: float = 0.0


class Server:
    """Serves pages by path and remembers what was asked: path and Range."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, str]] = []

    def put(self, path: str, body: bytes = b"", **options) -> str:
        """Serve a page; returns its address."""
        self.pages[path] = Page(body=body, **options)
        return f"{self.base}/{path}"


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, server)

        def log_message(self, *args) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        # A client that leaves in the middle is what many tests are about.
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        server = Server(f"http://127.0.0.1:{running.server_port}")
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            running.shutdown()


def answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
    """Answer one request as the page at its path says."""
    wanted = handler.headers.get("Range", "")
    server.asked.append((handler.path[1:], wanted))
    page = server.pages.get(handler.path[1:], Page(status=404))
    start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
    if not page.has_ranges:
        start = 0
    status = 206 if start and page.status == 200 else page.status
    handler.send_response(status)
    if page.location:
        handler.send_header("Location", page.location)
    if status == 206:
        total = page.range_total or len(page.body)
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    body = page.body[start:]
    announced = len(body) if page.announces is None else page.announces
    if announced:
        handler.send_header("Content-Length", str(announced))
    handler.end_headers()
    limit = page.breaks_after.pop(0) if page.breaks_after else len(body)
    part = body[:limit]
    handler.wfile.write(part[: len(part) // 2])
    if page.stalls_s:
        handler.wfile.flush()
        time.sleep(page.stalls_s)
    handler.wfile.write(part[len(part) // 2 :])
    handler.close_connection = True


def remote(name: str, body: bytes, *urls: str) -> RemoteFile:
    """Return what a publisher states of a file."""
    return RemoteFile(
        name=name, urls=urls, size_bytes=len(body), sha256=hashlib.sha256(body).hexdigest()
    )

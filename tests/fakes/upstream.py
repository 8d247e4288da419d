"""A real HTTP server on loopback that misbehaves on demand."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What one request meets instead of the file: each is used up by the request that meets it."""

    status: int | None = None  # answer with this status and no body
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None  # promise the whole, send so many bytes, close the connection
    reset_at: int | None = None  # the same, with a TCP reset
    body: bytes | None = None  # send these bytes in place of the file
    content_type: str = "application/octet-stream"
    ignore_range: bool = False


@dataclass
class Seen:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


class Upstream:
    """What the server has, what goes wrong next, and what was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.seen: list[Seen] = []
        self.sent = 0

    def put(self, path: str, data: bytes, *faults: Fault) -> str:
        """Serve `data` at `path`, after `faults`; returns its URL."""
        self.files[path] = data
        self.faults[path].extend(faults)
        return f"{self.url}{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        up = self.upstream
        up.seen.append(Seen(self.command, self.path, dict(self.headers)))
        fault = up.faults[self.path].popleft() if up.faults[self.path] else Fault()
        data = up.files.get(self.path)
        if fault.status is not None or data is None:
            self._head(fault.status or 404, 0, fault)
            return
        body = fault.body if fault.body is not None else data
        start = 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and not fault.ignore_range and fault.body is None:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(body):
                self._head(416, 0, fault)
                return
        rest = body[start:]
        extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self._head(206 if start else 200, len(rest), fault, extra)
        if self.command == "HEAD":
            return
        if fault.cut_at is not None or fault.reset_at is not None:
            rest = rest[: fault.cut_at if fault.cut_at is not None else fault.reset_at]
        self.wfile.write(rest)
        up.sent += len(rest)
        if fault.reset_at is not None:
            self.wfile.flush()
            # SO_LINGER with zero seconds: close() sends RST instead of FIN.
            self.connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
        if fault.cut_at is not None or fault.reset_at is not None:
            self.close_connection = True

    def _head(self, status: int, length: int, fault: Fault, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**fault.headers, **(extra or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", fault.content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hangs up is what these tests are about


@contextmanager
def upstream() -> Iterator[Upstream]:
    """A running server; it ends with the block."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    handler.upstream = Upstream(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield handler.upstream  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""A real HTTP server on loopback that misbehaves on demand."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for zero seconds: close() sends RST in place of FIN


@dataclass(frozen=True)
class Fault:
    """What one request meets instead of the file: each is used up by the request that meets it.

    Places (`cut_at`, `reset_at`, `stall_at`) count bytes of the answer's body.
    """

    status: int | None = None  # answer with this status and no body
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None  # promise the whole, send so many bytes, close the connection
    reset_at: int | None = None  # the same, with a TCP reset
    stall_at: int | None = None  # send so many bytes, then nothing until the client hangs up
    pause: float = 0  # seconds between pieces
    piece: int = 1 << 16  # bytes that are sent at once
    body: bytes | None = None  # send these bytes in place of the file
    content_type: str = "application/octet-stream"
    ignore_range: bool = False
    back_up: int = 0  # begin a range so many bytes earlier than asked
    chunked: bool = False  # do not tell the length


@dataclass
class Seen:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]


class Upstream:
    """What the server has, what goes wrong next, and what was asked. `sent` counts bytes of bodies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.seen: list[Seen] = []
        self.sent = 0
        self.ending = threading.Event()

    def put(self, path: str, data: bytes, *faults: Fault) -> str:
        """Serve `data` at `path`, after `faults`; returns its URL."""
        self.files[path] = data
        self.faults[path].extend(faults)
        return f"{self.url}{path}"

    def ranges(self) -> list[str | None]:
        """The Range of every GET, in the order they came."""
        return [request.headers.get("Range") for request in self.seen if request.method == "GET"]


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
        start = self._start(fault)
        if start and start >= len(body):
            self._head(416, 0, fault, {"Content-Range": f"bytes */{len(body)}"})
            return
        extra = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self._head(206 if start else 200, None if fault.chunked else len(body) - start, fault, extra)
        if self.command == "GET":
            self._send(body[start:], fault)

    def _start(self, fault: Fault) -> int:
        """Where the answer begins: RFC 9110, 14.2, with If-Range as in 13.1.5."""
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes=") or fault.ignore_range or fault.body is not None:
            return 0
        if self.headers.get("If-Range") not in (None, self.upstream.etags.get(self.path)):
            return 0
        return max(0, int(asked.removeprefix("bytes=").partition("-")[0]) - fault.back_up)

    def _send(self, data: bytes, fault: Fault) -> None:
        ends = [place for place in (fault.cut_at, fault.reset_at, fault.stall_at) if place is not None]
        for place in range(0, len(data[: min(ends, default=len(data))]), fault.piece):
            piece = data[place : min([place + fault.piece, *ends])]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.chunked else piece)
            self.upstream.sent += len(piece)
            self.upstream.ending.wait(fault.pause)
        if fault.stall_at is not None:
            self.upstream.ending.wait()
        if fault.reset_at is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.connection.close()
        if ends:
            self.close_connection = True
        elif fault.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, length: int | None, fault: Fault, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = self.upstream.etags.get(self.path)
        headers = {"Content-Type": fault.content_type, **({"ETag": etag} if etag else {}), **(extra or {})}
        headers |= {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        for name, value in {**headers, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that hangs up is what these tests are about


@contextmanager
def upstream(*, certificate: Path | None = None) -> Iterator[Upstream]:
    """A running server; it ends with the block. With a `certificate` (PEM, the key in it too) it speaks TLS."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    running = Upstream(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}")
    handler.upstream = running  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""A repository server on loopback, and an upstream that reads from it."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from bundler.errors import FetchError, IntegrityError
from bundler.model.config import Config
from bundler.model.items import Made, Object


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """A function that serves a folder over HTTP until the test ends, and gives its URL."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TinyUpstream:
    def __init__(self, base: Path, scratch: Path, store: Path) -> None:
        self.config = Config()
        self.base, self.scratch, self.store = base, scratch, store
        scratch.mkdir()
        store.mkdir()

    def _get(self, url, method="GET"):
        try:
            r = requests.request(method, url, timeout=10)
            r.raise_for_status()
        except requests.RequestException as e:
            raise FetchError(f"{url}: {e}", hint="x") from e
        return r

    def read(self, location, *, limit):
        return self._get(location).content if "://" in location else (self.base / location).read_bytes()

    def download(self, url, to, *, size=None, sha256=None):
        data = self._get(url).content
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(url, hint="x")
        to.write_bytes(data)

    def measure(self, url, *, sha256=None):
        if sha256:
            return int(self._get(url, "HEAD").headers["Content-Length"]), sha256
        data = self._get(url).content
        return len(data), hashlib.sha256(data).hexdigest()

    def keep(self, path, content, *, mode=0o644):
        data = content if isinstance(content, bytes) else content.read_bytes()
        sha = hashlib.sha256(data).hexdigest()
        (self.store / sha).write_bytes(data)
        return Object(path, len(data), sha, Made(), mode)


@pytest.fixture
def upstream(tmp_path):
    return TinyUpstream(tmp_path, tmp_path / "scratch", tmp_path / "store")

"""RPM repositories on a loopback HTTP server, and what it takes to resolve from them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from bundler.kinds.rpms.prove import prove
from bundler.kinds.rpms.resolve import resolve
from bundler.kinds.rpms.spec import Spec
from bundler.model.config import Config, Retries
from bundler.model.items import Download, Item, objects_of
from bundler.model.target import Target
from bundler.transfer.fetched import Fetched
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream

Serve = Callable[[Path], str]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that serves a folder over HTTP until the test ends, and gives its URL without a trailing slash."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@dataclass
class Bench:
    """A profile's folder with the store of its lock, and resolving from it."""

    folder: Path
    upstream: Upstream
    store: Store

    def resolve(self, section: str, *targets: Target) -> tuple[Item, ...]:
        spec = Spec.model_validate(yaml.safe_load(section))
        items = resolve(spec, targets or (Target(distro="rocky", release="8"),), self.upstream)
        assert self.prove(items) == []
        return items

    def prove(self, items: tuple[Item, ...]) -> list[str]:
        """What of `items` could not be installed from them alone."""
        return list(prove(items, Fetched(self.upstream)))

    def unpack(self, items: Sequence[Item], to: Path) -> Path:
        """Every object of `items` at its path under `to`, checked against what was promised."""
        for obj in objects_of(items):
            place = to / obj.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(obj.source, Download):
                self.upstream.download(obj.source.url, place, size=obj.size, sha256=obj.sha256)
            else:
                place.write_bytes(self.store.path(obj.sha256).read_bytes())
        return to


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    opened: list[Upstream] = []

    def make() -> Bench:
        folder = tmp_path / f"profile{len(opened)}"
        folder.mkdir()
        store = Store(folder / "store")
        opened.append(Upstream(Config(retries=Retries(attempts=1, timeout=10)), base=folder, store=store))
        return Bench(folder, opened[-1], store)

    yield make
    for upstream in opened:
        with upstream:
            pass


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()

"""Fixtures for every test: data that nobody on this project made, addresses to listen on, an upstream that can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from scripts.demo import servers
from tests.fakes import upstream as fake
from tests.fakes.outside import CONFIG

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where bundler keeps its notes: not in the cache of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the project (RPM repositories, OCI layouts); without it the test is skipped."""
    folder = PROJECT.parent / "shared"
    if not (folder / "rpm").is_dir():
        pytest.skip(f"needs the test data in {folder}, which is not here")
    return folder


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that gives a TCP port nobody listens on at 127.0.0.1, another one at each call."""
    return servers.free_port


@pytest.fixture
def server() -> Iterator[fake.Upstream]:
    """A real HTTP server that can be told to fail."""
    with fake.upstream() as running:
        yield running


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Upstream]:
    """bundler's way to it; relative paths start at `tmp_path`."""
    with Upstream(CONFIG, base=tmp_path, store=Store(tmp_path / "store")) as opened:
        yield opened

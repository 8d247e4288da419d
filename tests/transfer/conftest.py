"""An upstream that can fail, and bundler's side of it, patient enough for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.model.config import Config, Retries
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake

CONFIG = Config(retries=Retries(attempts=3, backoff=0.01, ceiling=2, timeout=2))


@pytest.fixture
def server() -> Iterator[fake.Upstream]:
    with fake.upstream() as running:
        yield running


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(CONFIG, base=tmp_path, store=Store(tmp_path / "store")) as opened:
        yield opened

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.kinds.wheels.prove import prove
from bundler.kinds.wheels.resolve import resolve
from bundler.kinds.wheels.spec import Spec
from bundler.model.config import Config, Retries
from bundler.model.items import Item
from bundler.model.target import Target
from bundler.transfer.fetched import Fetched
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.wheels.indexes import LocalIndex, serve

ROCKY_9 = Target(distro="rocky", release="9")
Resolver = Callable[..., tuple[Item, ...]]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    folder = tmp_path / "index"
    folder.mkdir()
    with serve(LocalIndex(folder)) as served:
        yield served


@pytest.fixture
def resolved(tmp_path: Path) -> Resolver:
    """Resolve a `wheels` section written as keywords, against the real upstream layer."""

    def run(
        *, targets: tuple[Target, ...] = (ROCKY_9,), config: Config | None = None, **section: object
    ) -> tuple[Item, ...]:
        config = config or Config(retries=Retries(attempts=2, backoff=0.01))
        with Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as upstream:
            items = resolve(Spec.model_validate(section), targets, upstream)
            assert list(prove(items, Fetched(upstream))) == []
            return items

    return run


@pytest.fixture(scope="session")
def other_pythons() -> dict[str, str]:
    """Interpreters of this machine by version, this one included; stand-ins that only print an error are not."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}
    for minor in range(11, 15):
        named = shutil.which(f"python3.{minor}")
        candidates = [named] if named else []
        candidates += map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"))
        for candidate in candidates:
            command = [candidate, "-c", "import pip, sys; print(sys.version_info[1])"]
            if subprocess.run(command, capture_output=True, text=True).stdout.strip() == str(minor):
                found.setdefault(f"3.{minor}", candidate)
    return found

"""A registry full of images that stands for docker.io and quay.io, and an Upstream that is sent there."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.model.config import Config, Retries
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.kinds.images.registries import RunningRegistry, needs, running_registry


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[RunningRegistry]:
    """A registry that tests push to; each takes a repository of its own."""
    with running_registry(tmp_path_factory.mktemp("internet") / "registry", free_port()) as running:
        yield running


@pytest.fixture(scope="session")
def library(internet: RunningRegistry, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> RunningRegistry:
    """The registry with real images: a Docker list, a Docker manifest, an OCI index and its signatures."""
    needs("skopeo")
    oci = shared / "oci"
    alpine = tmp_path_factory.mktemp("alpine") / "alpine.tar"
    alpine.write_bytes(gzip.decompress((oci / "alpine-311.tar.gz").read_bytes()))
    internet.skopeo_copy(f"docker-archive:{alpine}", "library/alpine:3.11")
    internet.copy_layout(oci / "docker-manifest-list-hello", "library/hello:1")
    internet.copy_layout(oci / "multi-platform-container-latest", "team/multi:1")
    for layout in sorted((oci / "signatures").iterdir()):
        digest = layout.name.removeprefix("multi-platform-container-").removesuffix("-sig")
        internet.copy_layout(layout, f"team/multi:{digest}.sig")
    return internet


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Where resolving keeps the bytes it makes."""
    return Store(tmp_path / "store")


@pytest.fixture
def upstream(internet: RunningRegistry, tmp_path: Path, store: Store) -> Iterator[Upstream]:
    """The outside, with docker.io, quay.io and registry.example.org in one registry on loopback."""
    config = Config(
        mirrors=dict.fromkeys(("docker.io", "quay.io", "registry.example.org"), internet.url),
        retries=Retries(attempts=2, backoff=0.01),
    )
    with Upstream(config, base=tmp_path, store=store) as outside:
        yield outside

"""One internet, and each kind's sample resolved on it, built into a bundle of its own, and installed on one site."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from bundler.build import LockFile, build, lock_profile
from bundler.inputs import read_profile
from bundler.kinds import KINDS
from bundler.kinds.bootstrap import own_wheel
from bundler.model.config import Config
from bundler.model.lock import Lock
from bundler.model.profile import Profile
from bundler.model.site import Ports, SiteConfig
from bundler.progress import Silent
from bundler.site.site import Site
from scripts.demo.internet import internet
from tests.contract.samples import SAMPLES
from tests.kinds.wheels.indexes import LocalIndex, serve


@dataclass(frozen=True)
class World:
    """Where the samples resolve."""

    config: Config
    folder: Path

    def profile(self, kind: str) -> Profile:
        """The sample of `kind` as a profile."""
        path = self.folder / f"{kind}.yaml"
        targets = [{"distro": "rocky", "release": "8"}]
        path.write_text(yaml.safe_dump({"name": kind, "version": "1", "targets": targets, kind: SAMPLES[kind]}))
        return read_profile(path)

    def lock(self, kind: str, name: str = "first") -> Lock:
        """The sample of `kind`, resolved."""
        file = LockFile(self.folder / f"{kind}.{name}.lock.json")
        return lock_profile(self.profile(kind), self.folder, file, self.config)

    def bundle(self, kind: str) -> Path:
        """The sample of `kind`, as a bundle."""
        lock, file = self.lock(kind), LockFile(self.folder / f"{kind}.first.lock.json")
        return build(lock, self.folder, file, self.folder, config=self.config, reuse=(), progress=Silent())


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("contract")
    shared = project.parent / "shared"
    (folder / "index").mkdir()
    index = LocalIndex(folder / "index")
    index.add_wheel("sample", "1.0", requires=["other"])
    index.add_wheel("other", "2.0")
    for requirement in map(Requirement, own_wheel.requirements("site")):  # what the kind `bootstrap` carries
        index.add_wheel(requirement.name.replace("-", "_"), next(iter(requirement.specifier)).version)
    found = shared if (shared / "rpm").is_dir() else None
    with internet(folder / "internet", found) as upstream, serve(index) as served:
        mirrors = {**upstream.mirrors, "https://pypi.org/simple": served.url.rstrip("/")}
        yield World(Config(mirrors=mirrors), folder)


@pytest.fixture(scope="session")
def locks(world: World) -> dict[str, Lock]:
    return {kind.name: world.lock(kind.name) for kind in KINDS}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    """A site on free ports; its services end with the tests."""
    config = SiteConfig(
        address="127.0.0.1",
        services="process",
        root=str(tmp_path_factory.mktemp("site")),
        ports=Ports(web=free_port(), registry=free_port(), index=free_port()),
    )
    yield config
    Site(config).services.stop()

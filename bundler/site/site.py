"""A site: its three stores, the services in front of them, and the releases in it.

    <root>/repos/      the web root (see `bundler.site.web`)
    <root>/registry/   the registry's blobs
    <root>/devpi/      the index
    <root>/services/   programs, configs, pids and logs
    <root>/.lock       held by the one bundler that changes the site

A release becomes visible store by store, in an order that leaves no dangling name: tags of the registry, the index's
pages, the web root's link. A crash in between leaves the earlier release on the web root, and doing it again goes on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bundler.errors import BusyError, SiteError, SpaceError
from bundler.model.items import Item, Object
from bundler.model.node_files import NodeFile
from bundler.model.site import SiteConfig
from bundler.site.folders import make_folder
from bundler.site.index import WheelIndex
from bundler.site.registry import RegistryStore
from bundler.site.releases import InstalledRelease, Release
from bundler.site.services import ServiceManager
from bundler.site.services.process import ProcessManager
from bundler.site.web import WebRoot

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Site:
    """The closed side, as `install` and the kinds' `load` see it."""

    def __init__(self, config: SiteConfig, *, jobs: int = 4) -> None:
        self.config = config
        self.root = Path(config.root).absolute()
        self.web = WebRoot(Path(config.web.directory).absolute() if config.web else self.root / "repos")
        self.services: ServiceManager = ProcessManager(config, self.web.directory)
        self._jobs = jobs
        self._release: Release | None = None

    @cached_property
    def registry(self) -> RegistryStore:
        """The registry, external or own; its service must run."""
        return RegistryStore(self.config)

    @cached_property
    def index(self) -> WheelIndex:
        """The wheels' index, external or own; its service must run."""
        return WheelIndex(self.config)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only bundler that changes this site. Raises BusyError when another one is at it."""
        make_folder(self.root)
        path = self.root / ".lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SiteError(f"{path}: {error.strerror}", hint="run as the user who owns the site's root") from None
        try:
            _acquire(file, self.root)
            yield
        finally:
            os.close(file)

    def releases(self) -> list[InstalledRelease]:
        """What is installed, sorted by name, version and id; earlier releases that are still there included."""
        return self.web.releases()

    def require_space(self, objects: Iterable[Object]) -> None:
        """See that what of `objects` no installed release has brought yet finds room. Raises SpaceError."""
        present = {obj.sha256 for release in self.releases() for obj in release.manifest.payload}
        missing = {obj.sha256: obj.size for obj in objects if obj.sha256 not in present}
        needed = sum(missing.values()) - self.web.staged_bytes()
        room = _room({self.root, self.web.directory})
        if needed > sum(room.values()):
            places = ", ".join(f"{path} has {_gib(size)}" for path, size in room.items())
            raise SpaceError(
                f"the release needs {_gib(needed)}: {places}",
                hint="make room there, or name a root on a larger file system (--root DIR)",
            )

    def open(self, name: str, version: str, id: str) -> None:  # noqa: A002 - the design's word
        """Begin to load a release: from now on the stores take its objects. The lock must be held."""
        self._release = Release(name, version, id)
        self.web.open(self._release)
        self.index.open(name, version)

    def each(self, work: Callable[[T], object], things: Iterable[T]) -> None:
        """Call `work` with each of `things`, on a few threads. The first error stops the rest and is raised."""
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="load") as pool:
            try:
                for future in as_completed([pool.submit(work, thing) for thing in things]):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def commit(self, manifest: bytes, nodes: Sequence[NodeFile]) -> None:
        """Publish the open release. `manifest` is the bundle's own manifest.json, `nodes` what `compose` made."""
        self.registry.commit()
        self.index.commit()
        self.web.commit(manifest, nodes)

    def remove(self, name: str, *, purge: bool) -> None:
        """Take every release called `name` away from the nodes; with `purge` delete their trees and indexes too.

        What another release uses stays. When no release is left, the services stop, and with `purge` their data goes.
        Raises SiteError when nothing is called `name`.
        """
        releases = self.releases()
        names = {release.name for release in releases if release.current}
        going = [release for release in releases if release.name == name]
        staying = [release for release in releases if release.name in names - {name}]
        if not going:
            raise SiteError(
                f"no release called {name} is installed",
                hint=f"installed are: {', '.join(sorted(names)) or 'none'}",
            )
        self.web.unlink(name)
        if purge and not staying:
            self._remove_all()
            return
        self.services.start()
        self._remove_from_stores(going, staying, purge=purge)
        if purge:
            for release in going:
                self.web.remove(release)
        if not staying:
            self.services.stop()

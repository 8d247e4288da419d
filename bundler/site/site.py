"""A site: its three stores, the services in front of them, and the releases in it.

    <root>/repos/      the web root (see `bundler.site.web`)
    <root>/registry/   the registry's blobs
    <root>/devpi/      the index
    <root>/tls/        the site's CA and certificate, with `tls: self-signed`
    <root>/login/      what readers log in with, with `login`
    <root>/services/   programs, configs, pids and logs
    <root>/run/        the sockets that the registry and devpi listen on
    <root>/.publishing what nodes saw, while a release is being published
    <root>/.removing   what is being taken away
    <root>/.lock       held by the one bundler that changes the site

A release becomes visible store by store, in an order that leaves no dangling name: tags of the registry, the index's
pages, the web root's link. What can be refused is refused before the first of them; when a later one fails, those
before it are put back, by this process or, after a crash, by the next (see `bundler.site.publication`).
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bundler.bundle.content import Content
from bundler.bundle.manifest import Manifest
from bundler.errors import BusyError, SiteError, SpaceError
from bundler.meanwhile import every
from bundler.model.items import Object
from bundler.model.node_files import NodeFiles
from bundler.model.site import SITE_FILE, SiteConfig
from bundler.site.claims import require_no_collision, require_no_namesake
from bundler.site.folders import make_folder
from bundler.site.index import WheelIndex
from bundler.site.owned import require_own
from bundler.site.publication import NOTE, Publication, is_interrupted
from bundler.site.registry import RegistryStore, discard_uploads
from bundler.site.releases import InstalledRelease, Release, by_currency
from bundler.site.removal import REMOVAL, Removal, forget, note, noted
from bundler.site.services import ServiceManager, Store
from bundler.site.services.choice import manager
from bundler.site.tls import caveat, certificates, ensure
from bundler.site.web import WebRoot

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FLUSHED_EVERY = 10.0  # seconds

# Which store has what lies under a folder of the bundle; all else is the web root's.
_STORES: dict[str, Store] = {"images": "registry", "wheels": "index"}


@dataclass(frozen=True, slots=True)
class Written:
    """What the stores have really written: what was there already does not count. `size` is in bytes."""

    objects: int
    size: int


class Site:
    """The closed side, as `install` and the kinds' `load` see it."""

    def __init__(self, config: SiteConfig, *, jobs: int = 4) -> None:
        self.config = config
        self.root = Path(config.root).absolute()
        self.web = WebRoot(Path(config.web.directory).absolute() if config.web else self.root / "repos")
        require_own(self.root, self.web.directory)
        self.services: ServiceManager = manager(config, self.web.directory)
        self._jobs = jobs
        self._open: tuple[Manifest, list[InstalledRelease]] | None = None

    @cached_property
    def registry(self) -> RegistryStore:
        """The registry, external or own; its service must run."""
        return RegistryStore(self.config)

    @cached_property
    def index(self) -> WheelIndex:
        """The wheels' index, external or own; its service must run."""
        return WheelIndex(self.config)

    @property
    def written(self) -> Written:
        """What was written through this object."""
        stores = (self.web, *(vars(self)[name] for name in ("registry", "index") if name in vars(self)))
        return Written(sum(store.objects_written for store in stores), sum(store.bytes_written for store in stores))

    def releases(self) -> list[InstalledRelease]:
        """What is installed, sorted by name, version and id; earlier releases that are still there included."""
        return self.web.releases()

    def trusted(self) -> str | None:
        """The CA that nodes trust the site's own services by, in PEM; None where it goes without TLS.

        Raises ConfigError.
        """
        found = certificates(self.config)
        if found is not None and not found.ca.exists():
            found = ensure(self.config)
        return found.trusted() if found else None

    def available_space(self) -> int:
        """Bytes that are free where the site's data lies or will lie, each file system counted once."""
        return sum(_room({self.root, self.web.directory}).values())

    @contextmanager
    def opened(
        self,
        manifest: Manifest,
        content: Content,
        *,
        in_a_pipe: bool = False,
        replace: bool = False,
        again: bool = False,
    ) -> Iterator[Site]:
        """The site with the release `manifest` begun: its services run, and its stores take objects until `commit`.

        A registry's program cannot be taken out of a content that comes `in_a_pipe`: it has to be there. Nobody else
        can change the site meanwhile. Leaving without a commit publishes nothing; what has arrived is kept, and opening
        the same release again goes on.

        What other releases serve with different content is taken from them with `replace` alone; a release that is
        served `again` was chosen among those of its version. Raises BusyError, SpaceError, SiteError.
        """
        with self._lock():
            self._recover()
            release, there = Release(manifest.name, manifest.version, manifest.id), self.releases()
            if not replace:
                require_no_collision(manifest, there)
            if not (replace or again):
                require_no_namesake(release, there)
            self.web.open(release)
            self._require_space(manifest.payload)
            self.services.prepare(_stores(manifest.payload), () if in_a_pipe else manifest.items, content)
            if self.config.registry is None:
                discard_uploads(self.root / "registry")
            self.services.start()
            if self.services.has("index"):
                if warning := caveat(self.config):
                    logger.warning("%s", warning)
                self.index.open(release)
            self._open = manifest, there
            # A machine with much memory would leave it all to the end.
            with every(_FLUSHED_EVERY, os.sync):
                yield self

    def each(self, work: Callable[[T], object], things: Iterable[T]) -> None:
        """Call `work` with each of `things`, on a few threads. The first error stops the rest and is raised."""
        with ThreadPoolExecutor(self._jobs, thread_name_prefix="load") as pool:
            try:
                for future in as_completed([pool.submit(work, thing) for thing in things]):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def commit(self, nodes: NodeFiles) -> None:
        """Publish the opened release, with `nodes` as `compose` made them: all of it, or nothing.

        Raises BundleError, SpaceError, SiteError; then nodes see what they saw before.
        """
        if self._open is None:
            raise RuntimeError("no release is open")
        (manifest, there), self._open = self._open, None
        self.web.finish(manifest.data, nodes)
        self._publication().publish(manifest, there)

    def recover(self) -> None:
        """End what a publication or an uninstall that was interrupted has begun: finish it, or put back what nodes saw.

        Raises BusyError, SiteError.
        """
        if self.is_interrupted():
            with self._lock():
                self._recover()

    def is_interrupted(self) -> bool:
        """Whether there is something to `recover`; it may still be under way."""
        return is_interrupted(self.root) or noted(self.root) is not None

    def remove(self, name: str, *, purge: bool) -> None:
        """Take every release called `name` away from the nodes; with `purge` delete their data too.

        What another release uses stays. When no release is left, the services go, and the machine is as it was. Raises
        SiteError when nothing is called `name`, BusyError.
        """
        with self._lock():
            self._recover()
            releases = self.releases()
            going = [release for release in releases if release.name == name]
            if not going:
                raise SiteError(
                    f"no release called {name} is installed",
                    hint=f"installed are: {', '.join(sorted({release.name for release in releases})) or 'none'}",
                )
            self._remove(Removal.of(going, purge=purge, site=purge and going == releases))

    def in_order(self, name: str | None = None) -> list[InstalledRelease]:
        """The releases of `name`, or of each name, the one that is or was current last first."""
        releases = self.releases()
        names = sorted({release.name for release in releases if name in (None, release.name)})
        ordered: list[InstalledRelease] = []
        for each in names:
            ordered += by_currency(self.web.directory, (release for release in releases if release.name == each))
        return ordered

    def earlier(self, name: str, version: str | None) -> InstalledRelease:
        """The release of `name` that is called `version`, or the one that was current before. Raises SiteError."""
        found = self.in_order(name)
        if version is None:
            wanted = [release for release in found if not release.current][:1]
        else:
            wanted = [release for release in found if release.is_called(version)]
        if len(wanted) > 1:
            raise SiteError(
                f"{name} {version} may be any of {_listed(wanted)}",
                hint="say which one by its id, with an @ before it",
            )
        if not wanted:
            what = f"{name} {version}" if version else f"an earlier release of {name}"
            raise SiteError(f"{what} is not on this site; it has: {_listed(found)}", hint="see `bundler releases`")
        return wanted[0]

    def prune(self, name: str | None, *, keep: int) -> list[InstalledRelease]:
        """Delete earlier releases; of each name `keep` stay, those that were current last, the current one counted.

        What another release uses stays; what the registry has beside that is collected. What is interrupted is ended
        by the next command that changes the site. Gives what was deleted.
        """
        going: list[InstalledRelease] = []
        with self._lock():
            self._recover()
            for _, ordered in itertools.groupby(self.in_order(name), key=lambda release: release.name):
                going += [release for release in [*ordered][keep:] if not release.current]
            if going:
                self._remove(Removal.of(going, purge=True))
            else:
                self._collect_garbage()
        return going

    @contextmanager
    def _lock(self) -> Iterator[None]:
        make_folder(self.root)
        require_own(self.root, self.web.directory)
        path = self.root / ".lock"
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(file, 0o600)  # who can open it can hold it
        except OSError as error:
            raise SiteError(f"{path}: {error.strerror}", hint="run as the user who owns the site's root") from None
        try:
            _acquire(file, self.root)
            yield
        finally:
            os.close(file)

    def _require_space(self, objects: Iterable[Object]) -> None:
        """See that what of `objects` is not here yet finds room."""
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

    def _publication(self) -> Publication:
        """The stores that the site has; their services must run."""
        registry = self.registry if self.services.has("registry") else None
        return Publication(self.root, self.web, registry, self.index if self.services.has("index") else None)

    def _recover(self) -> None:
        """See `recover`; this bundler holds the lock."""
        if is_interrupted(self.root):
            self.services.start()
            self._publication().recover()
        if (removal := noted(self.root)) is not None:
            logger.warning("taking releases away was interrupted: it is finished now")
            self._remove(removal)

    def _remove(self, removal: Removal) -> None:
        """Take away what `removal` names: noted until it is done, and each step may be done again."""
        note(self.root, removal)
        ids = {release.id for release in removal.releases}
        going = [release for release in self.releases() if release.id in ids]
        for release in going:
            self.web.unpublish(release)
        if removal.site:
            self._remove_all()
            return
        self._take_away(going, purge=removal.purge)
        if removal.purge:
            self._collect_garbage()
            for gone in removal.releases:
                self.web.remove(gone)
        if not any(release.published for release in self.releases()):
            self.services.remove()
        forget(self.root)

    def _collect_garbage(self) -> None:
        """Have the site's own registry delete what no manifest names any more."""
        if self.config.registry is None and self.services.has("registry"):
            self.services.start()
            self.services.collect_garbage()

    def _take_away(self, going: Sequence[InstalledRelease], *, purge: bool) -> None:
        """Take `going`, which nodes do not find any more, out of the other stores, but for what others use."""
        self.services.start()
        staying = [release for release in self.releases() if release.published and release not in going]
        self._publication().take_away(going, staying, purge=purge)

    def _remove_all(self) -> None:
        """Leave nothing of the site; an external store keeps what it has."""
        self.services.remove()
        for folder in (self.root / "registry", self.root / "devpi", self.root / "tls", self.root / "login"):
            shutil.rmtree(folder, ignore_errors=True)
        self.web.remove_all()
        for name in (SITE_FILE, NOTE, REMOVAL, ".lock"):
            (self.root / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: someone keeps other things there
            self.root.rmdir()


def _stores(objects: Iterable[Object]) -> set[Store]:
    """The stores that `objects` go to; the web root always, for it has the node files."""
    return {"web", *(_STORES[top] for top in {obj.path.split("/", 1)[0] for obj in objects} if top in _STORES)}


def _acquire(file: int, root: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"another bundler is at work on {root}", hint="wait until it has ended") from None


def _listed(releases: Iterable[InstalledRelease]) -> str:
    return ", ".join(f"{release.version} @{release.short_id}" for release in releases) or "none"


def _room(folders: Iterable[Path]) -> dict[Path, int]:
    """Bytes that are free, once per file system, where `folders` are or will be."""
    room: dict[int, tuple[Path, int]] = {}
    for folder in sorted(folders):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = os.statvfs(there)
        room.setdefault(there.stat().st_dev, (folder, free.f_bavail * free.f_frsize))
    return dict(room.values())


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"

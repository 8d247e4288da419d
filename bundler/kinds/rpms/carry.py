"""What of one repository goes into the bundle: its packages and its repodata, as items and their objects."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

from packageurl import PackageURL

from bundler.errors import FetchError, ResolveError
from bundler.kinds.rpms.keys import Keyring
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.modules import ModuleSpec, choose_streams, read_modules
from bundler.kinds.rpms.newest import newest
from bundler.kinds.rpms.origin import Origin
from bundler.kinds.rpms.repodata import Checksum, Package, Repomd, fetch_first, is_absent, read_packages
from bundler.kinds.rpms.spec import Spec
from bundler.kinds.rpms.subset import Placed, write_subset
from bundler.model.items import Download, Item, Json, Object
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_SIGNATURE_LIMIT = 1024 * 1024


def carry(
    origin: Origin, chosen: Sequence[Chosen], spec: Spec, keyring: Keyring, upstream: Upstream
) -> tuple[Item, ...]:
    """The items of `origin`: its packages, of which `chosen` are those of the closure, and its repodata.

    None for a repository that the closure takes nothing from.
    """
    wanted = {each.checksum for each in chosen if each.repo == origin.repo.id}
    if origin.repo.mode == "mirror":
        placed, repodata = _mirror(origin, wanted, upstream)
    elif wanted:
        placed, repodata = _subset(origin, _pick(origin, wanted), upstream)
    else:
        log.info("rpms: nothing of %s is needed", origin.what)
        return ()
    packages = tuple(_package_item(origin, each, upstream) for each in placed)
    keys = [keyring.add(origin.target.fill_in(location)) for location in origin.repo.gpgkey]
    return (_repository_item(origin, placed, repodata, keys, spec), *packages)


# What is taken


def _pick(origin: Origin, wanted: set[str]) -> tuple[Package, ...]:
    """The packages of the closure, each once even where its repository lists two places for it."""
    packages = read_packages(origin.metadata.primary, origin.repomd.root, origin.what, wanted)
    return tuple({package.pkgid: package for package in packages}.values())


def _subset(
    origin: Origin, packages: Sequence[Package], upstream: Upstream
) -> tuple[tuple[Placed, ...], tuple[Object, ...]]:
    """`packages` under Packages/, with repodata of their own."""
    placed = tuple(_place(packages))
    repomd = origin.repomd
    metadata = dataclasses.replace(
        origin.metadata, updateinfo=fetch_first(upstream, repomd, ["updateinfo"], origin.scratch, origin.what)
    )
    files = write_subset(
        metadata,
        fetch_first(upstream, repomd, ["other"], origin.scratch, origin.what),
        {each.package.pkgid: each for each in placed},
        revision=repomd.revision,
        timestamp=repomd.timestamp,
        to=origin.scratch / "subset",
    )
    return placed, tuple(upstream.keep(f"{origin.folder}/repodata/{file.name}", file) for file in files)


def _place(packages: Iterable[Package]) -> Iterator[Placed]:
    """Packages/<file name>, in a folder by checksum where two files have one name."""
    packages = tuple(packages)
    names = Counter(package.path.rpartition("/")[2] for package in packages)
    for package in packages:
        name = package.path.rpartition("/")[2]
        apart = f"{package.checksum.value[:16]}/" if names[name] > 1 else ""
        yield Placed(package, f"Packages/{apart}{name}")


def _mirror(origin: Origin, wanted: set[str], upstream: Upstream) -> tuple[tuple[Placed, ...], tuple[Object, ...]]:
    """All packages at their own places with upstream's repodata as it stands, or the newest with repodata of their own."""
    packages = read_packages(origin.metadata.primary, origin.repomd.root, origin.what)
    if origin.repo.newest_only:
        kept = {package.pkgid for package in newest(origin.metadata, packages)} | wanted
        packages = tuple({package.pkgid: package for package in packages if package.pkgid in kept}.values())
        return _subset(origin, _present(packages, origin, upstream), upstream)
    _refuse_elsewhere(origin, packages)
    placed = tuple(Placed(package, package.path) for package in _present(packages, origin, upstream))
    return placed, tuple(_mirrored_repodata(origin, upstream))


def _refuse_elsewhere(origin: Origin, packages: Sequence[Package]) -> None:
    """Upstream's repodata as it stands would send nodes to upstream for what xml:base puts outside the repository."""
    things = [record.path for record in origin.repomd.records.values() if record.elsewhere]
    things += [package.path for package in packages if package.elsewhere]
    if things:
        raise ResolveError(
            f"{origin.what} cannot be mirrored as it stands: its metadata puts {things[0]} on another server (xml:base)",
            hint="take it with `mode: packages`, or with `newest_only: true`: both write their own metadata",
        )


def _mirrored_repodata(origin: Origin, upstream: Upstream) -> Iterator[Object]:
    """repomd.xml, which changes in its place, is kept as it was read; what it lists is fetched by its digest."""
    repomd = origin.repomd
    yield upstream.keep(f"{origin.folder}/repodata/repomd.xml", repomd.data)
    for suffix in (".asc", ".key"):
        try:
            signature = upstream.read(f"{repomd.root}repodata/repomd.xml{suffix}", limit=_SIGNATURE_LIMIT)
        except FetchError as error:
            if not is_absent(error):
                raise
        else:
            yield upstream.keep(f"{origin.folder}/repodata/repomd.xml{suffix}", signature)
    for record in _present(tuple(repomd.records.values()), origin, upstream):
        yield _object(f"{origin.folder}/{record.path}", record, origin, upstream)


class _Remote(Protocol):
    """A file that a repository lists: a package or a metadata record."""

    @property
    def path(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def checksum(self) -> Checksum: ...
    @property
    def size(self) -> int | None: ...


Remote = TypeVar("Remote", bound=_Remote)


def _present(files: Sequence[Remote], origin: Origin, upstream: Upstream) -> tuple[Remote, ...]:
    """Those of `files` that upstream has: repositories list files that they lost, and a mirror holds what there is."""

    def is_there(file: Remote) -> bool:
        try:
            upstream.measure(file.url, sha256=file.checksum.sha256 or "")
        except FetchError as error:
            if not is_absent(error):
                raise
            log.warning("%s lists %s and has it not: the mirror goes without", origin.what, file.path)
            return False
        return True

    with ThreadPoolExecutor(upstream.config.jobs) as pool:
        return tuple(file for file, there in zip(files, pool.map(is_there, files), strict=True) if there)


# Items and objects


def _object(path: str, file: _Remote, origin: Origin, upstream: Upstream) -> Object:
    """The object at `path` with the bytes of `file`; what the repository does not say of them is measured once."""
    size, sha256 = file.size, file.checksum.sha256
    if sha256 is None:
        size, sha256 = _measure(file, origin, upstream)
    elif not size:
        size, sha256 = upstream.measure(file.url, sha256=sha256)
    return Object(path, size, sha256, Download(file.url))

"""What of one repository goes into the bundle: its packages and its repodata, as items and their objects."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packageurl import PackageURL

from bundler.errors import FetchError, ResolveError
from bundler.kinds.rpms.attributes import PackageAttributes, RepositoryAttributes, is_package_name
from bundler.kinds.rpms.keys import Keyring
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.modulemd import read_modules
from bundler.kinds.rpms.modules import ModuleSpec, choose_streams, modular_packages
from bundler.kinds.rpms.newest import newest
from bundler.kinds.rpms.origin import Origin
from bundler.kinds.rpms.primary import Package, read_packages
from bundler.kinds.rpms.records import fetch_first, read_if_there
from bundler.kinds.rpms.repodata import Checksum
from bundler.kinds.rpms.subset import Placed, write_subset
from bundler.model.contents import one_line
from bundler.model.items import Download, Item, Object

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_ASKED_AT_ONCE = 4  # a transfer's worth of questions

# Releases of packages built in modules: `56.module+el8.8.0+1456+d0a01c5e.7`, `1.module_f37+…`.
_MODULAR = re.compile(r"\.module[+_]")


@dataclass(frozen=True, slots=True)
class Request:
    """What the profile asks for on one target, and the closure of it.

    `packages` and `modules` are the profile's words, `streams` the module streams in both; `among` all repositories
    that `chosen` was chosen from.
    """

    packages: tuple[str, ...]
    modules: tuple[str, ...]
    streams: tuple[str, ...]
    weak_deps: bool
    chosen: tuple[Chosen, ...]
    among: tuple[RepoMetadata, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """A package that goes into the bundle: where it lies in its repository there, and its file."""

    placed: Placed
    file: Object


def carry(origin: Origin, request: Request, keyring: Keyring, upstream: Upstream) -> tuple[Item, ...]:
    """The items of `origin`: its repodata and its packages; none of a repository that the closure takes nothing from.

    Raises ResolveError, FetchError, IntegrityError.
    """
    wanted = {each.checksum for each in request.chosen if each.repo == origin.repo.id}
    if origin.repo.mode == "mirror":
        held, repodata = _mirror(origin, wanted, request, upstream)
    elif wanted:
        packages = read_packages(origin.metadata.primary, origin.repomd.root, origin.what, wanted)
        held = _hold(_place(packages), wanted, origin, upstream)
        repodata = _subset_repodata(origin, held, request, upstream)
    else:
        log.info("rpms: nothing of %s is needed", origin.what)
        return ()
    keys = [keyring.add(origin.target.fill_in(location)) for location in origin.repo.gpgkey]
    return (_repository_item(origin, held, repodata, keys, request), *(_package_item(origin, each) for each in held))


# What is taken


def _place(packages: Iterable[Package]) -> tuple[Placed, ...]:
    """Packages/<file name>, in a folder by checksum where two files have one name; a file of two places goes to one."""
    packages = {package.pkgid: package for package in packages}.values()
    names = Counter(_file_name(package) for package in packages)

    def path(package: Package) -> str:
        apart = f"{package.checksum.value[:16]}/" if names[_file_name(package)] > 1 else ""
        return f"Packages/{apart}{_file_name(package)}"

    return tuple(Placed(package, path(package)) for package in packages)


def _file_name(package: Package) -> str:
    return package.path.rpartition("/")[2]


def _mirror(
    origin: Origin, wanted: set[str], request: Request, upstream: Upstream
) -> tuple[tuple[_Held, ...], tuple[Object, ...]]:
    """All packages at their own places with upstream's repodata as it stands; or the newest with their own."""
    packages = read_packages(origin.metadata.primary, origin.repomd.root, origin.what)
    if origin.repo.newest_only:
        kept = {package.checksum.value for package in newest(origin.metadata, packages)} | wanted
        held = _hold(_place(each for each in packages if each.checksum.value in kept), wanted, origin, upstream)
        return held, _subset_repodata(origin, held, request, upstream)
    _refuse_elsewhere(origin, packages)
    held = _hold([Placed(package, package.path) for package in packages], wanted, origin, upstream)
    return held, tuple(_mirrored_repodata(origin, upstream))


def _refuse_elsewhere(origin: Origin, packages: Sequence[Package]) -> None:
    """Upstream's repodata as it stands would send nodes to upstream for what xml:base puts outside the repository."""
    things = [record.path for record in origin.repomd.records.values() if record.elsewhere]
    things += [package.path for package in packages if package.elsewhere]
    if things:
        raise ResolveError(
            f"{origin.what} cannot be mirrored as it stands: it has {things[0]} on another server (xml:base)",
            hint="take it with `mode: packages`, or with `newest_only: true`: both write their own metadata",
        )


# Repodata


def _subset_repodata(origin: Origin, held: Sequence[_Held], request: Request, upstream: Upstream) -> tuple[Object, ...]:
    """Repodata of the packages `held` alone."""
    repomd = origin.repomd

    def fetch(type_: str) -> Path | None:
        return fetch_first(upstream, repomd, [type_], origin.scratch, origin.what)

    nevras = {each.placed.package.nevra for each in held} | {each.nevra for each in request.chosen}
    files = write_subset(
        dataclasses.replace(origin.metadata, updateinfo=fetch("updateinfo")),
        {each.placed.package.pkgid: each.placed for each in held},
        other=fetch("other"),
        modules=modular_packages(origin.metadata, nevras, modules=request.streams, among=request.among),
        revision=repomd.revision,
        timestamp=repomd.timestamp,
        to=origin.scratch / "subset",
    )
    return tuple(upstream.keep(f"{origin.folder}/repodata/{file.name}", file) for file in files)


def _mirrored_repodata(origin: Origin, upstream: Upstream) -> Iterator[Object]:
    """repomd.xml, which changes in its place, is kept as it was read; what it lists is fetched by its digest."""
    repomd = origin.repomd
    yield upstream.keep(f"{origin.folder}/repodata/repomd.xml", repomd.data)
    for name in ("repomd.xml.asc", "repomd.xml.key"):
        if (signature := read_if_there(f"{repomd.root}repodata/{name}", upstream)) is not None:
            yield upstream.keep(f"{origin.folder}/repodata/{name}", signature)
    for record in repomd.records.values():
        if found := _object(f"{origin.folder}/{record.path}", record, origin, upstream):
            yield found


# Objects


class _Listed(Protocol):
    """A file that a repository lists: a package or a metadata record."""

    @property
    def path(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def elsewhere(self) -> bool: ...
    @property
    def checksum(self) -> Checksum: ...
    @property
    def size(self) -> int | None: ...


def _hold(placed: Sequence[Placed], wanted: set[str], origin: Origin, upstream: Upstream) -> tuple[_Held, ...]:
    """`placed` with their objects, without those that a mirror lists and lost.

    Raises ResolveError when that leaves out one of `wanted`, the checksums of the closure.
    """
    # They are asked for, not sent: more at once than transfers.
    with ThreadPoolExecutor(_ASKED_AT_ONCE * upstream.config.jobs) as pool:
        files = pool.map(lambda each: _object(f"{origin.folder}/{each.path}", each.package, origin, upstream), placed)
        held = tuple(_Held(each, file) for each, file in zip(placed, files, strict=True) if file)
    lost = wanted - {each.placed.package.checksum.value for each in held}
    if lost:
        names = [each.package.path for each in placed if each.package.checksum.value in lost]
        raise ResolveError(
            f"{origin.what} has lost {', '.join(names) or 'packages'}, which the profile's packages need",
            hint="name another mirror of it, or run it again when it is whole",
        )
    return held


def _object(path: str, listed: _Listed, origin: Origin, upstream: Upstream) -> Object | None:
    """The object at `path` with the bytes of `listed`. What the repository does not say of them is measured once.

    Repositories list files that they lost, and a mirror holds what there is: None, with a warning, for such a file. In
    packages mode nothing may lack, and the fetch will say so.
    """
    if listed.elsewhere:
        upstream.led(origin.repomd.root, listed.url)
    size, sha256 = listed.size, listed.checksum.sha256
    mirror = origin.repo.mode == "mirror"
    try:
        if sha256 is None:
            size, sha256 = _measure(listed, origin, upstream)
        elif not size:
            size, _ = upstream.measure(listed.url, sha256=sha256)
        elif mirror:
            upstream.measure(listed.url, sha256=sha256)
    except FetchError as error:
        if not (mirror and error.absent):
            raise
        log.warning("%s lists %s and has it not: the mirror goes without", origin.what, listed.path)
        return None
    return Object(path, size, sha256, Download(listed.url))


def _measure(listed: _Listed, origin: Origin, upstream: Upstream) -> tuple[int, str]:
    """Size and sha256 of a file that its repository promises by another checksum, which is checked on the way."""
    file = origin.scratch / f"measured-{listed.checksum.value}"
    try:
        upstream.download(listed.url, file, size=listed.size or None)
        listed.checksum.check(file, f"{origin.what}: {listed.path}")
        with file.open("rb") as stream:
            return file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()
    finally:
        file.unlink(missing_ok=True)


# Items


def _package_item(origin: Origin, held: _Held) -> Item:
    package, target = held.placed.package, origin.target
    nevra = package.nevra
    qualifiers = {"arch": nevra.arch, "distro": f"{target.distro}-{target.release}"}
    if nevra.epoch:
        qualifiers["epoch"] = str(nevra.epoch)
    version = f"{nevra.version}-{nevra.release}"
    return Item(
        kind="rpms",
        name=nevra.name,
        version=nevra.evr,
        objects=(held.file,),
        attributes=PackageAttributes(
            repo=origin.repo.id,
            target=str(target),
            nevra=str(nevra),
            arch=nevra.arch,
            href=held.placed.path,
            sourcerpm=package.sourcerpm,
        ).as_json(),
        purl=PackageURL("rpm", target.distro, nevra.name, version, qualifiers).to_string(),
        licence=one_line(package.licence),
    )


def _repository_item(
    origin: Origin, held: Sequence[_Held], repodata: Sequence[Object], keys: Sequence[Object], request: Request
) -> Item:
    """The item whose attributes tell `emit` all that a node's .repo file says."""
    packages = [each.placed.package for each in held]
    return Item(
        kind="rpms",
        name=origin.repo.id,
        version=one_line(origin.repomd.revision) or hashlib.sha256(origin.repomd.data).hexdigest()[:16],
        objects=tuple(repodata),
        attributes=RepositoryAttributes(
            repo=origin.repo.id,
            target=origin.target,
            path=origin.folder,
            packages=len(packages),
            sample=_sample(packages, request.packages),
            gpgcheck=origin.repo.checked,
            keys=tuple(key.path for key in keys),
            priority=origin.repo.priority,
            module_hotfixes=origin.repo.module_hotfixes or _modular_without_metadata(origin, packages),
            modules=_streams(origin, request),
        ).as_json(),
    )


def _sample(packages: Sequence[Package], asked: Sequence[str]) -> str | None:
    """A package to try the repository with: one that was asked for by name, else the smallest."""
    by_size = sorted(packages, key=lambda package: (package.size, package.path))
    names = [package.nevra.name for package in by_size if is_package_name(package.nevra.name)]
    return next((name for name in asked if name in names), names[0] if names else None)


def _modular_without_metadata(origin: Origin, packages: Sequence[Package]) -> bool:
    """dnf refuses to install a modular package of a repository with no modules.yaml that is no hotfix repository."""
    return origin.metadata.modules is None and any(_MODULAR.search(package.nevra.release) for package in packages)


def _streams(origin: Origin, request: Request) -> tuple[str, ...]:
    """The streams that a node has to enable by itself: metadata as upstream has it keeps upstream's defaults."""
    if origin.repo.mode == "packages" or origin.repo.newest_only:
        return ()
    index = read_modules([origin.metadata])
    asked = [spec for spec in map(ModuleSpec.parse, request.streams) if index.streams_of(spec.name)]
    return tuple(f"{name}:{stream}" for name, stream in sorted(choose_streams(index, asked).items()))

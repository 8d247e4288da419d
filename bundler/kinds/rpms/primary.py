"""The packages that a repository's primary.xml lists, read as a stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

import createrepo_c

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA
from bundler.kinds.rpms.repodata import ASK_UPSTREAM, Checksum, file_path, href_url
from bundler.limits import Limit, LimitExceeded

log = logging.getLogger(__name__)

_PACKAGES = Limit("the packages of one repository", 500_000, "packages")  # Fedora has 80,000


@dataclass(frozen=True, slots=True)
class Package:
    """One package as primary.xml has it. `path` is where its file lies under the repository's root, `size` in bytes.

    `pkgid` is its checksum as metadata files refer to it; `elsewhere`: xml:base puts the file outside that root.
    """

    nevra: NEVRA
    path: str
    url: str
    elsewhere: bool
    pkgid: str
    checksum: Checksum
    size: int
    licence: str
    sourcerpm: str


def read_packages(primary: Path, root: str, what: str, wanted: Container[str] | None = None) -> tuple[Package, ...]:
    """The packages of a primary.xml in its order, each file once; where given, of the `wanted` checksums alone.

    Checksums are in lower case. Raises ResolveError when it cannot be parsed, or an entry is not one that can be
    carried.
    """
    found: dict[str, Package] = {}
    wrong: list[str] = []
    count = 0

    def take(entry: createrepo_c.Package) -> None:
        # An exception in here loses its type on its way through the parser's C code.
        nonlocal count
        count += 1
        _PACKAGES.check(count)
        if wanted is not None and (entry.pkgId or "").lower() not in wanted:
            return
        try:
            package = _package(entry, root)
        except ValueError as error:
            wrong.append(f"{entry.name}: {error}")
            return
        if found.setdefault(package.path, package).checksum != package.checksum:
            wrong.append(f"{entry.name}: {package.path} is listed twice, with different checksums")

    try:
        parse(createrepo_c.xml_parse_primary, primary, f"{what}: primary.xml", pkgcb=take, do_files=False)
    except ResolveError:
        if count > _PACKAGES.size:
            raise LimitExceeded(_PACKAGES).of(ResolveError, f"{what}: primary.xml") from None
        raise
    if wrong:
        raise ResolveError(f"{what}: primary.xml, package {wrong[0]}", hint=ASK_UPSTREAM)
    return tuple(found.values())


def parse(parser: Callable[..., None], file: Path, what: str, **callbacks: object) -> None:
    """Run one of createrepo_c's streaming parsers. Raises ResolveError when `file` is not what it takes."""

    def warn(_kind: int, message: str) -> bool:
        log.debug("%s: %s", what, message)
        return True

    try:
        parser(str(file), warningcb=warn, **callbacks)
    except (createrepo_c.CreaterepoCError, OSError, UnicodeDecodeError) as error:
        raise ResolveError(f"{what} cannot be parsed: {error}", hint=ASK_UPSTREAM) from None


def _package(entry: createrepo_c.Package, root: str) -> Package:
    href = entry.location_href or ""
    path = file_path(href)
    if not path.endswith(".rpm"):
        raise ValueError(f"its file {path!r} is not called .rpm")
    return Package(
        nevra=_nevra(entry),
        path=path,
        url=href_url(root, entry.location_base, href),
        elsewhere=entry.location_base is not None,
        pkgid=entry.pkgId,
        checksum=Checksum.read(entry.checksum_type, entry.pkgId),
        size=entry.size_package,
        licence=entry.rpm_license or "",
        sourcerpm=entry.rpm_sourcerpm or "",
    )


def _nevra(entry: createrepo_c.Package) -> NEVRA:
    parts = (entry.name, entry.version, entry.release, entry.arch)
    epoch = entry.epoch or "0"
    if not epoch.isdecimal() or not all(part and part.isprintable() and " " not in part for part in parts):
        raise ValueError(f"its name, version or architecture is not one: {parts!r}")
    return NEVRA(entry.name, int(epoch), entry.version, entry.release, entry.arch)

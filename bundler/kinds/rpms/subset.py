"""The repodata of some of a repository's packages, written so that the same packages give the same bytes.

Every file is filtered from upstream's as a stream: what upstream says of a package stays as it is, and no repository is
too large. Nothing depends on a clock: the revision and the timestamps are upstream's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import createrepo_c

from bundler.kinds.rpms.extras import comps_for, updateinfo_for
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata, opened
from bundler.kinds.rpms.primary import Package, parse

# gzip is what every yum and dnf reads, that of EL 7 included.
_COMPRESSION = createrepo_c.GZ_COMPRESSION


@dataclass(frozen=True, slots=True)
class Placed:
    """A package, and where it lies in the subset's repository."""

    package: Package
    path: str


def write_subset(
    metadata: RepoMetadata,
    placed: Mapping[str, Placed],
    *,
    other: Path | None,
    modules: bytes | None,
    revision: str,
    timestamp: int,
    to: Path,
) -> tuple[Path, ...]:
    """Write `to`/repodata for the packages `placed`, by their pkgid, of the repository `metadata`; returns the files.

    `other` is its other.xml (changelogs), `modules` the modules.yaml for the subset; `timestamp`, in seconds since
    1970, is given to every record. Raises ResolveError when a metadata file cannot be parsed.
    """
    folder = to / "repodata"
    folder.mkdir(parents=True)
    files = {
        "primary": _write_primary(metadata, placed, folder),
        "filelists": _write_listing(_FILELISTS, metadata, metadata.filelists, placed, folder),
        "other": _write_listing(_OTHER, metadata, other, placed, folder),
        "group": _write_comps(metadata, placed, folder),
        "modules": _compressed(_write(folder / "modules.yaml", modules)),
        "updateinfo": _write_updateinfo(metadata, placed, folder),
    }
    repomd = createrepo_c.Repomd()
    repomd.set_revision(revision or str(timestamp))
    written = []
    for name, file in files.items():
        if file is not None:
            record = createrepo_c.RepomdRecord(name, str(file))
            record.fill(createrepo_c.SHA256)
            record.rename_file()
            record.set_timestamp(timestamp)
            repomd.set_record(record)
            written.append(Path(record.location_real))
    (folder / "repomd.xml").write_text(repomd.xml_dump(), encoding="utf-8")
    return (*written, folder / "repomd.xml")


def _write_primary(metadata: RepoMetadata, placed: Mapping[str, Placed], folder: Path) -> Path:
    file = folder / "primary.xml.gz"
    writer = createrepo_c.PrimaryXmlFile(str(file), _COMPRESSION)
    writer.set_num_of_pkgs(len(placed))
    missing = dict(placed)

    def take(entry: createrepo_c.Package) -> None:
        if found := missing.pop(entry.pkgId, None):
            entry.location_base = None
            entry.location_href = found.path
            writer.add_pkg(entry)

    parse(createrepo_c.xml_parse_primary, metadata.primary, f"{metadata.id}: primary.xml", pkgcb=take, do_files=True)
    writer.close()
    return file


@dataclass(frozen=True, slots=True)
class _Listing:
    """filelists.xml and other.xml are alike: an entry per package, found by its pkgid."""

    name: str
    parser: Callable[..., None]
    writer: Callable[[str, int], createrepo_c.XmlFile]


_FILELISTS = _Listing("filelists", createrepo_c.xml_parse_filelists, createrepo_c.FilelistsXmlFile)
_OTHER = _Listing("other", createrepo_c.xml_parse_other, createrepo_c.OtherXmlFile)


def _write_listing(
    listing: _Listing, metadata: RepoMetadata, source: Path | None, placed: Mapping[str, Placed], folder: Path
) -> Path:
    """The entries of `source` for the packages `placed`; a package that it forgot gets an empty one."""
    file = folder / f"{listing.name}.xml.gz"
    writer = listing.writer(str(file), _COMPRESSION)
    writer.set_num_of_pkgs(len(placed))
    missing = dict(placed)

    def choose(pkgid: str, _name: str, _arch: str) -> createrepo_c.Package | None:
        return createrepo_c.Package() if missing.pop(pkgid, None) else None

    if source is not None:
        what = f"{metadata.id}: {listing.name}.xml"
        parse(listing.parser, source, what, newpkgcb=choose, pkgcb=writer.add_pkg)
    for each in missing.values():
        writer.add_pkg(_empty_entry(each.package))
    writer.close()
    return file


def _empty_entry(package: Package) -> createrepo_c.Package:
    entry = createrepo_c.Package()
    entry.pkgId = package.pkgid
    entry.name, entry.arch = package.nevra.name, package.nevra.arch
    entry.epoch, entry.version, entry.release = str(package.nevra.epoch), package.nevra.version, package.nevra.release
    return entry


def _write_comps(metadata: RepoMetadata, placed: Mapping[str, Placed], folder: Path) -> Path | None:
    if metadata.comps is None:
        return None
    with opened(metadata, metadata.comps, "group") as comps:
        content = comps_for(comps, {nevra.name for nevra in _nevras(placed)}, metadata.id)
    return _write(folder / "comps.xml", content)


def _write_updateinfo(metadata: RepoMetadata, placed: Mapping[str, Placed], folder: Path) -> Path | None:
    if metadata.updateinfo is None:
        return None
    plain = folder / "updateinfo.xml"
    with opened(metadata, metadata.updateinfo, "updateinfo") as updateinfo, plain.open("wb") as stream:
        stream.writelines(updateinfo_for(updateinfo, _nevras(placed), metadata.id))
    if plain.stat().st_size == 0:
        plain.unlink()
        return None
    return _compressed(plain)


def _nevras(placed: Mapping[str, Placed]) -> frozenset[NEVRA]:
    return frozenset(each.package.nevra for each in placed.values())


def _write(file: Path, content: bytes | None) -> Path | None:
    if content is None:
        return None
    file.write_bytes(content)
    return file


def _compressed(plain: Path | None) -> Path | None:
    """`plain` as .gz in its place; createrepo_c writes no name or time into its header."""
    if plain is None:
        return None
    file = plain.with_name(plain.name + ".gz")
    createrepo_c.compress_file(str(plain), str(file), _COMPRESSION)
    plain.unlink()
    return file

"""The core metadata of a wheel: what an index, an SBOM and the bundle's list of items say about it."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from bundler.errors import ResolveError
from bundler.kinds.wheels.attributes import UploadForm
from bundler.kinds.wheels.dependency import dependency
from bundler.model.contents import one_line

METADATA_LIMIT = 8 << 20  # bytes of a METADATA file
# What zipfile raises for an archive that is none, or is damaged.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(OSError, EOFError, ValueError, LookupError, RuntimeError),
)
_METADATA_VERSION = "2.1"  # of one that does not say
_OSI = "License :: OSI Approved :: "
_LICENCE_LENGTH = 200  # some projects put the whole text of their licence into the field for its name


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """The fields that are kept of https://packaging.python.org/specifications/core-metadata/, each a single line."""

    name: str
    version: str
    metadata_version: str
    requires_python: str | None = None
    summary: str | None = None
    licence: str | None = None
    requires_dist: tuple[str, ...] = ()

    @classmethod
    def of_report(cls, fields: dict[str, Any]) -> CoreMetadata:
        """From the `metadata` of pip's installation report, which is core metadata as JSON (PEP 566).

        Raises ResolveError when a requirement in it is malformed, or names a place to fetch from.
        """
        return cls._of(fields.get, lambda key: fields.get(key) or [])

    @classmethod
    def of_wheel(cls, wheel: Path) -> CoreMetadata:
        """From the METADATA inside a wheel file. Raises ResolveError as `of_report`, and for what is not a wheel."""
        headers = HeaderParser().parsestr(read_metadata(wheel).decode("utf-8", "replace"))
        found = cls._of(
            lambda key: headers[key.replace("_", "-")],
            lambda key: headers.get_all(key.replace("_", "-"), []),
        )
        name, version, _, _ = parse_wheel_filename(wheel.name)
        try:
            same = (found.project, Version(found.version)) == (name, version)
        except InvalidVersion:
            same = False
        if not same:
            raise _unfit(wheel.name, f"its metadata is that of {found.name[:80]!r} {found.version[:80]!r}")
        return found

    @classmethod
    def _of(cls, one: Callable[[str], Any], several: Callable[[str], Iterable[str]]) -> CoreMetadata:
        name, version = one_line(one("name")) or "", one_line(one("version")) or ""
        return cls(
            name=name,
            version=version,
            metadata_version=one_line(one("metadata_version")) or _METADATA_VERSION,
            requires_python=_specifiers(one_line(one("requires_python"))),
            summary=one_line(one("summary")),
            licence=one_line(_licence(one("license_expression"), one("license"), several("classifier"))),
            requires_dist=tuple(_dependency(text, f"{name} {version}") for text in several("requires_dist")),
        )

    @property
    def project(self) -> str:
        """The name as indexes compare it (PEP 503)."""
        return canonicalize_name(self.name)

    def form(self) -> UploadForm:
        """What an index is told."""
        return UploadForm(
            metadata_version=self.metadata_version,
            name=self.name,
            version=self.version,
            requires_python=self.requires_python,
            summary=self.summary,
            license=self.licence,
        )


def read_metadata(wheel: Path) -> bytes:
    """The METADATA in a wheel's one .dist-info folder. Raises ResolveError when that is not what the file has."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            folders = {name.split("/", 1)[0] for name in archive.namelist() if ".dist-info/" in name}
            (folder,) = (folder for folder in folders if folder.endswith(".dist-info"))
            with archive.open(f"{folder}/METADATA") as file:
                found = file.read(METADATA_LIMIT + 1)
    except DAMAGED as error:
        raise _unfit(wheel.name, str(error)) from None
    if len(found) > METADATA_LIMIT:
        raise _unfit(wheel.name, f"its METADATA is larger than {METADATA_LIMIT} bytes")
    return found


def _dependency(text: str, who: str) -> str:
    line = " ".join(text.split())
    try:
        dependency(line)
    except ValueError as error:
        raise ResolveError(
            f"wheels: {who} says in its metadata: {error}",
            hint="ask for another version of it, or build a wheel of it whose metadata has names and versions alone",
        ) from None
    return line


def _specifiers(text: str | None) -> str | None:
    """Requires-Python; None where it is malformed, which pip takes for any."""
    try:
        SpecifierSet(text or "")
    except InvalidSpecifier:
        return None
    return text


def _unfit(file_name: str, why: str) -> ResolveError:
    return ResolveError(
        f"wheels: {file_name} is not a wheel that can be used: {why}", hint="ask for another version of that package"
    )


def _licence(expression: str | None, field: str | None, classifiers: Iterable[str]) -> str | None:
    """The SPDX expression (PEP 639), else upstream's own words, else what the trove classifiers say."""
    if expression:
        return expression
    if field and field != "UNKNOWN" and "\n" not in field and len(field) <= _LICENCE_LENGTH:
        return field
    named = [classifier.removeprefix(_OSI) for classifier in classifiers if classifier.startswith(_OSI)]
    return " OR ".join(named) or None

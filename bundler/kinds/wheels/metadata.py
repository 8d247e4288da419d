"""The core metadata of a wheel: what an index, an SBOM and the bundle's list of items say about it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from bundler.model.items import Json

_OSI = "License :: OSI Approved :: "
_LICENCE_LENGTH = 200  # some projects put the whole text of their licence into the field for its name


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """The fields that are kept of https://packaging.python.org/specifications/core-metadata/."""

    name: str
    version: str
    metadata_version: str
    requires_python: str | None = None
    summary: str | None = None
    licence: str | None = None
    requires_dist: tuple[str, ...] = ()
    provides_extra: tuple[str, ...] = ()

    @classmethod
    def of_report(cls, fields: Mapping[str, Any]) -> CoreMetadata:
        """From the `metadata` of pip's installation report, which is core metadata as JSON (PEP 566)."""
        classifiers = fields.get("classifier") or []
        return cls(
            name=fields["name"],
            version=fields["version"],
            metadata_version=fields.get("metadata_version") or "2.1",
            requires_python=fields.get("requires_python"),
            summary=fields.get("summary"),
            licence=_licence(fields.get("license_expression"), fields.get("license"), classifiers),
            requires_dist=tuple(fields.get("requires_dist") or ()),
            provides_extra=tuple(fields.get("provides_extra") or ()),
        )

    @classmethod
    def of_wheel(cls, wheel: Path) -> CoreMetadata:
        """From the METADATA inside a wheel file."""
        with zipfile.ZipFile(wheel) as archive:
            member = next(
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1
            )
            headers = HeaderParser().parsestr(archive.read(member).decode("utf-8", "replace"))
        return cls(
            name=headers["Name"],
            version=headers["Version"],
            metadata_version=headers["Metadata-Version"],
            requires_python=headers["Requires-Python"],
            summary=headers["Summary"],
            licence=_licence(headers["License-Expression"], headers["License"], headers.get_all("Classifier", [])),
            requires_dist=tuple(headers.get_all("Requires-Dist", [])),
            provides_extra=tuple(headers.get_all("Provides-Extra", [])),
        )

    @property
    def project(self) -> str:
        """The name as indexes compare it (PEP 503)."""
        return canonicalize_name(self.name)

    def form(self) -> dict[str, Json]:
        """The fields as the upload API of an index names them (https://docs.pypi.org/api/upload/)."""
        fields: dict[str, Json] = {
            "metadata_version": self.metadata_version,
            "name": self.name,
            "version": self.version,
            "requires_python": self.requires_python,
            "summary": self.summary,
            "license": self.licence,
        }
        return {key: value for key, value in fields.items() if value}


def _licence(expression: str | None, field: str | None, classifiers: list[str]) -> str | None:
    """The SPDX expression (PEP 639), else upstream's own words, else what the trove classifiers say."""
    if expression:
        return expression
    if field and field != "UNKNOWN" and "\n" not in field and len(field) <= _LICENCE_LENGTH:
        return field
    named = [classifier.removeprefix(_OSI) for classifier in classifiers if classifier.startswith(_OSI)]
    return " OR ".join(named) or None

"""Items, the objects they are made of, and where each object's bytes come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bundler.errors import BundleError

_REGISTRY_BLOB = re.compile(
    r"oci-(?P<what>blobs|manifests)://(?P<registry>[^/@\s]+)/(?P<repository>[^@\s]+)@(?P<digest>sha256:[0-9a-f]{64})"
)

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Download:
    """The bytes at a URL (http, https). The URL is the original one: the mirror map is applied at fetch time."""

    url: str


@dataclass(frozen=True, slots=True)
class RegistryBlob:
    """A blob or manifest of a registry's repository, by digest (OCI distribution spec 1.1, "Pulling blobs")."""

    registry: str  # `docker.io`, `127.0.0.1:5000`
    repository: str  # `library/nginx`
    digest: str  # `sha256:…`
    what: Literal["blobs", "manifests"] = "blobs"


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of the build machine. `path` is relative to the profile's folder, or absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class Made:
    """Bytes made while resolving (repodata of a subset, a built wheel): kept in the lock's store by sha256."""


Source: TypeAlias = Download | RegistryBlob | LocalFile | Made


def source_text(source: Source) -> str:
    """A source as locks and manifests write it: URL, `oci-blobs://REGISTRY/REPOSITORY@DIGEST`, `file:PATH`, `made:`."""
    match source:
        case Download(url):
            return url
        case RegistryBlob(registry, repository, digest, what):
            return f"oci-{what}://{registry}/{repository}@{digest}"
        case LocalFile(path):
            return f"file:{path}"
        case Made():
            return "made:"


def parse_source(text: str) -> Source:
    """The inverse of `source_text`. Raises ValueError for anything that it never writes."""
    if text.startswith(("http://", "https://")):
        return Download(text)
    if text.startswith("file:"):
        return LocalFile(text.removeprefix("file:"))
    if text == "made:":
        return Made()
    if blob := _REGISTRY_BLOB.fullmatch(text):
        what: Literal["blobs", "manifests"] = "blobs" if blob["what"] == "blobs" else "manifests"
        return RegistryBlob(blob["registry"], blob["repository"], blob["digest"], what)
    raise ValueError(f"{text!r} names no source: expected a URL, oci-blobs://, oci-manifests://, file: or made:")


@dataclass(frozen=True, slots=True)
class Object:
    """One file inside the bundle.

    `path` is relative to the bundle's folder, in POSIX form; `size` is in bytes; `sha256` is 64 lower-case hex digits;
    `mode` the permission bits it has when unpacked.
    """

    path: str
    size: int
    sha256: str
    source: Source
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Item:
    """One exact thing of a kind: a NEVRA, an image and its digest, a wheel, a file, a repository's metadata.

    `attributes` is the kind's own, JSON all through, and survives the lock and the manifest unchanged: whatever `load`
    and `emit` need on the closed side stands there. `purl` (package-url spec) and `licence` (SPDX expression, or
    upstream's own words) feed the SBOM.
    """

    kind: str
    name: str
    version: str
    objects: tuple[Object, ...]
    attributes: Mapping[str, Json] = field(default_factory=dict)
    purl: str | None = None
    licence: str | None = None


def objects_of(items: Iterable[Item]) -> tuple[Object, ...]:
    """Every object of `items` once, sorted by path.

    Raises BundleError when two items give one path different bytes.
    """
    by_path: dict[str, Object] = {}
    for item in items:
        for obj in item.objects:
            other = by_path.setdefault(obj.path, obj)
            if (other.sha256, other.size, other.mode) != (obj.sha256, obj.size, obj.mode):
                raise BundleError(
                    f"{item.kind} {item.name} {item.version}: {obj.path} would hold two different contents "
                    f"(sha256 {other.sha256[:12]}… and {obj.sha256[:12]}…)",
                    hint="two entries of the profile want the same place: drop one, or build two bundles",
                )
    return tuple(by_path[path] for path in sorted(by_path))

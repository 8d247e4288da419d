"""What registries serve as manifests: OCI image-spec 1.1 and Docker image manifest version 2, schema 2.

Both families have the same shape: a manifest names a config and layers, an index (Docker: manifest list) names
manifests. Only what resolving needs is modelled; the documents themselves travel as the bytes that came.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bundler.kinds.images.platform import Platform
from bundler.model.store_names import Digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
# Configs that say which platform an image is for; any other config type marks an artifact.
IMAGE_CONFIG_TYPES = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)

MANIFEST_LIMIT = 4 << 20  # bytes; what registries must at least accept (OCI distribution-spec, "Pushing manifests")
_LARGEST = 1 << 50  # bytes of a blob: more is no image, but a size that is made up
REF_NAME = "org.opencontainers.image.ref.name"
LICENCES = "org.opencontainers.image.licenses"

Annotations: TypeAlias = dict[str, str] | None


class _Document(BaseModel):
    """Written by a machine, elsewhere: keys not modelled are no error."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class DescriptorPlatform(_Document):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(_Document):
    """What points at content: its type, digest and size in bytes."""

    media_type: str = Field(alias="mediaType")
    digest: Digest
    size: int = Field(ge=0, le=_LARGEST, strict=True)
    platform: DescriptorPlatform | None = None
    urls: list[str] | None = None
    annotations: Annotations = None

    @property
    def for_platform(self) -> Platform | None:
        """The platform of an index entry; None where it says none."""
        if self.platform is None or not self.platform.os or not self.platform.architecture:
            return None
        return Platform.of(self.platform.os, self.platform.architecture, self.platform.variant)

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEX_TYPES

    @property
    def is_foreign(self) -> bool:
        """Whether its bytes are to be had from somewhere else than the registry (`urls`, non-distributable layers)."""
        return bool(self.urls) or ".foreign." in self.media_type or ".nondistributable." in self.media_type


class ImageManifest(_Document):
    config: Descriptor
    layers: list[Descriptor]
    artifact_type: str | None = Field(default=None, alias="artifactType")
    annotations: Annotations = None


class ImageIndex(_Document):
    manifests: list[Descriptor]
    annotations: Annotations = None


class ImageConfig(_Document):
    """The head of an image's config; an artifact that borrows the type leaves both empty (cosign does)."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    config: dict[str, Any] | None = None

    @property
    def for_platform(self) -> Platform | None:
        known = self.os and self.architecture and self.architecture != "unknown"
        return Platform.of(self.os, self.architecture, self.variant) if known else None

    @property
    def licence(self) -> str | None:
        labels = (self.config or {}).get("Labels")
        found = labels.get(LICENCES) if isinstance(labels, dict) else None
        return found if isinstance(found, str) and found else None


_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def digest_of(data: bytes) -> str:
    """The digest that content with these bytes has."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def parse_manifest(data: bytes, media_type: str) -> tuple[ImageManifest | ImageIndex, str]:
    """Read a manifest or an index, and give its media type: what it says itself, else what the registry said.

    Raises ValueError for a type that is not supported, and for a document that could be read as both (CVE-2021-41190).
    """
    document = _OBJECT.validate_json(data)
    media_type = str(document.get("mediaType") or media_type.partition(";")[0].strip())
    is_index = "manifests" in document
    if is_index and ("layers" in document or "config" in document):
        raise ValueError("it is an index and a manifest at once")
    if media_type in INDEX_TYPES and is_index:
        return ImageIndex.model_validate(document), media_type
    if media_type in MANIFEST_TYPES and not is_index:
        return ImageManifest.model_validate(document), media_type
    raise ValueError(f"media type {media_type!r} is not supported (OCI and Docker schema 2 manifests and indexes are)")


def explain(error: ValueError) -> str:
    """One line of a ValueError; of a pydantic one its first place and message."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]

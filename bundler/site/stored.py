"""What an item has in a store that all releases of a site share: an image in the registry, a wheel in the index.

The kind that owns the store says so, in the store's own words. What any other item says of itself names nothing there.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bundler.model.items import Item
from bundler.model.store_names import Digest, ProjectName, Repository, Tag


class _Words(BaseModel):
    """The part of an item's attributes that names something: the kind checks all of them when it loads them."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Stored(_Words):
    kind: ClassVar[str]

    @classmethod
    def of(cls, item: Item) -> Self | None:
        """What `item` has in the store; None for one of another kind, or of another make."""
        if item.kind != cls.kind:
            return None
        try:
            return cls.model_validate(dict(item.attributes))
        except ValidationError:
            return None


class _Document(_Words):
    digest: Digest


class StoredImage(_Stored):
    """An image below `repository`: `digest` is its manifest or index, `manifests` that one and those it names."""

    kind = "images"
    repository: Repository
    tags: list[Tag]
    digest: Digest
    manifests: list[_Document]

    @property
    def documents(self) -> set[str]:
        """The digests of its manifests; what else an item brings are blobs."""
        return {self.digest, *(each.digest for each in self.manifests)}


class _Metadata(_Words):
    name: ProjectName


class StoredWheel(_Stored):
    """A wheel of a project."""

    kind = "wheels"
    metadata: _Metadata

    @property
    def project(self) -> str:
        return self.metadata.name

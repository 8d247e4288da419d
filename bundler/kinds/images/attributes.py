"""What an item of this kind says about itself: `resolve` writes it, `load` and `emit` read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from bundler.errors import BundleError
from bundler.kinds.images.reference import REGISTRY, Reference
from bundler.model.attributes import Attributes
from bundler.model.items import Item, Object
from bundler.model.store_names import Digest, Repository, Tag
from bundler.model.target import StrictModel

BLOBS = "images/blobs/sha256"  # of the bundle's OCI image layout


Role: TypeAlias = Literal["registry"]  # what the admin host runs out of an image


class ManifestEntry(StrictModel):
    digest: Digest
    media_type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+$")]


class ImageAttributes(Attributes):
    """One image as a bundle holds it. At the site it lies in `repository`: the original path, its registry stripped."""

    reference: str = Field(description="full name, as in the profile after completion")
    registry: Annotated[str, StringConstraints(pattern=f"^{REGISTRY}$", max_length=255)]
    repository: Repository
    tags: tuple[Tag, ...]
    digest: Digest = Field(description="of the manifest or index that the reference stands for in the bundle")
    media_type: str = Field(description="of that manifest or index")
    upstream_digest: Digest = Field(description="of what the reference stood for upstream: another one for a subset")
    platforms: tuple[str, ...] = Field(description="platforms in the bundle; none for an artifact")
    manifests: tuple[ManifestEntry, ...] = Field(min_length=1, description="children first, that of `digest` last")
    blobs: tuple[Digest, ...] = Field(description="configs and layers")
    role: Role | None = Field(default=None, description="what the admin host runs out of it; nothing for any other")

    def check(self, item: Item) -> None:
        reference = Reference.parse(self.reference)
        if self.reference != str(reference) or (item.name, item.version) != (reference.name, reference.version):
            raise ValueError(f"its reference is {self.reference}")
        if (self.registry, self.repository) != (reference.registry, reference.repository):
            raise ValueError(f"it goes to {self.registry}/{self.repository}")
        if self.tags != ((reference.tag,) if reference.tag else ()):
            raise ValueError(f"its tags are {', '.join(self.tags) or 'none'}")
        if reference.digest not in (None, self.upstream_digest):
            raise ValueError(f"upstream, it was {self.upstream_digest}")

    def claims(self) -> Iterable[tuple[str, object]]:
        return [(f"{self.repository}:{tag}", self.digest) for tag in self.tags]

    @property
    def suffix(self) -> str:
        """What follows the repository to pull it: `:1.28`, or `@sha256:…` for an image without a tag."""
        return f":{self.tags[0]}" if self.tags else f"@{self.digest}"


SORTS = (ImageAttributes,)


def blob_path(digest: str) -> str:
    """Where a bundle has the content with this digest."""
    return f"{BLOBS}/{digest.removeprefix('sha256:')}"


def object_of(item: Item, digest: str) -> Object:
    """The item's object with this digest; BundleError when it has none."""
    wanted = (blob_path(digest), digest.removeprefix("sha256:"))
    for obj in item.objects:
        if (obj.path, obj.sha256) == wanted:
            return obj
    raise BundleError(
        f"images {item.name} {item.version}: it names {digest}, which is not among its objects",
        hint="the bundle was made by something else than this bundler: build it again",
    )

"""Whether images can be served from the bundle alone: all that their manifests name is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bundler.kinds.images.attributes import ImageAttributes, object_of
from bundler.kinds.images.oci import MANIFEST_LIMIT, Descriptor, ImageIndex, explain, parse_manifest
from bundler.model.items import Item, Object

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Iterator[str]:
    """Each manifest is read, and the config, layers and manifests that it names must be the item's, of the same size.

    Raises BundleError when an item does not hold together.
    """
    for item in items:
        image = ImageAttributes.of(item)
        objects = {f"sha256:{obj.sha256}": obj for obj in item.objects}
        for entry in image.manifests:
            data = content.read(object_of(item, entry.digest), limit=MANIFEST_LIMIT)
            try:
                parsed, _ = parse_manifest(data, entry.media_type)
            except ValueError as error:
                yield f"images {image.reference}: its manifest {entry.digest} cannot be used: {explain(error)}"
                continue
            pushed = {manifest.digest for manifest in image.manifests}
            named = parsed.manifests if isinstance(parsed, ImageIndex) else [parsed.config, *parsed.layers]
            among = pushed if isinstance(parsed, ImageIndex) else image.blobs
            for lack in _lacking(named, {digest: objects[digest] for digest in among if digest in objects}):
                yield f"images {image.reference}: its manifest {entry.digest} names {lack}, which is not in the bundle"


def _lacking(named: Iterable[Descriptor], objects: dict[str, Object]) -> Iterator[str]:
    for descriptor in named:
        found = objects.get(descriptor.digest)
        if found is None or found.size != descriptor.size:
            yield f"{descriptor.digest} ({descriptor.size} bytes)"

"""From the bundle into the site's registry: blobs as they are read, manifests and tags when `install` commits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.kinds.base import Step
from bundler.kinds.images.attributes import ImageAttributes, object_of
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> Iterator[Step]:
    """Every blob and manifest under its image's repository, the source registry stripped.

    Raises BundleError when an item does not hold together.
    """
    images = [(item, ImageAttributes.of(item)) for item in items]
    blobs = {(image.repository, digest): object_of(item, digest) for item, image in images for digest in image.blobs}
    for (repository, digest), obj in blobs.items():
        yield Step(obj, partial(site.registry.stage_blob, repository, digest, obj))
    for item, image in images:
        # An index stands behind the manifests that it names, and is pushed after them.
        for rank, manifest in enumerate(image.manifests):
            tags = image.tags if manifest.digest == image.digest else ()
            obj = object_of(item, manifest.digest)
            put = partial(site.registry.stage_manifest, image.repository, tags, manifest.media_type, rank, obj)
            yield Step(obj, put)

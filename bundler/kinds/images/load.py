"""From the bundle into the site's registry: blobs as they are read, manifests and tags when `install` commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.kinds.images.attributes import ImageAttributes, object_of
from bundler.model.items import Item, Object

if TYPE_CHECKING:
    from bundler.site.content import Content
    from bundler.site.site import Site


def load(items: tuple[Item, ...], content: Content, site: Site) -> None:
    """Stage every image under its repository, the source registry stripped.

    Raises BundleError when an item does not hold together, IntegrityError for damaged bytes, SiteError, SpaceError.
    """
    images = [(item, ImageAttributes.of(item)) for item in items]
    blobs = {(image.repository, digest): object_of(item, digest) for item, image in images for digest in image.blobs}

    def stage(blob: tuple[tuple[str, str], Object]) -> None:
        (repository, digest), obj = blob
        site.registry.stage_blob(repository, digest, obj, content)

    # The largest first, so that no thread is left alone with one at the end.
    site.each(stage, sorted(blobs.items(), key=lambda blob: (-blob[1].size, blob[0])))
    for item, image in images:
        for manifest in image.manifests:
            tags = image.tags if manifest.digest == image.digest else ()
            obj = object_of(item, manifest.digest)
            site.registry.stage_manifest(image.repository, tags, manifest.media_type, obj, content)

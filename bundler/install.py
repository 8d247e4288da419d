"""From a bundle to a release: stage everything, verify everything, then switch."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler import inputs
from bundler.bundle.reader import Bundle
from bundler.errors import BundleError
from bundler.kinds import KINDS
from bundler.model.items import Item
from bundler.model.node_files import NodeFile
from bundler.model.site import Served, SiteConfig
from bundler.progress import Progress
from bundler.site.node_setup import compose
from bundler.site.site import Site

logger = logging.getLogger(__name__)

_JOBS = 4


@dataclass(frozen=True, slots=True)
class Installed:
    """What an install did: `objects` and `size` (bytes) count what it wrote; both are 0 when nothing had to change."""

    name: str
    version: str
    id: str
    url: str
    objects: int
    size: int


def install(path: Path, config: SiteConfig, *, progress: Progress) -> Installed:
    """Serve the bundle at `path` on the site.

    One pass: each object goes from the tar straight to where it is served from. Nothing is published before all of it
    arrived and verified; until the switch at the end the running release is as it was, and running it again goes on.
    """
    with Bundle(path, progress) as bundle:
        by_kind = items_by_kind(bundle)
        manifest = bundle.manifest
        with Site(config).opened(manifest, bundle) as site:
            inputs.keep_site(config)
            progress.start("installing", bundle.unchecked())
            for kind in KINDS:
                logger.info("loading %s", kind.name)
                kind.load(by_kind[kind.name], bundle, site)
            # What no kind had to read, for it was there already or is for people only, is checked all the same.
            bundle.verify(jobs=_JOBS)
            progress.finish()
            served = Served(config, manifest.name, manifest.version)
            site.commit(emit(manifest.items, served))
            written = site.written
        return Installed(manifest.name, manifest.version, manifest.id, served.url, written.objects, written.size)


def emit(items: Sequence[Item], served: Served) -> tuple[NodeFile, ...]:
    """The node files of a release."""
    return compose(served, [kind.emit(tuple(i for i in items if i.kind == kind.name), served) for kind in KINDS])


def items_by_kind(bundle: Bundle) -> dict[str, tuple[Item, ...]]:
    """The bundle's items by kind. Raises BundleError for a kind not known here, and for an object outside its kind."""
    kinds = {kind.name: kind for kind in KINDS}
    found: dict[str, list[Item]] = defaultdict(list)
    for item in bundle.manifest.items:
        if item.kind not in kinds:
            raise BundleError(
                f"{bundle.path}: {item.name} is of kind {item.kind!r}, which this bundler does not know",
                hint="install with the version of bundler that built it, or a newer one",
            )
        for obj in item.objects:
            if obj.path.split("/", 1)[0] not in kinds[item.kind].folders:
                raise BundleError(
                    f"{bundle.path}: {obj.path} belongs to {item.kind} {item.name} but lies outside its folders",
                    hint="the bundle was not made by bundler; ask where it comes from",
                )
        found[item.kind].append(item)
    return {name: tuple(found[name]) for name in kinds}

"""Wheels into the site's index."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bundler.model.items import Item, Json

if TYPE_CHECKING:
    from bundler.site.content import Content
    from bundler.site.site import Site


def load(items: tuple[Item, ...], content: Content, site: Site) -> None:
    """Upload each wheel to the release's index, which has no place for the requirements files beside them."""

    def stage(item: Item) -> None:
        site.index.stage(item.objects[0], cast("dict[str, Json]", item.attributes["metadata"]), content)

    site.each(stage, [item for item in items if "metadata" in item.attributes])

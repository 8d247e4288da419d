"""Files onto the site's web root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.model.items import Item, Object, objects_of

if TYPE_CHECKING:
    from bundler.site.content import Content
    from bundler.site.site import Site


def load(items: tuple[Item, ...], content: Content, site: Site) -> None:
    """Stage every file at its path."""

    def stage(obj: Object) -> None:
        site.web.stage(obj, content)

    site.each(stage, objects_of(items))

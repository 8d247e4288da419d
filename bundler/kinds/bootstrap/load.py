"""Nothing to serve: the admin host has run it already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.site.content import Content
    from bundler.site.site import Site


def load(items: tuple[Item, ...], content: Content, site: Site) -> None:
    """Stage nothing; `install` checks the bytes all the same."""
    del items, content, site

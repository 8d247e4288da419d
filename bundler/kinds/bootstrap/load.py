"""Nothing to serve: the admin host has run it already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.reader import Bundle
    from bundler.site.site import Site


def load(items: tuple[Item, ...], bundle: Bundle, site: Site) -> None:
    """Stage nothing; `install` checks the bytes all the same."""
    del items, bundle, site

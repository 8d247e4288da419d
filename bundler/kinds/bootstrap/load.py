"""Nothing to serve: the admin host has run it already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.kinds.base import Step
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> tuple[Step, ...]:
    """No step; `install` checks the bytes all the same."""
    del items, site
    return ()

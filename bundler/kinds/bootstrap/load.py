"""Nothing to serve: the admin host has run it already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bundler.kinds.base import Step
from bundler.kinds.bootstrap.attributes import NeededAttributes, OwnAttributes, ScriptsAttributes
from bundler.model.attributes import require_sorts
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> tuple[Step, ...]:
    """No step; `install` checks the bytes all the same. Raises BundleError for items of another make."""
    del site
    require_sorts(items, (OwnAttributes, NeededAttributes, ScriptsAttributes))
    return ()

"""From the bundle into the site's web root: repositories and keys are served as they lie in the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.kinds.base import Step
from bundler.model.items import Item, objects_of

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> Iterator[Step]:
    """Every package, metadata file and key."""
    for obj in objects_of(items):
        yield Step(obj, partial(site.web.stage, obj))

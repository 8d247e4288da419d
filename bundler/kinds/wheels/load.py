"""Wheels into the site's index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from bundler.kinds.base import Step
from bundler.model.items import Item, Json

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> Iterator[Step]:
    """Each wheel to the release's index, which has no place for the requirements files beside them."""
    for item in items:
        if "metadata" in item.attributes:
            metadata = cast("dict[str, Json]", item.attributes["metadata"])
            yield Step(item.objects[0], partial(site.index.stage, item.objects[0], metadata))

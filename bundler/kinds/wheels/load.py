"""Wheels into the site's index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.kinds.base import Step
from bundler.kinds.wheels.attributes import WheelAttributes
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.site.site import Site


def load(items: tuple[Item, ...], site: Site) -> Iterator[Step]:
    """Each wheel to the release's index, which has no place for the requirements files beside them."""
    for item, wheel in WheelAttributes.among(items):
        for obj in item.objects:
            yield Step(obj, partial(site.index.stage, obj, wheel.metadata.fields()))

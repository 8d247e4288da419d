"""What the items of this kind say about themselves. All have one `role`: the admin host runs them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.model.attributes import Attributes
from bundler.model.items import Item


class OwnAttributes(Attributes):
    """bundler's own wheel."""

    type: Literal["bundler"] = "bundler"
    role: Literal["bootstrap"] = "bootstrap"

    def check(self, item: Item) -> None:
        if item.name != "bundler" or len(item.objects) != 1:
            raise ValueError("it is bundler's own wheel")


class NeededAttributes(WheelAttributes):
    """A wheel that bundler needs."""

    role: Literal["bootstrap"] = "bootstrap"


class ScriptsAttributes(LockAttributes):
    """The scripts and the requirements, which are the lock of those wheels."""

    role: Literal["bootstrap"] = "bootstrap"

    def check(self, item: Item) -> None:
        if item.name != "scripts":
            raise ValueError("it is install.sh and what that needs")


SORTS = (OwnAttributes, NeededAttributes, ScriptsAttributes)


def as_wheels(items: Iterable[Item]) -> tuple[Item, ...]:
    """The wheels and their lock among `items`, as items of the kind wheels. Raises BundleError."""
    found: list[tuple[Item, Attributes]] = [*NeededAttributes.among(items), *ScriptsAttributes.among(items)]
    return tuple(
        replace(item, attributes=attributes.model_dump(mode="json", exclude={"role"})) for item, attributes in found
    )

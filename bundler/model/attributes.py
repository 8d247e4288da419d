"""What an item says of itself beside name and objects: how a kind's or recipe's verbs write and read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, cast

from pydantic import ValidationError

from bundler.errors import BundleError
from bundler.model.items import Item, Json
from bundler.model.problems import first_problem
from bundler.model.target import StrictModel


class Attributes(StrictModel):
    """A kind with items of several sorts gives each a `type`, a literal, by which `among` finds them."""

    @classmethod
    def of(cls, item: Item) -> Self:
        """Read an item's attributes. Raises BundleError when they are not these."""
        try:
            return cls.model_validate(dict(item.attributes))
        except ValidationError as error:
            raise BundleError(
                f"{item.kind} {item.name} {item.version}: its attributes cannot be read: {first_problem(error)}",
                hint="the bundle was made by something else than this bundler: build it again",
            ) from None

    @classmethod
    def among(cls, items: Iterable[Item]) -> list[tuple[Item, Self]]:
        """The items of this `type`, with what they say. Raises BundleError."""
        type_ = cls.model_fields["type"].default
        return [(item, cls.of(item)) for item in items if item.attributes.get("type") == type_]

    def as_json(self) -> dict[str, Json]:
        """The attributes for an item."""
        return cast("dict[str, Json]", self.model_dump(mode="json"))

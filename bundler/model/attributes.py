"""What an item says of itself beside name and objects: how a kind's or recipe's verbs write and read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self, cast

from pydantic import ValidationError

from bundler.errors import BundleError
from bundler.model.items import Item, Json
from bundler.model.problems import first_problem, printable
from bundler.model.target import StrictModel


class Attributes(StrictModel):
    """A kind with items of several sorts gives each a `type`, a literal, by which `among` finds them.

    People approve an item by its name, and programs go by its attributes: `check` holds the one against the other.
    """

    def check(self, item: Item) -> None:
        """Raise ValueError unless these are about `item`: its name, its version and its objects."""

    def claims(self) -> Iterable[tuple[str, object]]:
        """Names that a bundle can give once, each with what nodes find by it; None: the item's objects."""
        return ()

    @classmethod
    def of(cls, item: Item) -> Self:
        """Read an item's attributes. Raises BundleError when they are not these, or are about something else."""
        try:
            found = cls.model_validate(dict(item.attributes))
            found.check(item)
        except ValidationError as error:
            problem = f"its attributes cannot be read: {first_problem(error)}"
        except ValueError as error:
            problem = f"it is not what it claims to be: {printable(str(error))}"
        else:
            return found
        raise BundleError(
            f"{item.kind} {item.name} {item.version}: {problem}",
            hint="the bundle was made by something else than this bundler: build it again",
        )

    @classmethod
    def among(cls, items: Iterable[Item]) -> list[tuple[Item, Self]]:
        """The items of this `type`, with what they say. Raises BundleError."""
        return [(item, cls.of(item)) for item in items if cls.claimed_by(item)]

    @classmethod
    def claimed_by(cls, item: Item) -> bool:
        """Whether `item` says that it is of this `type`; of none, where this model has none."""
        field = cls.model_fields.get("type")
        return item.attributes.get("type") == (field.default if field else None)

    def as_json(self) -> dict[str, Json]:
        """The attributes for an item."""
        return cast("dict[str, Json]", self.model_dump(mode="json"))


def check_attributes(items: Iterable[Item], sorts: Sequence[type[Attributes]]) -> None:
    """See that each of `items`, all of one kind, is one of its `sorts` in all that it says. Raises BundleError.

    No two of them may claim one name for different things: which of them nodes get would be chance.
    """
    claimed: dict[str, object] = {}
    for item in items:
        sort = next((sort for sort in sorts if sort.claimed_by(item)), None)
        if sort is None:
            raise BundleError(
                f"{item.kind} {item.name} {item.version}: it does not say what it is",
                hint="the bundle was made by another version of bundler: build it again",
            )
        for name, thing in sort.of(item).claims():
            found = {obj.sha256 for obj in item.objects} if thing is None else thing
            if claimed.setdefault(name, found) != found:
                raise BundleError(
                    f"{item.kind} {item.name} {item.version}: the bundle has {name} twice, and they differ",
                    hint="the bundle was not made by bundler; ask where it comes from",
                )

"""The items of a bundle by who knows them: a kind or a recipe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bundler.errors import BundleError
from bundler.kinds import KINDS
from bundler.model.attributes import check_attributes
from bundler.model.items import Item
from bundler.recipes import RECIPES


def items_by_section(items: Iterable[Item], origin: str) -> dict[str, tuple[Item, ...]]:
    """`items` by the name of their kind or recipe, with an entry for each; `origin` names the bundle in messages.

    Raises BundleError for a kind not known here, for an object outside its kind, and for attributes that are none of
    the kind's. A recipe's item has no objects: there is nothing of it to load.
    """
    folders: dict[str, tuple[str, ...]] = {kind.name: kind.folders for kind in KINDS}
    folders |= {recipe.name: () for recipe in RECIPES}
    found: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.kind not in folders:
            raise BundleError(
                f"{origin}: {item.name} is of kind {item.kind!r}, which this bundler does not know",
                hint="use the version of bundler that built it, or a newer one",
            )
        for obj in item.objects:
            if obj.path.split("/", 1)[0] not in folders[item.kind]:
                raise BundleError(
                    f"{origin}: {obj.path} belongs to {item.kind} {item.name} but lies outside its folders",
                    hint="the bundle was not made by bundler; ask where it comes from",
                )
        found[item.kind].append(item)
    for kind in KINDS:
        check_attributes(found[kind.name], kind.sorts)
    return {name: tuple(found[name]) for name in folders}

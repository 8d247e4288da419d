"""What of a bundle the admin host itself runs, mostly as root, and not only serves: the approver is to see all of it.

An item says so in its attribute `role`. What lies in `bootstrap/` is run as well, whatever its item says: people take
install.sh from there. Of packages, install.sh takes the objects of an item with such a role and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bundler.model.contents import one_line
from bundler.model.items import Item, Object

BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class Program:
    """A file of a program: what it is run as, the item that it belongs to, and itself."""

    role: str
    item: Item
    file: Object


def programs(items: Iterable[Item]) -> list[Program]:
    """Every file of `items` that the admin host runs, by role and path."""
    found = [Program(role, item, obj) for item in items if (role := _role(item)) is not None for obj in item.objects]
    return sorted(found, key=lambda program: (program.role, program.item.name, program.file.path))


def _role(item: Item) -> str | None:
    said = item.attributes.get("role")
    if any(obj.path.startswith(f"{BOOTSTRAP}/") for obj in item.objects):
        return BOOTSTRAP
    return None if said is None else one_line(str(said))

"""What changes from one release to the next, as people who approve it want to know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from bundler.model.items import Item, objects_of


@dataclass(frozen=True, slots=True)
class Change:
    """One name of a kind that is not as it was: the versions that went and came; `size` is of the new bytes."""

    kind: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    size: int

    @property
    def what(self) -> Literal["added", "removed", "changed"]:
        if not self.old:
            return "added"
        return "changed" if self.new else "removed"


def difference(old: Iterable[Item], new: Iterable[Item]) -> list[Change]:
    """The changes, sorted by kind and name. What has the same version and other bytes is changed as well."""
    before, after = _by_name(old), _by_name(new)
    held = {obj.sha256 for items in before.values() for obj in objects_of(items)}
    found = []
    for kind, name in sorted({*before, *after}):
        was, now = before.get((kind, name), []), after.get((kind, name), [])
        if _bytes_of(was) != _bytes_of(now) or _versions(was) != _versions(now):
            size = sum(obj.size for obj in objects_of(now) if obj.sha256 not in held)
            found.append(Change(kind, name, _versions(was), _versions(now), size))
    return found


def new_bytes(items: Iterable[Item], held: Collection[str]) -> int:
    """Bytes of `items` that are not among the digests in `held`."""
    return sum({obj.sha256: obj.size for obj in objects_of(items) if obj.sha256 not in held}.values())


def _by_name(items: Iterable[Item]) -> dict[tuple[str, str], list[Item]]:
    found: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        found[item.kind, item.name].append(item)
    return found


def _versions(items: Iterable[Item]) -> tuple[str, ...]:
    return tuple(sorted({item.version for item in items}))


def _bytes_of(items: Iterable[Item]) -> set[str]:
    return {obj.sha256 for item in items for obj in item.objects}

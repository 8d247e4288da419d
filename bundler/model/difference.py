"""What changes from one release to the next, as people who approve it want to know: all that nodes get, or are told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, Protocol, get_args

from bundler.model.items import Item, objects_of, source_text
from bundler.model.target import Target

Word = Literal["number", "version", "content", "path", "mode", "source", "settings", "package URL", "licence"]
_ORDER: tuple[Word, ...] = get_args(Word)


class Contents(Protocol):
    """A lock, or a bundle's manifest."""

    @property
    def items(self) -> tuple[Item, ...]: ...
    @property
    def targets(self) -> tuple[Target, ...]: ...


@dataclass(frozen=True, slots=True)
class Change:
    """One name of a kind that is not as it was: the versions that went and came; `size` is of the new bytes.

    `changed` says what differs of what was there before, and `settings` which attributes. What the bundle is for has
    the kind `bundle` and the name `targets`; its versions are the targets.
    """

    kind: str
    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    size: int
    changed: tuple[Word, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def what(self) -> Literal["added", "removed", "changed"]:
        if not self.old:
            return "added"
        return "changed" if self.new else "removed"

    @property
    def why(self) -> str:
        """What differs, in words: `path, settings (gpgcheck, keys)`."""
        settings = f"settings ({', '.join(self.settings)})"
        return ", ".join(settings if word == "settings" and self.settings else word for word in self.changed)


def difference(old: Contents, new: Contents) -> list[Change]:
    """The changes, sorted by kind and name: no two contents that differ in any value have none."""
    before, after = _by_name(old.items), _by_name(new.items)
    held = {obj.sha256 for obj in objects_of(old.items)}
    found = list(_targets(old.targets, new.targets))
    for kind, name in sorted({*before, *after}):
        was, now = before.get((kind, name), []), after.get((kind, name), [])
        pairs = _pairs(was, now)
        if pairs:
            size = sum(obj.size for obj in objects_of(now) if obj.sha256 not in held)
            words, settings = _differing(pairs) if was and now else (set(), set())
            changed = tuple(word for word in _ORDER if word in words)
            found.append(Change(kind, name, _versions(was), _versions(now), size, changed, tuple(sorted(settings))))
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


def _targets(old: Iterable[Target], new: Iterable[Target]) -> Iterator[Change]:
    was, now = tuple(map(str, old)), tuple(map(str, new))
    if sorted(was) != sorted(now):
        yield Change("bundle", "targets", was, now, 0)


def _pairs(old: Sequence[Item], new: Sequence[Item]) -> list[tuple[Item | None, Item | None]]:
    """Items of one name that are not as they were, each with the one that stands in its place, if any does."""
    was, now = _told_apart(old), _told_apart(new)
    gone, come = ([ours[key] for key in sorted(ours.keys() - theirs)] for ours, theirs in ((was, now), (now, was)))
    same = {item.version for item in gone} & {item.version for item in come}
    for items in (gone, come):
        items.sort(key=lambda item: (item.version not in same, item.version))  # those of one version beside each other
    return list(zip_longest(gone, come))


def _told_apart(items: Iterable[Item]) -> dict[tuple[str, int], Item]:
    """Items by all that they say; and by a number, for there may be two that say the same."""
    seen: Counter[str] = Counter()
    found = {}
    for item in items:
        objects = [(obj.path, obj.size, obj.sha256, source_text(obj.source), obj.mode) for obj in item.objects]
        whole = _text([item.version, objects, dict(item.attributes), item.purl, item.licence])
        seen[whole] += 1
        found[whole, seen[whole]] = item
    return found


def _text(value: object) -> str:
    """`value` as JSON, in which 1, 1.0 and true are three values; in Python they are equal."""
    return json.dumps(value)


def _differing(pairs: Iterable[tuple[Item | None, Item | None]]) -> tuple[set[Word], set[str]]:
    words: set[Word] = set()
    settings: set[str] = set()
    for was, now in pairs:
        if was is None or now is None:
            words.add("number")
            continue
        words.update(_words(was, now))
        before, after = ({(key, _text(value)) for key, value in item.attributes.items()} for item in (was, now))
        settings.update(key for key, _ in before ^ after)
    return words, settings


def _words(was: Item, now: Item) -> Iterator[Word]:
    if was.version != now.version:
        yield "version"
    yield from _words_of_objects(was, now)
    if _text(dict(was.attributes)) != _text(dict(now.attributes)):
        yield "settings"
    if was.purl != now.purl:
        yield "package URL"
    if was.licence != now.licence:
        yield "licence"


def _words_of_objects(was: Item, now: Item) -> Iterator[Word]:
    bytes_were, bytes_are = ([(obj.sha256, obj.size) for obj in item.objects] for item in (was, now))
    if sorted(bytes_were) != sorted(bytes_are):
        yield "content"
    paths_were, paths_are = ([obj.path for obj in item.objects] for item in (was, now))
    # The same bytes at the same paths, and yet not each where it was.
    swapped = bytes_were != bytes_are and sorted(bytes_were) == sorted(bytes_are)
    if paths_were != paths_are or swapped:
        yield "path"
    there = {obj.path: obj for obj in was.objects}
    common = [(there[obj.path], obj) for obj in now.objects if obj.path in there]
    modes_were, modes_are = ({obj.mode for obj in item.objects} for item in (was, now))
    if modes_were != modes_are or any(before.mode != after.mode for before, after in common):
        yield "mode"
    if any(before.source != after.source for before, after in common):
        yield "source"

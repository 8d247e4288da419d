"""What a lock and a manifest have in common: items and objects, as JSON.

An object is written once, under `objects`; items name their objects by path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass

from bundler.errors import BundleError
from bundler.limits import Limit, LimitExceeded
from bundler.model import json_text
from bundler.model.items import Item, Object, parse_source, source_text
from bundler.model.problems import first_problem
from bundler.model.target import StrictModel, Target, Targets

# A release's name and version become file names, URL segments and a devpi index: nothing in them needs quoting.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=64)]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

# 100,000 RPMs, an item and an object each, take 83 MB, 1.9 million values and 370 MB of memory. The memory goes with
# the number of values: 200 bytes for each at most, whatever they are.
SIZE_LIMIT = 128 << 20
_VALUES = Limit("a lock or a manifest", 2_500_000, "values")
_SIZE = Limit("a lock or a manifest", SIZE_LIMIT)
_PATH_LIMIT = 1024
_TEXT_LIMIT = 512
_SOURCE_LIMIT = 4096


def check_path(path: str) -> str:
    """`path` if it may stand in a bundle: relative POSIX, printable ASCII, no `\\\\`, no empty, `.` or `..` segment.

    Raises ValueError otherwise.
    """
    printable = path.isascii() and path.isprintable() and "\\" not in path
    if not printable or len(path) > _PATH_LIMIT or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path[:80]!r} cannot be a path in a bundle")
    return path


def one_line(text: str | None) -> str | None:
    """What upstream says as a `Text`: on one line, cut off where it is too long; None where nothing is left of it."""
    words = " ".join((text or "").split())
    return "".join(letter for letter in words if letter.isprintable())[:_TEXT_LIMIT] or None


def _check_text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text[:80]!r} is no line of text")
    return text


def _check_numbers(value: JsonValue) -> JsonValue:
    """`value` if it is JSON, which has numbers only: Python and pydantic read `NaN`, and 1e999 as infinite."""
    match value:
        case dict():
            for inner in value.values():
                _check_numbers(inner)
        case list():
            for inner in value:
                _check_numbers(inner)
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON's")
    return value


ObjectPath = Annotated[str, AfterValidator(check_path)]
# People read these, on terminals too: no control characters, no reordering ones.
Text = Annotated[str, StringConstraints(max_length=_TEXT_LIMIT), AfterValidator(_check_text)]
SourceText = Annotated[
    str,
    StringConstraints(max_length=_SOURCE_LIMIT),
    AfterValidator(_check_text),
    AfterValidator(lambda text: source_text(parse_source(text))),
]


# There are tens of thousands of these two: as models they would take twice the memory of what they hold.
_record = dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))


@_record
class ObjectRecord:
    """One entry of `objects`."""

    path: ObjectPath
    size: Annotated[int, Field(ge=0, lt=1 << 50)]
    sha256: Sha256
    source: SourceText
    mode: Annotated[int, Field(ge=0, le=0o777)] = 0o644


@_record
class ItemRecord:
    """One entry of `items`; `objects` are paths."""

    kind: Name
    name: Annotated[Text, Field(min_length=1)]
    version: Text
    objects: list[str]
    attributes: Annotated[dict[str, JsonValue], AfterValidator(_check_numbers)] = Field(default_factory=dict)
    purl: Text | None = None
    licence: Text | None = None


class ContentsRecord(StrictModel):
    """The part of a document that says what there is."""

    name: Name
    version: Version
    targets: Targets
    objects: list[ObjectRecord]
    items: list[ItemRecord]


Record = TypeVar("Record", bound=ContentsRecord)


def to_json(head: dict[str, Any], items: Iterable[Item], objects: Iterable[Object]) -> bytes:
    """`head` with `objects` and `items` behind it: the same values give the same bytes.

    Raises BundleError for more than `parse` would read.
    """
    data = json_text.to_bytes({**head, "objects": map(_object_entry, objects), "items": map(_item_entry, items)})
    try:
        _check_extent(data)
    except LimitExceeded as exceeded:
        raise BundleError(f"{head['name']} {head['version']}: {exceeded}", hint="make several bundles of it") from None
    return data


def _check_extent(data: bytes) -> None:
    """Raises LimitExceeded for JSON that would take too much memory. Each value begins, or follows, one of these; those
    within strings are counted, too.
    """
    _SIZE.check(len(data))
    _VALUES.check(sum(map(data.count, (b",", b"[", b"{"))))


def target_entries(targets: Iterable[Target]) -> list[dict[str, Any]]:
    """`targets` as the head of a document has them."""
    return [target.model_dump(mode="json") for target in targets]


def _object_entry(obj: Object) -> dict[str, Any]:
    return {
        "path": obj.path,
        "size": obj.size,
        "sha256": obj.sha256,
        "source": source_text(obj.source),
        **({"mode": obj.mode} if obj.mode != 0o644 else {}),
    }


def _item_entry(item: Item) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.name,
        "version": item.version,
        "objects": [obj.path for obj in item.objects],
        **({"attributes": dict(item.attributes)} if item.attributes else {}),
        **({"purl": item.purl} if item.purl else {}),
        **({"licence": item.licence} if item.licence else {}),
    }


def parse(record: type[Record], data: bytes, what: str) -> Record:
    """`data` as the document `record`. Raises BundleError, saying where it is wrong."""
    try:
        _check_extent(data)
        return record.model_validate_json(data)
    except LimitExceeded as exceeded:
        raise exceeded.of(BundleError, what) from None
    except ValidationError as error:
        raise BundleError(
            f"{what}: {first_problem(error)}",
            hint="it was not written by this version of bundler; get it again from where it was made",
        ) from None


def to_items(record: ContentsRecord, what: str) -> tuple[tuple[Item, ...], tuple[Object, ...]]:
    """The items of `record`, and the objects that no item names. Raises BundleError for a path twice or never."""
    objects = {
        entry.path: Object(entry.path, entry.size, entry.sha256, parse_source(entry.source), entry.mode)
        for entry in record.objects
    }
    if len(objects) != len(record.objects):
        raise BundleError(f"{what}: a path stands in `objects` twice", hint="get it again from where it was made")
    for path in objects:
        if above := next((folder for folder in _folders(path) if folder in objects), None):
            raise BundleError(f"{what}: {above!r} is a file and a folder", hint="get it again from where it was made")
    items = []
    for entry in record.items:
        missing = next((path for path in entry.objects if path not in objects), None)
        if missing is not None:
            raise BundleError(
                f"{what}: item {entry.name} names {missing!r}, which is not in `objects`",
                hint="get it again from where it was made",
            )
        parts = tuple(objects[path] for path in entry.objects)
        items.append(Item(entry.kind, entry.name, entry.version, parts, entry.attributes, entry.purl, entry.licence))
    named = {obj.path for item in items for obj in item.objects}
    return tuple(items), tuple(obj for path, obj in objects.items() if path not in named)


def _folders(path: str) -> Iterator[str]:
    """The folders that `path` lies in."""
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def not_canonical(what: str) -> BundleError:
    """The error for a document that says the same as ours in other bytes."""
    return BundleError(f"{what}: not in canonical form", hint="get it again from where it was made")


def sorted_items(items: Iterable[Item]) -> tuple[Item, ...]:
    """`items` in the one order that documents keep: by kind, name, version and first object."""
    return tuple(
        sorted(
            items, key=lambda item: (item.kind, item.name, item.version, item.objects[0].path if item.objects else "")
        )
    )

"""Well-formed documents with something wrong in them: what a fuzzer that only turns bytes over never gets to.

The fuzzer's bytes choose: which value of a document, and what stands in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

_Way = tuple[Any, ...]  # keys and positions that lead to a value

_DEEP: Any = []
for _ in range(200):
    _DEEP = [_DEEP]

# What a reader may not have thought of, where it thought of one sort.
_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1 << 80, 1.5, "", " ", "x" * 5000, [], {}, [[]], [None], {"": None}, _DEEP),
    *(
        "\x00",
        "\x1b[2J",
        "\u202e",
        "a\nb",
        "\r\nX: y",
        "../../x",
        "/etc/passwd",
        "-x",
        "--x",
        "$(id)",
        "`id`",
        "';id;'",
    ),
    *("file:///etc/passwd", "evil @ file:///x", "evil @ http://x/y.tar.gz", "git+https://x/y", "a; b", "a>=1; c", "*"),
    *("sha256:", "sha256:" + "0" * 64, "0" * 64, "1.0", "99999999999999999999", "application/json", "3.12", "3.999"),
)


class Choices:
    """The fuzzer's bytes as choices; when they are used up, the first of everything."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def below(self, count: int) -> int:
        """A number from 0 to `count` - 1."""
        width = 1 if count <= 256 else 2
        taken = self._data[self._at : self._at + width]
        self._at += width
        return int.from_bytes(taken, "big") % count if count else 0

    def rest(self, limit: int) -> bytes:
        """Up to `limit` bytes as they are."""
        taken = self._data[self._at : self._at + limit]
        self._at += limit
        return taken

    @property
    def left(self) -> bool:
        return self._at < len(self._data)


def mutated(document: Any, choices: Choices) -> Any:
    """A copy of `document` in which up to four values are others, gone, doubled, or of another place in it."""
    document = copy.deepcopy(document)
    for _ in range(1 + choices.below(4)):
        ways = list(_ways(document))
        if not ways:
            return document
        way = ways[choices.below(len(ways))]
        place = _at(document, way[:-1])
        match choices.below(6):
            case 0 if isinstance(place, dict):
                place[choices.rest(8).decode("utf-8", "replace")] = place.pop(way[-1])
            case 1:
                del place[way[-1]]
            case 2 if isinstance(place, list):
                place.append(copy.deepcopy(place[way[-1]]))
            case 3:
                place[way[-1]] = copy.deepcopy(_at(document, ways[choices.below(len(ways))]))
            case 4:
                place[way[-1]] = choices.rest(40).decode("utf-8", "replace")
            case _:
                place[way[-1]] = copy.deepcopy(_ODD[choices.below(len(_ODD))])
    return document


def _ways(value: Any, way: _Way = ()) -> Iterator[_Way]:
    """The ways to all that is in `value`."""
    if isinstance(value, dict):
        inner: Any = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return
    if len(way) < 12:
        for key, each in inner:
            yield (*way, key)
            yield from _ways(each, (*way, key))


def _at(value: Any, way: _Way) -> Any:
    for key in way:
        value = value[key]
    return value

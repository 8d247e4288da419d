"""JSON as bundler's documents have it: indented by one, in ASCII, the keys in the order in which they are given.

The bytes are those of `json.dumps(document, indent=1)`, whose encoder takes twice the time, and holds every word of the
document, some hundred bytes each, before it joins them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from io import BytesIO
from json.encoder import encode_basestring_ascii as quoted

_LISTS = (list, tuple, Iterator)
_LINE = "\n"


def to_bytes(document: dict[str, object]) -> bytes:
    """`document`, and a newline. A list may be given as an iterator: its entries need not all be there at once.

    Raises ValueError for a number that JSON does not have.
    """
    out = BytesIO()
    for piece in _pieces(document):
        out.write(piece.encode("ascii"))
    return out.getvalue()


def _pieces(document: dict[str, object]) -> Iterator[str]:
    """An entry of the document's own lists at a time."""
    within, before = f"{_LINE} ", "{"
    for key, value in document.items():
        yield f"{before}{within}{quoted(key)}: "
        yield from _entries(value, within) if isinstance(value, _LISTS) else (_text(value, within),)
        before = ","
    yield f"{_LINE}}}\n" if document else "{}\n"


def _entries(values: Iterable[object], line: str) -> Iterator[str]:
    within, before = f"{line} ", "["
    for each in values:
        yield f"{before}{within}{_text(each, within)}"
        before = ","
    yield "[]" if before == "[" else f"{line}]"


def _text(value: object, line: str) -> str:
    """`value` as JSON; `line` is a newline, and how far what stands around `value` is indented."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        within = f"{line} "
        entries = f",{within}".join(
            # Most are words: what saves a call for each of them saves a third of the time.
            [f"{quoted(k)}: {quoted(v) if type(v) is str else _text(v, within)}" for k, v in value.items()]
        )
        return f"{{{within}{entries}{line}}}" if entries else "{}"
    if isinstance(value, _LISTS):
        return "".join(_entries(value, line))
    return json.dumps(value, allow_nan=False)

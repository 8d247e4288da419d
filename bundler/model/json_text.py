"""JSON as bundler's documents have it: indented by one, in ASCII, the keys in the order in which they are given.

The bytes are those of `json.dumps(document, indent=1)`, whose encoder takes twice the time, and holds every word of the
document, some hundred bytes each, before it joins them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as quoted


def to_bytes(document: dict[str, object]) -> bytes:
    """`document`, and a newline. A list may be given as an iterator: its entries need not all be there at once."""
    return f"{_text(document, _LINE)}\n".encode("ascii")


_LINE = "\n"
_LISTS = (list, tuple, Iterator)


def _text(value: object, line: str) -> str:
    """`value` as JSON; `line` is a newline, and how far what stands around `value` is indented."""
    if isinstance(value, str):
        return quoted(value)
    within = f"{line} "
    if isinstance(value, dict):
        entries = f",{within}".join(
            # Most are words: what saves a call for each of them saves a third of the time.
            [f"{quoted(k)}: {quoted(v) if type(v) is str else _text(v, within)}" for k, v in value.items()]
        )
        return f"{{{within}{entries}{line}}}" if entries else "{}"
    if isinstance(value, _LISTS):
        entries = f",{within}".join([_text(each, within) for each in value])
        return f"[{within}{entries}{line}]" if entries else "[]"
    return json.dumps(value)

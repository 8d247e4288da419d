"""What is wrong with a document that others wrote, in words that are safe to show: they may hold some of its own."""

from __future__ import annotations

from pydantic import ValidationError

_LIMIT = 300  # letters


def first_problem(error: ValidationError) -> str:
    """The first thing that `error` found and its place, on one printable line: `items.3.name: what was expected`."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the document"
    found = first["input"]
    literal = f", and is {found!r}" if first["type"] == "literal_error" and isinstance(found, str) else ""
    return printable(f"{place}: {first['msg'].removeprefix('Value error, ')}{literal}")


def printable(text: str) -> str:
    """`text` with escapes in place of what could act on a terminal, cut off where it is long."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:_LIMIT])
    return shown if len(text) <= _LIMIT else f"{shown}…"

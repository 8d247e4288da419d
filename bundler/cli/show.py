"""How answers look: numbers and tables for people, documents for `--json`, progress while it lasts."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bundler.cli.terminal import say
from bundler.sizes import human

if TYPE_CHECKING:
    from bundler.model.items import Item

_PLAIN_INTERVAL = 5.0  # seconds between two progress lines where stderr is no terminal


class Lines:
    """Progress as a plain line every few seconds, for logs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._title, self._done, self._total = "", 0, 0
        self._due = math.inf

    def start(self, title: str, total: int) -> None:
        with self._lock:
            self._title, self._done, self._total = title, 0, total
            self._due = time.monotonic() + _PLAIN_INTERVAL

    def advance(self, size: int) -> None:
        with self._lock:
            self._done += size
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + _PLAIN_INTERVAL
                share = 100 * self._done // self._total if self._total else 100
                say(f"{self._title}: {human(self._done)} of {human(self._total)} ({share} %)", err=True)

    def finish(self) -> None:
        self._due = math.inf


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


def size_of(items: Iterable[Item]) -> int:
    return sum({obj.path: obj.size for item in items for obj in item.objects}.values())


def totals_of(items: Iterable[Item]) -> dict[str, dict[str, int]]:
    """Items, objects and bytes by kind; an object that items share counts once."""
    by_kind: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_kind[item.kind].append(item)
    return {
        kind: {
            "items": len(found),
            "objects": len({obj.path for item in found for obj in item.objects}),
            "size": size_of(found),
        }
        for kind, found in sorted(by_kind.items())
    }


def item_document(item: Item) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.name,
        "version": item.version,
        "size": size_of([item]),
        "purl": item.purl,
        "licence": item.licence,
    }

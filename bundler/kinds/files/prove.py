"""Whether files can be used from the bundle alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Sequence[str]:
    """Nothing can lack: a file needs no other, and the bundle holds the object that the item names."""
    del items, content
    return ()

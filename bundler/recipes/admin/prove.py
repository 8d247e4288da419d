"""Whether the bundle has what the admin host needs."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.model.items import Item


def prove(item: Item, items: tuple[Item, ...]) -> Sequence[str]:
    """The kinds prove it: packages are in the target's request, and bundler's wheels beside install.sh."""
    del item, items
    return ()

"""Whether bundler can be set up on the admin host from the bundle alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundler.kinds.bootstrap.attributes import as_wheels
from bundler.kinds.wheels.closure import problems
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Sequence[str]:
    """What bundler needs is among the wheels beside install.sh."""
    del content
    return [f"bootstrap: {problem}" for problem in problems(as_wheels(items))]

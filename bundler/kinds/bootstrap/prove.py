"""Whether bundler can be set up on the admin host from the bundle alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bundler.kinds.bootstrap.attributes import as_wheels
from bundler.kinds.wheels.prove import prove as prove_wheels
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Sequence[str]:
    """What bundler needs resolves among the wheels beside install.sh."""
    return [f"bootstrap: {problem}" for problem in prove_wheels(as_wheels(items), content)]

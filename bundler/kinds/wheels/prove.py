"""Whether wheels can be installed from the bundle alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bundler.kinds.wheels.closure import problems
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Iterator[str]:
    """For each lock, what was asked for and all that it needs is among the wheels, and fits the Python it is for.

    Raises BundleError when an item does not hold together.
    """
    del content
    return (f"wheels: {problem}" for problem in problems(items))

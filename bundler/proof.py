"""The proof that a bundle can be installed: from its own bytes alone, each kind and recipe says what lacks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bundler.bundle.content import Content
from bundler.bundle.manifest import Manifest
from bundler.errors import IncompleteError
from bundler.kinds import KINDS
from bundler.recipes import RECIPES
from bundler.sections import items_by_section

logger = logging.getLogger(__name__)


def prove(manifest: Manifest, content: Content, origin: str) -> tuple[str, ...]:
    """What keeps the bundle of `manifest` from being installed, a line each; none is the proof.

    `content` has the bytes of its objects, `origin` names it in messages. Raises BundleError when it does not hold
    together.
    """
    by_section = items_by_section(manifest.items, origin)
    problems: list[str] = []
    # The last go first: what the others load stays in memory, beside the programs that these start.
    for kind in reversed(KINDS):
        if items := by_section[kind.name]:
            logger.info("proving %s", kind.name)
            problems = [*kind.prove(items, content), *problems]
    for recipe in RECIPES:
        for item in by_section[recipe.name]:
            problems += recipe.prove(item, manifest.items)
    return tuple(problems)


def incomplete(origin: str, problems: Sequence[str], hint: str) -> IncompleteError:
    """The error for `problems`."""
    lines = [f"{origin} could not be installed:", *(f"  {problem}" for problem in problems)]
    return IncompleteError(*(lines if len(problems) > 1 else [f"{lines[0]} {problems[0]}"]), hint=hint)

"""Whether each registry of a profile answers, and lets us have something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.kinds.images.reference import Reference
from bundler.kinds.images.spec import Spec
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def ask(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Iterator[tuple[str, Callable[[], object]]]:
    """A manifest of one image of each registry."""
    del targets
    first: dict[str, Reference] = {}
    for image in spec.root:
        first.setdefault(image.ref.registry, image.ref)
    for name, reference in first.items():
        registry = upstream.registry(name)
        yield f"registry {name}", partial(registry.manifest, reference.repository, reference.wanted)

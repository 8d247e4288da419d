"""Nothing of its own to ask: what it takes are wheels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bundler.kinds.bootstrap.spec import Spec
from bundler.model.target import Target

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def ask(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[tuple[str, Callable[[], object]], ...]:
    """No question."""
    del spec, targets, upstream
    return ()

"""Whether the index of a profile answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bundler.errors import FetchError
from bundler.kinds.wheels.requirements import LIMIT, gather
from bundler.kinds.wheels.source import choose_index
from bundler.kinds.wheels.spec import Spec
from bundler.model.target import Target
from bundler.transfer.credentials import configured

if TYPE_CHECKING:
    from bundler.transfer.upstream import Upstream


def ask(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> Iterator[tuple[str, Callable[[], object]]]:
    """The requirements files, and the index's page of pip, which it need not have."""
    del targets
    read = partial(upstream.read, limit=LIMIT)
    yield "requirements", partial(gather, spec.requirements, spec.constraints, read)
    index = choose_index(spec.index_url, upstream.config, upstream.mirrored)
    # A log-in out of pip's own configuration is pip's alone.
    if index.credentials is None or configured(upstream.config, index.url) is not None:
        yield f"index {index.url}", partial(_reach, f"{index.url.rstrip('/')}/pip/", upstream)


def _reach(page: str, upstream: Upstream) -> None:
    try:
        upstream.reach(page)
    except FetchError as error:
        if error.status != 404:
            raise

"""What a bundle leaves out, as content: fetched from where it came from."""

from __future__ import annotations

from collections.abc import Iterator

from bundler.bundle.content import Content
from bundler.model.items import Object
from bundler.transfer.upstream import Upstream


class Fetched(Content):
    """The objects of a lock, from their sources."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`. Raises FetchError, IntegrityError."""
        return self._upstream.stream(obj)

"""Where a store gets an object's bytes from: the bundle being installed, or what the site has already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bundler.model.items import Object

# Manifests, indexes and configs are small; whatever is larger than this is streamed.
SMALL = 16 << 20


class Content(Protocol):
    """The verified bytes of objects. `bundler.bundle.reader.Bundle` is one."""

    def stream(self, obj: Object) -> Iterator[bytes]:
        """The bytes of `obj` in chunks of at most 1 MiB.

        The last chunk is handed over only after size and sha256 were found right; IntegrityError is raised in its place
        otherwise. Whoever publishes only what was read to the end can therefore never publish wrong bytes.
        """
        ...

    def read(self, obj: Object, *, limit: int = SMALL) -> bytes:
        """The whole of `obj`, verified. Raises IntegrityError, also when it is larger than `limit` bytes."""
        ...

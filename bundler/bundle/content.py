"""Where an object's bytes are got from: a bundle, what a site has already, or both together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from bundler.errors import IntegrityError
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

    def carries(self, obj: Object) -> bool:  # noqa: ARG002 - for those who leave something out
        """Whether `obj` is here, and not got from elsewhere."""
        return True

    def verify_all(self) -> None:
        """See that every byte of it is as promised, before a program out of it is run. Raises IntegrityError.

        What a site has kept was verified when it came.
        """
        return

    def read(self, obj: Object, *, limit: int = SMALL) -> bytes:
        """The whole of `obj`, verified. Raises IntegrityError, also when it is larger than `limit` bytes."""
        if obj.size > limit:
            raise IntegrityError(
                f"{obj.path} has {obj.size} bytes, more than the {limit} that such an object may have",
                hint="the bundle was not made by bundler; ask where it comes from",
            )
        return b"".join(self.stream(obj))


class Completed(Content):
    """A content and, for the paths in `left_out`, another one."""

    def __init__(self, carried: Content, left_out: frozenset[str], elsewhere: Content) -> None:
        self._carried, self._left_out, self._elsewhere = carried, left_out, elsewhere

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`."""
        return (self._elsewhere if obj.path in self._left_out else self._carried).stream(obj)

    def verify_all(self) -> None:
        """See `Content.verify_all`."""
        self._carried.verify_all()

    def carries(self, obj: Object) -> bool:
        """See `Content.carries`."""
        return obj.path not in self._left_out

"""How much is read of what others wrote. Each limit has a name, and what goes beyond it ends in one way.

Whoever reads raises LimitExceeded; whoever knows where the bytes come from makes one of bundler's errors of it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol, TypeVar

from bundler.errors import BundlerError
from bundler.sizes import human

E = TypeVar("E", bound=BundlerError)


@dataclass(frozen=True, slots=True)
class Limit:
    """`size` bytes, or so many of the `unit`; `name` says of what."""

    name: str
    size: int
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.size} {self.unit}" if self.unit else human(self.size)

    def check(self, found: int) -> None:
        """Raises LimitExceeded when `found` is more."""
        if found > self.size:
            raise LimitExceeded(self)


class LimitExceeded(Exception):  # noqa: N818 - what it means, and for whom, is only known further up
    """Something is larger than its `limit`."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(f"it exceeds the limit of {limit} for {limit.name}")
        self.limit = limit

    def of(self, error: type[E], what: str) -> E:
        """The error for `what`, which names the thing and where it came from."""
        return error(f"{what}: {self}", hint="nothing genuine comes near this limit: find out what is served there")


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes: ...


class Bounded(io.RawIOBase):
    """The bytes of `source`, up to `limit`: then LimitExceeded. `arrived` counts them."""

    def __init__(self, source: Readable, limit: Limit) -> None:
        super().__init__()
        self.arrived = 0
        self._source = source
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        self.arrived += len(data)
        self._limit.check(self.arrived)
        buffer[: len(data)] = data
        return len(data)

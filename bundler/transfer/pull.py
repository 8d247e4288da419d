"""Bringing one body to one place over as many connections as that takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from bundler.errors import IntegrityError
from bundler.transfer.http import Answer
from bundler.transfer.retry import Stopped, TransientError


class Sink(Protocol):
    """Where a body goes. `written` says how many of its bytes are there."""

    written: int

    def write(self, chunk: bytes) -> None: ...

    def reset(self) -> None:
        """Start over at 0."""


# The body from an offset on; the validator, where there is one, names the version of it that is meant.
Source = Callable[[int, str | None], AbstractContextManager[Answer]]


class Pull:
    """A body on its way; each attempt goes on where the one before stopped.

    `furthest` is the most that was ever in place: what an upstream sends again and again is no progress.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        *,
        what: str,
        size: int | None,
        verified: bool,
        stop: threading.Event | None = None,
    ) -> None:
        """`size` in bytes, if it was promised; `verified` says that a digest will be checked at the end, so that parts
        of two versions cannot pass for one body."""
        self.furthest = sink.written
        self._source = source
        self._sink = sink
        self._what = what
        self._size = size
        self._verified = verified
        self._stop = stop or threading.Event()
        self._validator: str | None = None

    def attempt(self) -> None:
        """Write to the end of the body.

        Raises TransientError when it broke off, IntegrityError when the body is not of the promised size, Stopped.
        """
        sink = self._sink
        if sink.written == self._size:
            return
        if sink.written and not (self._verified or self._validator):
            sink.reset()
        with self._source(sink.written, self._validator) as answer:
            self._validator = answer.validator
            if self._size is not None and answer.total not in (None, self._size):
                next(answer.chunks, None)  # a page in place of the file has an error of its own
                raise self._resized(f"has {answer.total} bytes")
            if answer.offset != sink.written:
                sink.reset()
                if answer.offset:
                    raise TransientError(f"{self._what}: upstream sends from byte {answer.offset} on")
            for chunk in answer.chunks:
                if self._size is not None and sink.written + len(chunk) > self._size:
                    raise self._resized("sends more")
                sink.write(chunk)
                self.furthest = max(self.furthest, sink.written)
                if self._stop.is_set():
                    raise Stopped
        if self._size is not None and sink.written < self._size:
            raise TransientError(f"{self._what}: the connection ended after {sink.written} of {self._size} bytes")

    def _resized(self, found: str) -> IntegrityError:
        return IntegrityError(
            f"{self._what}: upstream {found}, where {self._size} bytes were promised",
            hint="upstream re-published the file, or is in the middle of that: run without --lock to resolve it afresh",
        )

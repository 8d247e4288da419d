"""Answers on their way in: no slower than an honest line, with heads of a size that means well."""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from bundler.limits import Limit
from bundler.model.config import Retries

# Status lines, headers, the lines between chunks: what is read line by line, until there is something of a body.
_HEAD = Limit("the head of an answer", 256 << 10)


class TooSlowError(TimeoutError):
    """An answer that trickles."""


class Pace(io.RawIOBase):
    """What arrives at a socket. Once it has begun to, less than `slowest` bytes a second, over `timeout` seconds of
    waiting for it, raise TooSlowError.

    Time that is spent elsewhere, on a disk that is slow, does not count.
    """

    def __init__(self, arriving: io.RawIOBase, policy: Retries) -> None:
        super().__init__()
        self._raw = arriving
        self._policy = policy
        self._begun = False
        self._waited = 0.0
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        since = time.monotonic()
        count = self._raw.readinto(buffer)
        if count and self._begun:
            self._waited += time.monotonic() - since
            self._bytes += count
            if self._waited >= self._policy.timeout:
                if self._bytes < self._waited * self._policy.slowest:
                    raise TooSlowError(
                        f"only {self._bytes} bytes came in {self._waited:.0f} s, fewer than {self._policy.slowest} "
                        "a second (`retries: slowest` in bundler's config)"
                    )
                self._waited, self._bytes = 0.0, 0
        self._begun = True
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Lines(io.BufferedReader):
    """A buffer whose lines, one after the other with nothing of a body between them, are no more than a head has."""

    _length = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(_HEAD.size + 1 if size is None or size < 0 else size)
        self._length += len(line)
        _HEAD.check(self._length)
        return line

    def read(self, size: int | None = -1, /) -> bytes:
        self._length = 0
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self._length = 0
        return super().readinto(buffer)

    def read1(self, size: int = -1, /) -> bytes:
        self._length = 0
        return super().read1(size)


def response_class(policy: Retries) -> type[http.client.HTTPResponse]:
    """What reads the answers of a connection, from the status line to the last chunk."""

    class Response(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp: io.BufferedReader = Lines(Pace(self.fp.detach(), policy))

    return Response

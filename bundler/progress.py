"""How long work tells of its bytes; `bundler.cli` draws it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Takes byte counts from any thread."""

    def start(self, title: str, total: int) -> None:
        """A stretch of work of `total` bytes begins; an earlier one has ended."""

    def advance(self, size: int) -> None:
        """`size` more bytes are done; negative when work is thrown away."""

    def finish(self) -> None:
        """The stretch has ended, well or not."""


class Silent:
    """Progress that nobody watches."""

    def start(self, title: str, total: int) -> None:
        pass

    def advance(self, size: int) -> None:
        pass

    def finish(self) -> None:
        pass

"""Progress on a terminal, and imported there alone: what tqdm brings along takes a short command's time, and 5 MiB."""

from __future__ import annotations

import sys
from typing import NoReturn

from tqdm import tqdm

from bundler.cli.terminal import plain


class Bars:
    """Progress as a tqdm bar."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def start(self, title: str, total: int) -> None:
        self.finish()
        self._bar = tqdm(total=total, desc=plain(title), unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)

    def advance(self, size: int) -> None:
        if self._bar is not None:
            self._bar.update(size)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def write(line: str) -> None:
    """`line` on stderr, in front of a bar rather than through it."""
    tqdm.write(plain(line), file=sys.stderr)

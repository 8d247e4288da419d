"""Trying again: which failures may pass, and how long to wait for that."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from bundler.errors import FetchError
from bundler.model.config import Retries

logger = logging.getLogger(__name__)

T = TypeVar("T")


class TransientError(Exception):
    """A failure that may pass: a broken connection, a short body, 408, 425, 429, 5xx.

    `wait` is how many seconds the upstream asked for (Retry-After), if it did.
    """

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Stopped(Exception):  # noqa: N818 - not an error: someone else's error, or the user, ended the work
    """The work this belongs to is being ended."""


def retry(
    policy: Retries,
    what: str,
    attempt: Callable[[], T],
    *,
    progress: Callable[[], int] = lambda: 0,
    stop: threading.Event | None = None,
) -> T:
    """`attempt`, again and again while it raises TransientError, with exponential back-off and jitter.

    `progress` counts the bytes that attempts achieved: a failure after progress starts the count of attempts anew,
    unless they came more slowly than `policy.slowest` a second, waiting included.
    Raises FetchError, naming `what`, when `policy.attempts` in a row achieved nothing; Stopped when `stop` is set.
    """
    stop = stop or threading.Event()
    failures, before, since = 0, progress(), time.monotonic()
    while True:
        if stop.is_set():
            raise Stopped
        try:
            return attempt()
        except TransientError as error:
            failures += 1
            gained, taken = progress() - before, time.monotonic() - since
            if gained > 0 and gained >= policy.slowest * taken:
                failures, before, since = 1, progress(), time.monotonic()
            if failures >= policy.attempts:
                raise FetchError(
                    f"fetch {what}: {error.reason} ({failures} tries)",
                    hint="run it again; finished downloads are kept",
                ) from error
            wait = min(policy.backoff * 2 ** (failures - 1), policy.ceiling) * random.uniform(0.5, 1)  # noqa: S311
            if error.wait is not None:
                wait = min(max(wait, error.wait), policy.ceiling)
            logger.info("fetch %s: %s; again in %.1f s", what, error.reason, wait)
            stop.wait(wait)

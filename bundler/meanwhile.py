"""Work that is done again and again beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def every(seconds: float, work: Callable[[], object]) -> Iterator[Future[None]]:
    """Call `work` every so many `seconds` until the block ends. What it raises ends the future, and is raised then."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            work()

    with ThreadPoolExecutor(1, thread_name_prefix="meanwhile") as pool:
        running = pool.submit(repeat)
        try:
            yield running
        finally:
            over.set()
    running.result()

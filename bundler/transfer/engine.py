"""Filling a bundle: every pending object from its source to its place, in parallel, until all of them are there.

One object's way is `_transfer`: a pull that goes on after every break, and one fresh start when the bytes turn out
wrong. The rest is about ending well: the first error, or Ctrl-C, stops every worker at its next chunk, and what each
has written stays for a later run.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from bundler.bundle.writer import Slot, Writer
from bundler.errors import BundlerError, FetchError, IntegrityError
from bundler.model.items import Object
from bundler.transfer.pull import Pull
from bundler.transfer.retry import Stopped, retry
from bundler.transfer.upstream import Upstream

logger = logging.getLogger(__name__)


def fetch(objects: Sequence[Object], writer: Writer, upstream: Upstream, *, jobs: int, stop: threading.Event) -> None:
    """Complete `objects` in `writer`: `jobs` at a time from the largest on, so that none is left to the end, and beside
    them, unless `jobs` is 1, as many from the smallest on.

    The ones wait for bytes, the others for answers: so neither the line nor the processor is idle.

    Ends early, and in silence, once somebody sets `stop`. Raises the first error that a worker met; FetchError and
    IntegrityError name the object and its source.
    """
    left = deque(sorted(objects, key=lambda obj: (-obj.size, obj.path)))

    def work(take: Callable[[], Object]) -> None:
        while not stop.is_set():
            try:
                obj = take()
            except IndexError:
                return
            _transfer(obj, writer, upstream, stop)

    takes = [left.popleft] * jobs + [left.pop] * (jobs if jobs > 1 else 0)
    with ThreadPoolExecutor(len(takes), thread_name_prefix="transfer") as pool:
        workers = [pool.submit(work, take) for take in takes]
        try:
            done, _ = wait(workers, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    for error in (worker.exception() for worker in done):
        if error is not None and not isinstance(error, Stopped):
            raise error


def _transfer(obj: Object, writer: Writer, upstream: Upstream, stop: threading.Event) -> None:
    """One object from its source to its place."""
    try:
        with writer.slot(obj) as slot:
            try:
                _fill(slot, upstream, stop)
            except IntegrityError as error:
                # What an earlier run or a bad connection left may be at fault: once more, from the first byte.
                logger.warning("%s; fetching it once more", error.message)
                slot.reset()
                _fill(slot, upstream, stop)
    except (FetchError, IntegrityError) as error:
        raise _located(error, obj, upstream) from error


def _fill(slot: Slot, upstream: Upstream, stop: threading.Event) -> None:
    """Write from `slot.written` to the end, and have it verified."""
    obj = slot.obj
    pull = Pull(
        lambda offset, validator: upstream.open(obj, offset=offset, validator=validator),
        slot,
        what=obj.path,
        size=obj.size,
        verified=True,
        stop=stop,
    )
    retry(upstream.config.retries, obj.path, pull.attempt, progress=lambda: pull.furthest, stop=stop)
    slot.finish()


def _located(error: BundlerError, obj: Object, upstream: Upstream) -> BundlerError:
    """`error` with the object and where its bytes were to come from."""
    message = error.message if error.message.startswith("fetch ") else f"fetch {obj.path}: {error.message}"
    message = message.replace(f"fetch {obj.path}: {obj.path}: ", f"fetch {obj.path}: ")
    source = upstream.describe(obj.source)
    if source not in message:
        message = f"{message}, from {source}"
    if isinstance(error, FetchError):
        return FetchError(message, hint=error.hint, status=error.status)
    return type(error)(message, hint=error.hint)

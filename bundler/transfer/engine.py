"""Filling a bundle: every pending object from its source to its place, in parallel, until all of them are there.

One object's way is `_transfer`: attempts that each go on where the one before stopped, and one fresh start when the
bytes turn out wrong. The rest is about ending well: the first error, or Ctrl-C, stops every worker at its next chunk,
and what each has written stays for a later run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from bundler.bundle.writer import Slot, Writer
from bundler.errors import BundlerError, FetchError, IntegrityError
from bundler.model.items import Object
from bundler.transfer.retry import Stopped, TransientError, retry
from bundler.transfer.upstream import Upstream


def fetch(objects: Sequence[Object], writer: Writer, upstream: Upstream, *, jobs: int) -> None:
    """Complete `objects` in `writer`, `jobs` at a time, the largest first.

    Raises the first error that a worker met; FetchError and IntegrityError name the object and its source.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(jobs, thread_name_prefix="transfer") as pool:
        largest_first = sorted(objects, key=lambda obj: (-obj.size, obj.path))
        work = [pool.submit(_transfer, obj, writer, upstream, stop) for obj in largest_first]
        try:
            done, _ = wait(work, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            for future in work:
                future.cancel()
    errors = [future.exception() for future in done if not future.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, Stopped):
            raise error


def _transfer(obj: Object, writer: Writer, upstream: Upstream, stop: threading.Event) -> None:
    """One object from its source to its place, whatever number of attempts that takes."""
    with writer.slot(obj) as slot:
        arrived = _Counter()
        try:
            for fresh_start in (False, True):
                retry(
                    upstream.config.retries,
                    obj.path,
                    lambda: _attempt(slot, upstream, stop, arrived),
                    progress=lambda: arrived.size,
                    stop=stop,
                )
                try:
                    slot.finish()
                    return
                except IntegrityError:
                    # What an earlier run or a bad connection left may be at fault: once more, from the first byte.
                    if fresh_start:
                        raise
        except (FetchError, IntegrityError) as error:
            raise _located(error, obj, upstream) from error


class _Counter:
    """How many bytes arrived for an object, over all attempts."""

    size = 0


def _attempt(slot: Slot, upstream: Upstream, stop: threading.Event, arrived: _Counter) -> None:
    """Write from `slot.written` to the end of what the source sends now."""
    if slot.written == slot.obj.size and slot.obj.size:
        return
    with upstream.open(slot.obj, offset=slot.written) as answer:
        if answer.total is not None and answer.total != slot.obj.size:
            next(answer.chunks, None)  # a page in place of the file has an error of its own
            raise _resized(slot.obj, answer.total)
        if answer.offset != slot.written:
            slot.reset()
        for chunk in answer.chunks:
            if stop.is_set():
                raise Stopped
            slot.write(chunk)
            arrived.size += len(chunk)
    if slot.written < slot.obj.size:
        raise TransientError(f"the connection ended after {slot.written} of {slot.obj.size} bytes")


def _resized(obj: Object, total: int) -> IntegrityError:
    return IntegrityError(
        f"{obj.path}: upstream has {total} bytes, expected {obj.size}",
        hint="upstream changed the file: run without --lock to resolve it afresh",
    )


def _located(error: BundlerError, obj: Object, upstream: Upstream) -> BundlerError:
    """`error` with the object and where its bytes were to come from."""
    message = error.message if error.message.startswith("fetch ") else f"fetch {obj.path}: {error.message}"
    source = upstream.describe(obj.source)
    if source not in message:
        message = f"{message}, from {source}"
    return type(error)(message, hint=error.hint)

"""Work of libsolv's that may never end: in a child of this process, which a limit, Ctrl-C or the end of it stops.

libsolv holds the interpreter while it solves, and what it is given can take it longer than anybody lives: eight
kilobytes of metadata are enough. A child has all that was loaded, costs milliseconds, and can be killed. Of this
process's other threads it has nothing but the locks that they held: the work must not log, import, or open anything.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from bundler.errors import ResolveError

SECONDS = 120  # the largest requests, on slow machines, take ten


def decided(work: Callable[[], Any], what: str) -> Any:
    """What `work` gives, as JSON has it. Raises ResolveError, naming `what`, when it takes too long or crashes."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, there)
    os.close(there)
    try:
        answer = _heard(here, time.monotonic() + SECONDS)
    finally:
        os.close(here)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        raise ResolveError(
            f"{what} are not solved within {SECONDS} s",
            hint="no genuine repository takes so long: leave out one at a time to find which; tell whoever runs it",
        )
    try:
        return json.loads(answer)
    except ValueError:
        raise ResolveError(
            f"{what} cannot be solved: libsolv ended over them, or was ended",
            hint="run it again; if it stays, leave out one repository at a time to find which it is",
        ) from None


def _work(work: Callable[[], Any], to: int) -> NoReturn:
    """In the child: nothing of the parent's is flushed, closed or run at its end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        answer = memoryview(json.dumps(work()).encode() + b"\n")
        while answer:
            answer = answer[os.write(to, answer) :]
    finally:
        os._exit(0)


def _heard(pipe: int, until: float) -> bytes | None:
    """A line out of `pipe`, or what comes up to its end; None when neither has come by then."""
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while (left := until - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            break
        parts.append(os.read(pipe, 1 << 16))
        if not parts[-1] or parts[-1].endswith(b"\n"):
            return b"".join(parts)
    return None

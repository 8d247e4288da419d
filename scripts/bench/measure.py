"""What a piece of work takes: time, memory of the process tree, bytes written, disk at its peak."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 512  # bytes of ru_oublock
_EVERY = 0.05  # seconds between two looks at /proc


@dataclass(frozen=True)
class Measured:
    """Seconds, and bytes: the most memory (PSS) at one time, what was written, the most disk that was taken."""

    seconds: float
    memory: int
    written: int
    disk: int


class _Watch:
    """Looks at this process's descendants and a file system, a few times a second."""

    def __init__(self, folder: Path, apart: Iterable[int]) -> None:
        self.memory = 0
        self._folder, self._apart = folder, frozenset(apart)
        self._free = self._least = _free(folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def disk(self) -> int:
        return max(0, self._free - self._least)

    def _look(self) -> None:
        while not self._stop.wait(_EVERY):
            self.memory = max(self.memory, sum(map(_pss, descendants(os.getpid(), self._apart))))
            self._least = min(self._least, _free(self._folder))


def measure(work: Callable[[], object], folder: Path, services: Sequence[int] = ()) -> Measured:
    """Do `work`, which starts processes and waits for them, on the file system of `folder`.

    `services` are processes that write on its behalf: theirs is counted, their memory is not.
    """
    os.sync()
    others = [pid for pid in _children(os.getpid()) if pid not in services]
    before, written = resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock, _written(services)
    start = time.perf_counter()
    with _Watch(folder, [*services, *others]) as watch:
        work()
        seconds = time.perf_counter() - start
    blocks = resource.getrusage(resource.RUSAGE_CHILDREN).ru_oublock - before
    return Measured(seconds, watch.memory, blocks * _BLOCK + _written(services) - written, watch.disk)


def run(
    argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, to: Path | None = None
) -> None:
    """Run a command; what it prints goes to the file `to`, or nowhere. Raises RuntimeError when it fails."""
    command = [str(word) for word in argv]
    with (to or Path(os.devnull)).open("wb") as out:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:500]}: {done.stderr.decode(errors='replace')[-2000:]}")


def descendants(pid: int, apart: frozenset[int] = frozenset()) -> list[int]:
    """The processes below `pid`, without those in `apart` and what is below these."""
    found, left = [], [pid]
    while left:
        below = [child for child in _children(left.pop()) if child not in apart]
        found += below
        left += below
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = [Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task")]
    except OSError:  # it has ended
        return []
    return [int(word) for text in tasks for word in text.split()]


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except OSError:  # it has ended
        pass
    return 0


def _written(pids: Iterable[int]) -> int:
    """Bytes for the disk: what is deleted again before it gets there (an upload's temporary files) is not among them.

    Source: proc_pid_io(5), `write_bytes` and `cancelled_write_bytes`.
    """
    total = 0
    for pid in pids:
        counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        total += int(counts["write_bytes"]) - int(counts["cancelled_write_bytes"])
    return total


def _free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bfree * status.f_frsize

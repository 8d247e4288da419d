"""The machine's own programs: run without a shell, and their refusals told."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

from bundler.errors import SiteError

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL = 5  # lines of what a program said


def has(program: str) -> bool:
    """Whether the machine has `program`."""
    return shutil.which(program, path=_path()) is not None


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the machine has the program, and it ends well."""
    return has(argv[0]) and _run(argv).returncode == 0


def run(argv: Sequence[str], *, hint: str) -> str:
    """What the program printed. Raises SiteError, with the end of what it said, when it fails or is not there."""
    if not has(argv[0]):
        raise SiteError(f"no {argv[0]} on this machine", hint=hint)
    done = _run(argv)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-_TAIL:] or [f"exit code {done.returncode}"]
        raise SiteError(f"{' '.join(argv)} failed: {said[0]}", *said[1:], hint=hint)
    return done.stdout


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": _path(), "LC_ALL": "C.UTF-8"}
    return subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:{_PATH}"

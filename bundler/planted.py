"""Files at names that others may know beforehand: never through a link, and never one that is somebody else's."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from bundler.errors import ProfileError


def opened(path: Path, flags: int) -> int:
    """A descriptor of a regular file of this user's, which is made where it is missing. Raises ProfileError."""
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _refused(path, error.strerror or "") from None
    found = os.fstat(file)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
        return file
    os.close(file)
    raise _refused(path, "it is not a file of yours alone")


def folder(path: Path) -> Path:
    """A folder of this user's at `path`, made where it is missing. Raises ProfileError."""
    path.mkdir(parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise _refused(path, "it is a link, or somebody else's")
    return path


def replace(path: Path, content: bytes) -> None:
    """Have `content` in the file at `path`, in one step. Raises OSError."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as to:
            to.write(content)
        os.chmod(fresh, 0o644)
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _refused(path: Path, why: str) -> ProfileError:
    return ProfileError(
        f"{path} is not written to: {why}",
        hint="someone else may have put it there: remove it, or build into a folder of your own (-o)",
    )

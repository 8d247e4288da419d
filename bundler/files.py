"""Files in folders that others may write to, a medium for instance: they are read with a limit, and never written
through what somebody planted there.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bundler.sizes import human


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """`path` as a descriptor; it never waits for a pipe's other end.

    Raises OSError (EOPNOTSUPP) for what is no regular file, however a link led there.
    """
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _irregular(path) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _irregular(path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_own(path: Path, flags: int) -> int:
    """`path`, made where it is missing, to be written in several runs under a name that everybody knows.

    Raises OSError (EOPNOTSUPP) where it is a link, symbolic or hard, or no regular file.
    """
    fd = open_regular(path, flags | os.O_CREAT | os.O_NOFOLLOW)
    if os.fstat(fd).st_nlink > 1:
        os.close(fd)
        raise OSError(errno.EOPNOTSUPP, "the file has another name, too", str(path))
    return fd


def own_folder(path: Path) -> Path:
    """A folder of this user's at `path`, made where it is missing.

    Raises OSError (EOPNOTSUPP) where it is a link, or somebody else's.
    """
    path.mkdir(parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(errno.EOPNOTSUPP, "it is a link, or somebody else's", str(path))
    return path


def read_small(path: Path, limit: int) -> bytes:
    """All of the regular file `path`. Raises OSError, EFBIG when that is more than `limit` bytes."""
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is too large: more than {human(limit)}", str(path))
    return data


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A new file that takes the name `path` once the block has ended, and all of it is on the disk.

    Until then it has a name that nobody can foresee, and when the block raises it is gone. Only a regular file gives
    way to it. Raises OSError.
    """
    _require_replaceable(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fresh = f".new-{secrets.token_hex(16)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(fresh, flags, mode, dir_fd=folder), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        raise
    finally:
        os.close(folder)


def write_file(path: Path, content: bytes) -> None:
    """Have `content` in the file `path`, replaced in one step. Raises OSError."""
    with replacing(path) as file:
        file.write(content)


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Make the file `path`. Raises FileExistsError where that name is taken, by a link too; OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _require_replaceable(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise _irregular(path)


def _irregular(path: Path) -> OSError:
    return OSError(errno.EOPNOTSUPP, "it is no regular file", str(path))

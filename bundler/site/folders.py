"""Files and folders below a root that nothing in a path can lead out of."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bundler.errors import SiteError
from bundler.files import replacing
from bundler.model.contents import check_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_folder(path: Path, *, mode: int = 0o755) -> Path:
    """`path` as a folder, made where it is missing with `mode`, and its parents with 0755, whatever the umask.

    A link to a folder counts as one, as `/data` may be. What is made is made in no folder that a link led to meanwhile,
    and nothing that was there gets another mode. Raises SiteError.
    """
    try:
        if not path.is_dir():
            make_folder(path.parent)
            parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.close(_step(parent, path.name, make=True, mode=mode))
            finally:
                os.close(parent)
    except OSError as error:
        raise SiteError(
            f"{path}: cannot make the folder: {error.strerror}",
            hint="name a root that this user may write (--root DIR), or run as root",
        ) from None
    return path


def keep_folder(path: Path, *, mode: int, owner: int = -1, group: int = -1) -> Path:
    """`path` as a folder with this `mode`, and as root with this owner and group, whatever it was. Raises SiteError.

    Its parent has to be there, and nobody else's.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        at = os.open(path, _FOLDER)
        try:
            if os.geteuid() == 0:
                os.fchown(at, owner, group)
            os.fchmod(at, mode)
        finally:
            os.close(at)
    except OSError as error:
        raise SiteError(
            f"{path}: cannot have the folder: {error.strerror}", hint="run as the user who owns the site's root"
        ) from None
    return path


@contextmanager
def parent_of(root: Path, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
    """The folder of `path` below `root` as an open descriptor, and the last name in `path`.

    Each step is opened without following symbolic links, so the descriptor lies below `root` whatever anyone planted
    there. With `make`, missing folders are made. Raises ValueError when `path` is no bundle path (`check_path`),
    OSError (ENOENT, ENOTDIR, ELOOP …) when a step is missing or no folder.
    """
    *folders, name = check_path(path).split("/")
    at = os.open(root, _FOLDER)
    try:
        for folder in folders:
            below = _step(at, folder, make=make)
            os.close(at)
            at = below
        yield at, name
    finally:
        os.close(at)


def _step(at: int, folder: str, *, make: bool, mode: int = 0o755) -> int:
    """The `folder` in the folder `at` as an open descriptor; with `make`, made with `mode` where it is missing."""
    try:
        return os.open(folder, _FOLDER, dir_fd=at)
    except FileNotFoundError:
        if not make:
            raise
    try:
        os.mkdir(folder, 0o700, dir_fd=at)
    except FileExistsError:  # another thread was faster
        return os.open(folder, _FOLDER, dir_fd=at)
    below = os.open(folder, _FOLDER, dir_fd=at)
    os.fchmod(below, mode)
    return below


def regular(name: str | Path, *, at: int | None = None) -> os.stat_result | None:
    """The stat of `name` if it is a regular file and no symbolic link, else None."""
    try:
        found = os.stat(name, dir_fd=at, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def link_target(name: str | Path, *, at: int | None = None) -> str | None:
    """What the symbolic link `name` leads to, or None when it is none."""
    try:
        return os.readlink(name, dir_fd=at)
    except OSError:
        return None


def write_whole(path: Path, content: bytes, mode: int, *, owner: int = -1, group: int = -1) -> None:
    """Make `path` in one step: a crash leaves the old file or the new, and nobody reads a secret on the way.

    As root it is the `owner`'s and the `group`'s. Raises SiteError.
    """
    try:
        with replacing(path, mode) as file:
            os.fchmod(file.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner, group)
            file.write(content)
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}", hint="see who owns the folder, and whether it has room") from None


def sync_folder(path: Path) -> None:
    """Bring the names in `path` to the disk."""
    at = os.open(path, _FOLDER)
    try:
        os.fsync(at)
    finally:
        os.close(at)


def tidy(root: Path, keep: set[str]) -> None:
    """Remove every file and link below `root` whose path is not in `keep`, and the folders that are empty then."""
    for folder, folders, files in os.walk(root, topdown=False):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            if str((here / name).relative_to(root)) not in keep:
                (here / name).unlink()
        for name in folders:
            if name not in links and not any((here / name).iterdir()):
                (here / name).rmdir()

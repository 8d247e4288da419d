"""Unpacks an image's layers into a folder, and nowhere else.

A layer is a tar that may hold anything: names with `..`, links that lead away, devices. Here every link is rewritten so
that it stays below the root, as it would for a process with that root, and every name is resolved before it is
written or removed. Owners and devices are left out, and modes say no more than whether a file is a program: everybody
may read what is unpacked. (OCI image-spec 1.1, layer.md)
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from bundler.errors import SiteError
from bundler.limits import Limit, LimitExceeded
from bundler.tarball import BROKEN, open_tar

# No registry's layer comes near these.
_UNPACKED = Limit("a layer, decompressed", 1 << 30)
_MEMBERS = Limit("the members of a layer", 100_000, "members")
_DEPTH = 64  # folders in folders
# What the system and Python say of names that are too long, or no names, and of links that lead to no end.
_NO_NAMES = (OSError, ValueError, RecursionError)
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


def unpack(layer: Iterator[bytes], root: Path, *, what: str) -> None:
    """Put `layer`, a tar that may be gzipped, over what is in `root`. Reads it to its end, so that it is verified.

    Raises SiteError naming `what` when it is no such tar, or leads out of `root`.
    """
    stream, root = _Stream(layer), root.resolve()
    try:
        with open_tar(io.BufferedReader(stream, 1 << 20), unpacked=_UNPACKED, members=_MEMBERS) as tar:
            for member in tar:
                _put(tar, member, root, what)
                tar.members = []  # type: ignore[attr-defined] # it would keep them all
    except (*BROKEN, *_NO_NAMES, LimitExceeded) as error:
        stream.drain()  # were the bytes wrong, then that is what to say
        raise _bad(what, str(error)) from None
    stream.drain()


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, what: str) -> None:
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if not parts:
        return
    if ".." in parts:
        raise _bad(what, f"member {member.name!r}")
    parent = _inside(root, root.joinpath(*parts[:-1]), what)
    if len(parent.relative_to(root).parts) > _DEPTH:
        raise _bad(what, f"more than {_DEPTH} folders in each other")
    name = parts[-1]
    if name == _OPAQUE:
        _empty(parent)
    elif name.startswith(_WHITEOUT):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", ".", ".."):
            raise _bad(what, f"member {member.name!r}")
        _clear(parent / hidden)
    elif member.isdir():
        _make(parent / name)
    elif member.isreg():
        _make(parent)
        _write(tar, member, parent / name)
    elif member.issym():
        _make(parent)
        _clear(parent / name)
        (parent / name).symlink_to(_kept_inside(root, parent, member.linkname))
    elif member.islnk():
        source = root.joinpath(*[part for part in member.linkname.split("/") if part not in ("", ".", "..")])
        _make(parent)
        _link(_inside(root, source.parent, what) / source.name, parent / name, root, what)


def _inside(root: Path, folder: Path, what: str) -> Path:
    """Where `folder` really is. All links below `root` stay below it, so this only fails on a bug, or a loop."""
    real = Path(os.path.realpath(folder))
    if not real.is_relative_to(root):
        raise _bad(what, f"{folder} leads to {real}")
    return real


def _kept_inside(root: Path, parent: Path, target: str) -> str:
    """What to write into a link in `parent` to lead where `target` leads for a process whose root is `root`."""
    seen = os.path.normpath(os.path.join("/", parent.relative_to(root), target))  # stops at / on its way up
    return os.path.relpath(f"{root}/{seen.lstrip('/')}", parent)


def _link(source: Path, path: Path, root: Path, what: str) -> None:
    """Have `path` be the file that `source` is, which is no folder.

    A symbolic link is written anew: it is relative, and would lead elsewhere from another place.
    """
    if not os.path.lexists(source) or source == path:
        raise _bad(what, f"a hard link to {source.name!r}, which is not there")
    _clear(path)
    if source.is_symlink():
        path.symlink_to(
            _kept_inside(root, path.parent, os.path.join("/", source.parent.relative_to(root), source.readlink()))
        )
    else:
        os.link(source, path, follow_symlinks=False)


def _make(folder: Path) -> None:
    """Have `folder`, in one that is there, or with all its parents; a link to a folder is one."""
    if folder.is_symlink() and folder.is_dir():
        return
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        folder.unlink()
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    _clear(path)
    source = tar.extractfile(member)
    with path.open("xb") as to:
        os.fchmod(to.fileno(), 0o755 if member.mode & 0o111 else 0o644)
        if source is not None:
            shutil.copyfileobj(source, to, 1 << 20)


def _empty(folder: Path) -> None:
    """Remove what is in `folder`, if there is one."""
    if folder.is_dir():
        for each in folder.iterdir():
            _clear(each)


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _bad(what: str, why: str) -> SiteError:
    return SiteError(
        f"cannot unpack {what}: {why}",
        hint="use another registry image, install docker-registry, or name an external registry in site.yaml",
    )


class _Stream(io.RawIOBase):
    """An iterator of chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def drain(self) -> None:
        """Read to the end."""
        for _ in self._chunks:
            pass

"""A folder of the build machine as one tar: the same content gives the same bytes, whoever packs it and when."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bundler.bundle.layout import MTIME
from bundler.errors import ProfileError

# What version control keeps beside the files is not part of them.
_LEFT_OUT = {".git", ".hg", ".svn"}


def pack(folder: Path, to: Path) -> None:
    """Write `folder`, under its own name, to the tar `to`: files, symbolic links and folders, sorted.

    Raises ProfileError for anything else in it, and OSError for what cannot be read.
    """
    folder = folder.resolve()

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if Path(entry.name).name in _LEFT_OUT:
            return None
        if entry.islnk():  # a second name of a file that is in the archive already: the bytes once more
            entry.type, entry.linkname = tarfile.REGTYPE, ""
            entry.size = (folder.parent / entry.name).stat().st_size
        if not (entry.isreg() or entry.isdir() or entry.issym()):
            raise ProfileError(
                f"{folder.parent / entry.name} is neither a file, a folder nor a symbolic link",
                hint="move it out of the folder that the profile names",
            )
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = MTIME, 0, 0, "", ""
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(folder, folder.name, filter=plain)

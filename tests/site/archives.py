"""Archives made for a test, member by member."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path


def entry(name: str, type_: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = type_, target, mode
    return info


def link(name: str, target: str) -> tarfile.TarInfo:
    return entry(name, tarfile.SYMTYPE, target)


def archive(path: Path, entries: Sequence[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for info, data in entries:
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return path

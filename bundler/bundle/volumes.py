"""Splitting a bundle for media that are too small for it, and joining it again."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from bundler.bundle.signature import SUFFIX, signature_file, to_carry
from bundler.bundle.storage import INDEX_SUFFIX, Index, Volume, find_index, open_storage, read_index
from bundler.errors import BundleError, IntegrityError
from bundler.progress import Progress

# What media hold: FAT32's largest file; the user data of a disc, less what its file system takes.
PRESETS = {
    "fat32": (4 << 30) - 1,
    "cd": 700 << 20,
    "dvd": 4_700_000_000 - (16 << 20),
    "bd": 25_000_000_000 - (64 << 20),
}
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SMALLEST = 1 << 20
_MOST = 9999
_CHUNK = 1 << 20


def parse_size(text: str) -> int:
    """Bytes of `4G` (binary units), or of a preset. Raises ValueError."""
    if text.lower() in PRESETS:
        return PRESETS[text.lower()]
    found = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if not found:
        raise ValueError(f"{text!r} is no size: say 4G, 700M, or one of {', '.join(PRESETS)}")
    size = int(found[1]) * _UNITS[found[2].upper()]
    if size < _SMALLEST:
        raise ValueError(f"{text!r} is too small: a volume has at least 1M")
    return size


def split(bundle: Path, folder: Path, size: int, *, progress: Progress) -> Path:
    """Write the volumes of `bundle`, of `size` bytes each but the last, into `folder`; gives their index.

    The index comes last: without it there are no volumes yet. What was signed as one is signed in volumes. Raises
    BundleError; ConfigError where the signature would replace another one.
    """
    signature = folder / f"{bundle.name}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    storage = open_storage(bundle)
    try:
        total = storage.size
        if total is None:
            raise BundleError("a bundle in a pipe cannot be split", hint="save it to a file first")
        signed = to_carry(signature_file(bundle), signature)
        if -(-total // size) > _MOST:
            raise BundleError(f"that makes more than {_MOST} volumes", hint="choose larger ones")
        progress.start("splitting", total)
        volumes = []
        for number, start in enumerate(range(0, total, size), 1):
            path = folder / f"{bundle.name}.{number:03}"
            part = path.with_name(f"{path.name}.part")
            digest = hashlib.sha256()
            length = min(size, total - start)
            with part.open("wb") as file:
                for offset in range(start, start + length, _CHUNK):
                    chunk = storage.pread(min(_CHUNK, start + length - offset), offset)
                    digest.update(chunk)
                    file.write(chunk)
                    progress.advance(len(chunk))
                os.fsync(file.fileno())
            part.replace(path)
            volumes.append(Volume(file=path.name, size=length, sha256=digest.hexdigest()))
        index = Index(bundle=bundle.name, size=total, volumes=tuple(volumes))
    finally:
        storage.close()
    target = folder / f"{bundle.name}{INDEX_SUFFIX}"
    new = target.with_name(f"{target.name}.part")
    new.write_text(index.model_dump_json(indent=1) + "\n")
    new.replace(target)
    if signed is not None:
        signature.write_bytes(signed)
    progress.finish()
    return target


def join(path: Path, folder: Path, *, progress: Progress) -> Path:
    """Write the bundle whose volumes are at `path` (a folder, a volume or the index) into `folder`; gives its path.

    Each volume is checked as it is read. What was signed in volumes is signed as one. Raises IntegrityError naming the
    first that is bad, BundleError; ConfigError where the signature would replace another one.
    """
    index_path = find_index(path)
    if index_path is None:
        raise BundleError(f"{path} is no folder of volumes, and no volume", hint="name what `bundler split` wrote")
    open_storage(index_path).close()  # are all there?
    index = read_index(index_path)
    signature = folder / f"{index.bundle}{SUFFIX}"
    signed = to_carry(signature_file(index_path), signature)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / index.bundle
    part = target.with_name(f"{target.name}.joining")
    progress.start("joining", index.size)
    try:
        with part.open("wb") as to:
            for volume in index.volumes:
                digest = hashlib.sha256()
                with (index_path.parent / volume.file).open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        digest.update(chunk)
                        to.write(chunk)
                        progress.advance(len(chunk))
                if digest.hexdigest() != volume.sha256:
                    raise IntegrityError(
                        f"volume {volume.file} is damaged", hint="bring it again; the others need not be sent again"
                    )
            os.fsync(to.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    if signed is not None:
        signature.write_bytes(signed)
    progress.finish()
    return target

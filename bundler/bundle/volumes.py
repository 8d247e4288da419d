"""Splitting a bundle for media that are too small for it, and joining it again."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from bundler.bundle.reader import Bundle
from bundler.bundle.signature import SUFFIX, signature_file, to_carry
from bundler.bundle.storage import (
    INDEX_SUFFIX,
    MOST_VOLUMES,
    Index,
    Volume,
    find_index,
    is_bundle_name,
    open_storage,
    open_volumes,
    read_index,
    volume_name,
)
from bundler.errors import BundleError, ConfigError, IntegrityError
from bundler.files import replacing, write_file
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
    if not is_bundle_name(bundle.name):
        raise BundleError(
            f"{bundle} is not called like a bundle, and so could not be joined again",
            hint="name it NAME-VERSION.tar, as `bundler build` did",
        )
    signature = folder / f"{bundle.name}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    storage = open_storage(bundle)
    try:
        total = storage.size
        if total is None:
            raise BundleError("a bundle in a pipe cannot be split", hint="save it to a file first")
        signed = to_carry(signature_file(bundle), signature)
        if -(-total // size) > MOST_VOLUMES:
            raise BundleError(f"that makes more than {MOST_VOLUMES} volumes", hint="choose larger ones")
        progress.start("splitting", total)
        volumes = []
        for number, start in enumerate(range(0, total, size), 1):
            name = volume_name(bundle.name, number)
            digest = hashlib.sha256()
            length = min(size, total - start)
            with replacing(folder / name) as file:
                for offset in range(start, start + length, _CHUNK):
                    chunk = storage.pread(min(_CHUNK, start + length - offset), offset)
                    digest.update(chunk)
                    file.write(chunk)
                    progress.advance(len(chunk))
            volumes.append(Volume(file=name, size=length, sha256=digest.hexdigest()))
        index = Index(bundle=bundle.name, size=total, volumes=tuple(volumes))
    finally:
        storage.close()
    target = folder / f"{bundle.name}{INDEX_SUFFIX}"
    write_file(target, f"{index.model_dump_json(indent=1)}\n".encode())
    if signed is not None:
        write_file(signature, signed)
    progress.finish()
    return target


def join(path: Path, folder: Path, *, progress: Progress, replace: bool = False) -> Path:
    """Write the bundle whose volumes are at `path` (a folder, a volume or the index) into `folder`; gives its path.

    Each volume is checked as it is read. What was signed in volumes is signed as one. Raises IntegrityError naming the
    first that is bad, BundleError; ConfigError where the signature would replace another one, or the bundle a file that
    is not the same bundle, unless `replace` says so.
    """
    index_path = find_index(path)
    if index_path is None:
        raise BundleError(f"{path} is no folder of volumes, and no volume", hint="name what `bundler split` wrote")
    index = read_index(index_path)
    _require_free(folder / index.bundle, index_path, replace=replace)
    signature = folder / f"{index.bundle}{SUFFIX}"
    signed = to_carry(signature_file(index_path), signature)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / index.bundle
    fds = open_volumes(index_path, index)
    try:
        progress.start("joining", index.size)
        with replacing(target) as to:
            for volume, fd in zip(index.volumes, fds, strict=True):
                digest = hashlib.sha256()
                for offset in range(0, volume.size, _CHUNK):
                    chunk = os.pread(fd, min(_CHUNK, volume.size - offset), offset)
                    digest.update(chunk)
                    to.write(chunk)
                    progress.advance(len(chunk))
                if digest.hexdigest() != volume.sha256:
                    raise IntegrityError(
                        f"volume {volume.file} is damaged", hint="bring it again; the others need not be sent again"
                    )
    finally:
        for fd in fds:
            os.close(fd)
    if signed is not None:
        write_file(signature, signed)
    progress.finish()
    return target


def _require_free(target: Path, volumes: Path, *, replace: bool) -> None:
    """Raise ConfigError where `target` is a file, and not the bundle that lies in `volumes`."""
    with Bundle(volumes) as opened:
        wanted = (opened.manifest.id, opened.delta)
    if replace or not os.path.lexists(target):
        return
    try:
        with Bundle(target) as there:
            if (there.manifest.id, there.delta) == wanted:
                return
    except (BundleError, IntegrityError):
        pass
    raise ConfigError(
        f"{target} is there already, and is not the bundle in these volumes",
        hint="join them into another folder (-o); --replace gives up what is there",
    )

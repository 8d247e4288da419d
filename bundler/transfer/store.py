"""The lock's store: bytes that were made while resolving, by their sha256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bundler.errors import FetchError
from bundler.files import own_folder

_CHUNK = 1 << 20


class Store:
    """A folder of files named by their sha256; safe to add to from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, content: bytes | Path) -> tuple[int, str]:
        """Keep `content`; returns its size in bytes and its sha256."""
        own_folder(self.root)
        handle, name = tempfile.mkstemp(dir=self.root, prefix=".new-")
        digest, size = hashlib.sha256(), 0
        try:
            with os.fdopen(handle, "wb") as to:
                for chunk in [content] if isinstance(content, bytes) else file_chunks(content):
                    digest.update(chunk)
                    size += len(chunk)
                    to.write(chunk)
            os.chmod(name, 0o644)
            os.rename(name, self.root / digest.hexdigest())
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return size, digest.hexdigest()

    def has(self, sha256: str) -> bool:
        """Whether a file of that name lies here; whoever reads it sees to its digest."""
        return (self.root / sha256).is_file()

    def path(self, sha256: str) -> Path:
        """Where the bytes with that digest lie. Raises FetchError when they are not here."""
        path = self.root / sha256
        if not self.has(sha256):
            raise FetchError(
                f"{path} is missing: bytes that were made when the lock was",
                hint="keep the lock's .d folder beside it, or resolve again without --lock",
            )
        return path


def file_chunks(path: Path, offset: int = 0) -> Iterator[bytes]:
    """A file's bytes from `offset` on, in chunks of 1 MiB."""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK):
            yield chunk

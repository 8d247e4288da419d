"""Objects with their bytes in memory, for the stores to take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from bundler.bundle.content import SMALL, Content
from bundler.bundle.manifest import Manifest
from bundler.errors import IntegrityError
from bundler.model.items import Item, Made, Object

_CHUNK = 64 << 10


class MemoryContent(Content):
    """A `Content` over a mapping of paths to bytes; as a bundle it gives the last chunk only when all is right."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.streamed: list[str] = []

    def stream(self, obj: Object) -> Iterator[bytes]:
        self.streamed.append(obj.path)
        data = self.files[obj.path]
        chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
        yield from chunks[:-1]
        if len(data) != obj.size or hashlib.sha256(data).hexdigest() != obj.sha256:
            raise IntegrityError(f"{obj.path} is damaged", hint="carry it again")
        yield from chunks[-1:]

    def read(self, obj: Object, *, limit: int = SMALL) -> bytes:
        assert obj.size <= limit
        return b"".join(self.stream(obj))


def make_object(path: str, data: bytes, mode: int = 0o644) -> Object:
    return Object(path, len(data), hashlib.sha256(data).hexdigest(), Made(), mode)


def make_manifest(version: str, objects: Mapping[str, bytes], name: str = "demo", mode: int = 0o644) -> Manifest:
    """The manifest of a bundle with one item that has `objects`."""
    made = tuple(make_object(path, data, mode) for path, data in sorted(objects.items()))
    return Manifest(name, version, "1" * 64, "2" * 64, (Item("files", "things", version, made),), ())

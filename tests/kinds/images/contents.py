"""Real content for stores: objects in memory, verified as a bundle's are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from bundler.bundle.content import Content
from bundler.errors import IntegrityError
from bundler.model.items import Made, Object

CHUNK = 64 << 10


def object_with(data: bytes) -> Object:
    sha256 = hashlib.sha256(data).hexdigest()
    return Object(f"images/blobs/sha256/{sha256}", len(data), sha256, Made())


class MemoryContent(Content):
    """Bytes by path. `asked` counts how often an object was streamed."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = dict(contents)
        self.asked: dict[str, int] = {}

    @classmethod
    def of(cls, *contents: bytes) -> MemoryContent:
        return cls({object_with(data).path: data for data in contents})

    def stream(self, obj: Object) -> Iterator[bytes]:
        self.asked[obj.path] = self.asked.get(obj.path, 0) + 1
        data = self.contents[obj.path]
        for start in range(0, len(data), CHUNK):
            if start + CHUNK >= len(data):
                self._verify(obj, data)
            yield data[start : start + CHUNK]

    def read(self, obj: Object, *, limit: int = 16 << 20) -> bytes:
        data = self.contents[obj.path]
        assert len(data) <= limit
        self._verify(obj, data)
        return data

    @staticmethod
    def _verify(obj: Object, data: bytes) -> None:
        if (len(data), hashlib.sha256(data).hexdigest()) != (obj.size, obj.sha256):
            raise IntegrityError(f"{obj.path} is damaged", hint="carry it again")

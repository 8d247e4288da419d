"""Everything outside, as `resolve` and the transfer engine see it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bundler.errors import FetchError, IntegrityError, ProfileError
from bundler.model.config import Config
from bundler.model.items import Download, LocalFile, Made, Object, RegistryBlob, Source
from bundler.transfer.http import Answer, Http
from bundler.transfer.registry import Registry
from bundler.transfer.retry import retry
from bundler.transfer.store import Store, file_chunks


@dataclass(frozen=True, slots=True)
class Digests:
    """A file's size in bytes, and its digests in hex."""

    size: int
    sha256: str
    sha512: str


class Upstream:
    """The way to URLs, registries and local files. A context manager: `scratch` is gone when it is left.

    May be used from several threads.
    """

    def __init__(self, config: Config, *, base: Path, store: Store) -> None:
        """`base` is the profile's folder, where relative paths start; `store` keeps what is made while resolving."""
        self.config = config
        self.scratch = Path(tempfile.mkdtemp(prefix="bundler-"))
        try:
            self._http = Http(config, self.scratch)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise
        self._base = base
        self._store = store
        self._registries: dict[str, Registry] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def mirrored(self, url: str) -> str:
        """Where `url` is really fetched from."""
        return self._http.mirrored(url)

    def registry(self, name: str) -> Registry:
        """The registry that images call `name`."""
        with self._guard:
            if name not in self._registries:
                self._registries[name] = Registry(name, self._http)
            return self._registries[name]

    def read(self, location: str, *, limit: int) -> bytes:
        """A small file whole: a URL, or a path relative to the profile.

        Raises ProfileError for a local file that cannot be read, FetchError for a URL that does not deliver, or for
        more than `limit` bytes.
        """
        if not _is_url(location):
            path = self._local(location)
            if path.stat().st_size > limit:
                raise ProfileError(f"{path} is larger than {limit} bytes", hint="name another file")
            return path.read_bytes()

        def attempt() -> bytes:
            data = bytearray()
            with self._http.get(location) as answer:
                for chunk in answer.chunks:
                    data += chunk
                    if len(data) > limit:
                        raise FetchError(
                            f"{location}: larger than the {limit} bytes that such a file may have",
                            hint="open the URL by hand to see what it is",
                        )
            return bytes(data)

        return retry(self.config.retries, location, attempt)

    def download(self, url: str, to: Path, *, size: int | None = None, sha256: str | None = None) -> None:
        """Bring metadata to the file `to`; an interrupted transfer goes on in its middle.

        Raises FetchError, or IntegrityError when it is not of the promised size and digest.
        """
        with to.open("wb") as file:

            def attempt() -> None:
                with self._http.get(url, offset=file.tell()) as answer:
                    if answer.offset != file.tell():
                        file.seek(answer.offset)
                        file.truncate()
                    for chunk in answer.chunks:
                        file.write(chunk)
                        if size is not None and file.tell() > size:
                            raise _changed(url, f"more than {size} bytes", f"{size} bytes")

            retry(self.config.retries, url, attempt, progress=file.tell)
        found = _digests(file_chunks(to))
        if size not in (None, found.size):
            raise _changed(url, f"{found.size} bytes", f"{size} bytes")
        if sha256 not in (None, found.sha256):
            raise _changed(url, f"sha256 {found.sha256}", f"sha256 {sha256}")

    def measure(self, url: str, *, sha256: str | None = None) -> tuple[int, str]:
        """Size in bytes and sha256 of what lies at `url`.

        With the digest known, the upstream is only asked for the size; else, or if it does not say, all is read once.
        """

        def ask() -> int | None:
            return self._http.size(url)

        if sha256 is not None and (size := retry(self.config.retries, url, ask)) is not None:
            return size, sha256
        found = self.digests(url)
        if sha256 not in (None, found.sha256):
            raise _changed(url, f"sha256 {found.sha256}", f"sha256 {sha256}")
        return found.size, found.sha256

    def digests(self, url: str) -> Digests:
        """Size and digests of what lies at `url`, which is read once and not kept."""

        def read() -> Digests:
            with self._http.get(url) as answer:
                return _digests(answer.chunks)

        return retry(self.config.retries, url, read)

    def local_object(self, path: str, file: str, *, mode: int = 0o644) -> Object:
        """A file of this machine as the object `path`. Raises ProfileError when it cannot be read."""
        found = _digests(file_chunks(self._local(file)))
        return Object(path, found.size, found.sha256, LocalFile(file), mode)

    def keep(self, path: str, content: bytes | Path, *, mode: int = 0o644) -> Object:
        """Bytes made while resolving, as the object `path`."""
        size, sha256 = self._store.add(content)
        return Object(path, size, sha256, Made(), mode)

    @contextmanager
    def open(self, obj: Object, *, offset: int) -> Iterator[Answer]:
        """The bytes of `obj` from `offset` on, or from 0 where its source cannot do that. One attempt.

        Raises TransientError for what may pass, and one of bundler's errors for what will not.
        """
        match obj.source:
            case Download(url):
                with self._http.get(url, offset=offset) as answer:
                    yield answer
            case RegistryBlob(name, repository, digest, what):
                with self.registry(name).open(repository, what, digest, offset=offset) as answer:
                    yield answer
            case LocalFile(file):
                yield Answer(offset, obj.size, file_chunks(self._local(file), offset))
            case Made():
                yield Answer(offset, obj.size, file_chunks(self._store.path(obj.sha256), offset))

    def describe(self, source: Source) -> str:
        """A source for messages: where it was really asked for."""
        match source:
            case Download(url):
                place = self.mirrored(url)
                return url if place == url else f"{url} (from {place})"
            case RegistryBlob(registry, repository, digest):
                return f"{registry}/{repository}@{digest}"
            case LocalFile(file):
                return file
            case Made():
                return "the lock's store"

    def _local(self, file: str) -> Path:
        path = self._base / file
        if not path.is_file():
            raise ProfileError(
                f"{path}: there is no such file", hint="paths in a profile start at the profile's folder"
            )
        return path


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


def _digests(chunks: Iterator[bytes]) -> Digests:
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    for chunk in chunks:
        sha256.update(chunk)
        sha512.update(chunk)
        size += len(chunk)
    return Digests(size, sha256.hexdigest(), sha512.hexdigest())


def _changed(url: str, found: str, promised: str) -> IntegrityError:
    return IntegrityError(
        f"{url}: upstream sent {found}, where {promised} was promised",
        hint="upstream may be in the middle of an update: try again later, or see `mirrors` in bundler's config",
    )

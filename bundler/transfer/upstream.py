"""Everything outside, as `resolve` and the transfer engine see it."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from bundler.errors import FetchError, IntegrityError, ProfileError
from bundler.files import read_small
from bundler.limits import Limit
from bundler.model.config import Config
from bundler.model.items import Download, LocalFile, Made, Object, RegistryBlob, Source
from bundler.transfer.http import Answer, Http
from bundler.transfer.notes import Notes
from bundler.transfer.pack import pack
from bundler.transfer.places import Places
from bundler.transfer.pull import Pull, Sink
from bundler.transfer.registry import Registry
from bundler.transfer.retry import retry
from bundler.transfer.store import Store, file_chunks
from bundler.transfer.witness import Question, Witness, answer_of

_METADATA = Limit("what is fetched while resolving", 16 << 30)


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

    def __init__(self, config: Config, *, base: Path, store: Store, notes: Notes | None = None) -> None:
        """`base` is the profile's folder, where relative paths start; `store` keeps what is made while resolving, and
        `notes` what need not be resolved again."""
        self.config = config
        self.scratch = Path(tempfile.mkdtemp(prefix="bundler-"))
        try:
            self._http = Http(config, self.scratch)
        except BaseException:
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise
        self._base = base
        self.store = store
        self.notes = notes or Notes(None)
        self.witness = Witness()
        self.places = Places()
        self._registries: dict[tuple[str, bool], Registry] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def attended(self) -> Upstream:
        """The same way, with a witness of its own."""
        twin = copy.copy(self)
        twin.witness = Witness()
        return twin

    @property
    def stopped(self) -> threading.Event:
        """Once set, every question that is under way in other threads ends with Stopped."""
        return self._http.stopped

    def mirrored(self, url: str) -> str:
        """Where `url` is really fetched from."""
        return self._http.mirrored(url)

    def led(self, sender: str, target: str) -> None:
        """See that the document at the URL `sender` may lead to the URL `target`: FetchError where no upstream may.

        What a name in it turns out to be at is seen when it is connected to.
        """
        self._http.led(sender, target)

    def registry(self, name: str, *, anonymous: bool = False) -> Registry:
        """The registry that images call `name`; an `anonymous` one is shown no log-in of podman's or docker's."""
        self.witness.doubts()
        with self._guard:
            if (name, anonymous) not in self._registries:
                self._registries[name, anonymous] = Registry(name, self._http, anonymous=anonymous)
            return self._registries[name, anonymous]

    def read(self, location: str, *, limit: int, accept: str = "") -> bytes:
        """A small file whole: a URL, or a path relative to the profile; `accept` as HTTP has it.

        Raises ProfileError for a local file that cannot be read, FetchError for a URL that does not deliver, or for
        more than `limit` bytes.
        """
        question = Question(location, accept)
        try:
            data = self._read(location, limit, accept)
        except FetchError as error:
            if error.absent:
                self.witness.heard(question, None)
            else:
                self.witness.doubts()
            raise
        self.witness.heard(question, answer_of(data))
        return data

    def _read(self, location: str, limit: int, accept: str) -> bytes:
        if not _is_url(location):
            path = self.local(location)
            try:
                return read_small(path, limit)
            except OSError as error:
                raise ProfileError(f"cannot read {path}: {error.strerror}", hint="name another file") from None

        bound = Limit("such a file", limit)

        def attempt() -> bytes:
            data = bytearray()
            with self._http.get(location, accept=accept) as answer:
                for chunk in answer.chunks:
                    data += chunk
                    bound.check(len(data))
            return bytes(data)

        return retry(self.config.retries, location, attempt, stop=self.stopped)

    def reach(self, url: str) -> None:
        """See that `url` would be answered, without taking anything. Raises FetchError."""
        retry(self.config.retries, url, lambda: self._http.size(url), stop=self.stopped)

    def download(
        self, url: str, to: Path, *, size: int | None = None, sha256: str | None = None, limit: Limit = _METADATA
    ) -> None:
        """Bring metadata to the file `to`; an interrupted transfer goes on in its middle.

        Raises FetchError, also for what is beyond `limit`, or IntegrityError when it is not of the promised size and
        digest.
        """
        if sha256 is None:
            self.witness.doubts()
        with to.open("wb") as file, self._doubted():
            sink = _Hashed(file, limit)
            self._pull(url, sink, size=size, verified=sha256 is not None)
        if sha256 not in (None, sink.digests().sha256):
            raise _changed(url, sink.digests().sha256, str(sha256))

    def stream(self, obj: Object) -> Iterator[bytes]:
        """The bytes of `obj` from its source, verified before the first is handed over. See `Content.stream`."""

        def start(offset: int, validator: str | None) -> AbstractContextManager[Answer]:
            return self.open(obj, offset=offset, validator=validator)

        with tempfile.TemporaryFile(dir=self.scratch) as file:
            sink = _Hashed(file)
            self._complete(Pull(start, sink, what=obj.path, size=obj.size, verified=True, stop=self.stopped), obj.path)
            if (found := sink.digests()).sha256 != obj.sha256:
                raise _changed(self.describe(obj.source), found.sha256, obj.sha256)
            file.seek(0)
            while chunk := file.read(1 << 20):
                yield chunk

    def measure(self, url: str, *, sha256: str | None = None) -> tuple[int, str]:
        """Size in bytes and sha256 of what lies at `url`.

        With the digest known, the upstream is only asked for the size; else, or if it does not say, all is read once.
        """

        def ask() -> int | None:
            return self._http.size(url)

        if sha256 is not None:
            with self._doubted():
                size = retry(self.config.retries, url, ask, stop=self.stopped)
            if size is not None:
                return size, sha256
        found = self.digests(url)
        if sha256 not in (None, found.sha256):
            raise _changed(url, found.sha256, str(sha256))
        return found.size, found.sha256

    def digests(self, location: str) -> Digests:
        """Size and digests of what lies at a URL or a local path, which is read once and not kept."""
        self.witness.doubts()
        sink = _Hashed()
        if _is_url(location):
            sink = _Hashed(limit=Limit("a file whose size nobody states (`largest_file`)", self.config.largest_file))
            self._pull(location, sink, size=None, verified=False)
        else:
            for chunk in file_chunks(self.local(location)):
                sink.write(chunk)
        return sink.digests()

    def local_object(self, path: str, file: str, *, mode: int = 0o644) -> Object:
        """A file of this machine as the object `path`. Raises ProfileError when it cannot be read."""
        found = self.digests(file)
        return Object(path, found.size, found.sha256, LocalFile(file), mode)

    def folder(self, path: str) -> Path | None:
        """A local path of the profile where a folder is there, else None."""
        self.witness.doubts()
        found = self._base / path
        return found if found.is_dir() else None

    def packed(self, path: str, folder: str, *, mode: int = 0o644) -> Object:
        """A folder of this machine as one tar, the object `path`. Raises ProfileError for what none should hold."""
        archive = self.scratch / f"{hashlib.sha256(folder.encode()).hexdigest()}.tar"
        pack(self._base / folder, archive)
        return self.keep(path, archive, mode=mode)

    def keep(self, path: str, content: bytes | Path, *, mode: int = 0o644) -> Object:
        """Bytes made while resolving, as the object `path`."""
        size, sha256 = self.store.add(content)
        self.witness.made(sha256)
        return Object(path, size, sha256, Made(), mode)

    @contextmanager
    def open(self, obj: Object, *, offset: int, validator: str | None = None) -> Iterator[Answer]:
        """The bytes of `obj` from `offset` on, or from 0 where its source cannot do that, or has another version than
        `validator` (from an earlier answer) names. One attempt.

        Raises TransientError for what may pass, and one of bundler's errors for what will not.
        """
        match obj.source:
            case Download(url):
                with self._http.get(url, offset=offset, validator=validator) as answer:
                    self.places.note(obj, url, str(answer.place))
                    yield answer
            case RegistryBlob(name, repository, digest, what):
                registry = self.registry(name)
                with registry.open(repository, what, digest, offset=offset) as answer:
                    self.places.note(obj, registry.url(repository, what, digest), str(answer.place))
                    yield answer
            case LocalFile(file):
                yield _local_answer(self.local(file), offset)
            case Made():
                yield _local_answer(self.store.path(obj.sha256), offset)

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

    @contextmanager
    def _doubted(self) -> Iterator[None]:
        """What fails may be got over, and lead to something else the next time."""
        try:
            yield
        except BaseException:
            self.witness.doubts()
            raise

    def _pull(self, url: str, sink: Sink, *, size: int | None, verified: bool) -> None:
        def start(offset: int, validator: str | None) -> AbstractContextManager[Answer]:
            return self._http.get(url, offset=offset, validator=validator)

        self._complete(Pull(start, sink, what=url, size=size, verified=verified, stop=self.stopped), url)

    def _complete(self, pull: Pull, what: str) -> None:
        retry(self.config.retries, what, pull.attempt, progress=lambda: pull.furthest, stop=self.stopped)

    def local(self, file: str) -> Path:
        """A local path of the profile. Raises ProfileError when no file that can be read is there."""
        path = self._base / file
        try:
            readable = path.is_file() and os.access(path, os.R_OK)
        except OSError:  # a name that no file can have
            readable = False
        if not readable:
            raise ProfileError(
                f"{path}: there is no such file, or none that can be read",
                hint="paths in a profile start at the profile's folder",
            )
        return path


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


class _Hashed:
    """A sink that hashes what it is given, up to `limit`, and keeps it in `file` where there is one."""

    def __init__(self, file: BinaryIO | None = None, limit: Limit | None = None) -> None:
        self.written = 0
        self._file = file
        self._limit = limit
        self._sha256, self._sha512 = hashlib.sha256(), hashlib.sha512()

    def write(self, chunk: bytes) -> None:
        if self._limit:
            self._limit.check(self.written + len(chunk))
        self._sha256.update(chunk)
        self._sha512.update(chunk)
        if self._file:
            self._file.write(chunk)
        self.written += len(chunk)

    def reset(self) -> None:
        if self._file:
            self._file.seek(0)
            self._file.truncate()
        self.written = 0
        self._sha256, self._sha512 = hashlib.sha256(), hashlib.sha512()

    def digests(self) -> Digests:
        """Of what it holds now."""
        return Digests(self.written, self._sha256.hexdigest(), self._sha512.hexdigest())


def _local_answer(path: Path, offset: int) -> Answer:
    return Answer(offset, path.stat().st_size, file_chunks(path, offset))


def _changed(url: str, found: str, promised: str) -> IntegrityError:
    return IntegrityError(
        f"{url}: upstream sent bytes with sha256 {found}, where {promised} was promised",
        hint="upstream may be in the middle of an update: try again later, or see `mirrors` in bundler's config",
    )

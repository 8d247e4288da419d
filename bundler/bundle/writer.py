"""Writing a bundle: every object straight to its final offset, in any order, from any thread, across interruptions.

The tar grows as `NAME.tar.part`. Beside it, `NAME.tar.part.journal` says how far each object has come, one line a fact:

    bundle <manifest id> <boot id>      what is being written, and since which start of this machine
    done <index>                        the object is in place, and its digest was right
    part <index> <bytes>                so many bytes of it are in place

A process that dies loses nothing that the journal says, for the kernel still has the bytes. A machine that dies may:
after another boot every journaled object is read back and hashed before it counts. A disk that fails to take them may,
too, and what is read back then comes from memory: there is no journal any more.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from bundler import planted
from bundler.bundle.content import Content
from bundler.bundle.delta import Delta
from bundler.bundle.layout import layout
from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import CHUNK, Bundle
from bundler.errors import BundlerError, BusyError, IntegrityError, SpaceError
from bundler.model.items import Object
from bundler.progress import Progress, Silent

logger = logging.getLogger(__name__)

_CHECKPOINT = 8 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Writer:
    """A bundle being written. As a context manager it closes its files and keeps what is there, for a later run."""

    def __init__(
        self,
        target: Path,
        manifest: Manifest,
        documents: Mapping[str, bytes],
        progress: Progress | None = None,
        delta: Delta | None = None,
    ) -> None:
        """Begin or go on with the bundle that `manifest` describes; it appears at `target` on `commit`.

        `delta` says what is left out; `documents` are the bytes of the manifest's documents. Raises BusyError when
        another process writes the same bundle, SpaceError when the file system has not the room.
        """
        self.target = target
        self.manifest = manifest
        self._layout = layout(manifest, delta)
        self._objects = self._layout.payload
        self._index = {obj.path: index for index, obj in enumerate(self._objects)}
        self._progress = progress or Silent()
        self._part = target.with_name(f"{target.name}.part")
        self._journal_path = target.with_name(f"{target.name}.part.journal")
        # Of what is being written: the manifest, and what is left out of it.
        self._id = hashlib.sha256(delta.data).hexdigest() if delta else manifest.id
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._given_up = False
        self._written: dict[int, int] = {}
        self._done: set[int] = set()
        self._fd = planted.opened(self._part, os.O_RDWR)
        try:
            self._take_lock()
            self._require_space()
            self._journal = self._open_journal()
            self._write_frame({**self._layout.head, **documents})
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._journal)
        os.close(self._fd)

    def pending(self) -> list[Object]:
        """The objects that are not complete."""
        return [obj for index, obj in enumerate(self._objects) if index not in self._done]

    @property
    def part(self) -> Path:
        """The file that is being written: a bundle, of which some objects are not in place."""
        return self._part

    @property
    def payload_size(self) -> int:
        """Bytes of payload that the bundle carries."""
        return sum(obj.size for obj in self._objects)

    def missing(self) -> int:
        """How many bytes of payload are not in place."""
        return sum(obj.size - self._written.get(self._index[obj.path], 0) for obj in self.pending())

    def slot(self, obj: Object) -> Slot:
        """The place of one pending object; a context manager."""
        return Slot(self, obj, self._layout.members[obj.path].data, self._written.get(self._index[obj.path], 0))

    def wait_for(self, obj: Object) -> None:
        """Return once `obj` is in place. Raises GivenUp when it will not be."""
        index = self._index[obj.path]
        with self._arrived:
            self._arrived.wait_for(lambda: index in self._done or self._given_up)
            if index not in self._done:
                raise GivenUp

    def give_up(self) -> None:
        """Nothing more will arrive in this run: whoever waits for it need not."""
        with self._arrived:
            self._given_up = True
            self._arrived.notify_all()

    def reuse(self, old: Bundle) -> None:
        """Copy in every pending object that the bundle `old` has. What turns out damaged there is left pending."""
        held = {(obj.sha256, obj.size): obj for obj in old.layout.payload}
        for obj in self.pending():
            if source := held.get((obj.sha256, obj.size)):
                try:
                    with self.slot(obj) as slot:
                        if (place := old.location(source)) is not None:
                            slot.copy(*place)
                        else:
                            slot.reset()
                            for chunk in old.stream(source):
                                slot.write(chunk)
                            slot.finish()
                except IntegrityError:
                    logger.warning("%s: %s is damaged there, fetched instead", old.path, source.path)

    def flush(self) -> None:
        """Bring what was written to the disk. May be called from another thread.

        A disk says once that it has lost something, and not what: after that nothing of the journal counts.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._journal_path.unlink(missing_ok=True)
            raise SpaceError(
                f"cannot bring {self._part} to the disk: {error.strerror}",
                hint="see to the disk, then run it again: all of it is fetched anew",
            ) from error

    def commit(self) -> Path:
        """Give the complete bundle its name, and say where it is."""
        assert not self.pending(), "a bundle is committed when every object is in place"
        self.flush()
        os.rename(self._part, self.target)
        self._journal_path.unlink()
        folder = os.open(self.target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return self.target

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                f"another bundler writes {self._part}",
                hint="wait until it has ended, or build into another folder (-o)",
            ) from None

    def _require_space(self) -> None:
        """The file system has room for what is not allocated yet."""
        status, volume = os.fstat(self._fd), os.fstatvfs(self._fd)
        needed = self._layout.size - status.st_blocks * 512
        available = volume.f_bavail * volume.f_frsize
        if needed > available:
            raise SpaceError(
                f"{self.target.parent}: the bundle needs {needed} more bytes, {available} are free",
                hint="free some space, or build into a folder on another file system (-o)",
            )

    def _open_journal(self) -> int:
        """Take over the journal of an earlier run for this very bundle, or begin a new one."""
        boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "unknown"
        lines = self._read_journal()
        resumed = bool(lines) and lines[0].split(" ")[:2] == ["bundle", self._id]
        if resumed and os.fstat(self._fd).st_size == self._layout.size:
            self._replay(lines[1:], read_back=lines[0] != f"bundle {self._id} {boot}")
            logger.info("going on with %s: %d of %d objects are there", self._part, len(self._done), len(self._objects))
            journal = planted.opened(self._journal_path, os.O_WRONLY | os.O_APPEND)
            os.write(journal, b"\n")  # ends a line that was cut off
            return journal
        # The old file goes before the new journal begins: facts about it must not be taken for facts about the new one.
        self._journal_path.unlink(missing_ok=True)
        os.ftruncate(self._fd, 0)
        os.ftruncate(self._fd, self._layout.size)
        journal = planted.opened(self._journal_path, os.O_WRONLY | os.O_APPEND)
        os.write(journal, f"bundle {self._id} {boot}\n".encode())
        return journal

    def _read_journal(self) -> list[str]:
        if not os.path.lexists(self._journal_path):
            return []
        with os.fdopen(
            planted.opened(self._journal_path, os.O_RDONLY), "r", encoding="ascii", errors="replace"
        ) as file:
            return file.read().splitlines()

    def _replay(self, lines: list[str], *, read_back: bool) -> None:
        for line in lines:
            match line.split(" "):
                case ["done", index] if index.isdigit() and int(index) < len(self._objects):
                    self._done.add(int(index))
                    self._written[int(index)] = self._objects[int(index)].size
                case ["part", index, size] if index.isdigit() and size.isdigit() and int(index) < len(self._objects):
                    self._done.discard(int(index))
                    self._written[int(index)] = min(int(size), self._objects[int(index)].size)
                case _:
                    continue  # cut off by the end of the process that wrote it
        if read_back:
            for done in sorted(self._done):
                obj = self._objects[done]
                digest = hashlib.sha256()
                for chunk in self.read_back(self._layout.members[obj.path].data, obj.size):
                    digest.update(chunk)
                if digest.hexdigest() != obj.sha256:
                    self._done.discard(done)
                    del self._written[done]

    def _write_frame(self, documents: Mapping[str, bytes]) -> None:
        """Everything but the payload."""
        for member in self._layout.members.values():
            self.put(self._layout.header(member), member.start)
        for path, data in documents.items():
            self.put(data, self._layout.members[path].data)

    def put(self, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data)
        while view:
            try:
                count = os.pwrite(self._fd, view, offset)
            except OSError as error:
                raise self.disk_error(error) from error
            view, offset = view[count:], offset + count

    def copy_in(self, source: int, source_offset: int, offset: int, size: int) -> int:
        """Copy up to `size` bytes inside the kernel; returns how many were."""
        try:
            return os.copy_file_range(source, self._fd, size, source_offset, offset)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                data = os.pread(source, size, source_offset)
                self.put(data, offset)
                return len(data)
            raise self.disk_error(error) from error

    def read_back(self, offset: int, size: int) -> Iterator[bytes]:
        """What lies in the part file, in chunks."""
        while size and (chunk := os.pread(self._fd, min(CHUNK, size), offset)):
            yield chunk
            offset, size = offset + len(chunk), size - len(chunk)

    def note(self, obj: Object, written: int, *, done: bool = False) -> None:
        """Journal how far `obj` has come."""
        index = self._index[obj.path]
        line = f"done {index}\n" if done else f"part {index} {written}\n"
        with self._lock:
            self._written[index] = written
            os.write(self._journal, line.encode())
            if done:
                self._done.add(index)
                self._arrived.notify_all()

    def advance(self, size: int) -> None:
        """Tell the progress that `size` more bytes are in place."""
        self._progress.advance(size)

    def disk_error(self, error: OSError) -> BundlerError:
        """The error for a write that failed."""
        return SpaceError(
            f"cannot write {self._part}: {error.strerror}",
            hint="see to the disk, then run it again: it goes on from here",
        )


class Arriving(Content):
    """The objects of a bundle that is being written: whoever reads one waits until it is in place."""

    def __init__(self, writer: Writer, bundle: Bundle) -> None:
        """`bundle` is the part file of `writer`, opened."""
        self._writer, self._bundle = writer, bundle

    def stream(self, obj: Object) -> Iterator[bytes]:
        """See `Content.stream`. Raises GivenUp when it will not arrive."""
        self._writer.wait_for(obj)
        yield from self._bundle.stream(obj)


class GivenUp(Exception):  # noqa: N818 - not an error: someone else's error, or the user, ended the work
    """What was waited for will not arrive."""


class Slot:
    """The place of one object in a bundle being written.

    `written` says how many bytes are in place already, from this run or an earlier one. Leaving the context journals
    that, so that a later run goes on from there.
    """

    def __init__(self, writer: Writer, obj: Object, offset: int, written: int) -> None:
        self.obj = obj
        self.written = written
        self._writer = writer
        self._offset = offset
        self._noted = written
        self._digest = hashlib.sha256()
        for chunk in writer.read_back(offset, written):
            self._digest.update(chunk)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.written != self._noted:
            self._note()

    def write(self, chunk: bytes) -> None:
        """Append `chunk`. Raises IntegrityError, with nothing written, when the object would become too large."""
        if self.written + len(chunk) > self.obj.size:
            self.reset()
            raise IntegrityError(
                f"{self.obj.path}: upstream sends more than the {self.obj.size} bytes it promised",
                hint="upstream re-published the file: run without --lock to resolve it afresh",
            )
        self._writer.put(chunk, self._offset + self.written)
        self._took(chunk)

    def copy(self, source: int, source_offset: int) -> None:
        """Take the whole object from another file and finish. Raises IntegrityError when it is damaged there."""
        self.reset()
        while self.written < self.obj.size:
            step = min(_CHECKPOINT, self.obj.size - self.written)
            count = self._writer.copy_in(source, source_offset + self.written, self._offset + self.written, step)
            if count == 0:
                break
            # Hashed from the new file, for those are the bytes that will cross the gap.
            for chunk in self._writer.read_back(self._offset + self.written, count):
                self._took(chunk)
        self.finish()

    def finish(self) -> None:
        """The object is whole. Raises IntegrityError, back at zero bytes, when its size or digest is wrong."""
        if self.written != self.obj.size or self._digest.hexdigest() != self.obj.sha256:
            found = f"{self.written} bytes with sha256 {self._digest.hexdigest()}"
            self.reset()
            raise IntegrityError(
                f"{self.obj.path}: got {found}, expected {self.obj.size} bytes with sha256 {self.obj.sha256}",
                hint="upstream re-published the file, or something on the way changed it. Where the checksum is the "
                "profile's or its recipe's, find out why before you take another; else run without --lock to resolve "
                "it afresh",
            )
        self._noted = self.written
        self._writer.note(self.obj, self.written, done=True)

    def reset(self) -> None:
        """Start over."""
        self._writer.advance(-self.written)
        self.written = 0
        self._digest = hashlib.sha256()
        if self._noted:
            self._note()

    def _took(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.written += len(chunk)
        self._writer.advance(len(chunk))
        if self.written - self._noted >= _CHECKPOINT:
            self._note()

    def _note(self) -> None:
        self._noted = self.written
        self._writer.note(self.obj, self.written)

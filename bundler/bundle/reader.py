"""Reading a bundle without unpacking it.

Only the first header is parsed. It leads to manifest.json, the manifest gives the layout, and every other header and
padding byte must then be exactly what the layout says: links, devices, duplicates and lying sizes cannot be expressed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from bundler.bundle.content import Content
from bundler.bundle.delta import DELTA, LIMIT, Delta
from bundler.bundle.documents import README, SBOM, check_sbom, check_set, readme_text
from bundler.bundle.layout import BLOCK, Member, header, layout, padded
from bundler.bundle.manifest import MANIFEST, SUMS, Manifest
from bundler.bundle.statement import Vouched
from bundler.bundle.storage import open_storage
from bundler.errors import BundleError, IntegrityError, TrustError
from bundler.model.contents import SIZE_LIMIT
from bundler.model.items import Object
from bundler.progress import Progress, Silent

CHUNK = 1 << 20
_JOBS = 4
_CARRY_VOLUME = "carry that volume across again; the others need not be sent again: nothing of them was installed"
CARRY_AGAIN = "carry the bundle across again, or build it again: nothing of it was installed"


class Bundle(Content):
    """An open bundle. Its manifest has been checked against SHA256SUMS; objects are checked as they are read.

    Safe to read from several threads.
    """

    def __init__(
        self,
        path: Path,
        progress: Progress | None = None,
        vouched: Vouched | None = None,
        known: Manifest | None = None,
    ) -> None:
        """Open the bundle at `path`: a file, or what `open_storage` takes for its volumes.

        `vouched` is what someone signed: a manifest with another digest is refused unread. A manifest that is `known`
        and the one in the bundle is not read again. Raises BundleError when it is none, IntegrityError when its head is
        damaged or its end is missing, TrustError.
        """
        self.path = path
        self._progress = progress or Silent()
        self._checked: set[str] = set()
        self._buffers = threading.local()
        self._vouched, self._known = vouched, known
        self._storage = open_storage(path)
        try:
            self.manifest, self.delta = self._open_head()
            self.layout = layout(self.manifest, self.delta)
            self._check_size()
            for name in self.layout.head:
                self._check_frame(self.layout.members[name])
            promised, member = self.layout.head[SUMS], self.layout.members[SUMS]
            if self._pread(len(promised), member.data) != promised:
                raise self._damaged(f"{SUMS} does not match {MANIFEST}", at=member)
        except BaseException:
            self._storage.close()
            raise

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._storage.close()

    def stream(self, obj: Object) -> Iterator[bytes]:
        """The object's bytes in chunks of at most 1 MiB, hashed as they pass.

        The last chunk is handed over only when size and digest were found right; else IntegrityError is raised in its
        place. A consumer that counts its bytes can therefore never take damaged content for whole.
        """
        member = self._member(obj)
        self._check_header(member)
        digest = hashlib.sha256()
        held = b""
        for offset in range(member.data, member.data + member.size, CHUNK):
            if held:
                yield held
            held = self._pread(min(CHUNK, member.data + member.size - offset), offset)
            self._storage.passed(offset)
            digest.update(held)
            self._progress.advance(len(held))
        self._conclude(obj, member, digest.hexdigest())
        if held:
            yield held

    @property
    def once(self) -> bool:
        """Whether it comes in a pipe: its objects can be read in their order, `carried`, and once."""
        return self._storage.once

    def check(self, obj: Object) -> None:
        """Check an object, unless it was checked. Raises IntegrityError, BundleError for a document in another form."""
        if obj.path in self._checked:
            return
        if obj.path == SBOM:
            check_sbom(self.manifest, str(self.path))
        if obj.path == README:
            self.readme()
            return
        member = self._member(obj)
        self._check_header(member)
        digest = hashlib.sha256()
        # One buffer a thread: new ones would cost more than the reading.
        if (buffer := getattr(self._buffers, "view", None)) is None:
            buffer = self._buffers.view = memoryview(bytearray(CHUNK))
        for offset in range(member.data, member.data + member.size, CHUNK):
            window = buffer[: member.data + member.size - offset]
            self._fill(window, offset)
            self._storage.passed(offset)
            digest.update(window)
            self._progress.advance(len(window))
        self._conclude(obj, member, digest.hexdigest())

    def check_documents(self) -> None:
        """Check the documents, which come first. Raises IntegrityError; BundleError for one of another form."""
        for obj in self.manifest.documents:
            self.check(obj)

    def sbom(self) -> bytes:
        """The SBOM, which is that of the manifest. Raises IntegrityError, BundleError."""
        check_sbom(self.manifest, str(self.path))
        return b"".join(self.stream(self._document(SBOM)))

    def readme(self) -> str:
        """README.txt, which is lines of printable ASCII. Raises IntegrityError, BundleError."""
        return readme_text(self.read(self._document(README)), str(self.path))

    def _document(self, path: str) -> Object:
        return next(obj for obj in self.manifest.documents if obj.path == path)

    def verify(self, *, jobs: int) -> None:
        """Check every byte that has not been checked since the bundle was opened, up to the end of the file.

        Raises IntegrityError for the first thing found wrong, BundleError for a document of another form.
        """
        self.check_documents()
        objects = [obj for obj in self.carried if obj.path not in self._checked]
        if self._storage.once:
            # In the order in which they come, and then the end.
            self._check_all(objects, 1)
            self._check_end()
            if self._storage.pread(1, self.layout.size):
                raise self._damaged("more follows behind its end")
            return
        self._check_end()
        self._check_all(objects, jobs)

    def verify_all(self) -> None:
        """See `Content.verify_all`; what is read after it counts as the rest of the work."""
        self._progress.start("verifying", self.unchecked())
        self.verify(jobs=_JOBS)
        self._progress.start("installing", sum(obj.size for obj in self.carried))

    def unchecked(self) -> int:
        """How many bytes of objects `verify` would read."""
        return sum(obj.size for obj in self.carried if obj.path not in self._checked)

    @property
    def carried(self) -> tuple[Object, ...]:
        """The objects whose bytes are in the bundle: all but those that a delta leaves out."""
        return (*self.manifest.documents, *self.layout.payload)

    def location(self, obj: Object) -> tuple[int, int] | None:
        """The file descriptor and the offset at which the object's bytes lie, for a copy inside the kernel.

        None when they are spread over several volumes.
        """
        return self._storage.piece(obj.size, self._member(obj).data)

    def _conclude(self, obj: Object, member: Member, sha256: str) -> None:
        """What is to be done once all of an object was read. Raises IntegrityError."""
        self._check_padding(member)
        if sha256 != obj.sha256:
            what = f"{self.path}: {obj.path} is damaged: sha256 {sha256}, the manifest says {obj.sha256}"
            raise self._blaming(what, member.size, member.data)
        self._checked.add(obj.path)

    def _member(self, obj: Object) -> Member:
        try:
            return self.layout.members[obj.path]
        except KeyError:
            raise BundleError(
                f"{self.path}: {obj.path} is left out of it: the site is to have it",
                hint="use a bundle that was built without --since",
            ) from None

    def _check_all(self, objects: Iterable[Object], jobs: int) -> None:
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for _ in pool.map(self.check, objects):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _open_head(self) -> tuple[Manifest, Delta | None]:
        """The manifest, found through the first header and held against the SHA256SUMS behind it, and the delta."""
        folder, name, size = self._first_header()
        at = len(header(f"{folder}/{name}", size, 0o644))
        left_out = b""
        if name == DELTA:
            left_out = self._pread(size, at)
            at += padded(size)
            _, name, size = self._header(at, MANIFEST)
            at += len(header(f"{folder}/{MANIFEST}", size, 0o644))
        data = self._pread(size, at)
        promise = self._pread(64, at + padded(size) + BLOCK)
        actual = hashlib.sha256(data).hexdigest()
        if promise != actual.encode():
            raise self._damaged(f"{MANIFEST} does not match {SUMS}")
        if self._vouched and self._vouched.statement.id != actual:
            raise TrustError(
                f"{self.path}: what was signed is another bundle: {self._vouched.statement.id}, and this is {actual}",
                hint="carry the bundle and the signature that belong together",
            )
        if self._known is not None and self._known.id == actual:
            manifest = self._known
        else:
            manifest = Manifest.from_bytes(data, f"{self.path}: {MANIFEST}")
            check_set(manifest, str(self.path))
        if self._vouched:
            self._vouched.statement.check(manifest, str(self.path))
        delta = Delta.from_bytes(left_out, f"{self.path}: {DELTA}") if left_out else None
        if manifest.folder != folder:
            raise self._damaged("its folder is not named after the release")
        if delta and delta.manifest != manifest.id:
            raise self._damaged(f"{DELTA} goes with another {MANIFEST}")
        return manifest, delta

    def _first_header(self) -> tuple[str, str, int]:
        """The folder, the first member's name and its size."""
        block = self._pread(BLOCK, 0, short="is no bundle: it is too short")
        path = block[:100].rstrip(b"\0").decode("ascii", "replace")
        tar, ours = block[257:262] == b"ustar", path.endswith((f"/{MANIFEST}", f"/{DELTA}"))
        if not tar and not ours:
            raise BundleError(
                f"{self.path} is no bundle: its first member is not a {MANIFEST}",
                hint="name the .tar file that `bundler build` made; a bundle that was packed again with tar is none",
            )
        return self._header(0, DELTA if path.endswith(f"/{DELTA}") else MANIFEST)

    def _header(self, offset: int, name: str) -> tuple[str, str, int]:
        """Folder, name and size of the member of that name at `offset`. Raises IntegrityError when it is none."""
        block = self._pread(BLOCK, offset)
        path = block[:100].rstrip(b"\0").decode("ascii", "replace")
        try:
            size = int(block[124:135], 8)
        except ValueError:
            raise self._damaged("its first header cannot be read") from None
        ours = path.endswith(f"/{name}")
        if not ours or size > (LIMIT if name == DELTA else SIZE_LIMIT) or header(path, size, 0o644) != block:
            raise self._damaged("its first header is not that of a bundle")
        return path.removesuffix(f"/{name}"), name, size

    def _check_frame(self, member: Member) -> None:
        """The member's header and padding are what the layout says."""
        self._check_header(member)
        self._check_padding(member)

    def _check_header(self, member: Member) -> None:
        if self._pread(member.data - member.start, member.start) != self.layout.header(member):
            raise self._damaged(f"the header of {member.path} is not what the manifest says", at=member)

    def _check_padding(self, member: Member) -> None:
        filling = member.end - member.data - member.size
        if self._pread(filling, member.data + member.size) != bytes(filling):
            raise self._damaged(f"the padding behind {member.path} is not empty", at=member)

    def _check_size(self) -> None:
        size = self._storage.size
        if size is None:
            return  # it shows at the end
        if size < self.layout.size:
            lost = next((m.path for m in self.layout.members.values() if m.end > size), "the end mark")
            raise self._damaged(f"cut short at {size} of {self.layout.size} bytes; the first thing lost is {lost}")
        if size > self.layout.size:
            raise self._damaged(f"{size - self.layout.size} bytes too long")

    def _check_end(self) -> None:
        """The blocks behind the last member are all zero."""
        end = self.layout.end_of_members
        if self._pread(self.layout.size - end, end) != bytes(self.layout.size - end):
            raise self._damaged("the end mark is not empty")

    def _fill(self, buffer: memoryview, offset: int) -> None:
        """Exactly as many bytes at `offset` as `buffer` has."""
        while buffer:
            with self._readable(offset):
                count = self._storage.readinto(buffer, offset)
            if not count:
                raise self._damaged("cut short")
            buffer, offset = buffer[count:], offset + count

    @contextmanager
    def _readable(self, offset: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._damaged(f"cannot be read at byte {offset}: {error.strerror}") from error

    def _pread(self, size: int, offset: int, *, short: str = "cut short") -> bytes:
        """Exactly `size` bytes at `offset`."""
        parts = []
        while size:
            with self._readable(offset):
                part = self._storage.pread(size, offset)
            if not part:
                if offset == 0 or "no bundle" in short:
                    raise BundleError(f"{self.path} {short}", hint="name the .tar file that `bundler build` made")
                raise self._damaged(short)
            parts.append(part)
            size -= len(part)
            offset += len(part)
        return b"".join(parts)

    def _damaged(self, what: str, *, at: Member | None = None) -> IntegrityError:
        start, end = (at.start, at.end) if at else (0, self._storage.size or 0)
        return self._blaming(f"{self.path} is damaged: {what}", end - start, start)

    def _blaming(self, what: str, size: int, offset: int) -> IntegrityError:
        """The error for a range that is damaged, with the volume that has to be carried again, where there are such."""
        if bad := self._storage.blame(size, offset):
            return IntegrityError(f"{what}; volume {bad} is damaged", hint=_CARRY_VOLUME)
        return IntegrityError(what, hint=CARRY_AGAIN)

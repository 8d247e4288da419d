"""What an index may make pip do: bytes, time and memory have a limit, and no program starts.

pip believes its index. Here the index is a stranger: what goes beyond these bounds ends the run with a `RefusedError`,
which says so in words of bundler's.
"""

from __future__ import annotations

import lzma
import resource
import socket
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pip
from pip._internal.exceptions import UnsupportedWheel
from pip._internal.index import collector, package_finder
from pip._internal.metadata.importlib import _dists
from pip._internal.models.link import Link
from pip._internal.network import download, session
from pip._internal.network import utils as network
from pip._internal.network.session import PipSession
from pip._internal.utils import wheel as wheel_files
from pip._vendor.requests.models import Response

PAGE_LIMIT = 64 << 20  # bytes of a page; the largest on PyPI have some ten MiB
METADATA_LIMIT = 8 << 20  # bytes of the metadata of a wheel
FILE_LIMIT = 8 << 30  # bytes of a wheel or source distribution that has to be looked into
PAGES_LIMIT = 1 << 30  # bytes of all pages of one run
PROJECTS_LIMIT = 2000  # of one run
MEMORY_LIMIT = 3 << 30  # bytes of the whole process
SLOWEST = 1 << 10  # bytes a second
PAGE_SECONDS = 600  # of one page, however steadily it comes

_PROGRAMS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "pty.spawn", "subprocess.Popen"}
_DAMAGED = (LookupError, RuntimeError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ELSEWHERE = "name another index in `wheels.index_url`, or take what leads there out of the profile"


class RefusedError(Exception):
    """What an index or a package said is not followed. `kind` is the error that bundler makes of it."""

    def __init__(self, kind: str, message: str, hint: str = _ELSEWHERE) -> None:
        super().__init__(message)
        self.kind, self.message, self.hint = kind, message, hint


def refusal_behind(error: BaseException | None) -> RefusedError | None:
    """The refusal that led to `error`; None where something else did."""
    while error is not None and not isinstance(error, RefusedError):
        if isinstance(error, MemoryError):
            return RefusedError("fetch", f"pip needs more than {MEMORY_LIMIT} bytes of memory for what the index says")
        error = error.__cause__ or error.__context__
    return error


def replace(owner: Any, name: str, stand_in: object) -> None:
    """Set a name that must exist: an absent one means that this release of pip works in another way."""
    getattr(owner, name)
    setattr(owner, name, stand_in)


class _Asked(threading.local):
    """What this thread asks for at the moment."""

    url = ""
    limit = FILE_LIMIT


asked = _Asked()


def too_large(url: str, limit: int, what: str) -> RefusedError:
    return RefusedError("fetch", f"{url}: larger than the {limit} bytes that {what} may have")


def keep_within(patience: float) -> None:
    """Set every bound. `patience`: seconds after which whoever sends next to nothing is given up."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    # pip asks lsb_release and rustc for words about this machine, to tell each index.
    replace(session, "user_agent", lambda: f"pip/{pip.__version__}")
    sys.addaudithook(_start_nothing)
    _pace(patience)
    _measure_answers()
    _read_only_metadata()
    _understand_pages()


def _start_nothing(event: str, _: object) -> None:
    if event in _PROGRAMS:
        raise RefusedError("resolve", f"pip was about to start a program ({event}), which it need not do to resolve")


def _pace(patience: float) -> None:
    """Every byte of an answer, with or without TLS, passes here. What counts is the time that is waited for it."""
    readinto: Callable[..., int | None] = socket.SocketIO.readinto

    def paced(self: Any, buffer: Any) -> int | None:
        begun = time.monotonic()
        count = readinto(self, buffer)
        waited, came, total = getattr(self, "pace", (0.0, 0, 0))
        waited, came, total = waited + time.monotonic() - begun, came + (count or 0), total + (count or 0)
        if total > FILE_LIMIT:
            raise too_large(asked.url, FILE_LIMIT, "a file")
        if waited >= patience:
            if came < SLOWEST * patience:
                raise RefusedError("fetch", f"{asked.url}: only {came} bytes came in {waited:.0f} seconds")
            waited, came = 0.0, 0
        self.pace = waited, came, total
        return count

    replace(socket.SocketIO, "readinto", paced)


def _measure_answers() -> None:
    """What is read into memory is a page; what is written to disk may be larger, where more is expected."""
    send: Callable[..., Response] = PipSession.send
    content: Callable[..., Iterator[bytes]] = Response.iter_content
    to_disk: Callable[..., Iterator[bytes]] = network.response_chunks
    spent = 0

    def sent(self: PipSession, request: Any, **named: Any) -> Response:
        asked.url = request.url
        response = send(self, request, **named)
        if "," in response.headers.get("Content-Encoding", ""):
            raise RefusedError("fetch", f"{request.url}: packed more than once")
        return response

    def measured(self: Response, *given: Any, **named: Any) -> Iterator[bytes]:
        nonlocal spent
        taken, begun = 0, time.monotonic()
        for chunk in content(self, *given, **named):
            taken, spent = taken + len(chunk), spent + len(chunk)
            if taken > PAGE_LIMIT:
                raise too_large(self.url, PAGE_LIMIT, "a page of an index")
            if spent > PAGES_LIMIT:
                raise too_large(self.url, PAGES_LIMIT, "all pages together")
            if time.monotonic() - begun > PAGE_SECONDS:
                raise RefusedError("fetch", f"{self.url}: the page takes longer than {PAGE_SECONDS} seconds")
            yield chunk

    def written(response: Response, *given: Any, **named: Any) -> Iterator[bytes]:
        taken = 0
        for chunk in to_disk(response, *given, **named):
            taken += len(chunk)
            if taken > asked.limit:
                raise too_large(response.url, asked.limit, "the metadata of a package")
            yield chunk

    replace(PipSession, "send", sent)
    replace(Response, "iter_content", measured)
    replace(download, "response_chunks", written)


def _read_only_metadata() -> None:
    """Of a wheel's .dist-info pip needs METADATA and WHEEL; by itself it unpacks all of it, of whatever size."""

    def measured(source: Any, path: str) -> bytes:
        if path.rpartition("/")[2] not in ("METADATA", "WHEEL"):
            return b""
        try:
            with source.open(path) as file:
                found: bytes = file.read(METADATA_LIMIT + 1)
        except _DAMAGED as error:
            raise UnsupportedWheel(f"could not read {path!r}: {error!r}") from None
        if len(found) > METADATA_LIMIT:
            raise too_large(f"{source.filename}/{path}", METADATA_LIMIT, "the metadata of a package")
        return found

    replace(wheel_files, "read_wheel_metadata_file", measured)
    replace(_dists, "read_wheel_metadata_file", measured)


def _understand_pages() -> None:
    parse: Callable[..., Any] = collector.parse_links

    def parsed(page: Any) -> list[Link]:
        try:
            return list(parse(page))
        except (ValueError, TypeError, AttributeError, KeyError, AssertionError, RecursionError) as error:
            raise RefusedError("fetch", f"{page.url}: not a page of an index: {error}"[:500]) from None

    replace(package_finder, "parse_links", parsed)

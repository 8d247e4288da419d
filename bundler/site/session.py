"""Requests to a service of the site: nothing of the environment has a say, no proxy and no .netrc.

The site's own registry and devpi listen on sockets (`bundler.site.sockets`): to them requests go as `http://localhost/…`.
"""

from __future__ import annotations

import errno
import functools
import io
import os
import ssl
import stat
import time
from pathlib import Path
from typing import Any

import requests
from requests import Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import HTTPError

from bundler.errors import ConfigError
from bundler.model.site import Credentials
from bundler.site.sockets import connected

LOCAL = "http://localhost"  # a service behind a socket


_LARGEST_ANSWER = 64 << 20  # bytes; the page of a project with thousands of files has a few MiB
_LONGEST_ANSWER = 60.0  # seconds from its head on
_LONGEST = 1 << 16  # characters of a file with a password


class _Bounded(HTTPAdapter):
    """Reads an answer that is not left to the caller (`stream`) only so far and so long, whoever gives it."""

    def send(self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        """See `HTTPAdapter.send`. Raises requests.ConnectionError for an answer without an end."""
        answer = super().send(request, True, *args, **kwargs)
        if not stream or answer.is_redirect:
            answer.raw = io.BytesIO(_whole(answer))
        return answer


def _whole(answer: Response) -> bytes:
    """The body of `answer`, decompressed."""
    began, data = time.monotonic(), bytearray()
    try:
        while chunk := answer.raw.read1(1 << 16, decode_content=True):
            data += chunk
            if len(data) > _LARGEST_ANSWER or time.monotonic() - began > _LONGEST_ANSWER:
                answer.close()
                raise requests.ConnectionError(
                    f"its answer has no end: {len(data)} bytes in {time.monotonic() - began:.0f} s, and more"
                )
    except HTTPError as error:
        raise requests.ConnectionError(str(error)) from error
    return bytes(data)


class _Trust(_Bounded):
    """https that trusts the machine's own certificate store, where a company has its private CA, and the file `ca`."""

    def __init__(self, ca: str | None) -> None:
        self._ca = ca
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_context(self._ca), **kwargs)


@functools.cache  # each thread has a session, and reading the machine's store takes tens of milliseconds
def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    return context


class _OverSocket(_Bounded):
    """http to whoever listens on the unix socket `path`, whatever the host in the URL."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        path = self._path

        class Connection(HTTPConnection):
            def connect(self) -> None:
                self.sock = connected(path, self.timeout if isinstance(self.timeout, (int, float)) else None)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


def new_session(
    ca: str | None = None, credentials: Credentials | None = None, socket: Path | None = None
) -> requests.Session:
    """A session that trusts `ca`, a file in PEM, beside what the machine trusts, and logs in with `credentials`.

    With `socket` it reaches nobody but who listens there. Raises OSError when `ca` is none, ConfigError when there is
    no password.
    """
    session = requests.Session()
    session.trust_env = False
    session.auth = secret(credentials) if credentials else None
    if socket is not None:
        session.adapters.clear()
        session.mount(f"{LOCAL}/", _OverSocket(socket))
        return session
    session.mount("https://", _Trust(ca))
    session.mount("http://", _Bounded())
    return session


def secret(credentials: Credentials, *, own: bool = False) -> tuple[str, str]:
    """The user and the password; with `own` out of a file that whoever runs bundler made, and out of no other.

    Raises ConfigError.
    """
    try:
        with open(credentials.password_file, opener=_own if own else None) as file:
            lines = file.read(_LONGEST).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the password of {credentials.username} from {credentials.password_file}: {error}",
            hint="name a file in site.yaml whose first line is the password, and run as a user who may read it",
        ) from error
    if not (lines and lines[0]):
        raise ConfigError(f"{credentials.password_file} has no password", hint="put it into the file's first line")
    return credentials.username, lines[0]


def _own(path: str, flags: int) -> int:
    """Open a file of this user's, in a folder that may be somebody else's: what he puts in its place is not read."""
    file = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(file)
    if found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return file
    os.close(file)
    raise PermissionError(errno.EPERM, "somebody else made it")

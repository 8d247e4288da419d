"""The wheels' index: devpi on the admin host, or any index that takes uploads the way PyPI does.

On devpi each release has an index of its own, `root/<name>-<version>-<id>`, and nodes use `root/prod`, whose bases are
the indexes of the current releases: changing that one list is the switch, and the way back. An index's title says which
release it belongs to. There is no mirror of PyPI behind them: offline, that makes every `pip install` time out first.

Protocol: https://devpi.net/docs/devpi/devpi/latest/+doc/curl.html (devpi's JSON over HTTP).
"""

from __future__ import annotations

import base64
import logging
import os
import re
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import requests

from bundler.bundle.content import Content
from bundler.errors import SiteError
from bundler.model.items import Json, Object
from bundler.model.site import Credentials, ExternalIndex, SiteConfig
from bundler.site.folders import keep_folder, write_whole
from bundler.site.index_client import IndexClient, Upload, file_name
from bundler.site.releases import Release
from bundler.site.services.programs import find_program
from bundler.site.session import LOCAL, secret
from bundler.site.sockets import socket_of

log = logging.getLogger(__name__)

PROD = "prod"
PASSWORD_FILE = ".root-password"  # noqa: S105 - a name
_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9.@_-]*")  # a user's
_DEVPI_HINT = "see <root>/services/devpi for its log, then run it again"


def initialise(data: Path) -> None:
    """Make `data` a devpi server folder, with a random password for root in a file that only this user can read.

    Does nothing when it is one already. Raises SiteError.
    """
    if data.exists():
        return
    new = data.with_name(f".{data.name}.new")  # an interrupted attempt is no server folder: begin again
    shutil.rmtree(new, ignore_errors=True)
    keep_folder(new, mode=0o700)  # before there is anything in it that somebody else could open, and keep open
    password = secrets.token_urlsafe(32)
    program = find_program(
        "devpi-init", beside_python=True, hint="install it for this Python: pip install devpi-server"
    )
    # By the environment, which only this user can read: arguments are there for everyone.
    environ = os.environ | {"DEVPISERVER_ROOT_PASSWD": password}
    command = [program, "--serverdir", str(new), "--no-root-pypi"]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=0o077)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SiteError(f"devpi-init failed: {' '.join(last)}", hint=f"see that {data.parent} can be written")
    write_whole(new / PASSWORD_FILE, f"{password}\n".encode(), 0o600)
    new.rename(data)


def index_name(release: Release) -> str:
    """The devpi index of a release: devpi takes letters, digits and `-.@_`, and no release's folder has an `@`."""
    return release.folder.replace("+", "@")


class WheelIndex:
    """The index that nodes install wheels from. `stage` may be called from several threads.

    `bytes_written` and `objects_written` count uploads: a wheel that is there already is none.
    """

    def __init__(self, config: SiteConfig) -> None:
        self.bytes_written = 0
        self.objects_written = 0
        self._counting = threading.Lock()
        self._server: _Server = _External(config.index) if config.index else _Devpi(config)

    def open(self, release: Release) -> None:
        """Begin to load a release."""
        self._server.open(release)

    def stage(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        """Upload the wheel `obj`, whose core metadata's form fields are `metadata`, unless the index has those bytes.

        Raises IntegrityError (from `content`; the index then stored nothing), SiteError.
        """
        if self._server.has(obj, str(metadata["name"])):
            return
        self._server.upload(obj, metadata, content)
        with self._counting:
            self.bytes_written += obj.size
            self.objects_written += 1

    def bases(self) -> tuple[str, ...] | None:
        """The indexes that nodes see, in order; None before the first commit, and of an external index.

        Raises SiteError.
        """
        return self._server.bases()

    def commit(self) -> None:
        """Let nodes see what was staged for the open release, in place of an earlier one of its name.

        Raises SiteError.
        """
        self._server.commit()

    def restore(self, bases: tuple[str, ...] | None) -> None:
        """Have nodes see `bases` again, as `bases()` gave them; an external index keeps what it has.

        Raises SiteError.
        """
        self._server.restore(bases)

    def fetch(self, release: Release | None, project: str, obj: Object) -> Iterator[bytes]:
        """The bytes of the wheel `obj` of a release, or as nodes get it; not verified. Raises SiteError."""
        yield from self._server.fetch(release, project, obj)

    def remove(self, release: Release, *, purge: bool) -> None:
        """Take a release away from the nodes; with `purge` delete its wheels too. Raises SiteError."""
        self._server.remove(release, purge=purge)


class _Server(Protocol):
    """What differs between devpi and an index of the site's own."""

    def open(self, release: Release) -> None: ...

    def has(self, obj: Object, project: str) -> bool: ...

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None: ...

    def bases(self) -> tuple[str, ...] | None: ...

    def commit(self) -> None: ...

    def restore(self, bases: tuple[str, ...] | None) -> None: ...

    def fetch(self, release: Release | None, project: str, obj: Object) -> Iterator[bytes]: ...

    def remove(self, release: Release, *, purge: bool) -> None: ...


class _Devpi:
    """devpi-server behind its socket, as its user root."""

    def __init__(self, config: SiteConfig) -> None:
        self._data = Path(config.root).absolute() / "devpi"
        self._url = LOCAL
        self._http = IndexClient(_DEVPI_HINT, socket=socket_of(config, "devpi"))
        self._lock = threading.Lock()
        self._token: str | None = None
        self._release: Release | None = None
        self._staged = False
        self._fresh = False

    def open(self, release: Release) -> None:
        self._release, self._staged = release, False

    def has(self, obj: Object, project: str) -> bool:
        with self._lock:
            if not self._staged:
                self._fresh = self._make_release()
                self._staged = True
        return (
            not self._fresh and self._http.stated(f"{self._index(self._opened())}/+simple/", project, obj) == obj.sha256
        )

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        self._call("POST", self._index(self._opened()), data=Upload(obj, metadata, content), expect=(200,))

    def bases(self) -> tuple[str, ...] | None:
        if not self._data.exists():
            return None
        prod = self._describe(f"{self._url}/root/{PROD}")
        return tuple(prod["bases"]) if prod else None

    def commit(self) -> None:
        release = self._opened()
        if not (self._staged or self._data.exists()):
            return  # no release ever brought a wheel here
        mine = [_base(release)] if self._staged else []
        self._switch([*mine, *(base for base, title in self._titles().items() if title[0] != release.name)])

    def restore(self, bases: tuple[str, ...] | None) -> None:
        if bases is not None:
            there = [base for base in bases if self._describe(self._at(base)) is not None]
            self._switch(there)
        elif self.bases() is not None:
            self._call("DELETE", f"{self._url}/root/{PROD}", expect=(201,))

    def fetch(self, release: Release | None, project: str, obj: Object) -> Iterator[bytes]:
        index = self._index(release) if release else f"{self._url}/root/{PROD}"
        return self._http.fetch(f"{index}/+simple/", project, obj)

    def remove(self, release: Release, *, purge: bool) -> None:
        if not self._data.exists():
            return
        self._switch([base for base in self.bases() or () if base != _base(release)])
        url = self._index(release)
        if purge and self._describe(url) is not None:
            self._call("DELETE", url, expect=(201,))

    def _make_release(self) -> bool:
        """Have an index for the release; says whether it is a new one."""
        release = self._opened()
        url = self._index(release)
        found = self._describe(url)
        if found is None:
            # Volatile lets it be deleted; nobody but root can upload, and only by way of the socket.
            title = " ".join(_title(release))
            settings = {"type": "stage", "bases": [], "volatile": True, "title": title}
            self._call("PUT", url, json=settings, expect=(200, 409))
            return True
        if _title_of(found) != _title(release):
            raise SiteError(
                f"devpi's index {_base(release)} belongs to {found.get('title') or 'something else'}",
                hint="give the bundle another name or version",
            )
        return False

    def _titles(self) -> dict[str, tuple[str, ...]]:
        """The indexes that nodes see, in order, each with name, version and id of its release."""
        found = {base: self._describe(self._at(base)) for base in self.bases() or ()}
        return {base: _title_of(index) for base, index in found.items() if index is not None}

    def _switch(self, bases: list[str]) -> None:
        """Make `bases` what nodes see: one request, and none when they do already."""
        url = f"{self._url}/root/{PROD}"
        prod = self._describe(url)
        if prod is None and bases:
            settings = {"type": "stage", "bases": bases, "volatile": True, "acl_upload": [], "title": "what nodes use"}
            self._call("PUT", url, json=settings, expect=(200,))
        elif prod is not None and list(prod["bases"]) != bases:
            self._call("PATCH", url, json=[f"bases={','.join(bases)}"], expect=(200,))

    def _describe(self, url: str) -> dict[str, Any] | None:
        """The settings of the index at `url`; None when there is none."""
        answer = self._call("GET", f"{url}?no_projects=", headers={"Accept": "application/json"}, expect=(200, 404))
        return dict(answer.json()["result"]) if answer.status_code == 200 else None

    def _call(self, method: str, url: str, *, expect: tuple[int, ...], **given: Any) -> requests.Response:
        headers = {"X-Devpi-Auth": self._log_in(), **given.pop("headers", {})}
        return self._http.call(method, url, expect=expect, headers=headers, **given)

    def _log_in(self) -> str:
        if self._token is None:
            root = Credentials(username="root", password_file=str(self._data / PASSWORD_FILE))
            login = dict(zip(("user", "password"), secret(root, own=True), strict=True))
            answer = self._http.call("POST", f"{self._url}/+login", json=login, expect=(200,))
            token = f"root:{answer.json()['result']['password']}"
            self._token = base64.b64encode(token.encode()).decode()
        return self._token

    def _index(self, release: Release) -> str:
        return self._at(_base(release))

    def _at(self, base: str) -> str:
        """URL of the index that devpi calls `base`."""
        if not _INDEX.fullmatch(base):
            raise SiteError(f"{base[:80]!r} is no index of devpi's", hint=_DEVPI_HINT)
        return f"{self._url}/{quote(base)}"

    def _opened(self) -> Release:
        if self._release is None:
            raise RuntimeError("no release is open on the index")
        return self._release


class _External:
    """An index of the site's own: it takes uploads, and what it has it keeps."""

    def __init__(self, config: ExternalIndex) -> None:
        self._config = config
        self._http = IndexClient(
            "see that the index of site.yaml answers and takes this user's uploads", config.credentials, config.ca
        )
        self._simple = config.simple_url.rstrip("/") + "/"

    def open(self, release: Release) -> None:
        pass

    def has(self, obj: Object, project: str) -> bool:
        stated = self._http.stated(self._simple, project, obj)
        if stated is not None and stated != obj.sha256:
            raise SiteError(
                f"{self._simple} has another {file_name(obj)}: its sha256 is {stated[:12]}…",
                hint="remove that file from the index, or use another index",
            )
        return stated is not None

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        body = Upload(obj, metadata, content)
        # A file that is there, though the simple API did not say so (yet): PyPI answers 400, others 409.
        answer = self._http.call("POST", self._config.upload_url, data=body, expect=(200, 201, 204, 400, 409))
        if answer.status_code in (400, 409) and "exist" not in answer.text.lower() + str(answer.reason).lower():
            raise self._http.refused("POST", self._config.upload_url, answer)

    def bases(self) -> tuple[str, ...] | None:
        return None

    def commit(self) -> None:
        pass

    def restore(self, bases: tuple[str, ...] | None) -> None:
        pass

    def fetch(self, release: Release | None, project: str, obj: Object) -> Iterator[bytes]:
        del release  # they share one index
        return self._http.fetch(self._simple, project, obj)

    def remove(self, release: Release, *, purge: bool) -> None:
        if purge:
            where = (release.name, release.version, self._simple)
            log.warning("the wheels of %s %s stay in %s: indexes have no common way to delete", *where)


def _base(release: Release) -> str:
    """Its index, as `root/prod` names it."""
    return f"root/{index_name(release)}"


def _title(release: Release) -> tuple[str, ...]:
    return release.name, release.version, release.id


def _title_of(index: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(index.get("title", "")).split(" "))

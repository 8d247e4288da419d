"""The wheels' index: devpi on the admin host, or any index that takes uploads the way PyPI does.

On devpi each release has an index of its own, `root/<name>-<version>`, and nodes use `root/prod`, whose bases are the
indexes of the current releases: changing that one list is the switch, and the way back. An index's title says which
release it belongs to. There is no mirror of PyPI behind them: offline, that makes every `pip install` time out first.

Protocols: https://devpi.net/docs/devpi/devpi/latest/+doc/curl.html (devpi's JSON over HTTP),
https://docs.pypi.org/api/upload/ (uploads, which devpi takes too), PEP 503 and PEP 691 (what is there).
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
from urllib.parse import quote, unquote, urljoin

import requests

from bundler.bundle.content import Content
from bundler.errors import SiteError
from bundler.model.items import Json, Object
from bundler.model.site import Credentials, ExternalIndex, SiteConfig
from bundler.site.folders import write_whole
from bundler.site.services.programs import find_program
from bundler.site.session import LOCAL, new_session, secret
from bundler.site.sockets import socket_of

log = logging.getLogger(__name__)

PROD = "prod"
PASSWORD_FILE = ".root-password"  # noqa: S105 - a name
_TIMEOUT = (10, 600)  # seconds to connect, and without an answer: the index hashes a large wheel before it says yes
_SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
_SIMPLE_LINK = re.compile(r"""([^"'<>\s]+)#sha256=([0-9a-f]{64})""")
_DEVPI_HINT = "see <root>/services/devpi for its log, then run it again"


def initialise(data: Path) -> None:
    """Make `data` a devpi server folder, with a random password for root in a file that only this user can read.

    Does nothing when it is one already. Raises SiteError.
    """
    if data.exists():
        return
    new = data.with_name(f".{data.name}.new")  # an interrupted attempt is no server folder: begin again
    shutil.rmtree(new, ignore_errors=True)
    password = secrets.token_urlsafe(32)
    program = find_program(
        "devpi-init", beside_python=True, hint="install it for this Python: pip install devpi-server"
    )
    # By the environment, which only this user can read: arguments are there for everyone.
    environ = os.environ | {"DEVPISERVER_ROOT_PASSWD": password}
    command = [program, "--serverdir", str(new), "--no-root-pypi"]
    done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SiteError(f"devpi-init failed: {' '.join(last)}", hint=f"see that {data.parent} can be written")
    new.chmod(0o700)
    write_whole(new / PASSWORD_FILE, f"{password}\n".encode(), 0o600)
    new.rename(data)


def index_name(name: str, version: str) -> str:
    """The devpi index of a release: devpi takes letters, digits and `-.@_`, and no release has an `@`."""
    return f"{name}-{version}".replace("+", "@")


class WheelIndex:
    """The index that nodes install wheels from. `stage` may be called from several threads.

    `bytes_written` and `objects_written` count uploads: a wheel that is there already is none.
    """

    def __init__(self, config: SiteConfig) -> None:
        self.bytes_written = 0
        self.objects_written = 0
        self._counting = threading.Lock()
        self._server: _Server = _External(config.index) if config.index else _Devpi(config)

    def open(self, name: str, version: str) -> None:
        """Begin to load a release."""
        self._server.open(name, version)

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

    def commit(self) -> None:
        """Let nodes see what was staged for the open release, in place of an earlier one of its name.

        Raises SiteError.
        """
        self._server.commit()

    def fetch(self, release: tuple[str, str], project: str, obj: Object) -> Iterator[bytes]:
        """The bytes of the wheel `obj` of an earlier release (name, version), not verified. Raises SiteError."""
        yield from self._server.fetch(release, project, obj)

    def remove(self, name: str, version: str, *, purge: bool) -> None:
        """Take a release away from the nodes; with `purge` delete its wheels too. Raises SiteError."""
        self._server.remove(name, version, purge=purge)


class _Server(Protocol):
    """What differs between devpi and an index of the site's own."""

    def open(self, name: str, version: str) -> None: ...

    def has(self, obj: Object, project: str) -> bool: ...

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None: ...

    def commit(self) -> None: ...

    def fetch(self, release: tuple[str, str], project: str, obj: Object) -> Iterator[bytes]: ...

    def remove(self, name: str, version: str, *, purge: bool) -> None: ...


class _Devpi:
    """devpi-server behind its socket, as its user root."""

    def __init__(self, config: SiteConfig) -> None:
        self._data = Path(config.root).absolute() / "devpi"
        self._url = LOCAL
        self._http = _Http(_DEVPI_HINT, socket=socket_of(config, "devpi"))
        self._lock = threading.Lock()
        self._token: str | None = None
        self._release: tuple[str, str] | None = None
        self._staged = False
        self._fresh = False

    def open(self, name: str, version: str) -> None:
        self._release, self._staged = (name, version), False

    def has(self, obj: Object, project: str) -> bool:
        with self._lock:
            if not self._staged:
                self._fresh = self._make_release()
                self._staged = True
        return (
            not self._fresh
            and self._http.stated(f"{self._index(*self._opened())}/+simple/", project, obj) == obj.sha256
        )

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        self._call("POST", self._index(*self._opened()), data=_Upload(obj, metadata, content), expect=(200,))

    def commit(self) -> None:
        name, version = self._opened()
        if not (self._staged or self._data.exists()):
            return  # no release ever brought a wheel here
        mine = [f"root/{index_name(name, version)}"] if self._staged else []
        self._switch([*mine, *(base for base, release in self._bases().items() if release[0] != name)])

    def fetch(self, release: tuple[str, str], project: str, obj: Object) -> Iterator[bytes]:
        return self._http.fetch(f"{self._index(*release)}/+simple/", project, obj)

    def remove(self, name: str, version: str, *, purge: bool) -> None:
        if not self._data.exists():
            return
        self._switch([base for base, release in self._bases().items() if release != (name, version)])
        url = self._index(name, version)
        if purge and self._describe(url) is not None:
            self._call("DELETE", url, expect=(201,))

    def _make_release(self) -> bool:
        """Have an index for the release; says whether it is a new one."""
        name, version = self._opened()
        url = self._index(name, version)
        found = self._describe(url)
        if found is None:
            # Volatile lets it be deleted; nobody but root can upload, and only by way of the socket.
            settings = {"type": "stage", "bases": [], "volatile": True, "title": f"{name} {version}"}
            self._call("PUT", url, json=settings, expect=(200, 409))
            return True
        if _release_of(found) != (name, version):
            raise SiteError(
                f"devpi's index root/{index_name(name, version)} belongs to {found.get('title') or 'something else'}",
                hint="give the bundle another name or version",
            )
        return False

    def _bases(self) -> dict[str, tuple[str, str]]:
        """The indexes that nodes see, in order, each with its release."""
        prod = self._describe(f"{self._url}/root/{PROD}")
        bases = list(prod["bases"]) if prod else []
        found = {base: self._describe(f"{self._url}/{quote(base)}") for base in bases}
        return {base: _release_of(index) for base, index in found.items() if index is not None}

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

    def _index(self, name: str, version: str) -> str:
        return f"{self._url}/root/{quote(index_name(name, version))}"

    def _opened(self) -> tuple[str, str]:
        if self._release is None:
            raise RuntimeError("no release is open on the index")
        return self._release


class _External:
    """An index of the site's own: it takes uploads, and what it has it keeps."""

    def __init__(self, config: ExternalIndex) -> None:
        self._config = config
        self._http = _Http(
            "see that the index of site.yaml answers and takes this user's uploads", config.credentials, config.ca
        )
        self._simple = config.simple_url.rstrip("/") + "/"

    def open(self, name: str, version: str) -> None:
        pass

    def has(self, obj: Object, project: str) -> bool:
        stated = self._http.stated(self._simple, project, obj)
        if stated is not None and stated != obj.sha256:
            raise SiteError(
                f"{self._simple} has another {_file_name(obj)}: its sha256 is {stated[:12]}…",
                hint="remove that file from the index, or use another index",
            )
        return stated is not None

    def upload(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        body = _Upload(obj, metadata, content)
        # A file that is there, though the simple API did not say so (yet): PyPI answers 400, others 409.
        answer = self._http.call("POST", self._config.upload_url, data=body, expect=(200, 201, 204, 400, 409))
        if answer.status_code in (400, 409) and "exist" not in answer.text.lower() + str(answer.reason).lower():
            raise self._http.refused("POST", self._config.upload_url, answer)

    def commit(self) -> None:
        pass

    def fetch(self, release: tuple[str, str], project: str, obj: Object) -> Iterator[bytes]:
        del release  # they share one index
        return self._http.fetch(self._simple, project, obj)

    def remove(self, name: str, version: str, *, purge: bool) -> None:
        if purge:
            log.warning(
                "the wheels of %s %s stay in %s: indexes have no common way to delete", name, version, self._simple
            )


class _Http:
    """Requests to one index, trusted by the file `ca` beside what the machine trusts, or behind `socket`."""

    def __init__(
        self,
        hint: str,
        credentials: Credentials | None = None,
        ca: str | None = None,
        socket: Path | None = None,
    ) -> None:
        self._ca, self._credentials, self._socket = ca, credentials, socket
        self._hint = hint
        self._local = threading.local()

    def call(self, method: str, url: str, *, expect: tuple[int, ...], **given: Any) -> requests.Response:
        """One request; raises SiteError when there is no answer, or one whose status is not in `expect`."""
        data = given.get("data")
        if isinstance(data, _Upload):
            given["headers"] = {**given.get("headers", {}), "Content-Type": data.content_type}
        try:
            answer = self._session().request(method, url, timeout=_TIMEOUT, **given)
        except requests.RequestException as error:
            raise SiteError(f"the index does not answer: {method} {url}: {error}", hint=self._hint) from None
        if answer.status_code not in expect:
            raise self.refused(method, url, answer)
        return answer

    def refused(self, method: str, url: str, answer: requests.Response) -> SiteError:
        """The error for an answer that is no success."""
        said = " ".join(answer.text.split())[:200]
        return SiteError(
            f"the index refused {method} {url}: {answer.status_code} {answer.reason} {said}", hint=self._hint
        )

    def stated(self, simple: str, project: str, obj: Object) -> str | None:
        """The sha256 that the simple API at `simple` states for the file of `obj`; None when it has no such file."""
        found = self._files(simple, project).get(_file_name(obj))
        return found[1] if found else None

    def fetch(self, simple: str, project: str, obj: Object) -> Iterator[bytes]:
        """The bytes of the file of `obj`, from where the simple API at `simple` says it is. Raises SiteError."""
        found = self._files(simple, project).get(_file_name(obj))
        if found is None:
            raise SiteError(f"{simple}{project}/ has no {_file_name(obj)}", hint=self._hint)
        with self.call("GET", found[0], expect=(200,), stream=True) as answer:
            yield from answer.iter_content(1 << 20)

    def _files(self, simple: str, project: str) -> dict[str, tuple[str, str | None]]:
        """URL and sha256 of each file that the simple API at `simple` has of `project`, by its name."""
        normalised = re.sub(r"[-_.]+", "-", project).lower()
        page = f"{simple}{normalised}/"
        accept = {"Accept": f"{_SIMPLE_JSON}, text/html;q=0.1"}
        answer = self.call("GET", page, expect=(200, 404), headers=accept)
        if answer.status_code == 404:
            return {}
        if answer.headers.get("Content-Type", "").startswith(_SIMPLE_JSON):
            files = answer.json()["files"]
            return {
                file["filename"]: (urljoin(page, file["url"].partition("#")[0]), file["hashes"].get("sha256"))
                for file in files
            }
        return {
            unquote(href.rpartition("/")[2]): (urljoin(page, href), sha256)
            for href, sha256 in _SIMPLE_LINK.findall(answer.text)
        }

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = new_session(self._ca, self._credentials, self._socket)
        found: requests.Session = self._local.session
        return found


class _Upload:
    """The body of an upload (multipart/form-data, RFC 7578), its wheel read from the bundle while it is sent.

    The bundle hands the last chunk over only after the digest was right; before that the body is shorter than its
    announced length, so an index that gets no more of it has nothing to store.
    """

    def __init__(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        self._boundary = secrets.token_hex(16)
        self._obj, self._content = obj, content
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "pyversion": _file_name(obj).rsplit("-", 3)[1],
            "sha256_digest": obj.sha256,
            **{key: str(value) for key, value in metadata.items()},
        }
        head = "".join(self._part(f'name="{key}"') + f"{value}\r\n" for key, value in fields.items())
        head += self._part(
            f'name="content"; filename="{_file_name(obj)}"', "Content-Type: application/octet-stream\r\n"
        )
        self._head = head.encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._size = len(self._head) + obj.size + len(self._tail)

    @property
    def content_type(self) -> str:
        """The header that goes with it."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from self._content.stream(self._obj)
        yield self._tail

    def _part(self, disposition: str, header: str = "") -> str:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{header}\r\n"


def _release_of(index: Mapping[str, Any]) -> tuple[str, str]:
    name, _, version = str(index.get("title", "")).partition(" ")
    return name, version


def _file_name(obj: Object) -> str:
    return obj.path.rpartition("/")[2]

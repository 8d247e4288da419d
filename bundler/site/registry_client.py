"""Requests to a registry that takes pushes: its address, its log-in, its bad moments and its refusals.

The API is the OCI distribution-spec 1.1, the log-in https://distribution.github.io/distribution/spec/auth/. Nothing of
the environment has a say (no proxy, no .netrc): a site's registry is the one that site.yaml names, and it is near.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import parse_dict_header

from bundler.errors import BundleError, BundlerError, SiteError, SpaceError
from bundler.model.site import Credentials
from bundler.model.store_names import DIGEST, LONGEST_REPOSITORY, REPOSITORY, TAG
from bundler.site.session import new_session, secret

log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 5
_FIRST_WAIT = 0.5  # seconds; doubles with each further attempt
_TIMEOUT = (10, 600)  # seconds to connect, and without an answer: a large blob is hashed before its upload is confirmed
# All that is ever asked for: what has another form would lead out of its repository.
_REPOSITORY = re.compile(REPOSITORY)
_PATH = re.compile(f"manifests/(?:{TAG}|{DIGEST})|blobs/(?:{DIGEST}|uploads/)")
_NO_SPACE = ("no space left on device", '"Err":28')  # distribution's words for ENOSPC


class Body(Protocol):
    """A request's body: its length in bytes, and its chunks, from the first each time it is iterated."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


class RegistryClient:
    """A registry's API below `url` (`https://host[:port][/prefix]`; every repository is below the prefix).

    Requests are tried again on broken connections, 429 and 5xx. May be used from several threads.
    """

    def __init__(
        self, url: str, credentials: Credentials | None = None, ca: str | None = None, socket: Path | None = None
    ) -> None:
        """`ca` is a file that the registry is trusted by, beside what the machine trusts; it may be behind `socket`."""
        parts = urlsplit(url)
        self._ca, self._socket = ca, socket
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.strip("/")
        self._login = _Login(credentials, self._origin)
        self._place = str(socket or self._origin)  # as people know it
        self._local = threading.local()

    def request(
        self,
        method: str,
        repository: str,
        path: str,
        *,
        expect: Iterable[int],
        actions: str = "pull,push",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """One request to `/v2/<prefix>/<repository>/<path>`; the answer's status is one of `expect`.

        `actions` is what a token server is asked to allow; with `stream` the answer's body is left to read. Raises
        SiteError for any other answer, SpaceError when the registry's disk is full, BundleError for a name that the
        distribution-spec does not know.
        """
        url, scopes = self._url(repository, path), (self._scope(repository, actions),)
        how: dict[str, Any] = {"headers": headers, "data": data, "stream": stream}
        return self._patiently(lambda: self._send(method, url, scopes, tuple(expect), **how))

    def upload(self, repository: str, digest: str, body: Body, *, mount_from: str | None = None) -> int:
        """Bring a blob: mounted from another repository that has it, else by one streaming PUT; gives the bytes sent.

        A stream that raises is cut off, so that the registry never completes it, and its upload session deleted, as far
        as the registry lets a client (distribution does not once bytes have arrived: see `discard_uploads`).
        """
        return self._patiently(lambda: self._upload(repository, digest, body, mount_from))

    def _upload(self, repository: str, digest: str, body: Body, mount_from: str | None) -> int:
        scopes = [self._scope(repository, "pull,push")]
        params = {}
        if mount_from is not None:
            scopes.append(self._scope(mount_from, "pull"))
            params = {"mount": digest, "from": self._path(mount_from)}
        answer = self._send("POST", self._url(repository, "blobs/uploads/"), scopes, (201, 202), params=params)
        if answer.status_code == 201:
            return 0
        session = urljoin(answer.url, answer.headers.get("Location", ""))
        try:
            self._send("PUT", session, scopes, (201, 204), params={"digest": digest}, data=body if len(body) else b"")
        except BaseException:
            with suppress(BundlerError, _AgainError):  # only tidying: what counts is the error
                self._send("DELETE", session, scopes, range(600))
            raise
        return len(body)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        wait = _FIRST_WAIT
        for _ in range(_ATTEMPTS - 1):
            try:
                return attempt()
            except _AgainError as error:
                log.debug("%s; again in %.1f s", error.because.message, wait)
                time.sleep(wait)
                wait *= 2
        try:
            return attempt()
        except _AgainError as error:
            raise error.because from error.__cause__

    def _send(
        self, method: str, url: str, scopes: Iterable[str], expect: Iterable[int], **how: Any
    ) -> requests.Response:
        """One request, sent once more with a log-in when the registry asks for one."""
        scopes = tuple(scopes)
        answer = self._once(method, url, scopes, **how)
        if answer.status_code == 401 and self._login.answer(self._session(), answer, scopes):
            answer = self._once(method, url, scopes, **how)
        if answer.status_code not in expect:
            _refuse(answer)
        return answer

    def _once(
        self, method: str, url: str, scopes: tuple[str, ...], *, headers: Mapping[str, str] | None = None, **how: Any
    ) -> requests.Response:
        # An upload's address is of the registry's choice; credentials go to the registry alone.
        is_ours = url.startswith(f"{self._origin}/")
        headers = {**(headers or {}), **(self._login.header(scopes) if is_ours else {})}
        try:
            return self._session().request(method, url, headers=headers, timeout=_TIMEOUT, allow_redirects=False, **how)
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise SiteError(
                f"the registry at {self._place} cannot be used: {error}",
                hint="see registry.url in site.yaml; a private CA is named by registry.ca, or is among the machine's",
            ) from error
        except requests.RequestException as error:
            raise _AgainError(
                SiteError(
                    f"the registry at {self._place} does not answer: {_innermost(error)}",
                    hint="see whether it runs (`bundler services status`), and what its log says; then run it again",
                )
            ) from error

    def _session(self) -> requests.Session:
        """A session for each thread: requests does not promise that one can be shared."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = new_session(self._ca, socket=self._socket)
        return session

    def _path(self, repository: str) -> str:
        _check(_REPOSITORY, repository)
        return f"{self._prefix}/{repository}" if self._prefix else repository

    def _url(self, repository: str, path: str) -> str:
        _check(_PATH, path)
        return f"{self._origin}/v2/{self._path(repository)}/{path}"

    def _scope(self, repository: str, actions: str) -> str:
        return f"repository:{self._path(repository)}:{actions}"


class _AgainError(Exception):
    """A failure that may pass; `because` is what to say when it does not."""

    def __init__(self, because: BundlerError) -> None:
        super().__init__(because.message)
        self.because = because


class _Login:
    """Answers a registry's challenges: basic, or a token of the server that the challenge names."""

    def __init__(self, credentials: Credentials | None, origin: str) -> None:
        self._credentials = credentials
        self._origin = origin
        self._basic: HTTPBasicAuth | None = None
        self._tokens: dict[tuple[str, ...], str] = {}

    def header(self, scopes: tuple[str, ...]) -> dict[str, str]:
        """What to send unasked, from what was learnt so far."""
        if token := self._tokens.get(scopes):
            return {"Authorization": f"Bearer {token}"}
        if self._basic is not None:
            prepared = self._basic(requests.Request("GET", self._origin).prepare())
            return {"Authorization": prepared.headers["Authorization"]}
        return {}

    def answer(self, session: requests.Session, challenge: requests.Response, scopes: tuple[str, ...]) -> bool:
        """Learn from a 401; whether it is worth asking again."""
        scheme, _, parameters = challenge.headers.get("WWW-Authenticate", "").partition(" ")
        if scheme.lower() == "bearer":
            self._tokens[scopes] = self._fetch_token(session, parse_dict_header(parameters), scopes)  # type: ignore[no-untyped-call]
            return True
        if scheme.lower() == "basic" and self._credentials:
            self._basic = HTTPBasicAuth(*secret(self._credentials))
            # Another thread may have learnt it since this one asked: what counts is what the registry was shown.
            return "Authorization" not in challenge.request.headers
        return False

    def _fetch_token(self, session: requests.Session, said: Mapping[str, str | None], scopes: tuple[str, ...]) -> str:
        realm = said.get("realm") or ""
        if not realm.startswith("https://") and not (
            realm.startswith("http://") and self._origin.startswith("http://")
        ):
            raise SiteError(
                f"the registry at {self._origin} wants its password sent to {realm!r}, which is not https",
                hint="have the registry's token server (`realm`) answer on https",
            )
        params = {"service": said.get("service") or "", "scope": scopes}
        auth = HTTPBasicAuth(*secret(self._credentials)) if self._credentials else None
        try:
            answer = session.get(realm, params=params, auth=auth, timeout=_TIMEOUT)
            if answer.status_code in (401, 403):
                _refuse(answer)
            answer.raise_for_status()
            document = answer.json()
            token = document.get("token") or document.get("access_token")
        except (requests.RequestException, ValueError, AttributeError) as error:
            raise SiteError(
                f"the registry's token server {realm} gave no token: {error}",
                hint="see whether it runs, and what its log says; then run it again",
            ) from error
        return str(token)


def _check(pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(name) or len(name) > LONGEST_REPOSITORY:
        raise BundleError(
            f"{name[:80]!r} names nothing in a registry",
            hint="the bundle was made by something else than this bundler: build it again",
        )


def _refuse(answer: requests.Response) -> NoReturn:
    """Raise what an unexpected answer means."""
    status, text = answer.status_code, answer.text[:2000]
    asked = f"{answer.request.method} {urlsplit(answer.url).path}"
    said = f"the registry answered {status} {answer.reason} to {asked}: {_explained(answer)}"
    if any(words in text for words in _NO_SPACE):
        raise SpaceError(said, hint="make room where the registry keeps its blobs, then run it again")
    if status == 429 or status >= 500:
        raise _AgainError(SiteError(said, hint="see what the registry's log says; then run it again"))
    raise SiteError(said, hint=_REMEDIES.get(status, "see what the registry's log says; then run it again"))


_REMEDIES = {
    401: "give registry.credentials in site.yaml a user who may push",
    403: "give the user of registry.credentials in site.yaml the right to push to this repository",
    404: "see registry.url in site.yaml; some registries want the project made first",
    405: "registry.url in site.yaml must be an address that takes pushes and deletes, not a read-only front",
    413: "a proxy before the registry limits the size of a request (nginx: client_max_body_size 0)",
}


def _explained(answer: requests.Response) -> str:
    """The registry's own words (distribution-spec, "Error codes"), or the head of whatever it sent."""
    try:
        first = answer.json()["errors"][0]
        return f"{first['code']}: {first.get('message', '')}"
    except (ValueError, LookupError, TypeError):
        return answer.text[:200].strip() or "(nothing more)"


def _innermost(error: BaseException) -> str:
    """The system's own words behind a chain of wrapped errors."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__

"""Pulling from registries (OCI distribution spec 1.1, and Docker's registry API before it), on oras.

oras knows how to log in and how to ask again; manifests are taken as raw bytes, for a manifest that is parsed and
dumped again has another digest.
"""

from __future__ import annotations

import hashlib
import inspect
import ipaddress
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import oras.logger
import oras.provider
import requests

from bundler.errors import FetchError, IntegrityError, ResolveError
from bundler.transfer.credentials import Login, for_registry
from bundler.transfer.http import (
    UNANSWERED,
    UNSATISFIABLE,
    Answer,
    Http,
    answer,
    may_pass,
    range_headers,
    refusal,
    unreachable,
)
from bundler.transfer.retry import retry
from bundler.transfer.transport import Session

T = TypeVar("T")

# Without oras's own retries: they sleep for minutes, through every error, and know neither Retry-After nor the end of
# the work.
_do_request: Callable[..., requests.Response] = inspect.unwrap(oras.provider.Registry.do_request)
# oras writes to stderr by itself; what it has to say is in the errors raised here.
oras.logger.logger.set_level(logging.CRITICAL)

MANIFEST_LIMIT = 4 << 20  # what registries accept, and what the spec asks clients to
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.artifact.manifest.v1+json",
)


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest or index: its bytes exactly as sent, its media type, its digest (`sha256:…` of those bytes)."""

    data: bytes
    media_type: str
    digest: str


class Registry:
    """One registry under the name that images give it (`docker.io`), wherever the mirror map sends it.

    May be used from several threads.
    """

    def __init__(self, name: str, http: Http, *, anonymous: bool = False) -> None:
        """`anonymous`: it is shown no log-in but one of bundler's config."""
        self.name = name
        self._http = http
        self._anonymous = anonymous
        self._meant = name in http.config.mirrors
        url = http.config.mirrors.get(name) or _default_url(name)
        parts = urlsplit(url)
        self._insecure = parts.scheme == "http"
        self._place = parts.netloc
        self._root = f"{parts.scheme}://{parts.netloc}/v2/"
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        self._clients: dict[str, _Client] = {}
        self._guard = threading.Lock()

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """The manifest that a tag or digest names, with its digest verified.

        Raises ResolveError when the registry has none, FetchError when it does not deliver, IntegrityError when it
        sends other bytes than the digest promises.
        """

        def attempt() -> RawManifest:
            accept = {"Accept": ", ".join(MANIFEST_TYPES)}
            with self._get(repository, f"manifests/{reference}", headers=accept) as response:
                if response.status_code == 404:
                    raise self._missing(repository, reference)
                data = response.raw.read(MANIFEST_LIMIT + 1, decode_content=True)
                media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if len(data) > MANIFEST_LIMIT:
                raise FetchError(
                    f"{self._named(repository, reference)}: its manifest is larger than {MANIFEST_LIMIT} bytes",
                    hint="no registry should have accepted it; name another tag or digest",
                )
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            promised = reference if ":" in reference else response.headers.get("Docker-Content-Digest", "")
            if promised != digest and (":" in reference or promised.startswith("sha256:")):
                raise IntegrityError(
                    f"{self._named(repository, reference)}: upstream sent a manifest with digest {digest}, "
                    f"and promised {promised}",
                    hint="something between here and the registry changes bytes: see `mirrors` and `proxies`",
                )
            return RawManifest(data, media_type, digest)

        return self._patiently(repository, reference, attempt)

    def blob(self, repository: str, digest: str, size: int) -> bytes:
        """A small blob whole, `size` bytes. Raises FetchError, and IntegrityError when it is not what `digest` says."""

        def attempt() -> bytes:
            data = bytearray()
            with self.open(repository, "blobs", digest) as found:
                for chunk in found.chunks:
                    data += chunk
                    if len(data) > size:
                        break
            return bytes(data)

        data = self._patiently(repository, digest, attempt)
        if len(data) != size or f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            raise IntegrityError(
                f"{self._named(repository, digest)}: upstream sent other bytes",
                hint="run it again; if it stays so, the registry or a proxy before it serves wrong content",
            )
        return data

    def blob_size(self, repository: str, digest: str) -> int:
        """A blob's size in bytes. Raises ResolveError when the registry does not have it."""

        def attempt() -> int:
            with self._get(repository, f"blobs/{digest}", method="HEAD") as response:
                if response.status_code == 404:
                    raise self._missing(repository, digest)
                size = answer(response, response.url, 0).total
                if size is None:
                    raise FetchError(
                        f"{self._named(repository, digest)}: the registry {self._place} does not tell its size",
                        hint="something between here and the registry changes answers: see `mirrors` and `proxies`",
                    )
                return size

        return self._patiently(repository, digest, attempt)

    @contextmanager
    def open(self, repository: str, what: str, digest: str, *, offset: int = 0) -> Iterator[Answer]:
        """A blob or manifest (`what` is `blobs` or `manifests`) from `offset` on, or from 0. One attempt.

        Raises TransientError for what may pass, FetchError for what will not.
        """
        headers = range_headers(offset, None)  # what a digest names has one version
        if what == "manifests":
            headers["Accept"] = ", ".join(MANIFEST_TYPES)
        judged = (404, UNSATISFIABLE) if offset else (404,)
        with self._get(repository, f"{what}/{digest}", headers=headers, judged=judged) as response:
            if response.status_code == 404:
                raise refusal(response, self._named(repository, digest))
            if response.status_code != UNSATISFIABLE:
                yield answer(response, self._named(repository, digest), offset)
                return
        with self.open(repository, what, digest) as whole:
            yield whole

    def url(self, repository: str, what: str, digest: str) -> str:
        """Where a blob or manifest is to be had without a mirror."""
        return f"{_default_url(self.name)}/v2/{repository}/{what}/{digest}"

    def _patiently(self, repository: str, reference: str, attempt: Callable[[], T]) -> T:
        return retry(self._http.config.retries, self._named(repository, reference), attempt, stop=self._http.stopped)

    @contextmanager
    def _get(
        self,
        repository: str,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        judged: tuple[int, ...] = (404,),
    ) -> Iterator[requests.Response]:
        """One request; the statuses `judged` are the caller's to judge, every other refusal raises."""
        url = f"{self._root}{self._prefix}{repository}/{path}"
        try:
            with self._client(repository).request(method, url, dict(headers or {})) as response:
                if response.status_code in (401, 403):
                    raise FetchError(
                        f"{self.name}/{repository}: the registry {self._place} refuses access ({response.status_code})",
                        hint=f"is the name right? A private one needs `podman login {self.name}`, `docker login "
                        f"{self.name}`, or {self._place} under `credentials` in bundler's config",
                        status=response.status_code,
                    )
                if response.status_code >= 300 and response.status_code not in judged:
                    raise refusal(response, url)
                yield response
        except UNANSWERED as error:
            raise unreachable(error, url) from error

    def _client(self, repository: str) -> _Client:
        """The client of a repository: a token is good for one repository only."""
        with self._guard:
            if repository not in self._clients:
                login = for_registry(
                    self._http.config,
                    self.name,
                    self._root,
                    f"{self._prefix}{repository}",
                    files=not self._anonymous,
                )
                session = Session(
                    self._http.config, self._http.ca_bundle, self._http.hosts, home=self._root, meant=self._meant
                )
                self._clients[repository] = _Client(self._http, self._root, self._insecure, login, session)
            return self._clients[repository]

    def _named(self, repository: str, reference: str) -> str:
        return f"{self.name}/{repository}{'@' if ':' in reference else ':'}{reference}"

    def _missing(self, repository: str, reference: str) -> ResolveError:
        return ResolveError(
            f"{self._named(repository, reference)}: the registry {self._place} does not have it",
            hint="correct the image's name or tag in the profile; see which tags there are with `skopeo list-tags`",
        )


class _Client:
    """oras, with one repository's token."""

    def __init__(self, http: Http, root: str, insecure: bool, login: Login | None, session: Session) -> None:
        self._login = login
        self._root = root
        self._http = http
        self._insecure = insecure
        self._session = session
        self._session.hooks["response"].append(_raise_what_may_pass)
        self._guard = threading.Lock()
        self._oras: Any = None

    def request(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """One request, sent again with a log-in where the registry asks for one."""
        client = self._ready()
        try:
            response = _do_request(client, url, method, headers=headers, stream=True)
            if response.status_code == 401 and getattr(client.auth, "token", None):
                response.close()
                client.auth.token = None  # it has expired, or was for less
                response = _do_request(client, url, method, headers=headers, stream=True)
        except (ValueError, AttributeError, RecursionError) as error:  # how oras says that it cannot answer a challenge
            if isinstance(error, requests.RequestException):
                raise
            raise self._no_login(url) from error
        return response

    def _no_login(self, url: str) -> FetchError:
        return FetchError(
            f"{url}: the registry refuses access, or asks for a log-in and there is none for it",
            hint="is the name right? If it is private, log in with `podman login` or `docker login`, or see "
            "`credentials` in bundler's config",
        )

    def _ready(self) -> Any:
        """oras, set up for the way of logging in that the registry asks for."""
        with self._guard:
            if self._oras is None:
                with self._session.get(self._root, stream=True) as probe:
                    basic = probe.headers.get("WWW-Authenticate", "").lower().startswith("basic")
                if basic and self._login is None:
                    raise self._no_login(self._root)
                client = oras.provider.Registry(
                    insecure=self._insecure, tls_verify=self._http.ca_bundle, auth_backend="basic" if basic else "token"
                )
                client.session = client.auth.session = self._session
                if self._login and self._login.token:
                    client.auth.token = self._login.token
                elif self._login:
                    client.auth.set_basic_auth(self._login.username, self._login.password)
                self._oras = client
            return self._oras


def _raise_what_may_pass(response: requests.Response, **_: object) -> None:
    """Of the registry, of the token server it names, and of where it redirects to: oras takes a token server that is
    busy for one that refuses."""
    if may_pass(response.status_code):
        response.close()
        raise refusal(response, response.url.partition("?")[0])  # the query may hold a signature


def _default_url(name: str) -> str:
    if name == "docker.io":
        return "https://registry-1.docker.io"
    return f"{'http' if _is_loopback(urlsplit(f'//{name}').hostname or '') else 'https'}://{name}"


def _is_loopback(host: str) -> bool:
    """Whether `host` is this machine, whose registries speak plain HTTP, as docker has it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

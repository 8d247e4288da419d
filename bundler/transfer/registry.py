"""Pulling from registries (OCI distribution spec 1.1, and Docker's registry API before it), on oras.

oras knows how to log in and how to ask again; manifests are taken as raw bytes, for a manifest that is parsed and
dumped again has another digest.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import oras.provider
import requests
import urllib3

from bundler.errors import FetchError, IntegrityError, ResolveError
from bundler.transfer.credentials import Login, for_registry
from bundler.transfer.http import CHUNK, Answer, Http, new_session, proxies_for, refusal, unreachable
from bundler.transfer.retry import TransientError, retry

T = TypeVar("T")

MANIFEST_LIMIT = 4 << 20  # what registries accept, and what the spec asks clients to
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.artifact.manifest.v1+json",
)
_LOOPBACK = ("localhost", "127.", "[::1]")


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

    def __init__(self, name: str, http: Http) -> None:
        self.name = name
        self._http = http
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
            if ":" in reference and digest != reference:
                raise IntegrityError(
                    f"{self._named(repository, reference)}: upstream sent a manifest with digest {digest}",
                    hint="something between here and the registry changes bytes: see `mirrors` and `proxies`",
                )
            return RawManifest(data, media_type, digest)

        return self._patiently(repository, reference, attempt)

    def blob_size(self, repository: str, digest: str) -> int:
        """A blob's size in bytes. Raises ResolveError when the registry does not have it."""

        def attempt() -> int:
            with self._get(repository, f"blobs/{digest}", method="HEAD") as response:
                if response.status_code == 404:
                    raise self._missing(repository, digest)
                return int(response.headers["Content-Length"])

        return self._patiently(repository, digest, attempt)

    @contextmanager
    def open(self, repository: str, what: str, digest: str, *, offset: int = 0) -> Iterator[Answer]:
        """A blob or manifest (`what` is `blobs` or `manifests`) from `offset` on, or from 0. One attempt.

        Raises TransientError for what may pass, FetchError for what will not.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if what == "manifests":
            headers["Accept"] = ", ".join(MANIFEST_TYPES)
        with self._get(repository, f"{what}/{digest}", headers=headers) as response:
            if response.status_code == 404:
                raise refusal(response, self._named(repository, digest))
            length = response.headers.get("Content-Length", "")
            start = offset if response.status_code == 206 else 0
            yield Answer(
                start,
                start + int(length) if length.isdigit() else None,
                response.raw.stream(CHUNK, decode_content=False),
            )

    def _patiently(self, repository: str, reference: str, attempt: Callable[[], T]) -> T:
        return retry(self._http.config.retries, self._named(repository, reference), attempt)

    @contextmanager
    def _get(
        self, repository: str, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """One request; 404 is the caller's to judge, every other refusal raises."""
        url = f"{self._root}{self._prefix}{repository}/{path}"
        try:
            with self._client(repository).request(method, url, dict(headers or {})) as response:
                if response.status_code in (401, 403):
                    raise FetchError(
                        f"{self.name}/{repository}: the registry {self._place} refuses access ({response.status_code})",
                        hint=f"is the name right? A private one needs `podman login {self.name}`, `docker login "
                        f"{self.name}`, or {self._place} under `credentials` in bundler's config",
                    )
                if response.status_code == 416:
                    raise TransientError("the registry has not the bytes that were left to fetch")
                if response.status_code >= 300 and response.status_code != 404:
                    raise refusal(response, url)
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise unreachable(error, url) from error

    def _client(self, repository: str) -> _Client:
        """The client of a repository: a token is good for one repository only."""
        with self._guard:
            if repository not in self._clients:
                login = for_registry(self._http.config, self.name, self._place)
                self._clients[repository] = _Client(self._http, self._root, self._insecure, login)
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

    def __init__(self, http: Http, root: str, insecure: bool, login: Login | None) -> None:
        self._login = login
        self._root = root
        self._http = http
        self._insecure = insecure
        self._session = new_session(http.config, http.ca_bundle)
        self._session.proxies.update(proxies_for(http.config, root))
        self._guard = threading.Lock()
        self._oras: Any = None

    def request(self, method: str, url: str, headers: dict[str, str]) -> requests.Response:
        """One request, sent again with a log-in where the registry asks for one."""
        client = self._ready()
        try:
            response: requests.Response = client.do_request(url, method, headers=headers, stream=True)
            if response.status_code == 401 and getattr(client.auth, "token", None):
                response.close()
                client.auth.token = None  # it has expired, or was for less
                response = client.do_request(url, method, headers=headers, stream=True)
        except (ValueError, AttributeError) as error:  # how oras says that it cannot answer a challenge
            if isinstance(error, requests.RequestException):
                raise
            raise FetchError(
                f"{url}: the registry asks for a log-in that cannot be given",
                hint="log in with `podman login` or `docker login`, or see `credentials` in bundler's config",
            ) from error
        return response

    def _ready(self) -> Any:
        """oras, set up for the way of logging in that the registry asks for."""
        with self._guard:
            if self._oras is None:
                probe = self._session.get(self._root)
                challenge = probe.headers.get("WWW-Authenticate", "").lower()
                basic = challenge.startswith("basic") and self._login is not None
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


def _default_url(name: str) -> str:
    if name == "docker.io":
        return "https://registry-1.docker.io"
    return f"{'http' if name.startswith(_LOOPBACK) else 'https'}://{name}"

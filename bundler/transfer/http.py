"""HTTP to upstreams: mirrors, certificate authorities, proxies, credentials, and what each answer means."""

from __future__ import annotations

import email.utils
import os
import re
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from bundler import __version__
from bundler.errors import BundlerError, ConfigError, FetchError
from bundler.model.config import Config
from bundler.transfer.credentials import configured
from bundler.transfer.retry import TransientError

CHUNK = 1 << 20
_TRANSIENT = {408, 425, 429}
_REMEDIES = {
    401: "it wants a log-in: add the host under `credentials` in bundler's config",
    403: "it refuses: see `credentials` and `proxies` in bundler's config, or whether the file is still public",
    404: "upstream has it no longer, or never had: correct the profile, or run without --lock to resolve it afresh",
    407: "the proxy wants a log-in: see `proxies` in bundler's config",
    410: "upstream has withdrawn it: correct the profile",
}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's bytes: `chunks` begin at `offset` of a body of `total` bytes (None when it does not say)."""

    offset: int
    total: int | None
    chunks: Iterator[bytes]


class Http:
    """Requests to the URLs of profiles and locks, which are mapped, authorised and sent on their way here.

    Each method is one attempt. May be used from several threads.
    """

    def __init__(self, config: Config, scratch: Path) -> None:
        self.config = config
        self.ca_bundle = _ca_bundle(config, scratch)
        self._local = threading.local()

    def mirrored(self, url: str) -> str:
        """Where `url` is really fetched from: the mirror with the longest head that fits, else itself."""
        heads = [head for head in self.config.mirrors if "://" in head and url.startswith(head)]
        if not heads:
            return url
        head = max(heads, key=len)
        return self.config.mirrors[head] + url.removeprefix(head)

    @contextmanager
    def get(self, url: str, *, offset: int = 0) -> Iterator[Answer]:
        """The body of `url` from `offset` on, or from 0 where the upstream cannot do that.

        Raises TransientError for what may pass, FetchError for what will not.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._request("GET", url, headers) as response:
            if response.status_code == 206 and (
                found := _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            ):
                start, total = int(found[1]), None if found[2] == "*" else int(found[2])
            else:
                start, total = 0, _length(response)
            if start > offset:
                raise TransientError(f"asked for bytes from {offset} on, got them from {start} on")
            yield Answer(start, total, _chunks(response, url))

    def size(self, url: str) -> int | None:
        """The size of `url` in bytes, if the upstream tells without sending it."""
        with self._request("HEAD", url, {}, accept=(405, 501)) as response:
            return _length(response) if response.status_code == 200 else None

    def session(self) -> requests.Session:
        """This thread's session."""
        if not hasattr(self._local, "session"):
            self._local.session = new_session(self.config, self.ca_bundle)
        session: requests.Session = self._local.session
        return session

    @contextmanager
    def _request(
        self, method: str, url: str, headers: Mapping[str, str], *, accept: tuple[int, ...] = ()
    ) -> Iterator[requests.Response]:
        place = self.mirrored(url)
        try:
            with self.session().request(
                method,
                place,
                headers={**headers, **self._authorization(place)},
                stream=True,
                allow_redirects=True,
                proxies=proxies_for(self.config, place),
            ) as response:
                if response.status_code == 416:
                    raise TransientError("the upstream has not the bytes that were left to fetch")
                if response.status_code >= 300 and response.status_code not in accept:
                    raise refusal(response, url)
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise unreachable(error, url) from error

    def _authorization(self, place: str) -> dict[str, str]:
        """The header for the host of `place`; requests drops it when a redirect leads to another host."""
        found = configured(self.config, urlsplit(place).netloc)
        return {"Authorization": found.header} if found else {}


class _Adapter(HTTPAdapter):
    """An adapter that never waits for ever, also where a caller (oras) sets no timeout."""

    def __init__(self, timeout: float, size: int) -> None:
        self._timeout = timeout
        super().__init__(pool_maxsize=size)

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):  # type: ignore[no-untyped-def]
        return super().send(request, stream, timeout or self._timeout, verify, cert, proxies)


def new_session(config: Config, ca_bundle: str) -> requests.Session:
    """A session that asks for the bytes as they are, and takes nothing from .netrc."""
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_bundle
    session.headers.update({"User-Agent": f"bundler/{__version__}", "Accept-Encoding": "identity"})
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(config.retries.timeout, config.jobs))
    return session


def proxies_for(config: Config, url: str) -> dict[str, str]:
    """The proxies of bundler's config, else those of the environment (https_proxy, no_proxy …)."""
    return dict(config.proxies) or dict(get_environ_proxies(url))


def refusal(response: requests.Response, url: str) -> TransientError | FetchError:
    """The error for an answer that is no success."""
    status = response.status_code
    if status in _TRANSIENT or status >= 500:
        return TransientError(f"{url}: upstream answered {status}", wait=_retry_after(response))
    hint = _REMEDIES.get(status, "open the URL by hand to see what it says")
    return FetchError(f"{url}: upstream answered {status}", hint=hint, status=status)


def unreachable(error: Exception, url: str) -> TransientError | BundlerError:
    """The error for a request that got no whole answer."""
    if isinstance(error, requests.exceptions.SSLError):
        return FetchError(
            f"{url}: its certificate is not trusted: {error}",
            hint="add the certificate authority under `ca_files` in bundler's config",
        )
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return FetchError(f"{url}: {error}", hint="correct the URL in the profile, or the mirror in bundler's config")
    return TransientError(f"{url}: {_innermost(error)}")


def _innermost(error: BaseException) -> str:
    """The words of the error at the bottom, which say what happened."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return str(error) or type(error).__name__


def _retry_after(response: requests.Response) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() and "Content-Encoding" not in response.headers else None


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    """The body as it came. A page of HTML in place of a file is an error: a log-in page, or a proxy's."""
    first = True
    for chunk in response.raw.stream(CHUNK, decode_content=False):
        if first and _is_page(response, url, chunk):
            raise FetchError(
                f"{url}: upstream answered with an HTML page instead of the file",
                hint="a log-in page or a proxy is in the way? open the URL by hand; see `proxies` and `credentials`",
            )
        first = False
        yield chunk


def _is_page(response: requests.Response, url: str, start: bytes) -> bool:
    declared = response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html"
    wanted = urlsplit(url).path.lower().endswith((".html", ".htm", "/"))
    return declared and not wanted and start.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def _ca_bundle(config: Config, scratch: Path) -> str:
    """One file with the machine's certificate authorities and those of the config."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or ssl.get_default_verify_paths().cafile
    system = named if named and Path(named).is_file() else certifi.where()
    if not config.ca_files:
        return system
    handle, path = tempfile.mkstemp(dir=scratch, prefix="ca-", suffix=".pem")
    with os.fdopen(handle, "wb") as to:
        for file in (system, *config.ca_files):
            try:
                to.write(Path(file).read_bytes() + b"\n")
            except OSError as error:
                raise ConfigError(
                    f"ca_files: cannot read {file}: {error.strerror}", hint="name PEM files that can be read"
                ) from None
    return path

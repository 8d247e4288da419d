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

from bundler.errors import BundlerError, ConfigError, FetchError
from bundler.limits import LimitExceeded
from bundler.model.config import Config
from bundler.transfer.credentials import configured
from bundler.transfer.redirects import Hosts, Lead, without_secrets
from bundler.transfer.retry import TransientError
from bundler.transfer.transport import Session

# A chunk is handed on when it is full: on a slow line a large one would keep an interrupt waiting, and be lost by it.
CHUNK = 256 << 10
_WRONG_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
# What a request ends with that got no whole answer; a limit may be that of whoever takes the bytes.
UNANSWERED = (requests.RequestException, urllib3.exceptions.HTTPError, LimitExceeded)
_TRANSIENT = {408, 425, 429}
_REMEDIES = {
    401: "it wants a log-in: add the host under `credentials` in bundler's config",
    403: "it refuses: see `credentials` and `proxies` in bundler's config, or whether the file is still public",
    404: "upstream has it no longer, or never had: correct the profile, or run without --lock to resolve it afresh",
    407: "the proxy wants a log-in: see `proxies` in bundler's config",
    410: "upstream has withdrawn it: correct the profile",
}
# HEAD is refused in many ways where GET is answered: URLs signed for GET (403), servers that never heard of it (501).
_NO_HEAD = (400, 401, 403, 404, 405, 406, 501)
UNSATISFIABLE = 416  # the bytes asked for are not there: RFC 9110, 15.5.17
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]*"')
# Where distributions keep the authorities they trust, should OpenSSL's own default name no file.
_SYSTEM_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's bytes: `chunks` begin at `offset` of a body of `total` bytes (None when it does not say).

    `validator` names this version of the body (a strong ETag, or Last-Modified), as If-Range takes it. `place` is the
    URL that it really came from, without a query; None for what is on this machine.
    """

    offset: int
    total: int | None
    chunks: Iterator[bytes]
    validator: str | None = None
    place: str | None = None


class Http:
    """Requests to the URLs of profiles and locks, which are mapped, authorised and sent on their way here.

    Each method is one attempt. May be used from several threads.
    """

    def __init__(self, config: Config, scratch: Path) -> None:
        """Raises ConfigError for a mirror or a CA file that cannot be used."""
        self.config = config
        self._mirrors = _url_mirrors(config)
        self.ca_bundle = _ca_bundle(config, scratch)
        self._local = threading.local()
        self.hosts = Hosts()
        self.stopped = threading.Event()  # whoever asks again and again gives up

    def mirrored(self, url: str) -> str:
        """Where `url` is really fetched from: the mirror with the longest head that fits, else itself.

        A head fits whole segments only: `https://dl.k8s.io` is no head of `https://dl.k8s.io.example/`.
        """
        return self._of_config(url) or url

    def _of_config(self, url: str) -> str | None:
        for head, mirror in self._mirrors:
            rest = url.removeprefix(head)
            if url.startswith(head) and rest[:1] in ("", "/", "?"):
                return mirror + rest
        return None

    @contextmanager
    def get(self, url: str, *, offset: int = 0, validator: str | None = None, accept: str = "") -> Iterator[Answer]:
        """The body of `url` from `offset` on, or from 0 where the upstream cannot do that or has another version than
        `validator` names; in one of the forms that `accept` has.

        Raises TransientError for what may pass, FetchError for what will not.
        """
        headers = {**range_headers(offset, validator), **({"Accept": accept} if accept else {})}
        with self._request("GET", url, headers, accept=(UNSATISFIABLE,)) as response:
            if response.status_code != UNSATISFIABLE:
                yield answer(response, url, offset)
                return
        if not offset:
            raise TransientError(f"{url}: upstream answered {UNSATISFIABLE}")
        # What is left to fetch is not there: the file became shorter. The whole of it will show that.
        with self.get(url) as whole:
            yield whole

    def size(self, url: str) -> int | None:
        """The size of `url` in bytes, if the upstream tells without sending it."""
        with self._request("HEAD", url, {}, accept=_NO_HEAD) as response:
            known = response.status_code == 200 and not _declares_page(response, url)
            return _length(response) if known else None

    def led(self, sender: str, target: str) -> None:
        """See that what lies at the URL `sender` may lead to `target`. Raises FetchError."""
        place = self.mirrored(sender)
        if self._of_config(target) is None:
            Lead(place, place, target).check(self.hosts)

    def _session(self, *, meant: bool) -> requests.Session:
        """This thread's session for URLs that are out of the config, or for others."""
        sessions: dict[bool, Session] = self._local.__dict__.setdefault("sessions", {})
        if meant not in sessions:
            sessions[meant] = Session(self.config, self.ca_bundle, self.hosts, meant=meant)
        return sessions[meant]

    @contextmanager
    def _request(
        self, method: str, url: str, headers: Mapping[str, str], *, accept: tuple[int, ...] = ()
    ) -> Iterator[requests.Response]:
        mirror = self._of_config(url)
        place = mirror or url
        authorization = self._authorization(place)
        try:
            with self._session(meant=mirror is not None).request(
                method,
                place,
                headers={**headers, **authorization},
                stream=True,
                allow_redirects=True,
            ) as response:
                if response.status_code >= 300 and response.status_code not in accept:
                    raise refusal(response, url)
                yield response
        except UNANSWERED as error:
            raise unreachable(error, url) from error

    def _authorization(self, place: str) -> dict[str, str]:
        """The header for the host of `place`; requests drops it when a redirect leads to another host."""
        try:
            found = configured(self.config, place)
        except ValueError:
            raise FetchError(f"{place}: this is no URL", hint="correct it where it comes from") from None
        return {"Authorization": found.header} if found else {}


def range_headers(offset: int, validator: str | None) -> dict[str, str]:
    """Headers that ask for the bytes from `offset` on, of the version that `validator` names (RFC 9110, 13.1.5)."""
    if not offset:
        return {}
    return {"Range": f"bytes={offset}-", **({"If-Range": validator} if validator else {})}


def answer(response: requests.Response, url: str, offset: int) -> Answer:
    """The body of a response to a request for the bytes from `offset` on. `url` is for messages."""
    length = _length(response)
    start, total = 0, length
    if response.status_code == 206:
        if found := _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip()):
            start, total = int(found[1]), None if found[2] == "*" else int(found[2])
        else:  # against the RFC, which leaves only one thing that it can be
            start, total = offset, None if length is None else offset + length
    if start > offset:
        raise TransientError(f"{url}: asked for bytes from {offset} on, got them from {start} on")
    return Answer(start, total, _chunks(response, url, length), _validator(response), without_secrets(response.url))


def may_pass(status: int) -> bool:
    """Whether a refusal with that status is worth another try."""
    return status in _TRANSIENT or status >= 500


def refusal(response: requests.Response, url: str) -> TransientError | FetchError:
    """The error for an answer that is no success."""
    status = response.status_code
    if may_pass(status):
        return TransientError(f"{url}: upstream answered {status}", wait=_retry_after(response))
    hint = _REMEDIES.get(status, "open the URL by hand to see what it says")
    return FetchError(f"{url}: upstream answered {status}", hint=hint, status=status)


def unreachable(error: Exception, url: str) -> TransientError | BundlerError:
    """The error for a request that got no whole answer."""
    cause = _innermost(error)
    if isinstance(error, LimitExceeded):
        return error.of(FetchError, url)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(
            f"{url}: its certificate is not trusted: {cause}",
            hint="add the certificate authority under `ca_files` in bundler's config",
        )
    if isinstance(error, _WRONG_URL):
        return FetchError(f"{url}: {error}", hint="correct the URL in the profile, or the mirror in bundler's config")
    return TransientError(f"{url}: {cause or type(cause).__name__}")


def _innermost(error: BaseException) -> BaseException:
    """The error at the bottom, which says what happened."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _retry_after(response: requests.Response) -> float | None:
    """Seconds, from either form of Retry-After (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "")
    if (seconds := _number(value)) is not None:
        return float(seconds)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _length(response: requests.Response) -> int | None:
    return _number(response.headers.get("Content-Length", "")) if "Content-Encoding" not in response.headers else None


def _number(text: str) -> int | None:
    """A header's number; None when it is none that can be meant."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if _STRONG_ETAG.fullmatch(etag) else response.headers.get("Last-Modified")


def _chunks(response: requests.Response, url: str, length: int | None) -> Iterator[bytes]:
    """The body as it came, `length` bytes of it. A page of HTML in place of a file is an error: a log-in page, or a
    proxy's."""
    arrived = 0
    for chunk in response.raw.stream(CHUNK, decode_content=False):
        if not arrived and _declares_page(response, url) and _is_markup(chunk):
            raise FetchError(
                f"{url}: upstream answered with an HTML page instead of the file",
                hint="a log-in page or a proxy is in the way? open the URL by hand; see `proxies` and `credentials`",
            )
        arrived += len(chunk)
        yield chunk
    if length is not None and arrived < length:  # urllib3 before 2 takes that for the end
        raise TransientError(f"{url}: the connection ended after {arrived} of {length} bytes")


def _declares_page(response: requests.Response, url: str) -> bool:
    """Whether what came calls itself HTML though something else was asked for."""
    declared = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    wanted = urlsplit(url).path.lower().endswith((".html", ".htm", ".xhtml", "/"))
    return declared in ("text/html", "application/xhtml+xml") and not wanted


def _is_markup(start: bytes) -> bool:
    """Servers call binaries and XML text/html, too, when they do not know better."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(b"<") and (not text.startswith(b"<?xml") or b"<html" in text[:1024].lower())


def _url_mirrors(config: Config) -> list[tuple[str, str]]:
    """Heads of URLs and what stands in their place, neither with a slash at its end, the longest head first."""
    for name, mirror in config.mirrors.items():
        if "@" in urlsplit(mirror).netloc:
            raise ConfigError(
                f"mirrors.{name}: a URL carries no user or password", hint="put them under `credentials`, by host"
            )
    heads = [(head.rstrip("/"), mirror.rstrip("/")) for head, mirror in config.mirrors.items() if "://" in head]
    return sorted(heads, key=lambda pair: len(pair[0]), reverse=True)


def _ca_bundle(config: Config, scratch: Path) -> str:
    """One file with the machine's certificate authorities and those of the config."""
    named = (os.environ.get("REQUESTS_CA_BUNDLE"), ssl.get_default_verify_paths().cafile, *_SYSTEM_CA_FILES)
    system = next((file for file in named if file and Path(file).is_file()), certifi.where())
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

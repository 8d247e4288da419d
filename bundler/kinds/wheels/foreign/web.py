"""Where pip may go, and what it shows there: the index, what the profile names, and from there on the open web alone.

A page, its base, a redirect, a name server are an upstream's word. None of it leads to files, from https to http, or to
an address that only this machine can reach, unless whoever leads there is at such an address itself. That is the rule
of `bundler/transfer/redirects.py`; the addresses are of the same file.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin, urlsplit

from pip._internal.models.link import Link
from pip._internal.network.auth import MultiDomainBasicAuth
from pip._internal.network.session import PipSession
from pip._internal.utils.misc import split_auth_netloc_from_url
from pip._vendor.requests.models import Response
from pip._vendor.requests.sessions import Session
from pip._vendor.urllib3.connection import HTTPConnection

if TYPE_CHECKING:
    from bundler.kinds.wheels.foreign import bounds
    from bundler.transfer import addresses
else:  # this folder is run by its path, and nothing of bundler is imported but one file that needs nothing of it
    import bounds

    _FILE = Path(__file__).parents[3] / "transfer" / "addresses.py"
    _SPEC = importlib.util.spec_from_file_location("addresses", _FILE)
    addresses = importlib.util.module_from_spec(_SPEC)
    _SPEC.loader.exec_module(addresses)

_DIGESTS = {"sha256", "sha384", "sha512"}


class Home:
    """What led to a request in the first place: `url`; `inward`, whether it may lead to inward addresses."""

    def __init__(self, url: str, *, inward: bool) -> None:
        self.url, self.inward = url, inward
        self._secure = url.startswith("https:")

    def check(self, sender: str, target: str) -> None:
        """Raise RefusedError where `sender` may not lead to `target`, as far as the URL tells."""
        try:
            there = urlsplit(target)
            host, _ = there.hostname or "", there.port
        except ValueError:
            raise refused(sender, target, "which is no URL") from None
        if there.scheme not in ("http", "https"):
            raise refused(sender, target, "which is neither http nor https")
        if there.scheme == "http" and (self._secure or sender.startswith("https:")):
            raise refused(sender, target, "which is not encrypted")
        if "@" in there.netloc:
            raise refused(sender, target, "which has a user in it")
        if not self.inward and (what := addresses.literally_inward(host)):
            raise refused(sender, target, f"which is {what}")


def refused(sender: str, target: str, why: str) -> bounds.RefusedError:
    return bounds.RefusedError("fetch", f"{sender}: it leads to {target[:200]}, {why}")


class _Way(threading.local):
    """What this thread's request goes back to, and where it goes."""

    home: Home
    url = ""


_way = _Way()


def stay_on_the_web(index: Home, named: dict[str, Home]) -> None:
    """Hold every request to the rule. `named` are the URLs of the requirements; all else goes back to the index."""
    _Way.home = index
    _watch_requests(index, named)
    _watch_connections()
    _watch_links()


def show_login(index: str, file: str | None) -> None:
    """Show the user and password in `file` (JSON) to the index's own scheme, host and port, and to nobody else."""
    login = tuple(json.loads(Path(file).read_text(encoding="utf-8"))) if file else (None, None)

    def new(self: MultiDomainBasicAuth, url: str, *, allow_netrc: bool = True, **__: bool) -> tuple[Any, Any]:
        del self
        _, _, given = split_auth_netloc_from_url(url)
        if given[0] is not None:
            return given
        # On a 401 pip asks again, without a netrc: what was shown already was wrong.
        return login if allow_netrc and _origin(url) == _origin(index) else (None, None)

    def with_url(self: MultiDomainBasicAuth, url: str) -> tuple[str, Any, Any]:
        clean, _, _ = split_auth_netloc_from_url(url)
        user, password = new(self, url)
        return clean, user, password if user is None else password or ""

    bounds.replace(MultiDomainBasicAuth, "_get_new_credentials", new)
    bounds.replace(MultiDomainBasicAuth, "_get_url_and_credentials", with_url)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _watch_requests(index: Home, named: dict[str, Home]) -> None:
    start: Callable[..., None] = PipSession.__init__
    request: Callable[..., Response] = PipSession.request
    send: Callable[..., Response] = PipSession.send
    # pip's own passes over in silence what it does not follow.
    target: Callable[..., str | None] = Session.get_redirect_target

    def without_files(self: PipSession, *given: Any, **named: Any) -> None:
        # No cache either: each answer is asked for once, and writing it takes longer than the asking.
        start(self, *given, **{**named, "cache": None})
        del self.adapters["file://"]

    def requested(self: PipSession, method: str, url: str, *given: Any, **options: Any) -> Response:
        _way.home = named.get(urldefrag(url).url, index)
        return request(self, method, url, *given, **options)

    def sent(self: PipSession, prepared: Any, **options: Any) -> Response:
        _way.url = prepared.url
        if urldefrag(prepared.url).url != _way.home.url:
            _way.home.check(_way.home.url, prepared.url)
        return send(self, prepared, **options)

    def target_of(self: PipSession, response: Response) -> str | None:
        found = target(self, response)
        if found is not None:
            try:
                to = urljoin(response.url, found)
            except ValueError:
                to = found
            _way.home.check(response.url, to)
        return found

    bounds.replace(PipSession, "__init__", without_files)
    bounds.replace(PipSession, "request", requested)
    bounds.replace(PipSession, "send", sent)
    bounds.replace(PipSession, "get_redirect_target", target_of)


def _watch_connections() -> None:
    """A name says nothing of where it leads: what counts is the address that a connection is at, a kept one too."""
    connect: Callable[..., Any] = HTTPConnection._new_conn
    request: Callable[..., None] = HTTPConnection.request

    def check(connection: HTTPConnection, sock: Any) -> None:
        if _way.home.inward or connection.proxy is not None:
            return
        if what := addresses.inward(sock.getpeername()[0]):
            sock.close()
            raise refused(_way.home.url, _way.url, f"which is {what}")

    def connected(self: HTTPConnection) -> Any:
        sock = connect(self)
        check(self, sock)
        return sock

    def asked(self: HTTPConnection, *given: Any, **named: Any) -> None:
        if self.sock is not None:
            check(self, self.sock)
        request(self, *given, **named)

    bounds.replace(HTTPConnection, "_new_conn", connected)
    bounds.replace(HTTPConnection, "request", asked)


def _watch_links() -> None:
    """Links of a page count when they are of the web; what is beside a wheel counts when the page vouches for it."""
    metadata_link: Callable[[Link], Link | None] = Link.metadata_link

    def on_the_web(make: Callable[..., Link | None]) -> classmethod[Link, ..., Link | None]:
        def made(cls: type[Link], *given: Any, **named: Any) -> Link | None:
            link = make(cls, *given, **named)
            if link is None or link.scheme not in ("http", "https"):
                return None
            beside = link.metadata_file_data.hashes if link.metadata_file_data else None
            if not all(isinstance(digest, str) for digest in (*link._hashes.values(), *(beside or {}).values())):
                raise ValueError(f"a digest of {link.filename} is none")
            return link

        return classmethod(made)

    def vouched_for(self: Link) -> Link | None:
        # Without a digest it would be believed of a wheel that may say something else; then the wheel itself is read.
        link = metadata_link(self)
        return link if link is not None and self.is_wheel and _DIGESTS & set(link._hashes) else None

    bounds.replace(Link, "metadata_link", vouched_for)
    for name in ("from_json", "from_element"):
        bounds.replace(Link, name, on_the_web(getattr(Link, name).__func__))

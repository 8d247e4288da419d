"""Requests on their way: by proxies, over connections that are watched, to no place where nothing is to be fetched."""

from __future__ import annotations

import io
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import should_bypass_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection

from bundler import __version__
from bundler.limits import Limit
from bundler.model.config import Config, Retries
from bundler.transfer.addresses import inward, literally_inward
from bundler.transfer.arriving import response_class
from bundler.transfer.redirects import Hosts, Lead, refused_inward

_REDIRECTS = 10
_REDIRECT_BODY = 64 << 10
# What is not read as a stream is a token, or a refusal.
_WHOLE = Limit("a registry's token", 1 << 20)


class _Inward(Exception):  # noqa: N818 - the adapter makes an error of it
    """A guarded connection is at an address that is `what`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Session(requests.Session):
    """A session that asks for the bytes as they are, takes nothing from .netrc, and knows what led to each request."""

    def __init__(
        self, config: Config, ca_bundle: str, hosts: Hosts, *, home: str | None = None, meant: bool = False
    ) -> None:
        """`home` is the head of all URLs that are asked for of ourselves; without it all are, but for redirects.

        `meant`: these URLs are out of bundler's config, and their hosts may be anywhere. A name out of a profile or a
        lock may not be at an inward address, for another says what it is at.
        """
        super().__init__()
        self._home = home
        self._places = hosts
        self.trust_env = False
        self.verify = ca_bundle
        self.max_redirects = _REDIRECTS
        self.headers.update({"User-Agent": f"bundler/{__version__}", "Accept-Encoding": "identity"})
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter(config, hosts, meant=meant))

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if self._home and _lead(request) is None and not str(request.url).startswith(self._home):
            self._led(request, Lead(self._home, self._home, str(request.url)))
        try:
            return super().send(request, **options)
        except requests.RequestException:
            raise
        except ValueError as error:  # of urlsplit, in a Location that is no URL
            raise requests.exceptions.InvalidURL(f"it leads to what is no URL: {error}") from None

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        before = _lead(response.request)
        origin = before.origin if before else response.url
        self._led(prepared_request, Lead(origin, response.url, str(prepared_request.url)))
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]

    def _led(self, request: requests.PreparedRequest, lead: Lead) -> None:
        lead.check(self._places)
        request.lead = lead  # type: ignore[attr-defined]


def _lead(request: requests.PreparedRequest) -> Lead | None:
    return getattr(request, "lead", None)


class _Adapter(HTTPAdapter):
    """What holds for every request, those that follow a redirect and those that oras makes included: none waits for
    ever, each goes by the proxy of its own host, none that was led to this machine gets there, a HEAD keeps its
    connection, and what is not read as a stream is small."""

    def __init__(self, config: Config, hosts: Hosts, *, meant: bool = False, guarded: bool = False) -> None:
        self._config = config
        self._places = hosts
        self._meant = meant
        self._guarded = None if guarded else _Adapter(config, hosts, guarded=True)
        self._watched = _pools(config.retries, None, guarded=False)
        self._direct = _pools(config.retries, hosts, guarded=guarded)
        self._proxies: dict[tuple[str, str], dict[str, str]] = {}
        super().__init__(pool_maxsize=config.jobs)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._direct

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._watched
        return manager

    def close(self) -> None:
        if self._guarded:
            self._guarded.close()
        super().close()

    def send(self, request, stream=False, timeout=None, verify=True, cert=None, proxies=None):  # type: ignore[no-untyped-def]
        lead = _lead(request)
        if self._guarded and (lead or not (self._meant or literally_inward(urlsplit(request.url).hostname or ""))):
            try:
                return self._guarded.send(request, stream, timeout, verify, cert, proxies)  # type: ignore[no-untyped-call]
            except _Inward as found:
                if lead is None:
                    raise refused_inward(str(request.url), found.what) from None
                lead.check_inward(found.what, self._places)
        timeout = timeout or self._config.retries.timeout
        # Once a host: going through the environment takes longer than the rest of a small request.
        parts = urlsplit(request.url)
        if (place := (parts.scheme, parts.netloc)) not in self._proxies:
            self._proxies[place] = proxies_for(self._config, request.url)
        response = super().send(request, stream, timeout, verify, cert, self._proxies[place])
        if request.method == "HEAD":
            _ = response.content  # there is none; but left unread, it would cost the connection
        elif response.is_redirect:
            if len(response.raw.read(_REDIRECT_BODY + 1, decode_content=False)) > _REDIRECT_BODY:
                response.raw.close()
        elif not stream:
            _read_whole(response)
        return response


def _read_whole(response: requests.Response) -> None:
    """Take the body into memory, as it came. Raises LimitExceeded."""
    with response.raw as raw:
        data = raw.read(_WHOLE.size + 1, decode_content=False)
    _WHOLE.check(len(data))
    response.raw = urllib3.HTTPResponse(io.BytesIO(data), status=response.status_code, preload_content=False)


def _pools(policy: Retries, hosts: Hosts | None, *, guarded: bool) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Pools of connections whose answers are held to `policy`, to hosts that are noted in `hosts`; guarded ones are to
    nowhere inward."""
    answers = response_class(policy)

    def checked(host: str, sock: socket.socket) -> socket.socket:
        what = inward(sock.getpeername()[0])
        if guarded and what:
            sock.close()
            raise _Inward(what)
        if hosts:
            hosts.connected(host, what)
        return sock

    class Plain(HTTPConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return checked(self.host, super()._new_conn())

    class Secure(HTTPSConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return checked(self.host, super()._new_conn())

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def proxies_for(config: Config, url: str) -> dict[str, str]:
    """The proxies of bundler's config, else those of the environment; none for a host that no_proxy names."""
    if should_bypass_proxies(url, no_proxy=None):
        return {}
    return dict(config.proxies) or dict(getproxies())

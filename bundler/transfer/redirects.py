"""Where an upstream may send bundler on to: not to this machine, nor to what only this machine can reach."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from bundler.errors import FetchError

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Where clouds tell a machine its secrets, beside the link-local 169.254.169.254.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64, RFC 6052


class Hosts:
    """Which hosts were found to be inward, by the address that each was first connected to. Of several threads."""

    def __init__(self) -> None:
        self._found: dict[str, str | None] = {}

    def connected(self, host: str, what: str | None) -> None:
        """What `host` is counts once: another answer of a name server's changes nothing."""
        self._found.setdefault(host, what)

    def inward(self, host: str) -> bool:
        """Whether `host` is at an inward address: a literal one, or one that it was connected to."""
        return bool(literally_inward(host) or self._found.get(host))


@dataclass(frozen=True, slots=True)
class Lead:
    """A request that an upstream's answer leads to, by a redirect, a list of mirrors, or any other document: `origin`
    is the URL that was asked for at first, `sender` that of the answer."""

    origin: str
    sender: str
    target: str

    def check(self, hosts: Hosts) -> None:
        """Raises FetchError for a URL that no upstream may lead to, as far as the URL alone tells."""
        sender = urlsplit(self.sender)
        try:
            target = urlsplit(self.target)
            host, _ = target.hostname or "", target.port
        except ValueError:
            raise self.refused("which is no URL") from None
        if target.scheme not in ("http", "https"):
            raise self.refused("which is neither http nor https")
        if sender.scheme == "https" and target.scheme == "http":
            raise self.refused("which is not encrypted")
        if "@" in target.netloc:
            raise self.refused("which has a user in it")
        if what := literally_inward(host):
            self.check_inward(what, hosts)

    def check_inward(self, what: str, hosts: Hosts) -> None:
        """Raises FetchError: the address is `what`, and may be led to only by what is such an address itself."""
        if not hosts.inward(urlsplit(self.origin).hostname or ""):
            raise self.refused(f"which is {what}")

    def refused(self, why: str) -> FetchError:
        return FetchError(
            f"{without_secrets(self.sender)}: it leads to {without_secrets(self.target)}, {why}",
            hint="no upstream may send bundler there; if it is meant, name that address in the profile, or under "
            "`mirrors` in bundler's config",
        )


def refused_inward(url: str, what: str) -> FetchError:
    """The error for a name that the profile or the lock has, and that turns out to be at an inward address."""
    return FetchError(
        f"{without_secrets(url)}: its host is {what}",
        hint="whoever answers for that name could send bundler to any service of this machine; if it is meant, name "
        "the address itself, or the URL under `mirrors` in bundler's config",
    )


def literally_inward(host: str) -> str | None:
    """What a host is that is an inward address in itself, or is called localhost; None for any other."""
    literal = _literal(host)
    return inward(literal) if literal else None


def inward(address: str) -> str | None:
    """What an IP address is that no upstream may lead to, in words; None for any other, private ones included."""
    found = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    if found.is_loopback:
        return f"{address}, this machine"
    if found.is_unspecified or (found.version == 4 and found in _THIS_NETWORK):
        return f"{address}, no address of a server"
    if found in _METADATA:
        return f"{address}, a cloud's metadata"
    if found.is_link_local:
        return f"{address}, a link-local address"
    if found.is_multicast:
        return f"{address}, a multicast address"
    return None


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if address.version == 6:
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _literal(host: str) -> str | None:
    """The address that a host is in itself; as the C library reads it, which takes `127.1` and `0x7f000001`, too."""
    try:
        return str(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)[0][4][0])
    except (OSError, UnicodeError):
        return "127.0.0.1" if host.rstrip(".").lower().rpartition(".")[2] == "localhost" else None


def without_secrets(url: str) -> str:
    """A URL without user and query, which may hold a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

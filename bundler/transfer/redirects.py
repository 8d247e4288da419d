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


@dataclass(frozen=True, slots=True)
class Lead:
    """A request that an upstream's answer leads to: `origin` is the URL that was asked for at first, `sender` that of
    the answer."""

    origin: str
    sender: str
    target: str

    def check(self) -> None:
        """Raises FetchError for a URL that no upstream may lead to, as far as the URL alone tells."""
        sender, target = urlsplit(self.sender), urlsplit(self.target)
        if sender.scheme == "https" and target.scheme == "http":
            raise self.refused("which is not encrypted")
        if "@" in target.netloc:
            raise self.refused("which has a user in it")
        literal = _literal(target.hostname or "")
        if literal and (what := inward(literal)):
            self.check_inward(what)

    def check_inward(self, what: str) -> None:
        """Raises FetchError: the address is `what`, and may be led to only by what is such an address itself."""
        if not _is_inward(urlsplit(self.origin).hostname or ""):
            raise self.refused(f"which is {what}")

    def refused(self, why: str) -> FetchError:
        return FetchError(
            f"{without_secrets(self.sender)}: it leads to {without_secrets(self.target)}, {why}",
            hint="no upstream may send bundler there; if it is meant, name that address in the profile, or under "
            "`mirrors` in bundler's config",
        )


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


def _is_inward(host: str) -> bool:
    """Whether a host of the profile or config is at such an address itself."""
    try:
        return all(inward(str(found[4][0])) for found in socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False


def without_secrets(url: str) -> str:
    """A URL without user and query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

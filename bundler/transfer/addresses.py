"""Addresses that lead inward: to this machine, or to what only this machine can reach.

Nothing of bundler is imported: `kinds/wheels/foreign` loads this file by its path.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

_Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

# Where clouds tell a machine its secrets, beside the link-local 169.254.169.254.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64, RFC 6052


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

"""Ports: whether a program can listen on one, and who does already."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import SiteError

_LISTENS = "0A"  # TCP_LISTEN, as proc(5) has it


@dataclass(frozen=True, slots=True)
class Listen:
    """A port a program takes, on `host`, and how site.yaml calls it (`ports.web`)."""

    host: str
    port: int
    setting: str


def require_free(listen: Listen, who: str, *, besides: int | None = None) -> None:
    """See that the program `who` can listen there; the process `besides` may do so already. Raises SiteError."""
    found = dict(_listeners(listen.port))
    if besides is not None and found and found.keys() <= _sockets(besides):
        return
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((listen.host, listen.port))
            probe.listen(1)
        except PermissionError:
            raise SiteError(
                f"{who} may not listen on port {listen.port}",
                hint=f"run as root, or set {listen.setting} in site.yaml to a port above 1023",
            ) from None
        except OSError as error:
            users = ", ".join(sorted({_name(user) for user in found.values()}))
            raise SiteError(
                f"{who} cannot listen on port {listen.port}: {error.strerror}" + (f" by {users}" if users else ""),
                hint=f"`ss -ltnp` shows who has it: stop that, or set {listen.setting} in site.yaml to another port",
            ) from None


def _listeners(port: int) -> Iterator[tuple[str, int]]:
    """Each socket that listens on `port`: its inode, and the user that made it (proc(5))."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, _, inode = line.split()[:10]
                if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                    yield inode, int(user)


def _sockets(pid: int) -> set[str]:
    """The inodes of the sockets that the process has open."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    return found


def _name(user: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"user {user}"

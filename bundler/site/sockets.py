"""The unix sockets that the registry and devpi listen on: `<root>/run/<service>/socket`.

The folder of a socket is its guard. It belongs to the service's user, who alone can put a socket there, and to the
group of nginx's workers; nobody else gets in, whatever the mode of the socket is.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Literal

from bundler.errors import SiteError
from bundler.model.site import SiteConfig
from bundler.site.folders import keep_folder, make_folder

Service = Literal["registry", "devpi"]

UMASK = 0o007  # of a service: its socket takes nginx's requests, and what it writes is for nobody else
_LONGEST = 107  # bytes of a socket's path (unix(7))


def socket_of(config: SiteConfig, service: Service) -> Path:
    """Where `service` listens. Raises SiteError for a root that leaves no room for the name."""
    path = Path(config.root).absolute() / "run" / service / "socket"
    if (length := len(os.fsencode(path))) > _LONGEST:
        raise SiteError(
            f"{path} is too long for a socket: it has {length} bytes, and the kernel takes {_LONGEST}",
            hint=f"name a root that is shorter by {length - _LONGEST} bytes (--root DIR)",
        )
    return path


def guard(path: Path, owner: int, group: int) -> Path:
    """Have the folder of the socket `path`, for the user `owner` and the group `group` of nginx's workers."""
    make_folder(path.parent.parent)
    # setgid: the socket gets nginx's group. Where it is not root's to start, nginx runs as the owner.
    keep_folder(path.parent, mode=0o2750 if os.geteuid() == 0 else 0o700, owner=owner, group=group)
    return path.parent


def connected(path: Path, timeout: float | None) -> socket.socket:
    """A connection to the socket `path`. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection

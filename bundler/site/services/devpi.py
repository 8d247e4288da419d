"""devpi-server, the index: on a socket, with everything it writes under the site's root."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bundler.site import index
from bundler.site.folders import keep_folder, make_folder, write_whole
from bundler.site.host.accounts import own
from bundler.site.services.daemon import Probe, Program
from bundler.site.services.programs import find_program
from bundler.site.services.unprivileged import Identity

_LOGGING = "logging.json"
_QUIET = {"version": 1, "incremental": True, "root": {"level": "WARNING"}}  # no line for each request


def find() -> str:
    """devpi-server's path. Raises SiteError when it is not installed."""
    return find_program(
        "devpi-server",
        beside_python=True,
        hint="install it for this Python: pip install devpi-server devpi-web, or take it from the bundle's wheels",
    )


def program(socket: Path, folder: Path, data: Path, owner: Identity) -> Program:
    """devpi-server of `owner` over the server folder `data`, which is made when it is not there, behind `socket`.

    Raises SiteError.
    """
    index.initialise(data)
    keep_folder(data, mode=0o700)
    temporary = keep_folder(make_folder(folder) / "tmp", mode=0o700)  # in its data, devpi could put a link there
    own(temporary, owner.user, owner.group)
    write_whole(folder / _LOGGING, json.dumps(_QUIET).encode(), 0o644)
    # The password of devpi's root is bundler's alone.
    own(data, owner.user, owner.group, keep=(index.PASSWORD_FILE,))
    return Program(
        name="devpi",
        argv=(
            find(),
            *("--serverdir", str(data)),
            *("--unix-socket", str(socket)),
            *("--unix-socket-perms", "660"),
            *("--restrict-modify", "root"),
            *("--trusted-proxy", "localhost"),  # who comes by a socket
            *("--logger-cfg", str(folder / _LOGGING)),
            "--offline-mode",
            *("--threads", "200"),  # nginx lets an address have 64 requests in flight
            *("--connection-limit", "1000"),
        ),
        folder=folder,
        environment={"TMPDIR": str(temporary)},
        socket=socket,
        probes=(Probe(socket, "/+api"),),
        needs=(Path(sys.prefix), Path(sys.base_prefix), data, socket.parent),
    )

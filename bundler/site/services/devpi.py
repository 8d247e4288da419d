"""devpi-server, the index: on loopback, with everything it writes under the site's root."""

from __future__ import annotations

from pathlib import Path

from bundler.model.site import SiteConfig
from bundler.site import index
from bundler.site.folders import make_folder
from bundler.site.services.daemon import Listen, Probe, Program
from bundler.site.services.programs import find_program


def find() -> str:
    """devpi-server's path. Raises SiteError when it is not installed."""
    return find_program(
        "devpi-server",
        beside_python=True,
        hint="install it for this Python: pip install 'bundler[site]', or take it from the bundle's wheels",
    )


def program(config: SiteConfig, folder: Path, data: Path) -> Program:
    """devpi-server over the server folder `data`, which is made when it is not there. Raises SiteError."""
    index.initialise(data)
    port = config.backends.index
    temporary = make_folder(data / "tmp")
    return Program(
        name="devpi",
        argv=(
            find(),
            *("--serverdir", str(data)),
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
            *("--restrict-modify", "root"),
            *("--trusted-proxy", "127.0.0.1"),
            "--offline-mode",
        ),
        folder=folder,
        environment={"TMPDIR": str(temporary)},
        listens=(Listen("127.0.0.1", port, "backends.index"),),
        probes=(Probe(port, "/+api"),),
    )

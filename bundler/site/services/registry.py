"""The registry (CNCF distribution): on loopback, its blobs under the site's root.

Config: https://distribution.github.io/distribution/about/configuration/, of the keys that 2.8 and 3 share.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import yaml

from bundler.bundle.content import Content
from bundler.model.items import Item
from bundler.model.site import SiteConfig
from bundler.site.folders import make_folder, write_whole
from bundler.site.host import commands
from bundler.site.services.daemon import Listen, Probe, Program
from bundler.site.services.programs import find_program
from bundler.site.services.registry_image import UnpackedImage

CONFIGURATION = "config.yml"


def prepare(folder: Path, items: Sequence[Item], content: Content) -> None:
    """Have a registry program: the one in `items`' registry image, unpacked into `folder`, or one of this machine's.

    Raises SiteError when there is none.
    """
    if not UnpackedImage(folder).update(items, content):
        _command(folder)


def program(config: SiteConfig, folder: Path, data: Path) -> Program:
    """The registry over the folder `data`; its config is written into `folder`."""
    port = config.backends.registry
    conf = folder / CONFIGURATION
    text = configure(folder, port, str(make_folder(data)))
    return Program(
        name="registry",
        argv=(*_command(folder), "serve", str(conf)),
        folder=folder,
        configuration=text,
        environment={"OTEL_TRACES_EXPORTER": "none", "TMPDIR": str(make_folder(folder / "tmp"))},
        listens=(Listen("127.0.0.1", port, "backends.registry"),),
        probes=(probe(port),),
    )


def collect_garbage(folder: Path) -> None:
    """Delete the blobs that no manifest names, by the registry's own command. Raises SiteError."""
    run_collection((*_command(folder), "garbage-collect", str(folder / CONFIGURATION)))


def run_collection(argv: Sequence[str]) -> None:
    """Run a garbage collection. Raises SiteError."""
    commands.run(argv, hint="nothing that a release uses was deleted; see what the registry says, and try again")


def configure(folder: Path, port: int, data: str) -> str:
    """Write the config of a registry over `data`, a path as the registry sees it, into `folder`; its text."""
    text = yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": data},
                "delete": {"enabled": True},
                "redirect": {"disable": True},
            },
            "http": {"addr": f"127.0.0.1:{port}", "secret": _secret(folder)},
        },
        sort_keys=False,
    )
    write_whole(folder / CONFIGURATION, text.encode(), 0o600)
    return text


def probe(port: int) -> Probe:
    """What answers once the registry is up."""
    return Probe(port, "/v2/")


def _command(folder: Path) -> tuple[str, ...]:
    return UnpackedImage(folder).command() or (
        find_program(
            "docker-registry",
            "registry",
            hint="put a registry image in the bundle (docker.io/library/registry:3), install docker-registry, "
            "or name an external registry in site.yaml",
        ),
    )


def _secret(folder: Path) -> str:
    """What the registry signs upload states with: made once."""
    file = folder / "secret"
    if not file.exists():
        write_whole(file, secrets.token_hex(32).encode(), 0o600)
    return file.read_text()

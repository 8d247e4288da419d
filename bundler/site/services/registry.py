"""The registry (CNCF distribution): on a socket, its blobs under the site's root.

Config: https://distribution.github.io/distribution/about/configuration/, of the keys that 2.8 and 3 share.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import yaml

from bundler.bundle.content import Content
from bundler.model.items import Item
from bundler.site.folders import keep_folder, write_whole
from bundler.site.host import commands
from bundler.site.host.accounts import own
from bundler.site.services.daemon import Probe, Program
from bundler.site.services.programs import find_program
from bundler.site.services.registry_program import UnpackedImage
from bundler.site.services.unprivileged import Identity, Launcher

CONFIGURATION = "config.yml"


def prepare(folder: Path, items: Sequence[Item], content: Content, launcher: Launcher) -> None:
    """Have a registry program: the one in `items`' registry image, unpacked into `folder`, or one of this machine's.

    Raises SiteError when there is none.
    """
    if not UnpackedImage(folder).update(items, content, launcher):
        _command(folder)


def program(socket: Path, folder: Path, data: Path, owner: Identity) -> Program:
    """The registry of `owner` over the folder `data`, behind `socket`; its config is written into `folder`."""
    temporary = folder / "tmp"
    hand_over(temporary, owner)
    hand_over(data, owner)
    text = configure(folder, socket, str(data), owner)
    return Program(
        name="registry",
        argv=(*_command(folder), "serve", str(folder / CONFIGURATION)),
        folder=folder,
        configuration=text,
        environment={"OTEL_TRACES_EXPORTER": "none", "TMPDIR": str(temporary)},
        socket=socket,
        probes=(probe(socket),),
        needs=(data, socket.parent),
    )


def hand_over(folder: Path, owner: Identity) -> None:
    """Have `folder`, for `owner` alone: the registry writes there, and nobody else has to read it."""
    keep_folder(folder, mode=0o700)
    own(folder, owner.user, owner.group)


def collect_garbage(folder: Path, data: Path, launcher: Launcher) -> None:
    """Delete the blobs that no manifest names, by the registry's own command. Raises SiteError."""
    argv = (*_command(folder), "garbage-collect", str(folder / CONFIGURATION))
    run_collection(launcher.command(argv, (data,)))


def run_collection(argv: Sequence[str]) -> None:
    """Run a garbage collection. Raises SiteError."""
    commands.run(argv, hint="nothing that a release uses was deleted; see what the registry says, and try again")


def configure(folder: Path, socket: Path, data: str, owner: Identity) -> str:
    """Write a registry's config into `folder`, for `owner`; its text. `socket` and `data` are as it sees them.

    Raises SiteError.
    """
    text = yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": data},
                "delete": {"enabled": True},
                "redirect": {"disable": True},
            },
            "http": {"net": "unix", "addr": str(socket), "secret": _secret(folder)},
        },
        sort_keys=False,
    )
    write_whole(folder / CONFIGURATION, text.encode(), 0o600, owner=owner.user, group=owner.group)
    return text


def probe(socket: Path) -> Probe:
    """What answers once the registry is up."""
    return Probe(socket, "/v2/")


def _command(folder: Path) -> tuple[str, ...]:
    return UnpackedImage(folder).command() or (
        find_program(
            "docker-registry",
            "registry",
            hint="give an image of the profile the role (`{ref: docker.io/library/registry:3, role: registry}`), "
            "install docker-registry, or name an external registry in site.yaml",
        ),
    )


def _secret(folder: Path) -> str:
    """What the registry signs upload states with: made once."""
    file = folder / "secret"
    if not file.exists():
        write_whole(file, secrets.token_hex(32).encode(), 0o600)
    return file.read_text()

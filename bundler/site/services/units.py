"""The text of systemd units (systemd.service(5), systemd.exec(5), podman-systemd.unit(5))."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundler.errors import SiteError
from bundler.site.services.daemon import Program
from bundler.site.services.registry_container import DATA, SOCKET, RegistryContainer
from bundler.site.services.unprivileged import Identity
from bundler.site.sockets import UMASK
from bundler.templates import render


def service(program: Program, *, description: str, user: str, writable: Sequence[Path], root: Path) -> str:
    """A unit that runs `program` as `user`, who may write in `writable`, beside its socket, and nowhere else."""
    return render(
        "bundler.site",
        "service.unit.j2",
        description=description,
        argv=program.argv,
        environment=program.environment,
        user=user,
        socket=program.socket,
        umask=f"{UMASK:04o}",
        writable=writable,
        **_places(root),
    )


def container(
    name: str, found: RegistryContainer, *, configuration: Path, data: Path, socket: Path, user: Identity, root: Path
) -> str:
    """The registry's quadlet."""
    values = _container(name, found, configuration, data, socket, user)
    return render("bundler.site", "registry.container.j2", **values, **_places(root))


def container_service(
    name: str, found: RegistryContainer, *, configuration: Path, data: Path, socket: Path, user: Identity, root: Path
) -> str:
    """The same for a podman without quadlets."""
    values = _container(name, found, configuration, data, socket, user)
    return render("bundler.site", "registry-podman.unit.j2", **values, **_places(root))


def nginx_drop_in(after: Sequence[str], *, root: Path) -> str:
    """What an nginx that serves nobody else gets on top of its distribution's unit."""
    return render("bundler.site", "nginx.unit.j2", after=after, **_places(root))


def _container(
    name: str, found: RegistryContainer, configuration: Path, data: Path, socket: Path, user: Identity
) -> dict[str, object]:
    volumes = ((data, DATA, "rw,Z"), (socket.parent, SOCKET.parent, "rw,Z"))
    return {
        "name": name,
        "image": found.image,
        "user": user,
        "socket": socket,
        "umask": f"{UMASK:04o}",
        "volumes": (*volumes, (configuration, found.configuration, "ro,Z")),
    }


def _places(root: Path) -> dict[str, object]:
    """The root as units name it, and whether it lies where homes are, which units hide."""
    text = str(root)
    if not text.isprintable() or any(sign in text for sign in " \"'\\$%:"):
        raise SiteError(
            f"systemd units cannot name {text!r} plainly", hint="name a root without blanks, quotes, `$`, `%` and `:`"
        )
    return {"root": text, "among_homes": text.startswith(("/home/", "/root/", "/run/user/"))}

"""nginx, the one front door: the web root, and the registry and devpi behind it, all of them read-only."""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
import resource
import socket
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256

from bundler.errors import SiteError
from bundler.model.site import SiteConfig
from bundler.site import login, tls
from bundler.site.folders import keep_folder, make_folder, write_whole
from bundler.site.releases import PUBLISHED, RELEASES
from bundler.site.services import Store
from bundler.site.services.daemon import Probe, Program
from bundler.site.services.ports import Listen
from bundler.site.services.programs import find_program
from bundler.site.sockets import Service, socket_of
from bundler.templates import render

# Of each worker. One address has 64,511 ports to call each of ours from: two workers have more than that.
CONNECTIONS = 131072
_FILES_BESIDE = 1024  # of a worker: those that it reads, and connections to what is behind it
_FILES = 2 * CONNECTIONS + _FILES_BESIDE  # a request that is passed on takes two
_MOST_WORKERS = 16
_CONNECTIONS = re.compile(r"^([^#\n]*\bworker_connections\s+)(\d+)(?=\s*;)", re.MULTILINE)
_EVENTS = re.compile(r"^\s*events\s*\{", re.MULTILINE)
_MACHINES_LOG = Path("/var/log/nginx")
_USERS = ("nginx", "www-data", "nobody")
# The pages and files of an index that nodes may read, see `bundler.site.publication`; and whether devpi is there.
_INDEX = r'~ "^(/\+api|/root/(?<index>[A-Za-z0-9@._-]+)/\+(simple|f)(/[A-Za-z0-9@._+!/-]*)?)\z"'


@dataclass(frozen=True, slots=True)
class _Server:
    """One `server` block: a `root` to show, or a `location` to pass on to `backend`, a URL as nginx reads it.

    `published` is the folder that says what of it nodes may read, with an open quote: the template closes it.
    """

    what: str
    port: int
    setting: str
    probe: str
    published: str
    root: str = ""
    location: str = "/"
    backend: str = ""
    outside_url: str = ""


def find() -> str:
    """nginx's path. Raises SiteError when it is not installed."""
    return find_program(
        "nginx", hint="install nginx: it is in every distribution (dnf install nginx, apt install nginx)"
    )


def program(config: SiteConfig, folder: Path, web_root: Path, stores: Collection[Store]) -> Program:
    """An nginx of our own in front of `stores`; its config is written into `folder`."""
    servers, certificates = _chosen(config, web_root, stores), tls.ensure(config)
    text = render(
        "bundler.site",
        "nginx.conf.j2",
        # An open quote: the template goes on with a path below, and closes it.
        folder=_quoted(folder)[:-1],
        user=_user(web_root),
        hosts=_listen_on(),
        names=(),
        log=None,  # the one of its main configuration
        servers=servers,
        tls=_tls(certificates),
        readers=_readers(config),
        room=_room(),
    )
    _close(config, web_root)
    make_folder(folder / "tmp")
    conf = folder / "nginx.conf"
    write_whole(conf, text.encode(), 0o644)
    argv = (find(), "-p", str(folder), "-c", str(conf))
    return Program(
        name="nginx",
        argv=argv,
        folder=folder,
        configuration=text,
        listens=tuple(Listen(host.strip("[]"), server.port, server.setting) for server in servers for host in _hosts()),
        probes=_probes(servers, config, certificates),
        checks=(*argv, "-t", "-q"),
    )


@dataclass(frozen=True, slots=True)
class _Room:
    """How many workers take how many connections, and how many files each of them may have open."""

    workers: int
    connections: int
    files: int


def _room() -> _Room:
    """More workers where none of them may open as many files as two would need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if files < _FILES:
        with suppress(OSError, ValueError):  # root may raise it, but not in every container
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, _FILES))
            files = _FILES
    connections = min(CONNECTIONS, max(files - _FILES_BESIDE, files // 2))
    return _Room(min(_MOST_WORKERS, math.ceil(2 * CONNECTIONS / connections)), connections, files)


def enlarged(text: str) -> str | None:
    """nginx.conf with room for CONNECTIONS in each worker; None where it has that already."""
    wanted = f"{CONNECTIONS}" if "accept_mutex" in text else f"{CONNECTIONS}; accept_mutex on"
    if (found := _CONNECTIONS.search(text)) is None:
        return _EVENTS.sub(rf"\g<0>\n    worker_connections {wanted};", text, count=1)
    if int(found[2]) >= CONNECTIONS:
        return None
    return f"{text[: found.start(2)]}{wanted}{text[found.end(2) :]}"


def configuration(config: SiteConfig, web_root: Path, stores: Collection[Store]) -> tuple[str, tuple[Probe, ...]]:
    """What the machine's own nginx needs in its conf.d, and the probes that answer then.

    Others may be served there too: ours are told by the names that nodes and this host reach them by.
    """
    servers, certificates = _chosen(config, web_root, stores), tls.ensure(config)
    _close(config, web_root)
    names = dict.fromkeys((config.address, socket.gethostname(), "localhost", "127.0.0.1", "[::1]"))
    head = "# Written by bundler: change site.yaml, then `bundler services start`.\n"
    text = render(
        "bundler.site",
        "nginx-servers.conf.j2",
        hosts=_listen_on(),
        names=names,
        log=_MACHINES_LOG if _MACHINES_LOG.is_dir() else None,
        servers=servers,
        tls=_tls(certificates),
        readers=_readers(config),
    )
    return head + text, _probes(servers, config, certificates)


def _close(config: SiteConfig, web_root: Path) -> None:
    """Have what nodes read, and what they do not read any more, go by nginx: no other user gets at the trees.

    What else serves an external web root runs as somebody else.
    """
    if config.web is None and (web_root / RELEASES).is_dir():
        keep_folder(web_root / RELEASES, mode=0o750, group=workers_group())


def _chosen(config: SiteConfig, web_root: Path, stores: Collection[Store]) -> list[_Server]:
    return [server for store, server in _servers(config, web_root).items() if store in stores]


def _probes(servers: Iterable[_Server], config: SiteConfig, certificates: tls.Certificates | None) -> tuple[Probe, ...]:
    name, ca = config.machine, certificates.ca if certificates else None
    return tuple(Probe(server.port, server.probe, name, ca, asks=config.login is not None) for server in servers)


def _readers(config: SiteConfig) -> str | None:
    """Who may read, as a file; None where everybody may. nginx looks into it at each request."""
    found = login.ensure(config, next((_group(name) for name in _USERS if _is_user(name)), None))
    return _quoted(found) if found else None


def _tls(found: tls.Certificates | None) -> dict[str, str] | None:
    """For the template; the fingerprint is there so that nginx is started again with a new certificate."""
    if found is None:
        return None
    fingerprint = found.leaf().fingerprint(SHA256()).hex()
    return {"certificate": _quoted(found.certificate), "key": _quoted(found.key), "fingerprint": fingerprint}


def _listen_on() -> list[str]:
    """What stands before the port in `listen`."""
    return [f"{host}:" if ":" in host else "" for host in _hosts()]


def _servers(config: SiteConfig, web_root: Path) -> dict[Store, _Server]:
    ports, published = config.ports, _quoted(web_root / PUBLISHED)[:-1]
    return {
        "web": _Server("The web root", config.web_port, "ports.web", "/", published, root=_quoted(web_root)),
        "registry": _Server(
            *("The registry", ports.registry, "ports.registry", "/v2/", published),
            location="/v2/",
            backend=_behind(config, "registry"),
        ),
        "index": _Server(
            *("The index", ports.index, "ports.index", "/+api", published),
            location=_INDEX,
            backend=_behind(config, "devpi"),
            outside_url=config.index_url,
        ),
    }


def workers_group() -> int:
    """The group of nginx's workers, where root starts it; its own where somebody else does."""
    if os.geteuid() != 0:
        return os.getegid()
    return next((pwd.getpwnam(name).pw_gid for name in _USERS if _is_user(name)), 0)


def _behind(config: SiteConfig, service: Service) -> str:
    """What nginx passes requests for `service` on to. Its parser ends a socket's name at a colon."""
    path = socket_of(config, service)
    if ":" in str(path):
        raise SiteError(f"nginx cannot name {str(path)!r}", hint="name a root without `:`")
    return f'"http://unix:{_quoted(path)[1:-1]}:"'


def _quoted(path: Path) -> str:
    """`path` as nginx reads it. It knows no escape for a `$`, so a path with one cannot be served."""
    text = str(path)
    if "$" in text or not text.isprintable():
        raise SiteError(f"nginx cannot serve from {text!r}", hint="name a root without `$` and control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _hosts() -> tuple[str, ...]:
    """Every address of this machine: of IPv4, and of IPv6 where it has that."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return ("0.0.0.0",)  # noqa: S104 - nodes come from wherever they are
    return ("0.0.0.0", "[::]")  # noqa: S104


def _user(web_root: Path) -> str:
    """Whom nginx's workers run as when root starts it: a user without rights, if such a one can read the web root.

    Under a folder closed to others (`--root` somewhere private) they stay root's. Empty when someone else starts it.
    """
    if os.geteuid() != 0:
        return ""
    if all(folder.stat().st_mode & 0o001 for folder in (web_root, *web_root.parents)):
        for name in filter(_is_user, _USERS):
            return f"{name} {_group(name)}"
    return "root root"


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name

"""Services as the machine's own (`services: systemd`): back after a reboot, each with its own user and limits.

nginx is the distribution's, with a file in its conf.d.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundler.bundle.content import Content
from bundler.errors import SiteError
from bundler.model.items import Item
from bundler.model.site import SiteConfig
from bundler.site.folders import keep_folder, make_folder, write_whole
from bundler.site.host import accounts, commands, firewall, selinux
from bundler.site.host.changes import Changes
from bundler.site.services import ServiceStatus, Store, devpi, nginx, registry, registry_container, units
from bundler.site.services.daemon import NotUpError, Probe, wait_for
from bundler.site.services.setup import SetUp
from bundler.site.services.unprivileged import ACCOUNTS, Identity, Launcher
from bundler.site.sockets import Service, guard, socket_of

logger = logging.getLogger(__name__)

_UNITS = Path("/etc/systemd/system")
_QUADLETS = Path("/etc/containers/systemd")
_QUADLET = _QUADLETS / "bundler-registry.container"
_NGINX_CONF = Path("/etc/nginx/conf.d/bundler.conf")
_NGINX_MAIN = Path("/etc/nginx/nginx.conf")
_NGINX_DROP_IN = _UNITS / "nginx.service.d" / "bundler.conf"
_UNIT_OF = {"registry": "bundler-registry.service", "devpi": "bundler-devpi.service", "nginx": "nginx.service"}
_REGISTRY, _DEVPI = ACCOUNTS["registry"], ACCOUNTS["devpi"]  # users, and the names of their units
_HINT = "see `journalctl -u {}`"
_STARTED_WITHIN = 90.0  # seconds


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A service as it should be: `changed` when what runs it is new, `probes` answer once it is up.

    One that `reloads` keeps its ports, which anybody else could take meanwhile.
    """

    unit: str
    changed: bool
    probes: tuple[Probe, ...]
    reloads: bool = False


class SystemdManager:
    """A `ServiceManager` over systemd units; it needs root."""

    def __init__(self, config: SiteConfig, web_root: Path) -> None:
        self._set_up = SetUp(config, web_root)
        self._folder = self._set_up.folder
        self._changes = Changes(self._folder / "host")

    def prepare(self, stores: Collection[Store], items: Sequence[Item], content: Content) -> None:
        """See `ServiceManager.prepare`."""
        _require_root()
        own = self._set_up.own() & set(stores)
        if own:
            nginx.find()
            _require_readable(self._set_up.web_root)
        if "index" in own:
            devpi.find()
            make_folder(self._folder / "devpi")
        if "registry" in own:
            folder = keep_folder(make_folder(self._folder) / "registry", mode=0o755)
            in_podman = choice_of_engine(self._set_up.config) == "podman"
            there = not items and registry_container.prepared(folder) is not None
            if not (in_podman and (there or registry_container.prepare(folder, items, content, self._changes))):
                registry_container.forget(folder)
                registry.prepare(folder, items, content, Launcher(self._identity("registry"), folder))
        if own:
            make_folder(self._folder / "nginx")

    def has(self, store: Store) -> bool:
        """See `ServiceManager.has`."""
        return self._set_up.has(store)

    def start(self) -> None:
        """See `ServiceManager.start`."""
        if not (names := self._set_up.names()):
            return
        _require_root()
        apply: dict[str, Callable[[], _Wanted]] = {
            "registry": self._registry,
            "devpi": self._devpi,
            "nginx": self._nginx,
        }
        wanted = {name: apply[name]() for name in names}
        if any(each.changed for each in wanted.values()):
            _systemctl("daemon-reload")
        firewall.open_ports(self._set_up.ports(), self._changes)
        registry_folder = self._folder / "registry"
        in_container = registry_container.prepared(registry_folder) is not None
        selinux.allow(
            content=make_folder(self._set_up.web_root),
            certificates=self._set_up.root / "tls" if self._set_up.config.tls == "self-signed" else None,
            readers=self._set_up.root / "login" if self._set_up.config.login else None,
            programs=None if in_container or not registry_folder.is_dir() else registry_folder,
            sockets=self._sockets(in_container=in_container),
            ports=self._set_up.ports(),
            changes=self._changes,
        )
        for each in wanted.values():
            self._bring_up(each)

    def stop(self) -> None:
        """See `ServiceManager.stop`."""
        for name in reversed(self._set_up.names()):
            if name == "nginx" and not self._changes.has("started unit", _UNIT_OF[name]):
                # It serves others as well, and did before.
                _NGINX_CONF.unlink(missing_ok=True)
                _systemctl("reload", _UNIT_OF[name])
            else:
                _systemctl("stop", _UNIT_OF[name])

    def collect_garbage(self) -> None:
        """See `ServiceManager.collect_garbage`."""
        folder = self._folder / "registry"
        if found := registry_container.prepared(folder):
            argv = ["podman", "exec", _REGISTRY, "registry", "garbage-collect", found.configuration]
            registry.run_collection(argv)
        else:
            launcher = Launcher(self._identity("registry"), folder)
            registry.collect_garbage(folder, self._data("registry"), launcher)

    def status(self) -> tuple[ServiceStatus, ...]:
        """See `ServiceManager.status`."""
        found = []
        for name in self._set_up.names():
            state, pid = _state(_UNIT_OF[name])
            log = f"journalctl -u {_UNIT_OF[name]}"
            found.append(ServiceStatus(name, state == "active", int(pid) or None, self._set_up.address(name), log))
        return tuple(found)

    def remove(self) -> None:
        """See `ServiceManager.remove`."""
        if not self._set_up.names():
            return
        _require_root()
        self.stop()
        self._changes.undo()
        _systemctl("daemon-reload")
        if _state(_UNIT_OF["nginx"])[0] == "active":
            _systemctl("reload", _UNIT_OF["nginx"])
        for folder in (self._folder, self._set_up.root / "run"):
            shutil.rmtree(folder, ignore_errors=True)

    def _registry(self) -> _Wanted:
        root, folder, data = self._set_up.root, self._folder / "registry", self._data("registry")
        unit, user, socket = _UNIT_OF["registry"], self._identity("registry"), self._guarded("registry")
        if found := registry_container.prepared(folder):
            registry.hand_over(data, user)
            text = registry.configure(folder, registry_container.SOCKET, registry_container.DATA, user)
            quadlet = registry_container.quadlets()
            made = (units.container if quadlet else units.container_service)(
                _REGISTRY,
                found,
                configuration=folder / registry.CONFIGURATION,
                data=data,
                socket=socket,
                user=user,
                root=root,
            )
            path = _QUADLET if quadlet else _UNITS / unit
        else:
            program = registry.program(socket, folder, data, user)
            text, path = program.configuration, _UNITS / unit
            writable = (data, folder / "tmp")
            made = units.service(
                program, description="bundler: the registry", user=_REGISTRY, writable=writable, root=root
            )
        (_UNITS / unit if path == _QUADLET else _QUADLET).unlink(missing_ok=True)  # how it ran before
        return _Wanted(unit, self._write(path, made, f"{made}\n{text}", folder), (registry.probe(socket),))

    def _devpi(self) -> _Wanted:
        folder, data = self._folder / "devpi", self._data("devpi")
        program = devpi.program(self._guarded("devpi"), folder, data, self._identity("devpi"))
        made = units.service(
            program,
            description="bundler: the index (devpi)",
            user=_DEVPI,
            writable=(data, folder / "tmp"),
            root=self._set_up.root,
        )
        unit = _UNIT_OF["devpi"]
        return _Wanted(unit, self._write(_UNITS / unit, made, made, folder), program.probes)

    def _identity(self, service: Service) -> Identity:
        user = accounts.ensure(ACCOUNTS[service], self._changes)
        return Identity(user.pw_uid, user.pw_gid)

    def _data(self, service: Service) -> Path:
        return (self._set_up.root / service).resolve()

    def _guarded(self, service: Service) -> Path:
        """The socket of a service, in a folder that only the service and nginx get into."""
        socket = socket_of(self._set_up.config, service)
        guard(socket, self._identity(service).user, nginx.workers_group())
        return socket

    def _sockets(self, *, in_container: bool) -> list[Path] | None:
        """The folders of the sockets behind nginx, but for that of the registry `in_container`: podman labels that."""
        behind = [name for name in ("registry", "devpi") if name in self._set_up.names()]
        outside = [name for name in behind if not (in_container and name == "registry")]
        return [self._set_up.root / "run" / name for name in outside] if behind else None

    def _nginx(self) -> _Wanted:
        text, probes = nginx.configuration(self._set_up.config, self._set_up.web_root, self._set_up.served())
        unit, folder = _UNIT_OF["nginx"], self._folder / "nginx"
        if _state(unit)[0] != "active" and not self._changes.has("started unit", unit):
            self._changes.make("started unit", unit, lambda: None)
        restarts = False
        if self._changes.has("started unit", unit):
            behind = [_UNIT_OF["registry"], _UNIT_OF["devpi"]]
            drop_in = units.nginx_drop_in(behind, root=self._set_up.root)
            restarts = self._write(_NGINX_DROP_IN, drop_in, drop_in, folder)
        changed = restarts | self._make_room(unit)
        changed |= self._changes.write(_NGINX_CONF, text)
        try:
            commands.run(["nginx", "-t", "-q"], hint=f"see what else is in {_NGINX_CONF.parent}")
        except SiteError:
            _NGINX_CONF.unlink(missing_ok=True)  # the machine's nginx must still be able to start
            raise
        return _Wanted(unit, changed, probes, reloads=not restarts)

    def _make_room(self, unit: str) -> bool:
        """Have nginx take more connections than one machine opens; whether that changed its own configuration."""
        wanted = nginx.enlarged(_NGINX_MAIN.read_text()) if _NGINX_MAIN.is_file() else None
        if wanted is None:
            return False
        if self._changes.has("started unit", unit):
            return self._changes.write(_NGINX_MAIN, wanted)
        logger.warning(
            "nginx served others before, so %s stays as it is: one machine can take all its connections; set "
            "worker_connections to %d there, and LimitNOFILE of nginx.service to twice that",
            *(_NGINX_MAIN, nginx.CONNECTIONS),
        )
        return False

    def _write(self, path: Path, text: str, identity: str, folder: Path) -> bool:
        """Have `text` in the unit file `path`; whether that, or the rest of `identity`, is new since it last ran."""
        known, digest = folder / "identity", hashlib.sha256(identity.encode()).hexdigest()
        changed = self._changes.write(path, text)
        if known.exists() and known.read_text() == digest:
            return changed
        write_whole(known, digest.encode(), 0o644)
        return True

    def _bring_up(self, wanted: _Wanted) -> None:
        unit = wanted.unit
        if not unit.startswith(_REGISTRY) or not _QUADLET.exists():
            self._enable(unit)
        verb = ("reload-or-restart" if wanted.reloads else "restart") if wanted.changed else "start"
        try:
            _systemctl(verb, unit)
            wait_for(wanted.probes, lambda: _state(unit)[0] in ("active", "activating"), _STARTED_WITHIN)
        except NotUpError as failure:
            said = commands.run(
                ["journalctl", "-u", unit, "-n", "10", "--no-pager", "-o", "cat"], hint=_HINT.format(unit)
            )
            raise SiteError(
                f"{unit} {failure}; its journal ends with:\n{said.rstrip()}", hint=_HINT.format(unit)
            ) from None

    def _enable(self, unit: str) -> None:
        if not commands.succeeds(["systemctl", "is-enabled", "--quiet", unit]):
            self._changes.make("enabled unit", unit, lambda: _systemctl("enable", "--quiet", unit))


def choice_of_engine(config: SiteConfig) -> Literal["podman", "none"]:
    """What runs the registry."""
    if config.engine == "auto":
        return "podman" if commands.has("podman") else "none"
    return config.engine


def _systemctl(*words: str) -> None:
    commands.run(["systemctl", *words], hint=_HINT.format(words[-1]) if len(words) > 1 else "see `systemctl status`")


def _state(unit: str) -> tuple[str, str]:
    """ActiveState and MainPID (systemctl(1))."""
    argv = ["systemctl", "show", "--property=ActiveState", "--property=MainPID", unit]
    properties = dict(line.partition("=")[::2] for line in commands.run(argv, hint="see `systemctl`").splitlines())
    return properties.get("ActiveState", ""), properties.get("MainPID", "0")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise SiteError(
            "setting up the machine's services takes root",
            hint="run it as root, or set `services: process` in site.yaml with a root of your own",
        )


def _require_readable(web_root: Path) -> None:
    """nginx's workers run as a user without rights: they have to get at the web root."""
    for folder in (web_root, *web_root.parents):
        if folder.exists() and not folder.stat().st_mode & 0o001:
            raise SiteError(
                f"nginx cannot serve {web_root}: {folder} is closed to others",
                hint=f"name another root, or `chmod o+x {folder}`",
            )

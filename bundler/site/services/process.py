"""Services as plain processes (`services: process`): for machines without systemd, and for a `--root` of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from bundler.bundle.content import Content
from bundler.model.items import Item
from bundler.model.site import SiteConfig
from bundler.site.folders import keep_folder, make_folder
from bundler.site.services import ServiceStatus, Store, devpi, nginx, registry
from bundler.site.services.daemon import Daemon, Program
from bundler.site.services.setup import SetUp
from bundler.site.services.unprivileged import Identity, Launcher, identity
from bundler.site.sockets import Service, guard, socket_of

_STARTED_WITHIN = 90.0  # seconds; devpi takes 2 to 6 on an idle machine
_RELOADED_WITHIN = 20.0
_STOPPED_WITHIN = 20.0


class ProcessManager:
    """A `ServiceManager` over processes with pid files."""

    def __init__(self, config: SiteConfig, web_root: Path) -> None:
        self._set_up = SetUp(config, web_root)
        self._folder = self._set_up.folder

    def prepare(self, stores: Collection[Store], items: Sequence[Item], content: Content) -> None:
        """See `ServiceManager.prepare`."""
        own = self._set_up.own() & set(stores)
        if own:
            nginx.find()
        if "index" in own:
            devpi.find()
        if "registry" in own:
            registry.prepare(self._folder / "registry", items, content, self._launcher("registry"))
        if "index" in own:
            make_folder(self._folder / "devpi")
        if own:
            make_folder(self._folder / "nginx")

    def has(self, store: Store) -> bool:
        """See `ServiceManager.has`."""
        return self._set_up.has(store)

    def start(self) -> None:
        """See `ServiceManager.start`."""
        for name, program in self._programs().items():
            daemon = Daemon(self._folder / name)
            wanted = program()
            if daemon.runs(wanted) or daemon.reload(wanted, timeout=_RELOADED_WITHIN):
                continue
            daemon.stop(timeout=_STOPPED_WITHIN)
            daemon.start(wanted, timeout=_STARTED_WITHIN)

    def stop(self) -> None:
        """See `ServiceManager.stop`."""
        for name in reversed(self._programs()):
            Daemon(self._folder / name).stop(timeout=_STOPPED_WITHIN)

    def collect_garbage(self) -> None:
        """See `ServiceManager.collect_garbage`."""
        launcher = self._launcher("registry")
        registry.collect_garbage(self._folder / "registry", (self._set_up.root / "registry").resolve(), launcher)

    def status(self) -> tuple[ServiceStatus, ...]:
        """See `ServiceManager.status`."""
        found = []
        for name in self._programs():
            daemon = Daemon(self._folder / name)
            pid = daemon.pid()
            found.append(ServiceStatus(name, pid is not None, pid, self._set_up.address(name), str(daemon.log)))
        return tuple(found)

    def remove(self) -> None:
        """See `ServiceManager.remove`."""
        self.stop()
        for folder in (self._folder, self._set_up.root / "run"):
            shutil.rmtree(folder, ignore_errors=True)

    def _programs(self) -> dict[str, Callable[[], Program]]:
        """How to make the program of each service that was set up, in the order in which they start."""
        config, folder = self._set_up.config, self._folder
        programs: dict[str, Callable[[], Program]] = {
            "registry": lambda: self._behind("registry", registry.program),
            "devpi": lambda: self._behind("devpi", devpi.program),
            "nginx": lambda: nginx.program(config, folder / "nginx", self._set_up.web_root, self._set_up.served()),
        }
        return {name: programs[name] for name in self._set_up.names()}

    def _behind(self, name: Service, make: Callable[[Path, Path, Path, Identity], Program]) -> Program:
        """A service behind nginx, without any rights, and where nobody but nginx and bundler gets at it."""
        launcher, socket = self._launcher(name), socket_of(self._set_up.config, name)
        guard(socket, launcher.identity.user, nginx.workers_group())
        program = make(socket, launcher.folder, (self._set_up.root / name).resolve(), launcher.identity)
        return replace(program, argv=launcher.command(program.argv, program.needs))

    def _launcher(self, name: Service) -> Launcher:
        folder = keep_folder(make_folder(self._folder) / name, mode=0o755)
        return Launcher(identity(folder), folder)

"""Services as plain processes of this machine (`services: process`): for hosts without systemd, and for `--root DIR`.

What was set up is what has a folder: `<root>/services/{registry,devpi,nginx}`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from bundler.model.items import Item
from bundler.model.site import SiteConfig
from bundler.site import index
from bundler.site.content import Content
from bundler.site.folders import make_folder
from bundler.site.services import ServiceStatus, Store, devpi, nginx, registry
from bundler.site.services.daemon import Daemon, Program

_FOLDERS: dict[Store, str] = {"web": "nginx", "registry": "registry", "index": "devpi"}  # below services/
_STARTED_WITHIN = 90.0  # seconds; devpi takes 2 to 6 on an idle machine
_STOPPED_WITHIN = 20.0


class ProcessManager:
    """A `ServiceManager` over processes with pid files."""

    def __init__(self, config: SiteConfig, web_root: Path) -> None:
        self._config = config
        self._root = Path(config.root).absolute()
        self._folder = self._root / "services"
        self._web_root = web_root

    def prepare(self, stores: Collection[Store], items: Sequence[Item], content: Content) -> None:
        """See `ServiceManager.prepare`."""
        own = self._own() & set(stores)
        if own:
            nginx.find()
        if "index" in own:
            devpi.find()
        if "registry" in own:
            registry.prepare(make_folder(self._folder / "registry"), items, content)
        if "index" in own:
            make_folder(self._folder / "devpi")
        if own:
            make_folder(self._folder / "nginx")

    def has(self, store: Store) -> bool:
        """See `ServiceManager.has`."""
        return store not in self._own() or (self._folder / _FOLDERS[store]).is_dir()

    def start(self) -> None:
        """See `ServiceManager.start`."""
        for name, program in self._programs().items():
            daemon = Daemon(self._folder / name)
            wanted = program()
            if daemon.runs(wanted):
                continue
            daemon.stop(timeout=_STOPPED_WITHIN)
            daemon.start(wanted, timeout=_STARTED_WITHIN)

    def stop(self) -> None:
        """See `ServiceManager.stop`."""
        for name in reversed(self._programs()):
            Daemon(self._folder / name).stop(timeout=_STOPPED_WITHIN)

    def status(self) -> tuple[ServiceStatus, ...]:
        """See `ServiceManager.status`."""
        found = []
        for name in self._programs():
            daemon = Daemon(self._folder / name)
            pid = daemon.pid()
            found.append(ServiceStatus(name, pid is not None, pid, self._address(name), str(daemon.log)))
        return tuple(found)

    def remove(self) -> None:
        """See `ServiceManager.remove`."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _own(self) -> set[Store]:
        """The stores that site.yaml does not name as external."""
        config = self._config
        external: dict[Store, object] = {"web": config.web, "registry": config.registry, "index": config.index}
        return {store for store, where in external.items() if where is None}

    def _programs(self) -> dict[str, Callable[[], Program]]:
        """How to make the program of each service that was set up, in the order in which they start."""
        config, folder = self._config, self._folder
        programs: dict[str, Callable[[], Program]] = {
            "registry": lambda: registry.program(config, folder / "registry", self._root / "registry"),
            "devpi": self._devpi,
            "nginx": lambda: nginx.program(config, folder / "nginx", self._web_root, self._served()),
        }
        return {name: program for name, program in programs.items() if (folder / name).is_dir()}

    def _served(self) -> set[Store]:
        """The stores nginx stands in front of."""
        return {store for store in self._own() if self.has(store)}

    def _devpi(self) -> Program:
        data = self._root / "devpi"
        index.initialise(data)
        return devpi.program(self._config, self._folder / "devpi", data)

    def _address(self, service: str) -> str:
        config = self._config
        backends = {"registry": config.backends.registry, "devpi": config.backends.index}
        if service in backends:
            return f"http://127.0.0.1:{backends[service]}"
        urls: dict[Store, str] = {
            "web": config.web_url,
            "registry": config.registry_url,
            "index": config.simple_url,
        }
        return " ".join(url for store, url in urls.items() if store in self._served())

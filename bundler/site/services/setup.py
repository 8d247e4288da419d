"""Which of a site's services were set up, and where they are reached: what every ServiceManager works from.

What was set up is what has a folder: `<root>/services/{registry,devpi,nginx}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bundler.model.site import SiteConfig
from bundler.site.services import Store
from bundler.site.sockets import socket_of

_FOLDERS: dict[Store, str] = {"web": "nginx", "registry": "registry", "index": "devpi"}  # below services/


@dataclass(frozen=True, slots=True)
class SetUp:
    """The services of the site `config` describes, whose web root is `web_root`."""

    config: SiteConfig
    web_root: Path

    @property
    def root(self) -> Path:
        return Path(self.config.root).absolute()

    @property
    def folder(self) -> Path:
        """Where the services' programs, configs and logs are."""
        return self.root / "services"

    def own(self) -> set[Store]:
        """The stores that site.yaml does not name as external."""
        config = self.config
        external: dict[Store, object] = {"web": config.web, "registry": config.registry, "index": config.index}
        return {store for store, where in external.items() if where is None}

    def has(self, store: Store) -> bool:
        """See `ServiceManager.has`."""
        return store not in self.own() or (self.folder / _FOLDERS[store]).is_dir()

    def served(self) -> set[Store]:
        """The stores nginx stands in front of."""
        return {store for store in self.own() if self.has(store)}

    def names(self) -> list[str]:
        """The services that were set up, in the order in which they start."""
        return [name for name in ("registry", "devpi", "nginx") if (self.folder / name).is_dir()]

    def ports(self) -> list[int]:
        """The ports that nodes reach."""
        ports = self.config.ports
        by_store: dict[Store, int] = {"web": self.config.web_port, "registry": ports.registry, "index": ports.index}
        return sorted(port for store, port in by_store.items() if store in self.served())

    def address(self, service: str) -> str:
        """The URLs that a service answers on, or its socket."""
        config = self.config
        match service:
            case "registry" | "devpi":
                return str(socket_of(config, service))
        urls: dict[Store, str] = {
            "web": config.web_url,
            "registry": config.registry_url,
            "index": config.simple_url,
        }
        return " ".join(url for store, url in urls.items() if store in self.served())

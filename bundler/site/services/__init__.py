"""The seam between a site and whoever runs its services.

A site has up to three stores: `web` (the web root), `registry` and `index` (devpi). nginx is the front door of all of
them, registry and devpi listen on sockets behind it. A store that site.yaml names as external is nobody's to run here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from bundler.bundle.content import Content
from bundler.model.items import Item

Store = Literal["web", "registry", "index"]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service: `pid` when it runs, `address` the URLs or the socket it answers on, `log` where it writes."""

    name: str
    running: bool
    pid: int | None
    address: str
    log: str


class ServiceManager(Protocol):
    """Sets up, starts and stops what a site's stores need. Every method may be called again at any time."""

    def prepare(self, stores: Collection[Store], items: Sequence[Item], content: Content) -> None:
        """Set up the services of `stores`, before anything was loaded: the registry's program comes from `items`.

        Raises SiteError when a program is missing.
        """
        ...

    def has(self, store: Store) -> bool:
        """Whether the site has `store`: it was set up, or is external."""
        ...

    def start(self) -> None:
        """Start every service that was set up and does not run, and wait until each answers. Raises SiteError."""
        ...

    def stop(self) -> None:
        """Stop every service that runs; nothing happens to their data."""
        ...

    def collect_garbage(self) -> None:
        """Have the registry, which runs, delete the blobs that no manifest names. Nobody may push meanwhile.

        Raises SiteError.
        """
        ...

    def status(self) -> tuple[ServiceStatus, ...]:
        """Every service that was set up, in the order in which they start."""
        ...

    def remove(self) -> None:
        """Stop the services and delete their set-up (programs, configs, logs); the stores' data stays."""
        ...

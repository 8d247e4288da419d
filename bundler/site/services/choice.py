"""Who runs a site's services."""

from __future__ import annotations

import os
from pathlib import Path

from bundler.model.site import SiteConfig
from bundler.site.services import ServiceManager
from bundler.site.services.process import ProcessManager
from bundler.site.services.systemd import SystemdManager, choice_of_engine

_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)


def settled(config: SiteConfig) -> SiteConfig:
    """`config` with who runs the services decided: the choice must not change from one command to the next."""
    services = config.services
    if services == "auto":
        services = "systemd" if _SYSTEMD_RUNS.is_dir() and os.geteuid() == 0 else "process"
    engine = choice_of_engine(config) if services == "systemd" else config.engine
    return config.model_copy(update={"services": services, "engine": engine})


def manager(config: SiteConfig, web_root: Path) -> ServiceManager:
    """The manager that `config` asks for."""
    kind = SystemdManager if settled(config).services == "systemd" else ProcessManager
    return kind(config, web_root)

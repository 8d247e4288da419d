"""How every command of the closed side begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bundler.model.site import SiteConfig

_UMASK = 0o022  # nobody else changes what a site is made of, whatever the caller's umask is


def site_config(
    path: Path | None,
    *,
    root: Path | None,
    address: str | None = None,
    services: str | None = None,
    tls: Mapping[str, str] | str | None = None,
    login: str | None = None,
) -> SiteConfig:
    """The site that a command is about: see `inputs.read_site`. A root that root cannot trust is not read.

    Raises ConfigError, SiteError.
    """
    from bundler.inputs import read_site, require_kept_trust
    from bundler.model.site import SiteConfig
    from bundler.site.owned import require_own

    os.umask(_UMASK)
    if path is None:
        require_own(root or Path(SiteConfig.model_fields["root"].default))
    config = read_site(path, address=address, root=root, services=services, tls=tls, login=login)
    if path is not None:
        require_own(Path(config.root))
        require_kept_trust(config)
    return config

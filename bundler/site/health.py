"""Whether a site is well, apart from what it serves: services, doors, disk, certificates, permissions."""

from __future__ import annotations

import datetime as dt
import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import requests

from bundler.errors import ConfigError
from bundler.findings import Finding
from bundler.model.site import OwnTls
from bundler.site.index import PASSWORD_FILE
from bundler.site.services.setup import SetUp
from bundler.site.session import new_session
from bundler.site.site import Site
from bundler.site.tls import certificates

_TIMEOUT = (5, 15)
_LITTLE = 0.05  # of a file system: what is left of it, from which on an operator should act
_EXPIRES_SOON = dt.timedelta(days=30)
_REMEDY = "bundler services start"


def examine(site: Site) -> Iterator[Finding]:
    """Each finding about the machine and the services. Raises SiteError when nothing of the site can be read."""
    yield from _publication(site)
    yield from _services(site)
    yield from _doors(site)
    yield from _disk(site)
    yield from _certificates(site)
    yield from _permissions(site)


def _publication(site: Site) -> Iterator[Finding]:
    if site.is_interrupted():
        said = "publishing a release, or taking one away, was interrupted or is under way: nodes may see a part of it"
        yield Finding("publication", "failed", said, "bundler doctor --fix", mend=site.recover)


def _services(site: Site) -> Iterator[Finding]:
    for service in site.services.status():
        if service.running:
            yield Finding(f"service {service.name}", "ok", f"runs, pid {service.pid}")
        else:
            said = f"does not run; its log: {service.log}"
            yield Finding(f"service {service.name}", "failed", said, _REMEDY, mend=site.services.start)


def _doors(site: Site) -> Iterator[Finding]:
    """What nginx serves, at the address that nodes know: it answers, and takes nothing."""
    config = site.config
    setup = SetUp(config, site.web.directory)
    own = setup.own() & setup.served()
    urls = {"web": f"{config.web_url}/", "registry": f"{config.registry_url}/v2/", "index": f"{config.index_url}/+api"}
    for store, url in urls.items():
        if store not in own:
            continue
        try:
            session = new_session(config.ca_path, config.reader)
            status = session.get(url, timeout=_TIMEOUT).status_code
            refused = session.post(url, data=b"", timeout=_TIMEOUT).status_code
            stranger = new_session(config.ca_path).get(url, timeout=_TIMEOUT).status_code
        except (requests.RequestException, OSError, ConfigError) as error:
            remedy = f"{_REMEDY}; see that {config.address} is this host, and that its firewall lets the port through"
            yield Finding(f"door {store}", "failed", f"{url} is not answered: {error}", remedy, site.services.start)
            continue
        if status != 200:
            yield Finding(f"door {store}", "failed", f"{url} is answered {status}", _REMEDY, site.services.start)
        elif refused != 405:
            said = f"{url} takes POST: it is answered {refused}, not 405"
            yield Finding(f"door {store}", "failed", said, "something else than bundler's nginx listens there: stop it")
        elif config.login and stranger != 401:
            said = f"{url} asks for no log-in: a stranger is answered {stranger}"
            yield Finding(f"door {store}", "failed", said, _REMEDY, site.services.start)
        else:
            yield Finding(f"door {store}", "ok", f"{url} answers, and is read-only")


def _disk(site: Site) -> Iterator[Finding]:
    seen = set()
    for folder in (site.root, site.web.directory):
        if not folder.exists() or (device := folder.stat().st_dev) in seen:
            continue
        seen.add(device)
        found = os.statvfs(folder)
        free = found.f_bavail / found.f_blocks if found.f_blocks else 1.0
        files = found.f_favail / found.f_files if found.f_files else 1.0
        said = f"{folder}: {free:.0%} of its bytes and {files:.0%} of its files are free"
        if min(free, files) < _LITTLE:
            yield Finding("disk", "warning", said, "bundler prune --keep 1, or a larger disk: an upgrade needs room")
        else:
            yield Finding("disk", "ok", said)


def _certificates(site: Site) -> Iterator[Finding]:
    if (found := certificates(site.config)) is None:
        if site.config.web_url.startswith("http://"):
            remedy = "bundler install BUNDLE --tls self-signed, then nodes/setup.sh on each node"
            yield Finding("TLS", "warning", "nodes reach the site over plain HTTP", remedy)
        return
    own = not isinstance(site.config.tls, OwnTls)
    remedy = _REMEDY if own else "put a new one in its place, then bundler services start"
    try:
        found.check(site.config.machine)
        left = found.leaf().not_valid_after_utc - dt.datetime.now(dt.UTC)
    except (ConfigError, OSError) as error:
        yield Finding("TLS", "failed", str(error), remedy, mend=site.services.start if own else None)
        return
    said = f"{found.certificate} is good for {site.config.address}, for {left.days} days more"
    if left < _EXPIRES_SOON:
        yield Finding("TLS", "warning", said, remedy, mend=site.services.start if own else None)
    else:
        yield Finding("TLS", "ok", said)


def _permissions(site: Site) -> Iterator[Finding]:
    """Secrets are for their owner alone, and nobody else may change what is served."""
    secrets = [site.root / "services/registry/secret", site.root / "services/registry/config.yml"]
    secrets += [site.root / "devpi" / PASSWORD_FILE, site.root / "tls/ca.key", site.root / "tls/server.key"]
    secrets += [site.root / "login/password", site.root / "login/netrc"]
    if site.config.login and site.config.login.password_file:
        secrets.append(Path(site.config.login.password_file))
    if isinstance(site.config.tls, OwnTls):
        secrets.append(Path(site.config.tls.key))
    folders = [
        site.root,
        site.web.directory,
        *(site.root / name for name in ("services", "registry", "devpi", "tls", "login")),
    ]
    open_to_others = [(path, mode & 0o700) for path, mode in _modes(secrets) if mode & 0o077]
    open_to_others += [(path, mode & ~0o022) for path, mode in _modes(folders) if mode & 0o002]
    for path, right in open_to_others:
        said = f"{path} has mode {stat.S_IMODE(path.stat().st_mode):04o}: others get at it"
        mend = functools.partial(path.chmod, right)
        yield Finding("permissions", "failed", said, f"chmod {right:04o} {path}", mend)
    if not open_to_others:
        yield Finding("permissions", "ok", "secrets are for their owner alone")


def _modes(paths: list[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        if path.exists():
            yield path, stat.S_IMODE(path.stat().st_mode)

"""The way of one bundle: built against the demo's internet, unpacked, installed on a site, used from a node."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.demo.hosts import HERE, Host, air_gap, clean_environment
from scripts.demo.internet import Internet
from scripts.demo.node import Node
from scripts.demo.servers import free_port

PROFILE = "demo"
Say = Callable[[str], None]


def bundler(
    host: Host, *arguments: str | Path, show: bool = False, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run bundler on a host, as a user would; `show` lets its progress through to the terminal."""
    return host.run([sys.executable, "-m", "bundler", *map(str, arguments)], show=show, check=check)


def settings(internet: Internet) -> list[str]:
    """What the demo changes in its profile, as options.

    A repository stands for what nodes have, where the internet has one: the few packages there then have a closure.
    And the Python that runs this is one the wheels must serve.
    """
    changes = []
    if internet.node_base:
        changes.append("rpms.assume_installed=https://node-base.invalid/")
    versions = ["3.11", "3.12"]
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if ours not in versions:
        changes.append(f"wheels.python={json.dumps([*versions, ours])}")
    return [option for change in changes for option in ("--set", change)]


def build(internet: Internet, folder: Path, *options: str | Path, show: bool = False) -> Path:
    """Build the demo's bundle into `folder` and give its path."""
    config = internet.write_config(folder / "config.yaml")
    arguments = ["build", PROFILE, "--output", folder, "--config", config, *settings(internet), *options]
    printed = bundler(HERE, *arguments, show=show).stdout
    return Path(printed.splitlines()[-1])


def unpack(bundle: Path, folder: Path) -> Path:
    """`tar x`, and the folder that comes out of it."""
    folder.mkdir()
    HERE.run(["tar", "-xf", str(bundle), "-C", str(folder)])
    (top,) = folder.iterdir()
    return top


@dataclass(frozen=True)
class Site:
    """The admin host with a bundle installed on it; `nodes` reach it at `address`."""

    host: Host
    root: Path
    address: str
    web: str
    registry: str
    options: tuple[str, ...]
    ca: Path | None = None
    netrc: Path | None = None

    @property
    def scheme(self) -> str:
        """What its services speak."""
        return "https" if self.ca else "http"

    def install(self, bundle: Path, *, show: bool = False) -> dict[str, Any]:
        """Install a bundle and give what bundler says it did."""
        done = bundler(self.host, "install", bundle, "--json", *self.options, show=show)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@contextmanager
def site(
    host: Host, work: Path, *, own_ports: bool, sealed: bool = False, trusted: Path | None = None
) -> Iterator[Site]:
    """A site that is still empty, on `host`; its services end with the block.

    `own_ports`: it has the host to itself and takes bundler's default ports, else free ones. `sealed`: it speaks https,
    and lets nobody read who does not log in. `trusted`: it takes only bundles that this public key vouches for.
    """
    root = work / "site"
    settings: dict[str, Any] = {"address": host.address, "root": str(root), "services": "process"}
    settings |= {"tls": "self-signed", "login": {"username": "nodes"}} if sealed else {}
    settings |= {"trusted_keys": [str(trusted)]} if trusted else {}
    web, registry = f"{'https' if sealed else 'http'}://{host.address}", f"{host.address}:5000"
    if not own_ports:
        ports = {name: free_port() for name in ("web", "registry", "index")}
        settings["ports"] = ports
        web, registry = f"{web}:{ports['web']}", f"{host.address}:{ports['registry']}"
    file = work / "site.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    ca, netrc = (root / "tls/ca.pem", root / "login/netrc") if sealed else (None, None)
    try:
        yield Site(host, root, host.address, web, registry, ("--site", str(file)), ca, netrc)
    finally:
        if root.exists():
            bundler(host, "services", "stop", "--root", root, check=False)


@dataclass(frozen=True)
class Journey:
    """Everything there is once the bundle is installed."""

    work: Path
    internet: Internet
    bundle: Path
    unpacked: Path
    site: Site
    node: Node
    gap: bool
    key: Path

    @property
    def url(self) -> str:
        """Where the site serves the release."""
        return f"{self.site.web}/{PROFILE}"

    def manifest(self) -> dict[str, Any]:
        """The bundle's manifest, as bundler reads it."""
        document: dict[str, Any] = json.loads(bundler(HERE, "inspect", self.bundle, "--json").stdout)
        return document


@contextmanager
def journey(work: Path, internet: Internet, *, gap: bool, say: Say, show: bool = False) -> Iterator[Journey]:
    """Build, unpack and install the demo's bundle, and set a node up for it. `gap`: in namespaces with no way out."""
    key = work / "release.key"
    say("Make a key pair, release.key to vouch for bundles and its .pub for the site: bundler key new release.key")
    bundler(HERE, "key", "new", key)
    say("Build the bundle from the profile `demo`, and vouch for it: bundler build demo --sign release.key")
    (work / "build").mkdir()
    bundle = build(internet, work / "build", "--sign", key, show=show)
    with inside(work, internet, bundle, key, gap=gap, say=say, show=show) as there:
        yield there


@contextmanager
def inside(
    work: Path,
    internet: Internet,
    bundle: Path,
    key: Path,
    *,
    gap: bool,
    say: Say,
    show: bool = False,
    sealed: bool = False,
) -> Iterator[Journey]:
    """The way of `bundle` behind the gap, which a `sealed` site takes, since `key` vouches for it."""
    trusted = key.with_name(f"{key.name}.pub")
    with ExitStack() as stack:
        say(f"Unpack {bundle.name} ({bundle.stat().st_size / 2**20:.0f} MiB) with tar, to see it with plain tools")
        unpacked = unpack(bundle, work / "unpacked")

        if gap:
            say("Make two network namespaces, site and node, with a cable between them and no other route")
            site_host, node_host = stack.enter_context(air_gap(work, "-sealed" if sealed else ""))
        else:
            site_host, node_host = HERE, Host("node", HERE.address, env=clean_environment(work))
        admin = stack.enter_context(site(site_host, work, own_ports=gap, sealed=sealed, trusted=trusted))
        say(f"Who vouches for it, as the site sees it: bundler verify {bundle.name} --trust {trusted.name}")
        for line in bundler(site_host, "verify", bundle, "--trust", trusted).stdout.splitlines():
            print(f"         {line}", flush=True)
        say(f"Install on the site: bundler install {bundle.name} {' '.join(admin.options)}")
        answer = admin.install(bundle, show=show)
        say(f"Set up the node with the files the site serves: curl {answer['url']}/nodes/setup.sh | sh")
        node = _node(work, internet, node_host, admin, gap=gap)
        yield Journey(work, internet, bundle, unpacked, admin, node, gap, key)


def _node(work: Path, internet: Internet, host: Host, admin: Site, *, gap: bool) -> Node:
    if not gap:
        files = work / "node-files"
        bundler(host, "nodes", files, "--root", admin.root)
        node = Node(host, work / "node", files)
        node.prepare(None)
        return node
    node = Node(host, work / "node")
    node.prepare(internet.node_base)
    node.set_up(f"{admin.web}/{PROFILE}/nodes/setup.sh", admin.ca, admin.netrc)
    return node


def remove(work: Path) -> None:
    """Take a work folder away, the container storage in it too."""
    shutil.rmtree(work, ignore_errors=True)

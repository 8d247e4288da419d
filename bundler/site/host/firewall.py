"""Ports in the machine's firewall, where firewalld runs (firewall-cmd(1))."""

from __future__ import annotations

from collections.abc import Iterable

from bundler.site.host import commands
from bundler.site.host.changes import Changes


def open_ports(ports: Iterable[int], changes: Changes) -> None:
    """Let nodes reach `ports`, now and after a reboot. Raises SiteError."""
    if not commands.succeeds(["firewall-cmd", "--quiet", "--state"]):
        return
    for name in (f"{port}/tcp" for port in ports):
        if not commands.succeeds(["firewall-cmd", "--quiet", "--permanent", f"--query-port={name}"]):
            changes.make("firewall port", name, lambda name=name: _open(name))  # type: ignore[misc]


def _open(name: str) -> None:
    for option in (["--permanent"], []):
        commands.run(
            ["firewall-cmd", "--quiet", *option, f"--add-port={name}"],
            hint=f"open {name} for the nodes by hand: firewall-cmd --permanent --add-port={name}",
        )

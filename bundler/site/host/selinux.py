"""SELinux: what nginx and the registry may read, and where nginx may listen, where SELinux is on.

Types and booleans: httpd_selinux(8) and the reference policy of Enterprise Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bundler.site.host import commands
from bundler.site.host.changes import Changes

_HINT = "dnf install policycoreutils-python-utils (for semanage), or set the contexts by hand: see httpd_selinux(8)"
_HTTPD_PORTS = {80, 81, 443, 488, 8008, 8009, 8443, 9000}  # http_port_t as the policy has it
_CONNECT = "httpd_can_network_connect"


def enabled() -> bool:
    """Whether SELinux is on here, enforcing or not."""
    return commands.succeeds(["selinuxenabled"])


def allow(
    *,
    content: Path,
    certificates: Path | None,
    readers: Path | None,
    programs: Path | None,
    ports: Iterable[int],
    changes: Changes,
) -> None:
    """Let nginx serve `content` on `ports` with the `certificates` in that folder, to the `readers` in that one, reach
    the services behind it, and let systemd run what is in `programs`.

    Does nothing where SELinux is off. Raises SiteError.
    """
    if not enabled():
        return
    _label(content, "httpd_sys_content_t", changes)
    if certificates is not None:
        _label(certificates, "cert_t", changes)
    if readers is not None:
        _label(readers, "httpd_config_t", changes)
    if programs is not None:
        _label(programs, "bin_t", changes)
    for port in sorted(set(ports) - _HTTPD_PORTS):
        _allow_port(port, changes)
    if not commands.run(["getsebool", _CONNECT], hint=_HINT).strip().endswith(" on"):
        argv = ["setsebool", "-P", _CONNECT, "on"]
        changes.make("SELinux boolean", _CONNECT, lambda: commands.run(argv, hint=_HINT))


def _label(folder: Path, kind: str, changes: Changes) -> None:
    """What is made in the folder later has its type by itself."""
    pattern = f"{re.escape(str(folder))}(/.*)?"
    if changes.has("SELinux context", pattern):
        return
    argv = ["semanage", "fcontext", "-a", "-t", kind, pattern]
    changes.make("SELinux context", pattern, lambda: commands.run(argv, hint=_HINT))
    commands.run(["restorecon", "-RF", str(folder)], hint=_HINT)


def _allow_port(port: int, changes: Changes) -> None:
    if changes.has("SELinux port", str(port)):
        return

    def do() -> None:
        # The policy may have given the port to something else (5000 is commplex_main_port_t): then it is modified.
        if not commands.succeeds(["semanage", "port", "-a", "-t", "http_port_t", "-p", "tcp", str(port)]):
            commands.run(["semanage", "port", "-m", "-t", "http_port_t", "-p", "tcp", str(port)], hint=_HINT)

    changes.make("SELinux port", str(port), do)

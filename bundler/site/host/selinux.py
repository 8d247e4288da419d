"""SELinux: what nginx and the registry may read, where nginx may listen, and whom it may talk to, where SELinux is on.

Types: httpd_selinux(8), and the reference policy of Enterprise Linux and of Debian.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bundler.site.host import commands
from bundler.site.host.changes import Changes

_HINT = "dnf install policycoreutils-python-utils (for semanage), or set the contexts by hand: see httpd_selinux(8)"
_HTTPD_PORTS = {80, 81, 443, 488, 8008, 8009, 8443, 9000}  # http_port_t as the policy has it
_SOCKET = "httpd_var_run_t"  # of what nginx finds a service behind
_MODULE = "bundler"
# nginx to the sockets of services that systemd runs, and of a container, below a root such as /data. A policy without
# these types goes without the rule (https://github.com/SELinuxProject/selinux/blob/main/secilc/docs/).
POLICY = """\
(optional bundler_service
    (allow httpd_t unconfined_service_t (unix_stream_socket (connectto))))
(optional bundler_initrc
    (allow httpd_t initrc_t (unix_stream_socket (connectto))))
(optional bundler_container
    (allow httpd_t container_t (unix_stream_socket (connectto)))
    (allow httpd_t container_file_t (dir (getattr search)))
    (allow httpd_t container_file_t (sock_file (getattr write))))
(optional bundler_root
    (allow httpd_t default_t (dir (getattr search))))
"""


def enabled() -> bool:
    """Whether SELinux is on here, enforcing or not."""
    return commands.succeeds(["selinuxenabled"])


def allow(
    *,
    content: Path,
    certificates: Path | None,
    readers: Path | None,
    programs: Path | None,
    sockets: Iterable[Path] | None,
    ports: Iterable[int],
    changes: Changes,
) -> None:
    """Let nginx serve `content` on `ports` with the `certificates` in that folder, to the `readers` in that one, reach
    the services behind it, and let systemd run what is in `programs`. `sockets` are the folders of services that are in
    no container; None where nothing is behind nginx.

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
    if sockets is not None:
        for folder in sockets:
            _label(folder, _SOCKET, changes)
        _install_module(changes)


def _label(folder: Path, kind: str, changes: Changes) -> None:
    """What is made in the folder later has its type by itself."""
    pattern = f"{re.escape(str(folder))}(/.*)?"
    if changes.has("SELinux context", pattern):
        return
    argv = ["semanage", "fcontext", "-a", "-t", kind, pattern]
    changes.make("SELinux context", pattern, lambda: commands.run(argv, hint=_HINT))
    commands.run(["restorecon", "-RF", str(folder)], hint=_HINT)


def _install_module(changes: Changes) -> None:
    if not changes.has("SELinux module", _MODULE):
        changes.make("SELinux module", _MODULE, _load_module)


def _load_module() -> None:
    with tempfile.TemporaryDirectory(prefix="bundler-") as folder:  # for root alone
        source = Path(folder) / f"{_MODULE}.cil"  # semodule takes the module's name from the file's
        source.write_text(POLICY)
        commands.run(["semodule", "-i", str(source)], hint=_HINT)


def _allow_port(port: int, changes: Changes) -> None:
    if changes.has("SELinux port", str(port)):
        return

    def do() -> None:
        # The policy may have given the port to something else (5000 is commplex_main_port_t): then it is modified.
        if not commands.succeeds(["semanage", "port", "-a", "-t", "http_port_t", "-p", "tcp", str(port)]):
            commands.run(["semanage", "port", "-m", "-t", "http_port_t", "-p", "tcp", str(port)], hint=_HINT)

    changes.make("SELinux port", str(port), do)

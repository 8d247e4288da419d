"""Machines with an init of their own: containers whose first process is systemd, on a network with no way out.

Each has Debian's minimal system, made by debootstrap once and shared by all through an overlay, and what a test adds. A
network namespace is made for each machine, and one is the switch between them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.hosts import HERE, Host, program, remove_namespace

# Debian 13 whatever runs below: its podman knows quadlets.
SUITE = "trixie"
_MIRROR = "http://deb.debian.org/debian"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "iproute2", "curl", "ca-certificates", "passwd"),
    *("python3", "python3-pip", "python3-venv", "nginx-light", "podman", "skopeo", "dnf", "rpm"),
)
_NETWORK = "10.231.78"
_CONTAINERS_CONF = """\
[engine]
runtime = "runc"
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
"""
# A podman within a container: no overlay over an overlay, no file of limits that may not be raised.
_NESTED = {
    "/etc/containers/storage.conf": '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\n'
    'graphroot = "/var/lib/containers/storage"\n',
    "/etc/containers/containers.conf": '[containers]\ndefault_ulimits = ["nofile=8192:8192", "nproc=8192:8192"]\n',
}
_PATIENCE = 60.0  # seconds until systemd is up


@dataclass(frozen=True)
class Machine(Host):
    """A running machine; `container` is podman's name for it."""

    container: str = ""
    podman: tuple[str, ...] = ()

    def reboot(self) -> Machine:
        """Stop and start it; gives it as it is reached then."""
        HERE.run([*self.podman, "restart", "--time=30", self.container])
        return _entered(self.name, self.address, self.container, self.podman)

    def sh(self, script: str, *arguments: str, check: bool = True) -> str:
        """What a script prints that is run on it; lines that fail end it."""
        return self.run(["sh", "-euc", script, "sh", *arguments], check=check).stdout

    def put(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file on it."""
        script = 'umask 022; mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1" && chmod "$3" "$1"'
        self.run(["sh", "-euc", script, "sh", path, text, f"{mode:o}"])


def can_make_machines() -> bool:
    """Whether this user may: root, with podman, debootstrap and iproute2 at hand."""
    programs = ("ip", "nsenter", "podman", "runc", "debootstrap")
    return os.geteuid() == 0 and all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") for name in programs)


def make_system(cache: Path) -> Path:
    """Debian's minimal system with what machines need, kept in `cache`; making it takes a minute."""
    wanted = hashlib.sha256(repr((SUITE, PACKAGES, _NESTED)).encode()).hexdigest()[:12]
    system = cache / f"machine-{wanted}"
    if system.is_dir():
        return system
    new = cache / f"{system.name}.part"
    shutil.rmtree(new, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    argv = [program("debootstrap"), "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(new), _MIRROR]
    HERE.run(argv, timeout=900)
    for path, text in _NESTED.items():
        file = new / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    # Debian starts a server when it is installed; these machines start what they are told to.
    HERE.run(["chroot", str(new), "systemctl", "disable", "nginx"])
    shutil.rmtree(new / "var/cache/apt", ignore_errors=True)
    new.rename(system)
    return system


@contextmanager
def machines(
    system: Path, work: Path, names: Sequence[str], mounts: Mapping[Path, str]
) -> Iterator[dict[str, Machine]]:
    """Machines called `names`, each at an address of its own; `mounts` are folders of here that all can read."""
    (work / "containers.conf").write_text(_CONTAINERS_CONF)
    settings = f"CONTAINERS_CONF={work / 'containers.conf'}"
    podman = ("env", settings, program("podman"), f"--root={work}/c", f"--runroot={work}/r", "--storage-driver=vfs")
    tag = os.getpid()
    with ExitStack() as stack:
        switch = _namespace(f"bundler-switch-{tag}", stack)
        switch.run(["ip", "link", "add", "br0", "type", "bridge"])
        switch.run(["ip", "link", "set", "br0", "up"])
        found = {}
        for number, name in enumerate(names, 1):
            address = f"{_NETWORK}.{number}"
            namespace = _plug_in(f"bundler-{name}-{tag}", address, switch, number, stack)
            volumes = [f"--volume={folder}:{place}:ro" for folder, place in mounts.items()]
            argv = ["run", "--detach", "--name", name, "--hostname", name, "--systemd=always", "--privileged"]
            argv += [f"--network=ns:/run/netns/{namespace.name}", *volumes, "--rootfs", f"{system}:O", "/sbin/init"]
            stack.callback(HERE.run, [*podman, "rm", "--force", "--time=5", name], check=False)
            HERE.run([*podman, *argv])
            found[name] = _entered(name, address, name, podman)
        yield found


def _namespace(name: str, stack: ExitStack) -> Host:
    HERE.run(["ip", "netns", "add", name])
    stack.callback(remove_namespace, name)
    return Host(name, "", ("nsenter", f"--net=/run/netns/{name}", "--"))


def _plug_in(name: str, address: str, switch: Host, number: int, stack: ExitStack) -> Host:
    """A namespace with a cable to the switch."""
    namespace = _namespace(name, stack)
    cable = ["ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", f"port{number}"]
    HERE.run([*cable, "netns", switch.name])
    switch.run(["ip", "link", "set", f"port{number}", "master", "br0", "up"])
    namespace.run(["ip", "address", "add", f"{address}/24", "dev", "eth0"])
    for device in ("lo", "eth0"):
        namespace.run(["ip", "link", "set", device, "up"])
    return namespace


def _entered(name: str, address: str, container: str, podman: tuple[str, ...]) -> Machine:
    """The machine, once its systemd is up."""
    pid = HERE.run([*podman, "inspect", "--format={{.State.Pid}}", container]).stdout.strip()
    spaces = ("--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd")
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    machine = Machine(name, address, ("nsenter", f"--target={pid}", *spaces, "--"), env, container, podman)
    end = time.monotonic() + _PATIENCE
    while machine.run(["systemctl", "is-system-running"], check=False).stdout.strip() not in ("running", "degraded"):
        if time.monotonic() > end:
            raise RuntimeError(f"systemd of {name} is not up after {_PATIENCE:.0f} s")
        time.sleep(0.3)
    return machine

"""Machines to run things on: this one, or two made of it by network namespaces, with a cable between and no way out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

SITE_ADDRESS = "10.231.77.1"
NODE_ADDRESS = "10.231.77.2"
_PREFIX = 30
_TAIL = 25  # lines of a failed command's output that go into the message


class CommandError(Exception):
    """A command ended with another code than 0; the message holds it and the end of what it printed."""

    def __init__(self, argv: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        output = "\n".join(f"{done.stdout or ''}\n{done.stderr or ''}".strip().splitlines()[-_TAIL:])
        super().__init__(f"{' '.join(argv)}: exit code {done.returncode}\n{output}")
        self.returncode = done.returncode


@dataclass(frozen=True)
class Host:
    """A place to run commands. `enter` goes before a command to run it there; `env` replaces the environment."""

    name: str
    address: str
    enter: tuple[str, ...] = ()
    env: Mapping[str, str] | None = field(default=None)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        show: bool = False,
        timeout: float = 600,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here and give what it printed. `env` comes on top; `show` lets stderr through to the terminal.

        Raises CommandError on an exit code other than 0, unless `check` is off.
        """
        done = subprocess.run(
            [*self.enter, *argv],
            env={**(os.environ if self.env is None else self.env), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if show else subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise CommandError(argv, done)
        return done


HERE = Host("here", "127.0.0.1")


def program(name: str) -> str:
    """Where a program lies; Debian keeps some in sbin, which is not on everybody's PATH. Raises RuntimeError."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed; scripts/install-system-packages.sh does that, as root")
    return found


def can_make_namespaces() -> bool:
    """Whether this user may: root, with iproute2 and util-linux at hand."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in ("ip", "nsenter", "unshare"))


@contextmanager
def air_gap(work: Path, label: str = "") -> Iterator[tuple[Host, Host]]:
    """Two hosts, the site and a node, that reach each other and nothing else; all that runs there ends with them.

    The node has an /etc, a /var/lib and a place for CAs of its own (under `work`), for set-up scripts to change as on a
    real one. `label` tells several such pairs apart.
    """
    site, node = (f"bundler-{name}-{os.getpid()}{label}" for name in ("site", "node"))
    with ExitStack() as stack:
        for namespace in (site, node):
            HERE.run(["ip", "netns", "add", namespace])
            stack.callback(remove_namespace, namespace)
        HERE.run(["ip", "link", "add", "veth0", "netns", site, "type", "veth", "peer", "name", "veth0", "netns", node])
        for namespace, address in ((site, SITE_ADDRESS), (node, NODE_ADDRESS)):
            inside = Host(namespace, address, _enter(namespace))
            inside.run(["ip", "address", "add", f"{address}/{_PREFIX}", "dev", "veth0"])
            inside.run(["ip", "link", "set", "veth0", "up"])
            inside.run(["ip", "link", "set", "lo", "up"])
        holder = stack.enter_context(_own_folders(node, work))
        # --root, --wd: those of the process, where a chroot has others than its mount namespace.
        enter_node = ("nsenter", f"--target={holder}", "--mount", "--net", "--root", "--wd", "--")
        yield Host("site", SITE_ADDRESS, _enter(site)), Host("node", NODE_ADDRESS, enter_node, clean_environment(work))


def _enter(namespace: str) -> tuple[str, ...]:
    """What goes before a command to run it in a network namespace.

    nsenter, not `ip netns exec`: that one mounts another /sys, and podman then finds no cgroups.
    """
    return ("nsenter", f"--net=/run/netns/{namespace}", "--")


def clean_environment(work: Path) -> dict[str, str]:
    """An environment with nothing of the caller's shell in it: a proxy or a pip index from there must not help."""
    home = work / "home"
    home.mkdir()
    # Debian's rpm keeps its database in the user's home folder; a node's lies where rpm's own default is.
    (home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}


@contextmanager
def _own_folders(namespace: str, work: Path) -> Iterator[int]:
    """A process that sits in the network namespace with a copy of /etc and empty folders mounted; gives its id."""
    etc = work / "etc"
    shutil.copytree("/etc", etc, symlinks=True)
    mounts = {etc: "/etc"}
    for place in ("/var/lib", "/usr/local/share/ca-certificates"):
        if Path(place).is_dir():
            mounts[work / place[1:].replace("/", "-")] = place
    for folder in mounts:
        folder.mkdir(exist_ok=True)
    script = 'while [ $# -gt 0 ]; do mount --bind "$1" "$2" && shift 2 || exit; done; echo ready; exec sleep infinity'
    argv = [*_enter(namespace), "unshare", "--mount", "--", "sh", "-c", script, "sh"]
    argv += [str(word) for mount in mounts.items() for word in mount]
    # A session of its own: Ctrl-C on the terminal is for the demo, which then ends what it started in order.
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as holder:
        try:
            assert holder.stdout is not None
            if holder.stdout.readline().strip() != "ready":
                raise RuntimeError("could not give the node folders of its own (mount --bind failed)")
            yield holder.pid
        finally:
            holder.kill()


def remove_namespace(namespace: str) -> None:
    """End what still runs in a namespace of ours, then the namespace."""
    for line in HERE.run(["ip", "netns", "pids", namespace], check=False).stdout.split():
        with suppress(ProcessLookupError):  # it may end on its own in between
            os.kill(int(line), signal.SIGKILL)
    HERE.run(["ip", "netns", "delete", namespace], check=False)

"""A machine that uses the site, with the clients that real nodes have: dnf, podman, pip, curl."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.hosts import Host, program

# A sandbox, a container or an unprivileged user may not raise limits as far as podman wants to by default.
_CONTAINERS_CONF = """\
[engine]
runtime = "runc"
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
"""
# The repositories of a stock Rocky, which nobody can reach.
STOCK_REPOSITORIES = """\
mkdir -p /etc/yum.repos.d /etc/dnf
cat >/etc/yum.repos.d/Rocky-BaseOS.repo <<'END'
[baseos]
name=Rocky Linux $releasever - BaseOS
mirrorlist=https://mirrors.rockylinux.org/mirrorlist?arch=$basearch&repo=BaseOS-$releasever
END
"""
# What a script for nodes finds on Rocky 8.
_ROCKY = f"""\
{STOCK_REPOSITORIES}
rm -f /etc/os-release
cat >/etc/os-release <<'END'
NAME="Rocky Linux"
ID="rocky"
ID_LIKE="rhel centos fedora"
VERSION_ID="8.10"
PLATFORM_ID="platform:el8"
END
"""


@dataclass(frozen=True)
class Node:
    """A Rocky 8 machine in `folder`: its root file system for dnf, its container storage, its virtual environments.

    Its dnf, podman and pip3 are those of the host below, kept inside `folder` by wrappers in `folder/bin`: so they are
    the machine's own for everything that runs there, check.sh too. `files` holds the node files when they could not be
    put in /etc (without root); None: they lie in the host's /etc.
    """

    host: Host
    folder: Path
    files: Path | None = None

    @property
    def root(self) -> Path:
        """Where dnf installs."""
        return self.folder / "root"

    def prepare(self, base: Path | None) -> None:
        """Make the machine, with the RPM `base` on it (what a minimal node has already) where there is one."""
        for name in ("root", "log", "storage", "run", "bin"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "containers.conf").write_text(_CONTAINERS_CONF)
        self._wrap("dnf", self._dnf())
        storage = [f"--root={self.folder / 'storage'}", f"--runroot={self.folder / 'run'}", "--storage-driver=vfs"]
        self._wrap("podman", [program("podman"), *storage], CONTAINERS_CONF=str(self.folder / "containers.conf"))
        self._wrap("pip3", [str(self._venv("tools") / "bin" / "pip")], **self._pip_settings())
        if base is not None:
            self.run(["rpm", "--root", str(self.root), "--install", "--nodeps", str(base)])

    def set_up(self, script: str, ca: Path | None = None, netrc: Path | None = None) -> None:
        """Run the set-up script at the URL `script` on the host, which before that has in /etc what Rocky has.

        `ca` is what the site is trusted by until then, where it speaks https; `netrc` the log-in that it asks for.
        """
        self.run(["sh", "-c", _ROCKY])
        options = [*(["--cacert", str(ca)] if ca else []), *(["--netrc-file", str(netrc)] if netrc else [])]
        login = {"BUNDLER_NETRC": str(netrc)} if netrc else {}
        self.run(["sh", "-c", 'curl -fsS "$@" | sh', "sh", *options, script], env=login)

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
        """Run a command as this machine would; what it printed. Raises CommandError."""
        path = f"{self.folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.host.run(argv, env={"PATH": path, **(env or {})}).stdout

    def dnf(self, *arguments: str) -> str:
        """Run the machine's dnf; what it printed."""
        return self.run(["dnf", "--assumeyes", *arguments])

    def installed(self, *names: str) -> list[str]:
        """The installed packages of these names, as rpm calls them. Raises CommandError when one is not installed."""
        return self.run(["rpm", "--root", str(self.root), "--query", *names]).split()

    def pull(self, image: str) -> str:
        """Pull an image with the machine's podman, and say with what; without root with skopeo, which reads the same
        registries.conf but needs no storage.
        """
        if self.files is None:
            self.run(["podman", "pull", "--quiet", image])
            return "podman"
        target = self.folder / "images" / image.replace("/", "_")
        target.parent.mkdir(exist_ok=True)
        (conf,) = (self.files / "registries.conf.d").glob("*.conf")
        options = ["--insecure-policy", f"--registries-conf={conf}", f"--tmpdir={self.folder}"]
        copy = ["copy", "--quiet", f"docker://{image}", f"dir:{target}"]
        self.run(["skopeo", *options, *copy])
        return "skopeo"

    def containerd_pull(self, image: str) -> None:
        """Have a containerd of this machine fetch all of an image; where it gets it, its own hosts.toml say."""
        folder = self.folder / "containerd"
        folder.mkdir(exist_ok=True)
        socket = folder / "socket"
        (folder / "config.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        places = {"config": folder / "config.toml", "root": folder / "root", "state": folder / "state"}
        options = [f"--{name}={place}" for name, place in {**places, "address": socket}.items()]
        fetch = 'for i in $(seq 100); do [ -S "$1" ] && break; sleep 0.1; done; '
        fetch += 'ctr --address "$1" content fetch --hosts-dir /etc/containerd/certs.d "$2"'
        script = f'{shlex.join(["containerd", *options])} >"$3" 2>&1 & ({fetch}); code=$?; kill $!; wait; exit $code'
        self.run(["sh", "-c", script, "sh", str(socket), image, str(folder / "log")])

    def pip(self, environment: str, *arguments: str) -> str:
        """Run pip in the machine's virtual environment of that name, a fresh one the first time; what it printed."""
        return self.run([str(self._venv(environment) / "bin" / "pip"), *arguments], env=self._pip_settings())

    def curl(self, url: str, to: Path | None = None) -> str:
        """Fetch a URL, into a file when one is named; the body otherwise."""
        output = ["--output", str(to)] if to else []
        return self.run(
            ["curl", "--fail", "--silent", "--show-error", "--netrc-optional", "--max-time", "60", *output, url]
        )

    def _wrap(self, name: str, command: Sequence[str], **env: str) -> None:
        """Make `name` a program of this machine that runs `command` with whatever comes behind."""
        settings = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in env.items())
        wrapper = self.folder / "bin" / name
        wrapper.write_text(f'#!/bin/sh\n{settings}exec {shlex.join(command)} "$@"\n')
        wrapper.chmod(0o755)

    def _dnf(self) -> list[str]:
        settings = {
            "reposdir": self.files / "yum.repos.d" if self.files else "/etc/yum.repos.d",
            "varsdir": "/dev/null" if self.files else "/etc/dnf/vars",
            "cachedir": self.folder / "dnf-cache",
            "logdir": self.folder / "log",
            "persistdir": self.folder / "dnf-state",
            "module_platform_id": "platform:el8",
            # The packages' scripts would run on the host below.
            "tsflags": "noscripts",
        }
        where = [
            f"--installroot={self.root}",
            "--releasever=8",
            "--forcearch=x86_64",
            "--disableplugin=local,versionlock",
        ]
        return [program("dnf"), *where, *(f"--setopt={name}={value}" for name, value in settings.items())]

    def _pip_settings(self) -> dict[str, str]:
        return {"PIP_CONFIG_FILE": str(self.files / "pip.conf")} if self.files else {}

    def _venv(self, name: str) -> Path:
        venv = self.folder / "venv" / name
        if not venv.exists():
            self.run([sys.executable, "-m", "venv", str(venv)])
        return venv

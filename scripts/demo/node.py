"""A machine that uses the site, with the clients that real nodes have: dnf, podman, pip, curl."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.demo.hosts import Host

# A sandbox, a container or an unprivileged user may not raise limits as far as podman wants to by default.
_CONTAINERS_CONF = """\
[engine]
runtime = "runc"
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
"""


@dataclass(frozen=True)
class Node:
    """A Rocky 8 machine in `folder`: its root file system for dnf, its container storage, its virtual environments.

    `files` holds the node files when they could not be put in /etc (without root); None: they lie in the host's /etc.
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
        for name in ("root", "log", "storage", "run"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "containers.conf").write_text(_CONTAINERS_CONF)
        if base is not None:
            self.host.run(["rpm", "--root", str(self.root), "--install", "--nodeps", str(base)])

    def dnf(self, *arguments: str, reposdir: Path | None = None) -> str:
        """Run Debian's dnf as the dnf of this machine; what it printed."""
        if reposdir is None:
            reposdir = self.files / "yum.repos.d" if self.files else Path("/etc/yum.repos.d")
        settings = {
            "reposdir": reposdir,
            "varsdir": "/dev/null",
            "cachedir": self.folder / "dnf-cache",
            "logdir": self.folder / "log",
            "persistdir": self.folder / "dnf-state",
            "module_platform_id": "platform:el8",
            # The packages' scripts would run on the machine below.
            "tsflags": "noscripts",
        }
        options = [f"--setopt={name}={value}" for name, value in settings.items()]
        where = [
            f"--installroot={self.root}",
            "--releasever=8",
            "--forcearch=x86_64",
            "--disableplugin=local,versionlock",
        ]
        return self.host.run(["dnf", "--assumeyes", *where, *options, *arguments]).stdout

    def podman(self, *arguments: str) -> str:
        """Run podman with a storage of this machine's own; what it printed."""
        env = {"CONTAINERS_CONF": str(self.folder / "containers.conf")}
        storage = ["--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run")]
        return self.host.run(["podman", *storage, "--storage-driver=vfs", *arguments], env=env).stdout

    def pip(self, environment: str, *arguments: str) -> str:
        """Run pip in this machine's virtual environment of that name, a fresh one the first time; what it printed."""
        venv = self.folder / environment
        if not venv.exists():
            self.host.run([sys.executable, "-m", "venv", str(venv)])
        env = {"PIP_CONFIG_FILE": str(self.files / "pip.conf")} if self.files else {}
        return self.host.run([str(venv / "bin" / "pip"), *arguments], env=env).stdout

    def curl(self, url: str, to: Path | None = None) -> str:
        """Fetch a URL, into a file when one is named; the body otherwise."""
        output = ["--output", str(to)] if to else []
        return self.host.run(["curl", "--fail", "--silent", "--show-error", "--max-time", "60", *output, url]).stdout

    def forget_packages(self) -> None:
        """Take everything off the machine's root file system again."""
        shutil.rmtree(self.root)
        self.root.mkdir()

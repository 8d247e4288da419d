"""A bundle without wheels: it needs nothing but the internet on loopback, and builds in a moment."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet

KUBEADM = "/dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm"

_PROFILE = """\
name: small
version: "1"
targets: [{distro: rocky, release: "8"}]
rpms:
  repos:
    - id: appstream
      url: https://download.rockylinux.org/pub/rocky/8/AppStream/x86_64/os/
      gpgkey: [https://download.rockylinux.org/pub/rocky/RPM-GPG-KEY-Rocky-8]
      mode: mirror
images: [{ref: docker.io/library/registry:3, role: registry}, docker.io/library/alpine:3.11]
files:
  - {url: https://dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm, sha256: @SHA256@, mode: "0755"}
  - {url: https://dl.k8s.io/release/v1.35.4/bin/linux/amd64/kubeadm.sha256}
"""


def command(upstream: Internet, folder: Path, *options: str) -> list[str]:
    """The command that builds it into `folder`, which is made when it is not there."""
    folder.mkdir(exist_ok=True)
    profile = folder / "small.yaml"
    # With its digest promised, the large file is not read to lock it: what is fetched of it is fetched for the bundle.
    promised = (upstream.folder / "www" / f"{KUBEADM[1:]}.sha256").read_text()
    profile.write_text(_PROFILE.replace("@SHA256@", promised))
    config = upstream.write_config(folder / "config.yaml")
    arguments = ["build", str(profile), "--output", str(folder), "--config", str(config), *options]
    return [sys.executable, "-m", "bundler", *arguments]


def build(upstream: Internet, folder: Path, *options: str) -> Path:
    """Build it into `folder` and give the bundle's path."""
    return Path(HERE.run(command(upstream, folder, *options)).stdout.splitlines()[-1])

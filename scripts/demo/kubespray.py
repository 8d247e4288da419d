"""Kubespray's upstreams with stand-ins: small files, images and RPMs under all the names that a cluster asks for.

Kubespray's own variables decide what these are; in its tree only the checksums change, to those of the stand-ins. So
all that reads the tree, builds from it and runs with it does what it would do with the real one.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.kinds.images.reference import Reference
from bundler.model.target import Target
from bundler.recipes.kubespray import needs
from bundler.recipes.kubespray.expand import Layers
from bundler.recipes.kubespray.machine import facts
from bundler.recipes.kubespray.tree import CHECKSUMS, PACKAGES, read_folder
from scripts.demo import images
from scripts.demo.internet import ROCKY, Internet
from scripts.demo.packages import Package, built_repositories

_ARCHIVE = "github.com/kubernetes-sigs/kubespray/archive/refs/tags"

# Rocky's packages behind names that are none: no package is called conntrack, iptables or ebtables.
_REAL_NAMES = {"conntrack": "conntrack-tools", "iptables": "iptables-nft", "ebtables": "iptables-nft"}
# Something for a closure to find.
_REQUIRES = {"conntrack-tools": ("libnetfilter_conntrack",), "podman": ("conmon", "container-selinux")}
# What profiles/kubespray-2.x.yaml asks for beside.
_PROFILE_PACKAGES = ("nginx", "podman", "policycoreutils-python-utils", "sshpass", "python3.12", "nfs-utils")


def publish(
    internet: Internet,
    trees: Mapping[str, Path],
    clusters: Sequence[Mapping[str, Any]],
    targets: Sequence[Target],
) -> None:
    """Put Kubespray's versions on the internet, with all that `clusters` of each need on `targets`.

    `trees` is by version and holds folders with Kubespray's variables; a cluster is a mapping of variables.
    """
    packages: dict[Target, set[str]] = {target: set() for target in targets}
    for version, folder in trees.items():
        tree, work = read_folder(folder, version), internet.folder / f"kubespray-{version}"
        checksums = tree.files[CHECKSUMS].decode()
        for cluster, target in itertools.product(clusters, targets):
            variables = Layers(tree, cluster).of(target)
            for file in needs.files(variables, everything=False):
                checksums = checksums.replace(file.digest, _serve(internet, file.url, file.algorithm))
            if chart := needs.cilium_chart(variables, everything=False):
                _serve(internet, chart.url, "sha256")
            _push({image.reference for image in needs.images(variables, everything=False)}, internet, work)
            packages[target].update(needs.packages(variables, tree.variables(PACKAGES)["pkgs"]))
        _publish_tree(folder, version, checksums, work, internet.folder / "www" / _ARCHIVE)
    for target, names in packages.items():
        _publish_packages(names, target, internet)


def hosts_of_facts(target: Target) -> dict[str, Any]:
    """What Ansible is told of a machine like `target`: what it knows of any host by itself is left out."""
    known = {"groups", "group_names", "hostvars", "inventory_hostname", "ansible_facts"}
    return {name: value for name, value in facts(target).items() if name not in known}


def _serve(internet: Internet, url: str, algorithm: str) -> str:
    """Serve a stand-in at `url`: the same bytes at every run. Gives its digest."""
    content = f"A stand-in for {url}\n".encode() * 64
    path = internet.folder / "www" / urlsplit(url).netloc / urlsplit(url).path.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.new(algorithm, content).hexdigest()


def _publish_tree(tree: Path, version: str, checksums: str, work: Path, folder: Path) -> None:
    """The tree as GitHub serves it, with the stand-ins' checksums."""
    top = f"kubespray-{version.removeprefix('v')}"
    shutil.copytree(tree, work / top)
    (work / top / CHECKSUMS).chmod(0o644)
    (work / top / CHECKSUMS).write_text(checksums)
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{version}.tar.gz", "w:gz") as archive:
        archive.add(work / top, top)


def _push(references: Iterable[str], internet: Internet, work: Path) -> None:
    """Push a stand-in under each name: one layer, that names it."""
    for text in sorted(references):
        reference = Reference.parse(text)
        layout = work / "images" / hashlib.sha256(text.encode()).hexdigest()[:16]
        if layout.exists():
            continue
        images.make_layout(layout, {"/stand-in": text.encode()}, entrypoint=["/stand-in"], cmd=[])
        assert reference.tag, text
        images.push_layout(layout, internet.registry, reference.repository, reference.tag)


def _publish_packages(names: Iterable[str], target: Target, internet: Internet) -> None:
    wanted = {*names, *_PROFILE_PACKAGES}
    provides: dict[str, set[str]] = {}
    for name in wanted:
        provides.setdefault(_REAL_NAMES.get(name, name), set()).add(name)
    for requirement in {need for name in provides for need in _REQUIRES.get(name, ())} - set(provides):
        provides[requirement] = set()
    packages = [
        Package(name, _REQUIRES.get(name, ()), tuple(sorted(also - {name}))) for name, also in sorted(provides.items())
    ]
    work = internet.folder / f"packages-{target.release}"
    built_repositories(work, internet.folder / "www" / ROCKY, packages, target.release)

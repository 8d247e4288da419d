"""`bundler plan --expand` against what real Ansible made of the same trees: lists and dicts that nobody here wrote."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.model.target import Target
from bundler.recipes.kubespray.expand import Layers
from bundler.recipes.kubespray.tree import read_folder

NEWEST = "v2.31.0"
# Enabled or not, these are in no list of Ansible's, and something pulls or fetches them all the same.
KUBEADM = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
FROM_ROLES = {
    "local_path_provisioner": {"docker.io/library/busybox:latest"},
    "cilium": {"quay.io/cilium/operator-generic"},
    "node_feature_discovery": {"registry.k8s.io/nfd/node-feature-discovery"},
    "openstack": {"registry.k8s.io/provider-os/openstack-cloud-controller-manager"},
}
KUBERNETES = {"v2.31.0": "v1.35.4", "v2.30.0": "v1.34.3"}


@pytest.fixture
def reference(shared: Path) -> Path:
    return shared / "kubespray" / "reference"


def expanded(shared: Path, folder: Path, version: str = NEWEST, release: str = "9", **section: Any) -> dict[str, Any]:
    """The profile with nothing but a cluster in it, expanded by the command."""
    profile = folder / "cluster.yaml"
    section = {"version": version, "source": str(shared / "kubespray" / version), **section}
    words = {
        "name": "cluster",
        "version": "1",
        "targets": [{"distro": "rocky", "release": release}],
        "kubespray": section,
    }
    profile.write_text(yaml.safe_dump(words))
    command = [sys.executable, "-m", "bundler", "plan", str(profile), "--expand", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def images_of(document: dict[str, Any]) -> set[str]:
    return {image["ref"] for image in document["images"]}


def files_of(document: dict[str, Any]) -> dict[str, str]:
    """Checksums by URL; Kubespray has none for Cilium's chart."""
    return {
        entry["url"]: next((f"{name}:{entry[name]}" for name in ("sha256", "sha512") if name in entry), "")
        for entry in document["files"]
        if "url" in entry
    }


def lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


@pytest.mark.parametrize("version", KUBERNETES)
def test_all_is_the_lists_and_what_they_miss(shared: Path, reference: Path, tmp_path: Path, version: str) -> None:
    document = expanded(shared, tmp_path, version, select="all")

    listed = set(lines(reference / f"images-{version}.list"))
    assert listed <= images_of(document)
    beside = images_of(document) - listed
    kubeadm = {f"registry.k8s.io/{component}:{KUBERNETES[version]}" for component in KUBEADM}
    assert kubeadm <= listed | beside
    names = {image.rpartition(":")[0] for image in beside - kubeadm - FROM_ROLES["local_path_provisioner"]}
    assert names <= set().union(*FROM_ROLES.values())
    assert FROM_ROLES["cilium"] <= names
    assert FROM_ROLES["local_path_provisioner"] <= beside

    files = files_of(document)
    chart = {url for url in files if url.startswith("https://helm.cilium.io/")}
    argocd = {url for url in files if "/argo-cd/" in url}
    assert len(chart) == len(argocd) == 1
    assert {url for url, checksum in files.items() if not checksum} == chart
    assert set(files) - chart - argocd == set(lines(reference / f"files-{version}.list"))


def test_enabled_is_what_a_default_cluster_downloads(shared: Path, reference: Path, tmp_path: Path) -> None:
    document = expanded(shared, tmp_path)
    listed = set(lines(reference / f"images-enabled-default-{NEWEST}.list"))
    kubeadm = {f"registry.k8s.io/{component}:{KUBERNETES[NEWEST]}" for component in KUBEADM}
    assert images_of(document) == listed | kubeadm
    assert files_of(document) == {
        url: checksum
        for url, checksum, _ in (line.split() for line in lines(reference / f"files-enabled-default-{NEWEST}.list"))
    }


@pytest.mark.parametrize("release", ["9", "10"])
def test_packages(shared: Path, reference: Path, tmp_path: Path, release: str) -> None:
    document = expanded(shared, tmp_path, release=release, vars={"kube_proxy_mode": "ipvs"})
    ((names, wanted_for),) = [(entry["names"], entry["for"]) for entry in document["rpms"]["packages"]]
    assert wanted_for == [f"rocky-{release}-x86_64"]
    listed = lines(reference / f"pkgs-rocky{release}-ipvs-{NEWEST}.txt")
    rocky_needs = ["python3-libselinux", *(["kernel-modules-extra"] if release == "10" else [])]
    assert sorted(names) == sorted(listed + rocky_needs)


def test_every_word_of_every_download(shared: Path, reference: Path) -> None:
    """Checksums, permissions and destinations: the whole of `downloads` is Ansible's."""
    layers = Layers(read_folder(shared / "kubespray" / NEWEST, NEWEST), {})
    downloads = layers.of(Target(distro="rocky", release="9"))["downloads"]
    answer = json.loads((reference / f"downloads-ansible-{NEWEST}.json").read_text())
    assert downloads == answer


def test_the_control_nodes_wheels(shared: Path, tmp_path: Path) -> None:
    document = expanded(shared, tmp_path, python=["3.11", "3.12"])
    assert document["wheels"]["python"] == ["3.11", "3.12"]
    requirements = (shared / "kubespray" / NEWEST / "requirements.txt").read_text()
    assert [line for line in requirements.splitlines() if line and line[0] != "#"] == [
        *document["wheels"]["requirements"]
    ]


def test_it_takes_under_two_seconds(shared: Path, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    expanded(shared, tmp_path, select="all")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of a processor: other tests run beside.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2

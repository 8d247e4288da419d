"""Everything that is evaluated here is what real Ansible makes of the same variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundler.model.target import Target
from bundler.recipes.kubespray import needs
from bundler.recipes.kubespray.expand import Layers
from bundler.recipes.kubespray.machine import facts
from bundler.recipes.kubespray.tree import PACKAGES, read_folder
from tests.recipes.kubespray import ansible

ROCKY9, ROCKY10 = Target(distro="rocky", release="9"), Target(distro="rocky", release="10.1")
ARM = Target(distro="rocky", release="9", arch="aarch64")

SETS: dict[str, tuple[Target, dict[str, Any]]] = {
    "default": (ROCKY9, {}),
    "cilium": (ROCKY10, {"kube_network_plugin": "cilium", "cilium_enable_hubble": True}),
    "flannel-crio": (ROCKY9, {"kube_network_plugin": "flannel", "container_manager": "crio"}),
    "arm64": (ARM, {"kube_network_plugin": "cilium"}),
    "arm64-crio": (ARM, {"container_manager": "crio", "crun_enabled": True, "youki_enabled": True}),
    "addons": (
        ROCKY9,
        {
            "metrics_server_enabled": True,
            "helm_enabled": True,
            "cert_manager_enabled": True,
            "metallb_enabled": True,
            "metallb_speaker_enabled": True,
            "registry_enabled": True,
            "local_path_provisioner_enabled": True,
            "gateway_api_enabled": True,
            "gateway_api_channel": "experimental",
            "argocd_enabled": True,
        },
    ),
    "static-containerd": (ROCKY10, {"containerd_static_binary": True}),
    "kdd-typha": (ROCKY9, {"calico_datastore": "kdd", "typha_enabled": True, "calico_apiserver_enabled": True}),
    "etcd-datastore": (ROCKY9, {"calico_datastore": "etcd", "etcd_deployment_type": "kubeadm"}),
    "kube-ovn": (ROCKY9, {"kube_network_plugin": "kube-ovn", "kube_network_plugin_multus": True}),
    "kube-router": (ROCKY9, {"kube_network_plugin": "kube-router", "kube_proxy_mode": "nftables"}),
    "haproxy-vip": (
        ROCKY9,
        {"loadbalancer_apiserver_type": "haproxy", "kube_vip_enabled": True, "kube_vip_lb_fwdmethod": "masquerade"},
    ),
    "iptables-ntp": (ROCKY10, {"kube_proxy_mode": "iptables", "ntp_enabled": True, "enable_nodelocaldns": False}),
    "sandboxes": (ROCKY9, {"gvisor_enabled": True, "kata_containers_enabled": True}),
    "csi": (
        ROCKY9,
        {"cinder_csi_enabled": True, "csi_snapshot_controller_enabled": True, "dns_mode": "manual"},
    ),
    # A variable of one's own that another one uses, and a root that leads elsewhere.
    "own": (ROCKY9, {"mirror": "https://mirror.example", "github_url": "{{ mirror }}/github", "helm_enabled": "yes"}),
}
# Of another Kubernetes than the tree's newest; the versions that have checksums differ from tree to tree.
OLDER = {"v2.31.0": "1.34.3", "v2.30.0": "1.33.7"}


@pytest.mark.parametrize("version", ["v2.31.0", "v2.30.0"])
@pytest.mark.slow
def test_the_same_as_ansible(shared: Path, tmp_path: Path, version: str) -> None:
    tree = shared / "kubespray" / version
    sets = SETS | {"older": (ROCKY9, {"kube_version": OLDER[version]})}
    asked = {name: _host(target, variables) for name, (target, variables) in sets.items()}
    answers = ansible.evaluate(tree, asked, tmp_path / "ansible")
    read = read_folder(tree, version)
    for name, (target, own) in sets.items():
        variables, answer = Layers(read, own).of(target), answers[name]
        # Where an older Ansible has an empty text for None, a newer one has None.
        assert _none_is_empty(variables["downloads"]) == _none_is_empty(answer["downloads"]), name
        _assert_enabled(variables, answer, name)
        listed = needs.packages(variables, read.variables(PACKAGES)["pkgs"])
        assert listed[: len(answer["packages"])] == answer["packages"], name


def _host(target: Target, variables: dict[str, Any]) -> dict[str, Any]:
    """A host's variables: the facts of `target`, but for those that Ansible itself knows of a host."""
    known = {"groups", "group_names", "hostvars", "inventory_hostname", "ansible_facts"}
    return {name: value for name, value in facts(target).items() if name not in known} | variables


def _assert_enabled(variables: Any, answer: dict[str, Any], name: str) -> None:
    enabled = {entry: words for entry, words in answer["downloads"].items() if words["enabled"]}
    files = {entry: words for entry, words in enabled.items() if words.get("file")}
    found = list(needs.files(variables, everything=False))
    assert {(file.entry, file.url, f"{file.algorithm}:{file.digest}") for file in found} == {
        (entry, words["url"], words["checksum"]) for entry, words in files.items()
    }, name
    images = {f"{words['repo']}:{words['tag']}" for words in enabled.values() if words.get("container")}
    kubeadm = answer["kubeadm"]
    for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"):
        images.add(f"{kubeadm['repository']}/{component}:v{kubeadm['version']}")
    found_images = {image.reference for image in needs.images(variables, everything=False) if image.entry != "roles"}
    assert found_images == images, name


def _none_is_empty(downloads: dict[str, Any]) -> dict[str, Any]:
    return {
        entry: {key: "" if value is None else value for key, value in words.items()}
        for entry, words in downloads.items()
    }

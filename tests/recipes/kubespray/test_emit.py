"""What a cluster is told of the site, held against golden copies. `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.errors import BundleError, ProfileError
from bundler.kinds.files.place import place_of
from bundler.model.items import Item, Made, Object
from bundler.model.node_files import NodeFiles
from bundler.model.site import Credentials, ExternalIndex, ExternalRegistry, ExternalWeb, Login, Served, SiteConfig
from bundler.model.target import Target
from bundler.recipes.kubespray.emit import emit
from bundler.recipes.kubespray.expand import expand
from bundler.recipes.kubespray.spec import Spec
from bundler.transfer.upstream import Upstream

GOLDEN = Path(__file__).parent / "golden"
TARGETS = (Target(distro="rocky", release="9"), Target(distro="rocky", release="10"))

_PULL = Credentials(username="pull", password_file="/etc/bundler/it's")
_INDEX = ExternalIndex(
    upload_url="https://pypi.corp.example/legacy/", simple_url="https://pypi.corp.example/airgap/simple/"
)
SITES = {
    "own": SiteConfig(address="192.168.10.10"),
    "own-tls": SiteConfig(address="192.168.10.10", tls="self-signed"),
    "own-login": SiteConfig(address="192.168.10.10", tls="self-signed", login=Login(username="nodes")),
    "external": SiteConfig(
        address="192.168.10.10",
        web=ExternalWeb(url="https://repo.corp.example", directory="/srv/repo"),
        registry=ExternalRegistry(url="https://harbor.corp.example/airgap", pull_credentials=_PULL),
        index=_INDEX,
    ),
    "external-plain": SiteConfig(
        address="192.168.10.10", registry=ExternalRegistry(url="http://registry.corp.example:5000")
    ),
}
CLUSTERS: dict[str, dict[str, Any]] = {
    "calico": {"kube_network_plugin": "calico", "container_manager": "containerd"},
    "cilium": {"kube_network_plugin": "cilium", "cilium_extra_values": {"operator": {"replicas": 1}}},
    "flannel": {"kube_network_plugin": "flannel", "container_manager": "crio", "local_path_provisioner_enabled": True},
}


def an_item(shared: Path, upstream: Upstream, cluster: str, **section: Any) -> Item:
    """The recipe's item of a cluster, as the bundle has it."""
    source = str(shared / "kubespray" / "v2.31.0")
    return expand(Spec(version="v2.31.0", source=source, vars=CLUSTERS[cluster], **section), TARGETS, upstream).item


def emitted(item: Item, site: SiteConfig) -> NodeFiles:
    attributes: Any = item.attributes
    objects = tuple(Object(chart["path"], 9, "ab" * 32, Made()) for chart in attributes["charts"])
    chart = Item("files", "chart", "1", objects)
    return emit(item, (item, chart), Served(site, "cluster", "1.0", "the CA" if site.tls else None))


def offline(files: NodeFiles) -> dict[str, Any]:
    (found,) = [file.content for file in files.files if file.path.endswith("offline.yml")]
    document: dict[str, Any] = yaml.safe_load(found)
    return document


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_golden(shared: Path, outside: Upstream, cluster: str, site: str) -> None:
    made = emitted(an_item(shared, outside, cluster), SITES[site])
    assert [(tree.path, tree.archive) for tree in made.trees] == [("kubespray", "files/local/kubespray-v2.31.0.tar")]
    text = "".join(f"== {file.path}\n{file.content}\n" for file in made.files)
    golden = GOLDEN / f"{cluster}-{site}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("site", SITES)
def test_every_root_leads_to_the_site(shared: Path, outside: Upstream, site: str) -> None:
    """No value of offline.yml names a host but the site's, but for the names that mirrors stand for."""
    config = SITES[site]
    variables = offline(emitted(an_item(shared, outside, "calico", select="all"), config))
    hosts = {"192.168.10.10", "192.168.10.10:5000", *re.findall(r"//([^/']+)", str(config.model_dump()))}
    mirrors = variables.pop("containerd_registries_mirrors")
    assert {"docker.io", "quay.io", "registry.k8s.io"} <= {mirror["prefix"] for mirror in mirrors}
    for mirror in mirrors:
        assert {mirror["server"].split("/")[2], *(m["host"].split("/")[2] for m in mirror["mirrors"])} <= hosts
        assert not any(m["skip_verify"] for m in mirror["mirrors"])
    for registry in variables.pop("crio_registries"):
        assert registry["location"].split("/")[0] in hosts
        assert registry["insecure"] == (site in ("own", "external-plain"))
    found = set(re.findall(r"https?://([^/'\" ]+)", str(variables)))
    assert found <= hosts
    for name, value in variables.items():
        if name.endswith("_image_repo"):
            assert value.split("/")[0] in hosts, name


def test_secrets_are_named_by_file(shared: Path, outside: Upstream) -> None:
    variables = offline(emitted(an_item(shared, outside, "flannel"), SITES["external"]))
    ((auth),) = variables["crio_registry_auth"]
    assert auth["username"] == "pull"
    assert auth["password"] == r"{{ lookup('ansible.builtin.file', '/etc/bundler/it\'s') }}"


def test_ansible_finds_the_log_in(shared: Path, outside: Upstream, tmp_path: Path) -> None:
    """Of this site, among others in the netrc of the user whom it runs as."""
    made = emitted(an_item(shared, outside, "flannel"), SITES["own-login"])
    (tmp_path / "offline.yml").write_text(
        next(file.content for file in made.files if file.path.endswith("offline.yml"))
    )
    (tmp_path / ".netrc").write_text(
        "machine 192x168.10.10 login nodes password no\nmachine 192.168.10.10 login nodes password a+b/c.d_e~f=-g\n"
    )
    values = "{{ [containerd_registries_mirrors[1].mirrors[0].header.Authorization, crio_registry_auth[0].password] }}"
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": ["offline.yml"],
            "tasks": [{"ansible.builtin.copy": {"content": values, "dest": str(tmp_path / "found")}}],
        }
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-c", "local", "-i", "localhost,", "play.yml"]
    argv += ["-e", f"ansible_python_interpreter={sys.executable}"]
    environment = {**os.environ, "HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    basic = base64.b64encode(b"nodes:a+b/c.d_e~f=-g").decode()
    assert json.loads((tmp_path / "found").read_text()) == [f"Basic {basic}", "a+b/c.d_e~f=-g"]


def test_two_architectures_take_one_offline_yml_each(shared: Path, outside: Upstream) -> None:
    arm = Target(distro="rocky", release="9", arch="aarch64")
    spec = Spec(version="v2.31.0", source=str(shared / "kubespray" / "v2.31.0"))
    both = expand(spec, (*TARGETS, arm), outside)
    sections: Any = both.sections
    files = [entry["url"] for entry in sections["files"] if "url" in entry]
    for arch in ("amd64", "arm64"):
        assert any(f"/{arch}/kubelet" in url for url in files)
    moved = offline(emitted(both.item, SITES["own"]))
    assert moved["dl_k8s_io_url"] == "http://192.168.10.10/cluster/files/dl.k8s.io"
    assert place_of("https://dl.k8s.io/x") == "files/dl.k8s.io/x"


def test_what_no_variable_can_move_is_refused(shared: Path, outside: Upstream) -> None:
    own = {
        "coredns_image_repo": "quay.io/mine/coredns",
        "kubelet_download_url": "https://own.example/{{ image_arch }}/k",
    }
    spec = Spec(version="v2.31.0", source=str(shared / "kubespray" / "v2.31.0"), vars=own)
    moved = offline(emitted(expand(spec, TARGETS, outside).item, SITES["own"]))
    assert moved["kubelet_download_url"] == "http://192.168.10.10/cluster/files/own.example/amd64/k"
    arm = Target(distro="rocky", release="9", arch="aarch64")
    with pytest.raises(ProfileError, match="kubelet_download_url would need two values for nodes of two architectures"):
        expand(spec, (*TARGETS, arm), outside)


def test_attributes_of_another_make_are_refused(shared: Path, outside: Upstream) -> None:
    item = an_item(shared, outside, "calico")
    changes: tuple[dict[str, Any], ...] = (
        {"variables": {"x; rm": "y"}},
        {"tree": "../x"},
        {"python": []},
        {"images": ["a\nb"]},
        {"more": 1},
    )
    for change in changes:
        with pytest.raises(BundleError, match="its attributes cannot be read"):
            emitted(dataclasses.replace(item, attributes={**item.attributes, **change}), SITES["own"])


def test_choices_that_are_not_carried(shared: Path, outside: Upstream, caplog: pytest.LogCaptureFixture) -> None:
    def asked(**variables: Any) -> Spec:
        return Spec(version="v2.31.0", source=str(shared / "kubespray" / "v2.31.0"), vars=variables)

    with pytest.raises(ProfileError, match="container_manager: docker takes its packages from"):
        expand(asked(container_manager="docker"), TARGETS, outside)
    with pytest.raises(ProfileError, match="the profile has no `targets`"):
        expand(asked(), (), outside)
    expand(asked(argocd_enabled=True), TARGETS[:1], outside)
    assert "list them under `images:`" in caplog.text


def test_inventory_files_are_read_and_vars_win(shared: Path, outside: Upstream, tmp_path: Path) -> None:
    first, second = tmp_path / "all.yml", tmp_path / "cluster.yml"
    first.write_text("kube_network_plugin: flannel\nhelm_enabled: true\nmetrics_server_enabled: true\n")
    second.write_text("kube_network_plugin: cilium\n")
    source, own = str(shared / "kubespray" / "v2.31.0"), {"helm_enabled": False}
    spec = Spec(version="v2.31.0", source=source, inventory=(str(first), str(second)), vars=own)
    found = expand(spec, TARGETS, outside)
    assert found.item.attributes["vars"] == {
        "kube_network_plugin": "cilium",
        "helm_enabled": False,
        "metrics_server_enabled": True,
    }
    images = str(found.sections["images"])
    assert "cilium/cilium:" in images
    assert "metrics-server" in images
    assert "flannel" not in images
    assert "get.helm.sh" not in str(found.sections["files"])
    second.write_text("- no mapping\n")
    with pytest.raises(ProfileError, match=r"cluster\.yml: expected a mapping"):
        expand(spec, TARGETS, outside)

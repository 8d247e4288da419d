"""Clusters from the site alone: Kubespray's variables, evaluated by the Ansible that the site serves, lead there.

Two versions and three sorts of cluster, each a release of its own on one site, built from the shipped profile. The
files, images and RPMs are stand-ins under their real names (scripts/demo/kubespray.py); the checksums in the tree are
theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from bundler.errors import IntegrityError, ResolveError
from bundler.model.target import Target
from scripts.demo import kubespray
from scripts.demo.hosts import HERE, Host, air_gap, can_make_namespaces
from scripts.demo.internet import Internet, internet
from scripts.demo.journey import Site, bundler, site

pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("kubespray")]

PROFILE = "kubespray-2.x"
VERSIONS = ("v2.31.0", "v2.30.0")
CLUSTERS = {
    "calico": {"kube_network_plugin": "calico", "container_manager": "containerd"},
    "cilium": {"kube_network_plugin": "cilium", "container_manager": "containerd"},
    "flannel": {"kube_network_plugin": "flannel", "container_manager": "crio"},
}
TARGETS = (Target(distro="rocky", release="9"), Target(distro="rocky", release="10"))
RELEASES = {f"{cluster}-{version}": (version, cluster) for version in VERSIONS for cluster in CLUSTERS}
_WITHOUT_ADMIN = list(RELEASES)[1]
OURS = f"python{sys.version_info.major}.{sys.version_info.minor}"

_UNPUBLISHED = ("metrics_server", "cert_manager")  # what these need, the upstreams have not

_PLAY = [
    {
        "hosts": "kube_node",
        "gather_facts": False,
        "roles": ["kubespray_defaults", "system_packages"],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json",
                    "content": "{{ answer | to_json }}",
                },
                "vars": {
                    "answer": {
                        "downloads": "{{ downloads }}",
                        "kubeadm": "{{ kubeadm_image_repo }}",
                        "version": "{{ kube_version }}",
                        "operator": "{{ cilium_operator_image_repo }}-generic:{{ cilium_operator_image_tag }}",
                        "envoy": "{{ cilium_hubble_envoy_image_repo }}:{{ cilium_hubble_envoy_image_tag }}",
                        "packages": "{{ pkgs | dict2items | selectattr('value', 'ansible.builtin.all') "
                        "| map(attribute='key') | list }}",
                    }
                },
            }
        ],
    }
]


def options(name: str) -> list[str]:
    """What is changed in the profile for a release, as someone would on the command line."""
    version, cluster = RELEASES[name]
    changes = {
        "name": name,
        "kubespray.version": version,
        "kubespray.python": json.dumps(sorted({"3.12", OURS.removeprefix("python")}, key=OURS.endswith)),
        **{f"kubespray.vars.{variable}": value for variable, value in CLUSTERS[cluster].items()},
    }
    if name != next(iter(RELEASES)):  # the first one alone carries what a bare admin host takes
        changes["admin"] = "null"
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Internet]:
    trees = {version: shared / "kubespray" / version for version in VERSIONS}
    with internet(tmp_path_factory.mktemp("internet") / "up", shared) as running:
        kubespray.publish(running, trees, list(CLUSTERS.values()), TARGETS)
        yield running


@dataclass(frozen=True)
class Inside:
    """The site with all releases, and the machine that Ansible runs on."""

    site: Site
    control: Host
    home: Path

    def run(self, script: str) -> str:
        """Run what someone would type on the control machine."""
        path = f"{self.home / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
        return self.control.run(["sh", "-euc", script], env={"HOME": str(self.home), "PATH": path}).stdout

    def curl(self, url: str) -> str:
        """The text at a URL."""
        return self.run(f"curl -fsS {shlex.quote(url)}")

    def nodes(self, name: str) -> str:
        """Where the node files of a release are."""
        return f"{self.site.web}/{name}/nodes"

    def guide(self, name: str) -> list[str]:
        """The shell blocks of a release's OFFLINE.md."""
        return re.findall(r"```sh\n(.*?)```", self.curl(f"{self.nodes(name)}/kubespray/OFFLINE.md"), re.DOTALL)


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, upstream: Internet) -> Iterator[Inside]:
    if not can_make_namespaces():
        pytest.skip("needs root, for the namespaces")
    work = tmp_path_factory.mktemp("kubespray")
    config = upstream.write_config(work / "config.yaml")
    bundles: list[Path] = []
    for name in RELEASES:
        reuse: list[str | Path] = ["--reuse", bundles[-1]] if bundles else []
        arguments = ["build", PROFILE, "--output", work, "--config", config, *options(name), *reuse]
        bundles.append(Path(bundler(HERE, *arguments).stdout.splitlines()[-1]))
    with air_gap(work) as (admin, node), site(admin, work, own_ports=True) as there:
        for bundle in bundles:
            there.install(bundle)
        home = work / "control"
        (home / "bin").mkdir(parents=True)
        (home / "bin" / OURS).symlink_to(sys.executable)
        yield Inside(there, node, home)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RELEASES)
def test_a_cluster_takes_everything_from_the_site(inside: Inside, name: str, tmp_path: Path) -> None:
    folder = _set_up(inside, name, tmp_path)
    answers = _ask_ansible(inside, name, folder)
    for host, target in zip(("node9", "node10"), TARGETS, strict=True):
        cluster = RELEASES[name][1]
        files, images = _wanted(answers[host], cluster)
        assert {"kubeadm", "kubelet", "kubectl"} <= {url.rpartition("/")[2] for url in files}
        for part in ("kube-proxy:", "coredns:", "pause:", f"/{cluster}/"):
            assert any(part in image for image in images), part
        astray = [url for url in files if not url.startswith(f"{inside.site.web}/")]
        astray += [image for image in images if not image.startswith(f"{inside.site.registry}/")]
        assert not astray
        if target is TARGETS[0]:  # both have one architecture, so the same files and images
            _fetch(inside, files)
            _pull(inside, images, tmp_path / "images")
        _install(inside, name, target, answers[host]["packages"], tmp_path / target.release)


@pytest.mark.timeout(900)
def test_the_charts_repository_leads_to_the_site(inside: Inside) -> None:
    name = f"cilium-{VERSIONS[0]}"
    variables = yaml.safe_load(
        inside.curl(f"{inside.nodes(name)}/kubespray/inventory/{name}/group_vars/all/offline.yml")
    )
    _, repository = variables["cilium_install_extra_flags"].split()
    (chart,) = yaml.safe_load(inside.curl(f"{repository}/index.yaml"))["entries"]["cilium"]
    assert chart["urls"][0].startswith(inside.site.web)
    assert hashlib.sha256(inside.curl(chart["urls"][0]).encode()).hexdigest() == chart["digest"]
    assert variables["cilium_extra_values"]["image"] == {"useDigest": False}


def _set_up(inside: Inside, name: str, work: Path) -> Path:
    """Do what OFFLINE.md says for a machine that is not the admin host; the folder it leads to.

    The whole of requirements.txt is installed for one version; for the other ansible-core alone, of the version that
    its lock has, to save a minute.
    """
    _, fetch, three, _ = inside.guide(name)
    inside.run(f"rm -rf ~/kubespray\n{fetch}")
    folder = work / "kubespray"
    (inside.home / "kubespray").rename(folder)
    version, cluster = RELEASES[name]
    make_venv, pip, _ = three.splitlines()
    venv = inside.home / version / "venv"
    if not venv.exists():
        venv.parent.mkdir()
        inside.run(f"cd {venv.parent}\n{make_venv}")
        if version != VERSIONS[0]:
            lock = inside.curl(f"{inside.nodes(name)}/wheels/requirements-{OURS.removeprefix('python')}.txt")
            core = re.search(r"^ansible-core==\S+", lock, re.MULTILINE)
            assert core
            pip = pip.replace("-r requirements.txt", core[0])
        inside.run(f"cp {folder}/requirements.txt {venv.parent} && cd {venv.parent} && {pip}")
    (folder / "venv").symlink_to(venv)
    assert cluster in (folder / "inventory" / name / "group_vars/all/bundle.yml").read_text()
    return folder


def _ask_ansible(inside: Inside, name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What the served Ansible makes of the tree's variables with the emitted inventory, on both sorts of node."""
    inventory = folder / "inventory" / name
    hosts = (inventory / "inventory.ini").read_text()
    hosts = hosts.replace("# node1 ansible_host=192.168.10.21", "node9").replace("# node2", "node9\nnode10\n# node2")
    (inventory / "inventory.ini").write_text(f"{hosts}\n[k8s_cluster:children]\nkube_control_plane\nkube_node\n")
    for host, target in zip(("node9", "node10"), TARGETS, strict=True):
        (inventory / "host_vars").mkdir(exist_ok=True)
        facts = {"ansible_connection": "local", **kubespray.hosts_of_facts(target)}
        (inventory / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(facts))
    (folder / "ask.yml").write_text(yaml.safe_dump(_PLAY))
    settings = f"ANSIBLE_ROLES_PATH=roles ANSIBLE_PYTHON_INTERPRETER={folder}/venv/bin/python"
    inside.run(f"cd {folder} && {settings} venv/bin/ansible-playbook -i inventory/{name}/inventory.ini ask.yml")
    return {host: json.loads((folder / f"{host}.json").read_text()) for host in ("node9", "node10")}


def _wanted(answer: dict[str, Any], cluster: str) -> tuple[dict[str, str], list[str]]:
    """The enabled files with their checksums by URL, and the enabled images, kubeadm's and the roles' included."""
    enabled = [entry for entry in answer["downloads"].values() if entry["enabled"]]
    files = {entry["url"]: entry["checksum"] for entry in enabled if entry.get("file")}
    images = [f"{entry['repo']}:{entry['tag']}" for entry in enabled if entry.get("container")]
    components = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    images += [f"{answer['kubeadm']}/{component}:v{answer['version']}" for component in components]
    if cluster == "cilium":
        images += [answer["operator"], answer["envoy"]]
    return files, images


def _fetch(inside: Inside, files: dict[str, str]) -> None:
    sums = ""
    for url, checksum in files.items():
        algorithm, _, digest = checksum.partition(":")
        assert algorithm == "sha256", url
        sums += f"{digest}  {hashlib.sha256(url.encode()).hexdigest()}\n"
    fetches = "\n".join(f"curl -fsS -o {hashlib.sha256(url.encode()).hexdigest()} {shlex.quote(url)}" for url in files)
    printed = inside.run(f"cd $(mktemp -d)\n{fetches}\nprintf %s {shlex.quote(sums)} | sha256sum -c")
    assert printed.count(": OK") == len(files)


def _pull(inside: Inside, images: list[str], to: Path) -> None:
    to.mkdir()
    copies = "\n".join(
        f"skopeo --insecure-policy --tmpdir {to} copy --quiet --src-tls-verify=false docker://{image} dir:{to}/{number}"
        for number, image in enumerate(images)
    )
    inside.run(copies)
    assert len(list(to.glob("*/manifest.json"))) == len(images)


def _install(inside: Inside, name: str, target: Target, packages: list[str], root: Path) -> None:
    """dnf takes every name from the site's repositories, signatures checked, into an empty root."""
    assert "conntrack" in packages
    (root / "repos").mkdir(parents=True)
    repo = inside.curl(f"{inside.nodes(name)}/yum.repos.d/{name}-rocky{target.release}.repo")
    assert "gpgcheck=1" in repo
    assert {
        urlsplit(line.partition("=")[2]).netloc for line in repo.splitlines() if line.startswith(("baseurl", "gpgkey"))
    } == {inside.site.address}
    (root / "repos" / "site.repo").write_text(repo)
    settings = {
        "reposdir": root / "repos",
        "varsdir": "/dev/null",
        "cachedir": root / "cache",
        "logdir": root / "repos",
        "persistdir": root / "state",
        "module_platform_id": f"platform:el{target.release}",
    }
    setopt = " ".join(f"--setopt={key}={value}" for key, value in settings.items())
    inside.run(
        f"dnf --assumeyes --quiet --installroot={root / 'root'} --releasever={target.release} --forcearch=x86_64 "
        f"--disableplugin=local,versionlock {setopt} install {shlex.join(packages)}"
    )
    assert (root / "root/usr/share/conntrack-tools").is_dir()
    assert (root / "root/usr/share/libnetfilter_conntrack").is_dir()


def test_the_node_files_are_emitted_again_with_the_tree(inside: Inside, tmp_path: Path) -> None:
    name = f"calico-{VERSIONS[1]}"
    bundler(inside.site.host, "nodes", tmp_path / "out", "--name", name, "--root", inside.site.root)
    served = inside.site.root / "repos" / name / "nodes" / "kubespray"
    found = {path.relative_to(tmp_path / "out/kubespray") for path in (tmp_path / "out/kubespray").rglob("*")}
    assert Path("roles/kubespray_defaults/defaults/main/download.yml") in found
    assert found == {path.relative_to(served.resolve()) for path in served.resolve().rglob("*")}
    inside.control.run(["diff", "-r", str(served), str(tmp_path / "out/kubespray")])


def test_a_file_published_anew_is_refused(upstream: Internet, tmp_path: Path) -> None:
    """Kubespray's checksum is what counts, whoever serves the file."""
    (kubelet,) = (upstream.folder / "www/dl.k8s.io").glob("**/v1.35.*/**/kubelet")
    before = kubelet.read_bytes()
    kubelet.write_bytes(before[::-1])
    config = upstream.write_config(tmp_path / "config.yaml")
    chosen = options(_WITHOUT_ADMIN)
    try:
        done = bundler(HERE, "build", PROFILE, "--output", tmp_path / "out", "--config", config, *chosen, check=False)
    finally:
        kubelet.write_bytes(before)
    assert done.returncode == IntegrityError.exit_code
    assert "kubelet" in done.stderr
    assert "re-published" in done.stderr
    assert not list(tmp_path.glob("out/*.tar"))


def test_plan_says_what_is_to_be_fetched_and_names_what_upstream_lacks(upstream: Internet, tmp_path: Path) -> None:
    config = upstream.write_config(tmp_path / "config.yaml")
    chosen = options(_WITHOUT_ADMIN)
    plan = json.loads(bundler(HERE, "plan", PROFILE, "--config", config, *chosen, "--json").stdout)
    assert plan["total"]["size"] == sum(kind["size"] for kind in plan["totals"].values()) > 0
    assert {"files", "images", "rpms", "wheels"} <= set(plan["totals"])

    more = [word for name in _UNPUBLISHED for word in ("--set", f"kubespray.vars.{name}_enabled=true")]
    done = bundler(HERE, "plan", PROFILE, "--config", config, *chosen, *more, check=False)
    assert done.returncode == ResolveError.exit_code
    for image in ("metrics-server", "cert-manager-controller", "cert-manager-cainjector", "cert-manager-webhook"):
        assert image in done.stderr

"""Resolving on real data: dnf and Ansible beside bundler, each as a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from scripts.bench.bundler_side import COMMAND
from scripts.bench.measure import run
from scripts.demo.servers import free_port, server

# What Kubespray installs on a node of EL 9 (roles/system_packages of v2.31.0), as far as these repositories have it.
_PACKAGES = (
    *("bash-completion", "conntrack-tools", "curl", "device-mapper-libs", "e2fsprogs", "iproute"),
    *(
        "iptables-nft",
        "iputils",
        "ipvsadm",
        "libseccomp",
        "nss",
        "openssl",
        "rsync",
        "socat",
        "tar",
        "unzip",
        "xfsprogs",
    ),
)
# The packages' lists are compared, and no package is fetched: there is nothing to check. And no key of these
# repositories is at hand, without which dnf refuses to go as far as a list.
_DNF = """\
[main]
gpgcheck=0
reposdir=/var/empty
cachedir={folder}/cache
persistdir={folder}/state
logdir={folder}
install_weak_deps=0
metadata_expire=-1
"""
_ENABLED = "downloads | dict2items | map(attribute='value') | selectattr('enabled') | list | to_json"
# contrib/offline/generate_list.yml, in short: the roles' variables evaluated, and the lists written.
_PLAY = [
    {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "roles": ["kubespray_defaults"],
        "tasks": [
            {
                "copy": {
                    "dest": "{{ out }}",
                    "content": f"{{{{ {_ENABLED} }}}}",
                }
            }
        ],
    }
]


@contextmanager
def repositories(metadata: Path, folder: Path) -> Iterator[str]:
    """The repositories below `metadata` on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(metadata)]
    with server(argv, port=port, log=folder / "http.log"):
        yield f"http://127.0.0.1:{port}"


class Closure:
    """What a node needs, into an empty system, from BaseOS and AppStream: 18,774 packages."""

    def __init__(self, url: str, folder: Path) -> None:
        self._folder = folder
        repos = {name: f"{url}/{name}/" for name in ("baseos", "appstream")}
        lines = [f"[{name}]\nname={name}\nbaseurl={address}\n" for name, address in repos.items()]
        (folder / "dnf.conf").write_text(_DNF.format(folder=folder) + "".join(lines))
        profile = {
            "name": "closure",
            "version": "1",
            "targets": [{"distro": "centos", "release": "9"}],
            # The lists are compared, no package is fetched.
            "rpms": {
                "repos": [{"id": name, "url": address, "gpgcheck": False} for name, address in repos.items()],
                "packages": [*_PACKAGES],
            },
        }
        (folder / "closure.yaml").write_text(yaml.safe_dump(profile))

    def bundler(self) -> None:
        run([*COMMAND, "plan", self._folder / "closure.yaml", "--quiet", "--json"])

    def dnf(self) -> None:
        command = ["dnf", "-q", "-c", self._folder / "dnf.conf", f"--installroot={self._folder}/root", "--releasever=9"]
        command += ["--noplugins", "--setopt=module_platform_id=platform:el9", "install", "--assumeno", *_PACKAGES]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if "Operation aborted" not in done.stderr:  # it was asked not to go on
            raise RuntimeError(done.stderr[-2000:])


class Expansion:
    """A default cluster's files and images, out of Kubespray's tree."""

    def __init__(self, tree: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._tree, self._folder = tree, folder
        profile = {
            "name": "expand",
            "version": "1",
            "targets": [{"distro": "rocky", "release": "9"}],
            "kubespray": {"version": "v2.31.0", "source": str(tree)},
        }
        (folder / "expand.yaml").write_text(yaml.safe_dump(profile))
        (folder / "play.yml").write_text(yaml.safe_dump(_PLAY))
        names = ("k8s_cluster", "kube_control_plane", "kube_node", "etcd")
        groups = {name: {"hosts": {"node": None}} for name in names}
        (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"node": {}}, "children": groups}}))

    def bundler(self) -> None:
        run([*COMMAND, "plan", self._folder / "expand.yaml", "--expand", "--quiet", "--json"])

    def ansible(self) -> None:
        environment = {
            "ANSIBLE_ROLES_PATH": str(self._tree / "roles"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            "HOME": str(self._folder),
            "LC_ALL": "C.UTF-8",
        }
        playbook = Path(sys.executable).with_name("ansible-playbook")
        facts = "ansible_architecture=x86_64 ansible_os_family=RedHat ansible_distribution=Rocky"
        facts += " ansible_distribution_major_version=9 ansible_system=Linux"
        command: list[str | Path] = [
            playbook,
            "-i",
            "inventory.yml",
            "-e",
            f"out={self._folder}/lists.json {facts}",
            "play.yml",
        ]
        run(command, cwd=self._folder, env={**os.environ, **environment})

"""Real Ansible, asked for Kubespray's variables: the tree's own roles, one host for each set of variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

# Both roles are only their variables; the facts that they expect from outside come with the host.
_PLAY = [
    {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "roles": ["kubespray_defaults", "system_packages"],
        "tasks": [
            {
                "copy": {
                    "dest": "{{ out }}/{{ inventory_hostname }}.json",
                    "content": "{{ {'downloads': downloads, 'kubeadm': kubeadm, 'packages': packages} | to_json }}",
                },
                "vars": {
                    "kubeadm": {"repository": "{{ kube_image_repo }}", "version": "{{ kube_version }}"},
                    "packages": "{{ pkgs | dict2items | selectattr('value', 'ansible.builtin.all') "
                    "| map(attribute='key') | list }}",
                },
            }
        ],
    }
]


def evaluate(tree: Path, sets: Mapping[str, Mapping[str, Any]], work: Path) -> dict[str, dict[str, Any]]:
    """For each set of host variables, `downloads` as Ansible has it, the names of its RPMs, and kubeadm's words."""
    work.mkdir()
    (work / "play.yml").write_text(yaml.safe_dump(_PLAY))
    hosts = {name: {**variables} for name, variables in sets.items()}
    groups = {
        group: {"hosts": dict.fromkeys(hosts)} for group in ("k8s_cluster", "kube_control_plane", "kube_node", "etcd")
    }
    (work / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts, "children": groups}}))
    run(["ansible-playbook", "-i", "inventory.yml", "-f", "2", "-e", f"out={work}", "play.yml"], work, tree)
    return {name: json.loads((work / f"{name}.json").read_text()) for name in sets}


def run(command: Sequence[str], work: Path, tree: Path) -> str:
    """Run one of this environment's Ansible commands with the tree's roles. Fails with its output."""
    environment = {
        **os.environ,
        "ANSIBLE_ROLES_PATH": str(tree / "roles"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
    }
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run(
        [program, *command[1:]], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout

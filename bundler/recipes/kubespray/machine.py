"""A node as Ansible's facts would tell of it."""

from __future__ import annotations

from typing import Any

from bundler.model.target import Target

# What Ansible calls a distribution, and the family it counts it to (ansible/module_utils/facts/system/distribution.py).
_DISTRIBUTIONS = {
    "almalinux": ("AlmaLinux", "RedHat"),
    "amazon": ("Amazon", "RedHat"),
    "centos": ("CentOS", "RedHat"),
    "debian": ("Debian", "Debian"),
    "fedora": ("Fedora", "RedHat"),
    "oraclelinux": ("OracleLinux", "RedHat"),
    "rhel": ("RedHat", "RedHat"),
    "rocky": ("Rocky", "RedHat"),
    "ubuntu": ("Ubuntu", "Debian"),
}
_HOST = "node"


def facts(target: Target) -> dict[str, Any]:
    """The variables that Kubespray expects from outside: facts of a node that has every role, groups, and what its
    own tasks find out on the way.
    """
    distribution, family = _DISTRIBUTIONS.get(target.distro, (target.distro.capitalize(), target.distro.capitalize()))
    found = {
        "architecture": target.arch,
        "distribution": distribution,
        "distribution_major_version": target.release.split(".")[0],
        "distribution_version": target.release,
        "os_family": family,
        "pkg_mgr": "dnf" if family == "RedHat" else "apt",
        "system": "Linux",
    }
    groups = ("all", "etcd", "k8s_cluster", "kube_control_plane", "kube_node")
    return {
        **{f"ansible_{name}": value for name, value in found.items()},
        "ansible_facts": found,
        "group_names": list(groups[1:]),
        "groups": {group: [_HOST] for group in groups},
        "hostvars": {_HOST: {}},
        "inventory_hostname": _HOST,
        "is_fedora_coreos": False,
        # A task finds it out before the packages are installed; any address serves.
        "main_access_ip": "127.0.0.1",
    }


def takes_rpms(target: Target) -> bool:
    """Whether the target's distribution is one of RPMs."""
    return _DISTRIBUTIONS.get(target.distro, ("", "RedHat"))[1] == "RedHat"

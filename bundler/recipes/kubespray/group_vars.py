"""The variables of a cluster that takes everything from the site.

Source: inventory/sample/group_vars/all/offline.yml, roles/container-engine/containerd/{defaults,templates} and
roles/container-engine/cri-o/{defaults,templates} of Kubespray.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from bundler.kinds.images.reference import Reference
from bundler.model.items import Item, Json
from bundler.model.site import Served
from bundler.recipes.kubespray.addresses import FOLDER, NETRC, Site
from bundler.recipes.kubespray.attributes import KubesprayAttributes

# What each block of offline.yml is for, as it says itself.
_SITE = "The site. The variables below lead there by themselves; these are for variables of your own."
_ORIGINS = (
    "Where files and images come from: every file is at its original path below its original host's name, and every "
    "image has its original name without the host."
)
_CONTAINERD = "Pulls under original names go to the site too, and nowhere else. containerd:"
_CRIO = "CRI-O:"
_CILIUM = (
    "cilium-cli takes Cilium's Helm chart from here, and its images by their tags: the digests in the chart are of "
    "indexes over all platforms, and the site holds the targets' platforms."
)
_WITHOUT_DIGESTS: dict[str, Any] = {
    "image": {"useDigest": False},
    "envoy": {"image": {"useDigest": False}},
    "operator": {"image": {"useDigest": False}},
    "certgen": {"image": {"useDigest": False}},
    "hubble": {
        "relay": {"image": {"useDigest": False}},
        "ui": {"frontend": {"image": {"useDigest": False}}, "backend": {"image": {"useDigest": False}}},
    },
}


def bundle_yml(item: Item, attributes: KubesprayAttributes, served: Served) -> str:
    """The profile's variables."""
    head = (
        f"# What the profile of {served.name} {served.version} says under `kubespray: vars:`; the bundle holds what a\n"
        f"# cluster with these variables needs, made by Kubespray {item.version}. Other variables may need other\n"
        "# files and images: change them in the profile, and bring in a new bundle.\n"
    )
    return head + (to_yaml(attributes.vars) if attributes.vars else "{}\n")


def offline_yml(item: Item, attributes: KubesprayAttributes, site: Site) -> str:
    """Everything that Kubespray, and the machines it sets up, fetch; each block with its reason."""
    served = site.served
    blocks: list[tuple[str, Mapping[str, Any]]] = [
        (
            _SITE,
            {
                "registry_host": site.registry,
                "registry_addr": site.registry_address,
                "files_repo": site.files,
                "yum_repo": f"{served.url}/rpms",
            },
        ),
        (_ORIGINS, {name: site.fill_in(value) for name, value in attributes.variables.items()}),
        (_CONTAINERD, {"containerd_registries_mirrors": _containerd_mirrors(attributes, site)}),
        (_CRIO, _crio(attributes, site)),
    ]
    if attributes.charts:
        chart = {
            "cilium_install_extra_flags": f"--repository {site.nodes}/{FOLDER}/charts",
            "cilium_extra_values": _merged(_WITHOUT_DIGESTS, attributes.vars.get("cilium_extra_values")),
        }
        blocks.append((_CILIUM, chart))
    head = f"# Made by bundler for {served.name} {served.version}, Kubespray {item.version}, at {served.url}\n"
    return head + "".join(f"\n{_comment(why)}{to_yaml(values)}" for why, values in blocks)


def _containerd_mirrors(attributes: KubesprayAttributes, site: Site) -> list[dict[str, Any]]:
    """hosts.toml for each original registry, and for the site's own; `server` is what containerd would fall back to."""
    root = site.registry_url.removesuffix(f"/{site.prefix}") if site.prefix else site.registry_url
    own = _containerd_host(root, site, override=False)
    # A prefix stands in the API's path behind /v2, so the whole of that path is given.
    by_prefix = f"{root}/v2/{site.prefix}" if site.prefix else root
    mirror = _containerd_host(by_prefix, site, override=bool(site.prefix))
    found = [{"prefix": site.registry_address, "server": root, "mirrors": [own]}]
    found += [{"prefix": host, "server": by_prefix, "mirrors": [mirror]} for host in _hosts(attributes, site)]
    return found


def _containerd_host(url: str, site: Site, *, override: bool) -> dict[str, Any]:
    host: dict[str, Any] = {"host": url, "capabilities": ["pull", "resolve"], "skip_verify": False}
    if override:
        host["override_path"] = True
    if site.ca:
        host["ca"] = [site.ca]
    if login := _login(site):
        # containerd 2 does not read Kubespray's containerd_registry_auth any more.
        user, password = login
        text = f"('{_in_jinja(user)}:' ~ {password}) | b64encode"
        host["header"] = {"Authorization": f"Basic {{{{ {text} }}}}"}
    return host


def _crio(attributes: KubesprayAttributes, site: Site) -> dict[str, Any]:
    registries: list[dict[str, Any]] = [{"location": site.registry_address, "insecure": site.plain}]
    registries += [
        {"prefix": host, "location": site.registry, "insecure": site.plain} for host in _hosts(attributes, site)
    ]
    found: dict[str, Any] = {"crio_registries": registries}
    if site.plain:
        found["crio_insecure_registries"] = [site.registry_address]
    if login := _login(site):
        user, password = login
        auth = {"registry": site.registry_address, "username": user, "password": f"{{{{ {password} }}}}"}
        found["crio_registry_auth"] = [auth]
    return found


def _hosts(attributes: KubesprayAttributes, site: Site) -> list[str]:
    """The registries that images of the bundle come from."""
    return sorted({Reference.parse(image).registry for image in attributes.images} - {site.registry_address})


def _login(site: Site) -> tuple[str, str] | None:
    """Whom the registry lets pull, and a Jinja expression that reads the password where Ansible runs.

    It stands in no file of the site's: there is a file of an external registry's, and a line of netrc(5) of our own.
    """
    if site.pull:
        return site.pull.username, f"lookup('ansible.builtin.file', '{_in_jinja(site.pull.password_file)}')"
    if user := site.served.login(site.served.site.registry):
        # No backslash: whether Ansible takes one for itself depends on where the expression stands.
        line = f"machine {site.served.site.machine} login {user} password ".replace(".", "[.]")
        netrc = f"lookup('ansible.builtin.file', '{NETRC}')"
        return user, f"({netrc} | regex_search('(?<={line}).+'))"
    return None


def _in_jinja(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _merged(base: Mapping[str, Any], own: Json) -> dict[str, Any]:
    """`base` with what the profile's author says on top."""
    if not isinstance(own, dict):
        return dict(base)
    return {
        **base,
        **{
            key: _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
            for key, value in own.items()
        },
    }


def _comment(text: str) -> str:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > 110:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors: the same mirror stands under several names, and people read and change these files."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def to_yaml(values: Mapping[str, Any]) -> str:
    """`values` as a YAML document, in their order."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)

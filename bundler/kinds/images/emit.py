"""What nodes need to pull from the site, under its own name and under the images' original names."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

from bundler.kinds.images.attributes import ImageAttributes
from bundler.model.items import Item
from bundler.model.node_files import BASIC, NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served

_HEAD = "# Made by bundler: images come from the site's registry. Changes are lost at the next install.\n"


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """registries.conf for podman, CRI-O, skopeo and buildah; hosts.toml for containerd; a check for each."""
    if not items:
        return NodeFiles()
    registry = _Registry(served)
    hosts = sorted({ImageAttributes.of(item).registry for item in items} - {registry.host})
    conf = f"registries.conf.d/{served.name}.conf"
    files = [NodeFile(conf, _registries_conf(registry, hosts), destination=f"/etc/containers/{conf}")]
    if registry.ca and served.ca:
        # containers-certs.d(5), which podman, CRI-O, skopeo and buildah read; Docker has a folder of its own.
        for engine in ("containers", "docker"):
            path = f"{engine}/certs.d/{registry.host}/ca.crt"
            files.append(NodeFile(path, served.ca, destination=f"/etc/{path}", only_where=f"/etc/{engine}"))
    if registry.login:
        auths = json.dumps({"auths": {registry.host: {"auth": BASIC}}}) + "\n"
        files.append(
            NodeFile(
                "login/auth.json",
                auths,
                destination="~/.config/containers/auth.json",
                mode=0o600,
                only_where="/etc/containers",
                secret=True,
                joins="auths",
            )
        )
    for host, text in _hosts_toml(registry, hosts):
        path = f"containerd/certs.d/{host}/hosts.toml"
        secret = bool(registry.login)
        files.append(
            NodeFile(
                path,
                text,
                destination=f"/etc/{path}",
                mode=0o600 if secret else 0o644,
                only_where="/etc/containerd",
                secret=secret,
            )
        )
    return NodeFiles(tuple(files), tuple(_checks(items, registry)))


class _Registry:
    """The site's registry as nodes name and reach it."""

    def __init__(self, served: Served) -> None:
        self.url = served.site.registry_url
        self.location = served.site.registry_host  # host:port[/prefix], the head of an image's name
        self.scheme, self.own = self.url.split("://", 1)[0], served.site.registry is None
        self.host, _, self.prefix = self.location.partition("/")
        self.ca = served.ca_file(served.site.registry)
        self.login = served.login(served.site.registry)
        self.curl = served.curl(served.site.registry)

    @property
    def is_plain(self) -> bool:
        return self.scheme == "http"


def _registries_conf(registry: _Registry, hosts: Iterable[str]) -> str:
    """containers-registries.conf(5), version 2.

    An original name is *remapped* (prefix, location), not given a mirror: behind a mirror podman would try the original
    registry last, and wait there for an answer that cannot come.
    """
    text = _HEAD
    insecure = "insecure = true\n" if registry.is_plain else ""
    if registry.is_plain:
        text += f'\n[[registry]]\nlocation = "{registry.host}"\n{insecure}'
    for host in hosts:
        text += f'\n[[registry]]\nprefix = "{host}"\nlocation = "{registry.location}"\n{insecure}'
    return text


def _hosts_toml(registry: _Registry, hosts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """A hosts.toml for each registry name (https://github.com/containerd/containerd/blob/main/docs/hosts.md).

    `server` is the site too: it is what containerd falls back to, and would be the original registry otherwise.
    """
    root = f"{registry.scheme}://{registry.host}"
    ca = f'ca = "{registry.ca}"\n' if registry.ca else ""
    login = f'[host."{{}}".header]\nAuthorization = "Basic {BASIC}"\n' if registry.login else ""
    if registry.is_plain or ca:
        yield registry.host, _host_entry(root, ca=ca, login=login)
    for host in hosts:
        # A prefix stands in the API's path, behind /v2, so the whole of that path is given.
        url, override = (f"{root}/v2/{registry.prefix}", "override_path = true\n") if registry.prefix else (root, "")
        yield host, _host_entry(url, override, ca, login)


def _host_entry(url: str, override: str = "", ca: str = "", login: str = "") -> str:
    options = f"{override}{ca}"
    host = f'[host."{url}"]\ncapabilities = ["pull", "resolve"]\n{options}{login.format(url)}'
    return f'{_HEAD}\nserver = "{url}"\n{options}\n{host}'


def _checks(items: Iterable[Item], registry: _Registry) -> Iterator[NodeCheck]:
    """Pulls of the smallest image: it stands for all, and costs least."""
    if registry.own:
        catalogue = shlex.quote(f"{registry.url}/v2/_catalog")
        yield NodeCheck("the registry answers", "curl", f"{registry.curl} -o /dev/null {catalogue}")
    images = [(item, ImageAttributes.of(item)) for item in items]
    sizes = [(sum(obj.size for obj in item.objects), image.reference) for item, image in images if image.platforms]
    if not sizes:
        return
    smallest = next(image for _, image in images if image.reference == min(sizes)[1])
    at_site = f"{registry.location}/{smallest.repository}{smallest.suffix}"
    original = f"{smallest.registry}/{smallest.repository}{smallest.suffix}"
    for title, name in (("by the site's name", at_site), ("by its original name", original)):
        yield NodeCheck(f"podman pulls an image {title}", "podman", f"podman pull --quiet {shlex.quote(name)}")
    yield NodeCheck("containerd pulls an image by its original name", "crictl", f"crictl pull {shlex.quote(original)}")

"""What makes a node's pip use the site's index, and only that."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import cast
from urllib.parse import urlsplit

from bundler.kinds.wheels.locked import requirements_text
from bundler.model.items import Item
from bundler.model.node_files import NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served

# No extra index: pip would ask it too, and take whatever version is higher there.
_PIP_CONF = """\
# {name} {version}: wheels come from the site's index, and from nowhere else.
[global]
index-url = {index}
{trusted}timeout = 60
"""


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """pip.conf; for each Python its packages with their hashes; a check that pip gets a wheel."""
    wheels = [item for item in items if "metadata" in item.attributes]
    if not wheels:
        return NodeFiles()
    index = served.site.simple_url
    parts = urlsplit(index)
    # pip wants the host without its port, or else the very port.
    trusted = f"trusted-host = {parts.netloc.rpartition('@')[2].removesuffix(f':{parts.port}')}\n"
    content = _PIP_CONF.format(
        name=served.name, version=served.version, index=index, trusted=trusted if parts.scheme == "http" else ""
    )
    pip_conf = NodeFile("pip.conf", content, destination="/etc/pip.conf")
    return NodeFiles((pip_conf, *_requirements(items, wheels)), (_check(wheels),))


def _requirements(items: Iterable[Item], wheels: Iterable[Item]) -> Iterable[NodeFile]:
    """The requirements files of the bundle again, from the same data, for nodes that want exactly these versions."""
    for item in items:
        if (environment := item.attributes.get("lock")) is None:
            continue
        pins = [
            (wheel.name, wheel.version, wheel.objects[0].sha256)
            for wheel in wheels
            if environment in cast("list[str]", wheel.attributes["environments"])
        ]
        yield NodeFile(f"wheels/{item.name}", requirements_text(pins))


def _check(wheels: Iterable[Item]) -> NodeCheck:
    """Download the smallest wheel, one for any platform if there is one, whichever Python the node's pip runs under."""
    wheel = min(wheels, key=lambda item: ("any" not in _platforms(item), item.objects[0].size, item.name))
    python = cast("list[str]", wheel.attributes["python"])[0]
    options = ["--python-version", "".join(python.split(".")[:2]), "--only-binary", ":all:", "--no-deps"]
    for platform in sorted(_platforms(wheel) - {"any"}):
        options += ["--platform", platform]
    command = shlex.join(["pip3", "download", "--quiet", "--no-cache-dir", *options])
    requirement = shlex.quote(f"{wheel.name}=={wheel.version}")
    return NodeCheck(
        f"pip downloads {wheel.name} from the index",
        needs="pip3",
        command=f'd=$(mktemp -d) && {command} --dest "$d" {requirement}; r=$?; rm -rf "$d"; (exit $r)',
    )


def _platforms(item: Item) -> set[str]:
    return {tag.rpartition("-")[2] for tag in cast("list[str]", item.attributes["tags"])}

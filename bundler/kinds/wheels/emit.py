"""What makes a node's pip use the site's index, and only that."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from urllib.parse import urlsplit

from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.locked import requirements_text
from bundler.model.items import Item
from bundler.model.node_files import NodeCheck, NodeFile, NodeFiles
from bundler.model.site import Served

# No extra index: pip would ask it too, and take whatever version is higher there.
_PIP_CONF = """\
# {name} {version}: wheels come from the site's index, and from nowhere else.
[global]
index-url = {index}
{trust}timeout = 60
"""


def emit(items: tuple[Item, ...], served: Served) -> NodeFiles:
    """pip.conf; for each Python its packages with their hashes; a check that pip gets a wheel."""
    wheels = WheelAttributes.among(items)
    if not wheels:
        return NodeFiles()
    index = served.site.simple_url
    parts = urlsplit(index)
    # pip wants the host without its port, or else the very port.
    trust = f"trusted-host = {parts.netloc.rpartition('@')[2].removesuffix(f':{parts.port}')}\n"
    if parts.scheme == "https":
        ca = served.ca_file(served.site.index)
        trust = f"cert = {ca}\n" if ca else ""
    content = _PIP_CONF.format(name=served.name, version=served.version, index=index, trust=trust)
    pip_conf = NodeFile("pip.conf", content, destination="/etc/pip.conf")
    return NodeFiles((pip_conf, *_requirements(items, wheels)), (_check(wheels),))


def _requirements(items: Iterable[Item], wheels: Iterable[tuple[Item, WheelAttributes]]) -> Iterable[NodeFile]:
    """The requirements files of the bundle again, from the same data, for nodes that want exactly these versions."""
    for item, lock in LockAttributes.among(items):
        pins = [
            (wheel.name, wheel.version, wheel.objects[0].sha256)
            for wheel, attributes in wheels
            if lock.environment in attributes.environments
        ]
        yield NodeFile(f"wheels/{item.name}", requirements_text(pins))


def _check(wheels: Iterable[tuple[Item, WheelAttributes]]) -> NodeCheck:
    """Download the smallest wheel, one for any platform if there is one, whichever Python the node's pip runs under."""

    def effort(each: tuple[Item, WheelAttributes]) -> tuple[bool, int, str]:
        return "any" not in _platforms(each[1]), each[0].objects[0].size, each[0].name

    item, wheel = min(wheels, key=effort)
    options = ["--python-version", "".join(wheel.python[0].split(".")[:2]), "--only-binary", ":all:", "--no-deps"]
    for platform in sorted(_platforms(wheel) - {"any"}):
        options += ["--platform", platform]
    command = shlex.join(["pip3", "download", "--quiet", "--no-cache-dir", *options])
    requirement = shlex.quote(f"{item.name}=={item.version}")
    return NodeCheck(
        f"pip downloads {item.name} from the index",
        needs="pip3",
        command=f'd=$(mktemp -d) && {command} --dest "$d" {requirement}; r=$?; rm -rf "$d"; (exit $r)',
    )


def _platforms(wheel: WheelAttributes) -> set[str]:
    return {tag.rpartition("-")[2] for tag in wheel.tags}

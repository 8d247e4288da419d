"""The registry as a container: podman runs the bundle's own registry image, as it is, over the site's folders.

From podman 4.4 on a quadlet says so (podman-systemd.unit(5)), before that a unit of `podman run`.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bundler.bundle.content import Content
from bundler.model.items import Item, Object
from bundler.site.folders import make_folder, write_whole
from bundler.site.host import commands
from bundler.site.host.changes import Changes
from bundler.site.services.registry_image import RegistryImage, registry_image

logger = logging.getLogger(__name__)

# Within the container.
DATA = "/var/lib/registry"  # as in the image's own config
SOCKET = Path("/run/bundler/socket")
_KNOWN = "container.json"
_FIRST_WITH_QUADLETS = (4, 4)
_HINT = "see whether podman works here (`podman info`), or set `engine: none` in site.yaml to go without"


@dataclass(frozen=True, slots=True)
class RegistryContainer:
    """What to run: an image in podman's storage, and where the command that it runs reads its config."""

    image: str
    configuration: str


def prepare(folder: Path, items: Sequence[Item], content: Content, changes: Changes) -> bool:
    """Have the registry's image of `items` in podman's storage; False when they bring none.

    What podman has not got yet it gets after all of `content` was verified. Raises BundleError, SiteError when podman
    does not take it, IntegrityError for damaged bytes.
    """
    image = registry_image(items, content)
    if image is None:
        return False
    name = f"localhost/bundler-registry:{image.id}"
    if not commands.succeeds(["podman", "image", "exists", name]):
        content.verify_all()
        logger.info("giving podman %s", image.name)
        changes.make("podman image", name, lambda: _give(image, name, folder, content))
    found = RegistryContainer(name, _configuration_path(image.command))
    write_whole(folder / _KNOWN, json.dumps(asdict(found)).encode(), 0o644)
    return True


def prepared(folder: Path) -> RegistryContainer | None:
    """What `prepare` found for `folder`, if it did."""
    try:
        return RegistryContainer(**json.loads((folder / _KNOWN).read_text()))
    except FileNotFoundError:
        return None


def forget(folder: Path) -> None:
    """The registry runs in another way now."""
    (folder / _KNOWN).unlink(missing_ok=True)


def quadlets() -> bool:
    """Whether this machine's podman is one with quadlets."""
    text = commands.run(["podman", "version", "--format", "{{.Client.Version}}"], hint=_HINT)
    numbers = re.match(r"(\d+)\.(\d+)", text)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _FIRST_WITH_QUADLETS


def _give(image: RegistryImage, name: str, folder: Path, content: Content) -> None:
    """Put the image into podman's storage, by way of an OCI image layout (image-spec 1.1, image-layout.md)."""
    layout = folder / "image"
    shutil.rmtree(layout, ignore_errors=True)
    blobs = make_folder(layout / "blobs" / "sha256")
    for obj in (image.manifest, image.config, *image.layers):
        _copy(obj, blobs / obj.sha256, content)
    descriptor = {"mediaType": image.media_type, "digest": f"sha256:{image.id}", "size": image.manifest.size}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
    try:
        found = commands.run(["podman", "pull", "--quiet", f"oci:{layout}"], hint=_HINT).strip()
        commands.run(["podman", "tag", found, name], hint=_HINT)
    finally:
        shutil.rmtree(layout, ignore_errors=True)


def _copy(obj: Object, to: Path, content: Content) -> None:
    with to.open("wb") as file:
        for chunk in content.stream(obj):
            file.write(chunk)


def _configuration_path(command: Sequence[str]) -> str:
    """Where the image's own command reads its config: an argument that ends in .yml."""
    path = next((word for word in reversed(command) if re.fullmatch(r"(/[A-Za-z0-9._-]+)+\.ya?ml", word)), None)
    return path or "/etc/distribution/config.yml"

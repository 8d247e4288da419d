"""The registry program, taken out of a registry image that the bundle carries, for hosts without a container engine.

The bundle's images are an OCI image layout (image-spec 1.1, image-layout.md): an image is found by its item, its layers
are unpacked into a root file system, and the program in it runs where it lies: by itself when it is statically linked,
through the image's own dynamic loader and libraries otherwise.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.bundle.content import Content
from bundler.errors import SiteError
from bundler.model.items import Item, Object, objects_of
from bundler.model.target import OCI_ARCHITECTURES
from bundler.site.folders import make_folder
from bundler.site.services.rootfs import unpack

logger = logging.getLogger(__name__)

_BLOBS = "images/blobs/sha256"
_PROGRAMS = ("bin/registry", "usr/bin/registry", "usr/local/bin/registry", "usr/bin/docker-registry")
_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib")
_DEPTH = 4  # an index may name an index; nothing real goes deeper
_PT_INTERP = 3
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"  # what a manifest that does not say is


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """One platform's image: its manifest's digest in hex, the objects of both documents, its layers bottom first."""

    name: str
    id: str
    media_type: str
    manifest: Object
    config: Object
    layers: tuple[Object, ...]


class UnpackedImage:
    """`<folder>/rootfs`, a link to the root file system of the registry image in use: `<folder>/rootfs-<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._link = folder / "rootfs"

    def update(self, items: Sequence[Item], content: Content) -> bool:
        """Unpack the registry image that `items` bring for this machine, unless it is there; False when there is none.

        Raises IntegrityError (from `content`), SiteError when the image cannot be unpacked or its program does not run.
        """
        for image in registry_images(items, content):
            tree = self._folder / f"rootfs-{image.id[:12]}"
            if not tree.is_dir():
                self._unpack(image, tree, content)
            if not (found := _command(tree)):
                continue
            _try(found, image.name)
            self._switch(tree)
            return True
        return False

    def command(self) -> tuple[str, ...]:
        """How to run the program; empty when no image was unpacked."""
        return _command(self._link.resolve()) if self._link.is_dir() else ()

    def _unpack(self, image: RegistryImage, tree: Path, content: Content) -> None:
        logger.info("taking the registry program out of %s", image.name)
        part = self._folder / f"{tree.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        make_folder(part)
        for layer in image.layers:
            unpack(content.stream(layer), part, what=f"{image.name}, {layer.path}")
        part.rename(tree)

    def _switch(self, tree: Path) -> None:
        if self._link.is_symlink() and self._link.readlink() == Path(tree.name):
            return
        new = self._folder / "rootfs.new"
        new.unlink(missing_ok=True)
        new.symlink_to(tree.name)
        new.rename(self._link)
        for other in self._folder.glob("rootfs-*"):
            if other != tree:
                shutil.rmtree(other, ignore_errors=True)


def registry_images(items: Sequence[Item], content: Content) -> Iterator[RegistryImage]:
    """Images for this machine whose repository is called `registry`."""
    objects = {obj.path: obj for obj in objects_of(items)}
    for item in items:
        repository, digest = item.attributes.get("repository"), item.attributes.get("digest")
        if not isinstance(repository, str) or not isinstance(digest, str) or not repository.endswith("registry"):
            continue
        if found := _for_this_machine(digest, objects, content, _DEPTH):
            manifest, document = found
            config = _blob(document["config"].get("digest"), objects)
            layers = [_blob(layer.get("digest"), objects) for layer in document.get("layers", [])]
            if config is not None and None not in layers:
                media_type = document.get("mediaType") or OCI_MANIFEST
                there = tuple(layer for layer in layers if layer is not None)
                yield RegistryImage(item.name, manifest.sha256, media_type, manifest, config, there)


def _for_this_machine(
    digest: object, objects: dict[str, Object], content: Content, depth: int
) -> tuple[Object, dict[str, Any]] | None:
    """The object and document of the image manifest for this machine that `digest` leads to."""
    obj = _blob(digest, objects)
    if obj is None or depth == 0:
        return None
    document: dict[str, Any] = json.loads(content.read(obj))
    if "manifests" not in document:
        config = _blob(document.get("config", {}).get("digest"), objects)
        ours = config is not None and _is_ours(json.loads(content.read(config)))
        return (obj, document) if ours else None
    for descriptor in document["manifests"]:
        if _is_ours(descriptor.get("platform", {})) and (
            found := _for_this_machine(descriptor.get("digest"), objects, content, depth - 1)
        ):
            return found
    return None


def _is_ours(platform_: dict[str, Any]) -> bool:
    machine = platform.machine()
    return (platform_.get("os"), platform_.get("architecture")) == ("linux", OCI_ARCHITECTURES.get(machine, machine))


def _blob(digest: object, objects: dict[str, Object]) -> Object | None:
    return objects.get(f"{_BLOBS}/{str(digest).removeprefix('sha256:')}")


def _command(tree: Path) -> tuple[str, ...]:
    """How to run the registry in the root file system `tree`; empty when there is none in it."""
    for name in _PROGRAMS:
        program = tree / name
        if not program.is_file():
            continue
        if (loader := _loader(program)) is None:
            return (str(program),)
        libraries = ":".join(str(folder) for folder in _library_folders(tree))
        return (str((tree / loader.lstrip("/")).resolve()), "--library-path", libraries, str(program))
    return ()


def _loader(program: Path) -> str | None:
    """The dynamic loader an ELF program asks for (PT_INTERP, elf(5)); None for a static one, or no 64-bit ELF."""
    with program.open("rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2:
            return None
        order = "<" if head[5] == 1 else ">"
        (offset,) = struct.unpack_from(f"{order}Q", head, 32)
        size, count = struct.unpack_from(f"{order}HH", head, 54)
        for number in range(count):
            file.seek(offset + number * size)
            kind, _, start, _, _, length = struct.unpack(f"{order}IIQQQQ", file.read(40))
            if kind == _PT_INTERP:
                file.seek(start)
                return file.read(length).rstrip(b"\0").decode()
    return None


def _library_folders(tree: Path) -> Iterable[Path]:
    """The folders of `tree` that hold shared libraries, each once."""
    found = (path.parent.resolve() for place in _LIBRARIES for path in sorted((tree / place).glob("**/*.so*")))
    return dict.fromkeys(found)


def _try(command: Sequence[str], name: str) -> None:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _does_not_run(name, str(error)) from None
    if done.returncode != 0:
        raise _does_not_run(name, done.stderr.strip()[-500:] or f"exit code {done.returncode}")


def _does_not_run(name: str, why: str) -> SiteError:
    return SiteError(
        f"the registry program out of {name} does not run here: {why}",
        hint="see whether the root's file system is mounted noexec; or name an external registry in site.yaml",
    )

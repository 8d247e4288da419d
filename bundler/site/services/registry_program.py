"""The registry program, taken out of the registry's image, for hosts without a container engine.

Its layers are unpacked into a root file system, and the program in it runs where it lies: by itself when it is
statically linked, through the image's own dynamic loader and libraries otherwise. It runs as the registry's user alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import struct
import subprocess
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from bundler.bundle.content import Content
from bundler.errors import SiteError
from bundler.model.contents import one_line
from bundler.model.items import Item
from bundler.site.folders import make_folder
from bundler.site.services.registry_image import RegistryImage, registry_image
from bundler.site.services.rootfs import unpack
from bundler.site.services.unprivileged import Launcher

logger = logging.getLogger(__name__)

_PROGRAMS = ("bin/registry", "usr/bin/registry", "usr/local/bin/registry", "usr/bin/docker-registry")
_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64", "usr/local/lib")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_PT_INTERP = 3
_TRIED_FOR = 60.0  # seconds
_SAID = 64 << 10  # bytes
_LONGEST_NAME = 4096  # of a dynamic loader
_HEADERS = 64  # of an ELF program


class UnpackedImage:
    """`<folder>/rootfs`, a link to the root file system of the registry's image: `<folder>/rootfs-<digest>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._link = folder / "rootfs"

    def update(self, items: Sequence[Item], content: Content, launcher: Launcher) -> bool:
        """Have the program of the image that `items` bring for this machine; False when they bring none.

        What is not there already is unpacked, after all of `content` was verified, and tried with the `launcher`.
        Raises BundleError, IntegrityError (from `content`), SiteError when the image cannot be unpacked or its program
        does not run.
        """
        image = registry_image(items, content)
        if image is None:
            return False
        tree = self._folder / f"rootfs-{image.id}"
        if not tree.is_dir():
            content.verify_all()
            self._unpack(image, tree, content, launcher)
        self._switch(tree)
        return True

    def command(self) -> tuple[str, ...]:
        """How to run the program; empty when no image was unpacked."""
        return _command(self._link.resolve()) if self._link.is_dir() else ()

    def _unpack(self, image: RegistryImage, tree: Path, content: Content, launcher: Launcher) -> None:
        logger.info("taking the registry program out of %s", image.name)
        part = self._folder / f"{tree.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        make_folder(part)
        for layer in image.layers:
            unpack(content.stream(layer), part, what=f"{image.name}, {layer.path}")
        try:
            found = _command(part)
        except (OSError, RuntimeError) as error:  # a link or a name that leads to no end
            raise SiteError(
                f"{image.name}: its registry cannot be found: {error}",
                hint="give the role to a registry's image, such as docker.io/library/registry:3",
            ) from None
        if not found:
            raise SiteError(
                f"{image.name} has the role registry, and there is no registry in it: none of {', '.join(_PROGRAMS)}",
                hint="give the role to a registry's image, such as docker.io/library/registry:3",
            )
        _try(launcher.command((*found, "--version")), image.name)
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


def _command(tree: Path) -> tuple[str, ...]:
    """How to run the registry in the root file system `tree`; empty when there is none in it."""
    for name in _PROGRAMS:
        program = tree / name
        if not program.is_file():
            continue
        if (loader := _loader(program)) is None:
            return (str(program),)
        inside = (tree / loader.lstrip("/")).resolve()
        if inside.is_file() and inside.is_relative_to(tree.resolve()):
            libraries = ":".join(str(folder) for folder in _library_folders(tree))
            return (str(inside), "--library-path", libraries, str(program))
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
        for number in range(min(count, _HEADERS)):
            file.seek(min(offset + number * size, program.stat().st_size))
            header = file.read(40)
            if len(header) < 40:
                return None
            kind, _, start, _, _, length = struct.unpack(f"{order}IIQQQQ", header)
            if kind == _PT_INTERP:
                file.seek(min(start, program.stat().st_size))
                return os.fsdecode(file.read(min(length, _LONGEST_NAME)).partition(b"\0")[0])
    return None


def _library_folders(tree: Path) -> Iterable[Path]:
    """The folders of `tree` that hold shared libraries, each once."""
    found = (path.parent.resolve() for place in _LIBRARIES for path in sorted((tree / place).glob("**/*.so*")))
    return dict.fromkeys(found)


def _try(command: Sequence[str], name: str) -> None:
    """See that a program runs: what it says is read up to a limit, and after a while it is stopped.

    Raises SiteError.
    """
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, env=_ENVIRONMENT, stdin=nothing, stdout=nothing, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise _unable(name, str(error.strerror)) from None
    with process:
        assert process.stderr is not None
        stop = threading.Timer(_TRIED_FOR, os.killpg, (process.pid, signal.SIGKILL))
        stop.start()
        said = process.stderr.read(_SAID)
        process.stderr.close()
        process.wait()
        stop.cancel()
    if process.returncode != 0:
        why = one_line(said.decode(errors="replace")[-500:]) or f"exit code {process.returncode}"
        raise _unable(name, why)


def _unable(name: str, why: str) -> SiteError:
    return SiteError(
        f"the registry program out of {name} does not run here: {why}",
        hint="see whether the root's file system is mounted noexec; or name an external registry in site.yaml",
    )

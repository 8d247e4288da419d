"""Whether wheels can be installed from the bundle alone: pip itself resolves them, with no index."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from bundler.errors import BundleError, ResolveError
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.pip import Pip
from bundler.model.config import Config
from bundler.model.items import Item

if TYPE_CHECKING:
    from bundler.bundle.content import Content


def prove(items: tuple[Item, ...], content: Content) -> Iterator[str]:
    """For each lock, pip finds what was asked for and all that it needs among the wheels, in the versions locked.

    pip resolves by names, tags and metadata: it gets wheels that hold their metadata and nothing else, so that no
    gigabytes are copied for it. Raises BundleError when an item does not hold together.
    """
    del content
    wheels = WheelAttributes.among(items)
    with tempfile.TemporaryDirectory(prefix="bundler-prove-") as scratch:
        pip = Pip(None, Config(), Path(scratch))
        for _, lock in LockAttributes.among(items):
            folder = Path(scratch, lock.environment)
            folder.mkdir()
            pins = []
            for item, wheel in wheels:
                if lock.environment in wheel.environments:
                    _write_hollow(item, wheel, folder)
                    pins.append(_requirement(f"{item.name}=={item.version}"))
            try:
                pip.check(_environment(lock), [_requirement(asked) for asked in lock.asked], pins, folder)
            except ResolveError as error:
                yield error.message


def _requirement(text: str) -> str:
    """`text`, which is a requirement by name, and so no option of pip's and no place to read from."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        requirement = None
    if requirement is None or requirement.url:
        raise BundleError(
            f"wheels: {text!r} is no requirement",
            hint="the bundle was made by something else than this bundler: build it again",
        )
    return str(requirement)


def _environment(lock: LockAttributes) -> Environment:
    major, minor = lock.glibc.split(".")
    return Environment(lock.python, lock.arch, (int(major), int(minor)))


def _write_hollow(item: Item, wheel: WheelAttributes, folder: Path) -> None:
    """A wheel with the file name and metadata of `wheel`, and nothing in it.

    Formats: https://packaging.python.org/specifications/binary-distribution-format/, …/core-metadata/
    """
    information = f"{'-'.join(wheel.filename.split('-')[:2])}.dist-info"
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {item.name}",
        f"Version: {item.version}",
        *([f"Requires-Python: {wheel.requires_python}"] if wheel.requires_python else []),
        *(f"Provides-Extra: {extra}" for extra in wheel.provides_extra),
        *(f"Requires-Dist: {requirement}" for requirement in wheel.requires_dist),
    ]
    with zipfile.ZipFile(folder / wheel.filename, "w") as archive:
        archive.writestr(f"{information}/METADATA", "".join(f"{line}\n" for line in lines))
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: bundler\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{information}/RECORD", "")

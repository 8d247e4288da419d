"""Kubespray's tree: the few files of it that say what a cluster needs, out of a folder or a tarball."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from bundler import yaml_bounds
from bundler.errors import ProfileError
from bundler.limits import Limit, LimitExceeded
from bundler.tarball import BROKEN, open_tar

CHECKSUMS = "roles/kubespray_defaults/vars/main/checksums.yml"
DOWNLOADS = "roles/kubespray_defaults/defaults/main/download.yml"
DEFAULTS = (DOWNLOADS, "roles/kubespray_defaults/defaults/main/main.yml")
ROLE_VARS = (CHECKSUMS, "roles/kubespray_defaults/vars/main/main.yml")
PACKAGES = "roles/system_packages/vars/main.yml"
REQUIREMENTS = "requirements.txt"
_GALAXY = "galaxy.yml"
# Defaults of roles that use images of their own; a tree may be without them.
FURTHER_DEFAULTS = (
    "roles/kubernetes-apps/external_provisioner/local_path_provisioner/defaults/main.yml",
    "roles/kubernetes-apps/external_cloud_controller/vsphere/defaults/main.yml",
    "roles/kubernetes-apps/csi_driver/vsphere/defaults/main.yml",
)

_NEEDED = (*DEFAULTS, *ROLE_VARS, PACKAGES, REQUIREMENTS)
_WANTED = {*_NEEDED, *FURTHER_DEFAULTS, _GALAXY}
_FILE_LIMIT = 8 << 20
_COMPUTED = frozenset(f"tag:yaml.org,2002:{sort}" for sort in ("int", "float", "timestamp"))
_LONGEST = 100  # characters of a number
PACKED = Limit("a source archive", 1 << 30)
_MEMBERS = Limit("the members of a source archive", 100_000, "members")
_UNPACKED = Limit("a source archive, decompressed", 2 << 30)


class _Loader(yaml.CSafeLoader):
    """Whose numbers and dates are short: one of 59:59:59… takes time by its square, and 2001-13-45 is none."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _COMPUTED and len(node.value) > _LONGEST:
            raise yaml.constructor.ConstructorError(None, None, f"a number of {len(node.value)} characters")
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


@dataclass(frozen=True, slots=True)
class Tree:
    """The wanted files by their paths in the tree; `origin` names the tree in messages."""

    origin: str
    files: Mapping[str, bytes]

    def variables(self, *paths: str) -> dict[str, Any]:
        """The variables of `paths`, those of the first winning; paths that the tree has not count as empty.

        Raises ProfileError for a file that is no mapping of variables.
        """
        found: dict[str, Any] = {}
        for path in reversed(paths):
            if path in self.files:
                found.update(parse_variables(self.files[path], f"{self.origin}: {path}"))
        return found

    @property
    def requirements(self) -> list[str]:
        """The lines of requirements.txt that name something."""
        text = self.files[REQUIREMENTS].decode(errors="replace")
        lines = (line.split(" #")[0].strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    @property
    def version(self) -> str | None:
        """What the tree calls itself, `2.31.0`, where it says so."""
        version = self.variables(_GALAXY).get("version")
        return str(version) if version is not None else None


def read_folder(folder: Path, origin: str) -> Tree:
    """The tree in `folder`. Raises ProfileError when it is none that is known here."""
    return _checked(origin, {path: _limited(_read(folder / path), path, origin) for path in _there(folder)})


def read_archive(archive: Path, origin: str) -> Tree:
    """The tree in a tarball, below its one top folder. Raises ProfileError when it is none that is known here."""
    found: dict[str, bytes] = {}
    try:
        with archive.open("rb") as source, open_tar(source, unpacked=_UNPACKED, members=_MEMBERS) as opened:
            for member in opened:
                path = str(PurePosixPath(*PurePosixPath(member.name).parts[1:]))
                if path in _WANTED and member.isreg() and (file := opened.extractfile(member)):
                    found[path] = _limited(file.read(_FILE_LIMIT + 1), path, origin)
    except LimitExceeded as error:
        raise error.of(ProfileError, origin) from None
    except BROKEN as error:
        raise unknown_layout(origin, f"it cannot be read as a tarball: {error}") from None
    return _checked(origin, found)


def parse_variables(data: bytes, what: str) -> dict[str, Any]:
    """A YAML file of variables. Raises ProfileError, calling it `what`, when it is none."""
    try:
        yaml_bounds.check(data)
        found = yaml.load(data, Loader=_Loader)  # noqa: S506 (it is a safe one)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(
            f"{what}: not YAML: {' '.join(str(error).split())}", hint="fix the file, or take another source"
        ) from None
    except LimitExceeded as error:
        raise error.of(ProfileError, what) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ProfileError(f"{what}: expected a mapping of variables", hint="fix the file, or take another source")
    return found


def _there(folder: Path) -> Iterator[str]:
    return (path for path in sorted(_WANTED) if (folder / path).is_file())


def _read(file: Path) -> bytes:
    with file.open("rb") as source:
        return source.read(_FILE_LIMIT + 1)


def _limited(data: bytes, path: str, origin: str) -> bytes:
    if len(data) > _FILE_LIMIT:
        raise unknown_layout(origin, f"its {path} has more than {_FILE_LIMIT} bytes")
    return data


def _checked(origin: str, files: Mapping[str, bytes]) -> Tree:
    missing = [path for path in _NEEDED if path not in files]
    if missing:
        raise unknown_layout(origin, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in it")
    return Tree(origin, files)


def unknown_layout(origin: str, why: str) -> ProfileError:
    """The error for a tree that is none, or not one that could be read without guessing."""
    return ProfileError(
        f"{origin}: this is no tree of Kubespray whose layout is known here: {why}",
        hint="v2.28 to v2.31 are known, and newer ones that keep their variables in the same files",
    )

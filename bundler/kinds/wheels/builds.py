"""Wheels of packages that are published as source only: built here, and checked to be right where they go."""

from __future__ import annotations

import logging
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from bundler.errors import ResolveError
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.metadata import CoreMetadata
from bundler.kinds.wheels.pip import Pip

log = logging.getLogger(__name__)

# A symbol's version as it stands in the string table of an ELF file (the LSB's "Symbol Versioning").
_GLIBC_SYMBOL = re.compile(rb"\bGLIBC_(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Sdist:
    """A source distribution: where it is, and the sha256 its index states."""

    metadata: CoreMetadata
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The last segment of the URL."""
        return self.url.rpartition("/")[2]


class Builder:
    """Builds each source distribution as few times as the Pythons allow: a pure wheel serves them all.

    `download(url, to, sha256)` brings the source. A build runs the code of the package, with its build requirements
    from the index; it gets a fixed date and hash seed, so that a well-behaved one gives the same bytes again.
    """

    def __init__(self, pip: Pip, download: Callable[[str, Path, str], None], folder: Path) -> None:
        self._pip = pip
        self._download = download
        self._folder = folder
        self._built: dict[str, list[Path]] = {}

    def wheel(self, sdist: Sdist, environment: Environment) -> Path:
        """A wheel of `sdist` that `environment` can run.

        Raises ResolveError when the build fails, or gives nothing that could be right there; FetchError,
        IntegrityError.
        """
        built = self._built.setdefault(sdist.sha256, [])
        for wheel in built:
            if misfit(wheel, environment) is None:
                return wheel
        reason = f"this machine has no Python {environment} to build it with"
        for python in _interpreters(environment, any_version=not built):
            wheel = self._build(sdist, python)
            built.append(wheel)
            if (why := misfit(wheel, environment)) is None:
                return wheel
            reason = why
        project = f"{sdist.metadata.name} {sdist.metadata.version}"
        glibc = ".".join(map(str, environment.glibc))
        raise ResolveError(
            f"wheels: {project} has no wheel for Python {environment}, and none can be built here: {reason}",
            hint="build its wheel elsewhere and name that by URL in `wheels.requirements`, or build the bundle on a "
            f"machine with {environment.arch}, Python {environment.python} and glibc {glibc}",
        )

    def _build(self, sdist: Sdist, python: str) -> Path:
        source = self._folder / sdist.sha256 / sdist.file_name
        if not source.exists():
            source.parent.mkdir(parents=True)
            self._download(sdist.url, source, sdist.sha256)
        log.info("building a wheel of %s %s", sdist.metadata.name, sdist.metadata.version)
        return self._pip.wheel(source, python)


def misfit(wheel: Path, environment: Environment) -> str | None:
    """Why a wheel built here is wrong for `environment`; None when it is right."""
    tags = parse_wheel_filename(wheel.name)[3]
    fitting = [tag for tag in environment.tags() if tag in tags]
    if not fitting:
        return f"the build gave {'.'.join(sorted(map(str, tags)))}"
    if _any_platform(fitting):
        return None
    needed = glibc_needed(wheel)
    if needed > environment.glibc:
        return f"the build needs glibc {needed[0]}.{needed[1]}"
    return None


def glibc_needed(wheel: Path) -> tuple[int, int]:
    """The newest version of glibc that a file inside `wheel` names; (0, 0) when none does."""
    newest = (0, 0)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                if file.read(4) != b"\x7fELF":
                    continue
                kept = b""
                while chunk := file.read(1 << 20):
                    found = _GLIBC_SYMBOL.findall(kept + chunk)
                    newest = max([newest, *((int(major), int(minor)) for major, minor in found)])
                    kept = chunk[-32:]
    return newest


def _any_platform(tags: list[Tag]) -> bool:
    return any(tag.platform == "any" for tag in tags)


def _interpreters(environment: Environment, *, any_version: bool) -> list[str]:
    """The Pythons to build with: this one, since most wheels are pure, then the very version where it is installed."""
    same = sys.version_info[:2] == environment.release
    found = [sys.executable] if any_version or same else []
    if not same and platform.machine() == environment.arch:
        named = shutil.which("python{}.{}".format(*environment.release))
        found += [named] if named and _runs_as(named, environment.release) else []
    return found


def _runs_as(python: str, release: tuple[int, int]) -> bool:
    """Whether `python` really is that Python: version managers put stand-ins on the PATH that only print an error."""
    done = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return done.returncode == 0 and done.stdout.split() == [str(part) for part in release]

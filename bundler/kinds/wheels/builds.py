"""Wheels of packages that are published as source only: built here, in a sandbox, and right where they go."""

from __future__ import annotations

import json
import logging
import platform
import re
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename
from pydantic import Field, ValidationError

from bundler.errors import ResolveError
from bundler.kinds.wheels.attributes import FileName
from bundler.kinds.wheels.dependency import dependency
from bundler.kinds.wheels.environment import Environment
from bundler.kinds.wheels.metadata import DAMAGED, CoreMetadata
from bundler.kinds.wheels.packages import Package, lock
from bundler.kinds.wheels.pip import Pip
from bundler.kinds.wheels.requirements import Inputs
from bundler.kinds.wheels.sandbox import Interpreter, Sandbox, pip_folder
from bundler.kinds.wheels.spec import ARCHIVES
from bundler.model.target import StrictModel

log = logging.getLogger(__name__)

# A symbol's version as it stands in the string table of an ELF file (the LSB's "Symbol Versioning").
_GLIBC_SYMBOL = re.compile(rb"\bGLIBC_(\d+)\.(\d+)")
_BACKEND = Path(__file__).with_name("enclosed") / "backend.py"
_UNPACKED_LIMIT = 16 << 30  # bytes of all files of a wheel
_ROUNDS = 5  # a build asks for more once or twice
_ANSWER_LIMIT = 64 << 10  # bytes of its first line


class Builder:
    """Builds each source distribution as few times as the Pythons allow: a pure wheel serves them all.

    `download(url, to, sha256)` brings a file. A build runs the code of the package and of its build requirements, which
    are wheels, locked by hash and brought beforehand; it gets a fixed date and hash seed, so that a well-behaved one
    gives the same bytes again. May be used from several threads, one after the other.
    """

    def __init__(
        self,
        pip: Pip,
        download: Callable[[str, Path, str], None],
        sandbox: Sandbox,
        folder: Path,
        sources: frozenset[str] | None,
    ) -> None:
        """`sources` are the projects that may be built (None: any)."""
        self._pip = pip
        self._download = download
        self._sandbox = sandbox
        self._folder = Path(tempfile.mkdtemp(prefix="builds-", dir=folder))
        self._sources = sources
        self._fetched: dict[str, Path] = {}
        self._built: dict[str, list[Path]] = {}
        self._needed: dict[tuple[str, tuple[str, ...]], Path] = {}
        self._one_by_one = threading.Lock()

    def wheel(self, package: Package, environment: Environment) -> Path:
        """A wheel of the source distribution `package` that `environment` can run.

        Raises ResolveError when it may not be built, the build fails, or gives nothing that could be right there;
        FetchError, IntegrityError.
        """
        if self._sources is not None and package.metadata.project not in self._sources:
            raise ResolveError(
                f"wheels: {package} comes as {package.file_name}, and building it is not allowed",
                hint=f"write `sdist: [{package.metadata.project}]` to have it built in a sandbox, or name a wheel",
            )
        with self._one_by_one:
            return self._wheel(package, environment)

    def _wheel(self, package: Package, environment: Environment) -> Path:
        built = self._built.setdefault(str(package.sha256), [])
        for wheel in built:
            if misfit(wheel, environment) is None:
                return wheel
        reason = f"this machine has no Python {environment} to build it with"
        for python in _interpreters(environment, any_version=not built):
            wheel = self._build(package, python)
            built.append(wheel)
            if (why := misfit(wheel, environment)) is None:
                return wheel
            reason = why
        glibc = ".".join(map(str, environment.glibc))
        raise ResolveError(
            f"wheels: {package} has no wheel for Python {environment}, and none can be built here: {reason}",
            hint="build its wheel elsewhere and name that by URL in `wheels.requirements`, or build the bundle on a "
            f"machine with {environment.arch}, Python {environment.python} and glibc {glibc}",
        )

    def _build(self, package: Package, python: Interpreter) -> Path:
        source = self._source(package)
        log.info("building a wheel of %s", package)
        included: tuple[str, ...] = ()
        for _ in range(_ROUNDS):
            answer = self._ask(package, source, python, included)
            if isinstance(answer, Path):
                return answer
            included = (*included, *answer)
        raise ResolveError(
            f"wheels: the build of {package} needs more each time: {', '.join(included)}",
            hint="ask for a version that has a wheel, or build that wheel elsewhere and name it by URL",
        )

    def _source(self, package: Package) -> Path:
        """The source distribution, brought once, under a name of ours."""
        if (sha256 := str(package.sha256)) not in self._fetched:
            suffix = next(suffix for suffix in ARCHIVES if package.file_name.endswith(suffix))
            source = Path(tempfile.mkdtemp(dir=self._folder)) / f"source{suffix}"
            self._download(package.url, source, sha256)
            source.chmod(0o644)  # nobody reads it
            self._fetched[sha256] = source
        return self._fetched[sha256]

    def _ask(
        self, package: Package, source: Path, python: Interpreter, included: tuple[str, ...]
    ) -> tuple[str, ...] | Path:
        """Let the build begin with the requirements `included`: the wheel, or what it needs besides."""
        seen = {
            f"/in/{source.name}": str(source),
            "/in/wheels": str(self._wheels_of(included, python, package)),
            "/pip/pip": pip_folder(),
            "/enclosed/backend.py": str(_BACKEND),
        }
        given = {"source": f"/in/{source.name}", "wheels": "/in/wheels", "pip": "/pip", "included": included}
        with tempfile.TemporaryFile(dir=self._folder) as answer:
            arguments = ["-I", "-S", "/enclosed/backend.py", json.dumps(given)]
            self._sandbox.run(python, arguments, seen, answer, f"build {package}")
            answer.seek(0)
            try:
                said = _Answer.model_validate_json(answer.readline(_ANSWER_LIMIT))
            except ValidationError:
                raise ResolveError(
                    f"wheels: the build of {package} ended without a wheel", hint="ask for a version that has a wheel"
                ) from None
            if said.wheel is None:
                return said.requires
            wheel = Path(tempfile.mkdtemp(dir=self._folder)) / said.wheel
            with wheel.open("wb") as file:
                shutil.copyfileobj(answer, file)
        if (found := CoreMetadata.of_wheel(wheel)).project != package.metadata.project:
            raise ResolveError(
                f"wheels: the build of {package} gave a wheel of {found.name}", hint="ask for another version"
            )
        return wheel

    def _wheels_of(self, requirements: tuple[str, ...], python: Interpreter, package: Package) -> Path:
        """A folder with the wheels of `requirements` and of all that they need, for `python`."""
        key = (python.program, requirements)
        if key not in self._needed:
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            folder.chmod(0o755)
            try:
                for text in requirements:
                    dependency(text)
                found = lock(python.environment, Inputs([*requirements]), self._pip, sources=frozenset())
            except (ResolveError, ValueError) as error:
                raise ResolveError(
                    f"wheels: what the build of {package} needs cannot be had as wheels: "
                    + str(error).removeprefix("wheels: "),
                    hint="ask for a version that has a wheel, or build that wheel elsewhere and name it by URL in "
                    "`wheels.requirements`",
                ) from None
            for each in found if requirements else ():
                if not each.is_wheel:
                    raise ResolveError(
                        f"wheels: what the build of {package} needs cannot be had as wheels: {each} is none",
                        hint="ask for a version that has a wheel",
                    )
                self._download(each.url, folder / each.file_name, str(each.sha256))
                (folder / each.file_name).chmod(0o644)
            self._needed[key] = folder
        return self._needed[key]


class _Answer(StrictModel):
    """The first line that `enclosed/backend.py` writes."""

    wheel: FileName | None = None
    requires: Annotated[tuple[str, ...], Field(max_length=100)] = ()


def misfit(wheel: Path, environment: Environment) -> str | None:
    """Why a wheel built here is wrong for `environment`; None when it is right."""
    tags = parse_wheel_filename(wheel.name)[3]
    fitting = [tag for tag in environment.tags() if tag in tags]
    if not fitting:
        return f"the build gave {'.'.join(sorted(map(str, tags)))}"
    if _any_platform(fitting):
        return None
    try:
        needed = glibc_needed(wheel)
    except DAMAGED as error:
        return f"the build gave a damaged archive: {error}"
    if needed > environment.glibc:
        return f"the build needs glibc {needed[0]}.{needed[1]}"
    return None


def glibc_needed(wheel: Path) -> tuple[int, int]:
    """The newest version of glibc that a file inside `wheel` names; (0, 0) when none does.

    Raises BadZipFile and what else zipfile does for a damaged one.
    """
    newest = (0, 0)
    with zipfile.ZipFile(wheel) as archive:
        if sum(member.file_size for member in archive.infolist()) > _UNPACKED_LIMIT:
            raise zipfile.BadZipFile(f"it unpacks to more than {_UNPACKED_LIMIT} bytes")
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


def _interpreters(environment: Environment, *, any_version: bool) -> Iterator[Interpreter]:
    """The Pythons to build with: this one, since most wheels are pure, then the very version where it is installed."""
    same = sys.version_info[:2] == environment.release
    if (any_version or same) and (this := Interpreter.of(sys.executable)) is not None:
        yield this
    if not same and platform.machine() == environment.arch:
        named = shutil.which("python{}.{}".format(*environment.release))
        other = Interpreter.of(named) if named else None
        if other is not None and other.environment.release == environment.release:
            yield other

"""From requirements to exact wheels: one lock per Python and architecture, then the file of each pin."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes
from bundler.kinds.wheels.builds import Builder, Sdist
from bundler.kinds.wheels.environment import Environment, environments
from bundler.kinds.wheels.locked import requirements_item_name, requirements_text
from bundler.kinds.wheels.metadata import CoreMetadata
from bundler.kinds.wheels.pip import Pin, Pip
from bundler.kinds.wheels.requirements import LIMIT, Inputs, asked, gather
from bundler.kinds.wheels.source import choose_index, original
from bundler.kinds.wheels.spec import Spec
from bundler.model.contents import one_line
from bundler.model.items import Download, Item, Object
from bundler.model.target import Target
from bundler.transfer.credentials import configured
from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_URL = re.compile(r"https?://\S+")
_AT_ONCE = 2  # resolutions; each keeps a core busy


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a lock, and the file that pip would take for it.

    `sha256` and `size` in bytes are None where the index states none.
    """

    metadata: CoreMetadata
    url: str
    sha256: str | None
    size: int | None

    @property
    def file_name(self) -> str:
        """The file's name, decoded: in a URL the `+` of a local version is escaped."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    @property
    def is_wheel(self) -> bool:
        """Whether it can be installed as it is."""
        return self.file_name.endswith(".whl")


@dataclass(slots=True)
class Wheel:
    """A wheel of the bundle, and the environments whose locks have it."""

    metadata: CoreMetadata
    obj: Object
    environments: list[Environment] = field(default_factory=list)


def resolve(spec: Spec, targets: tuple[Target, ...], upstream: Upstream) -> tuple[Item, ...]:
    """Every wheel that `spec` needs on `targets`, and a requirements file with hashes for each Python.

    Raises ProfileError (a requirements file says what cannot be done), ResolveError (nothing fits, or only a source
    distribution does), FetchError.
    """
    wanted = environments(spec.python, targets, spec.glibc_version)
    inputs = gather(spec.requirements, spec.constraints, lambda location: upstream.read(location, limit=LIMIT))
    index = choose_index(spec.index_url, upstream.config, upstream.mirrored)
    if index.credentials is not None and configured(upstream.config, index.netloc) is None:
        upstream.witness.doubts()  # a log-in out of pip's own configuration is pip's alone: nobody else can ask again
    pip = Pip(index, upstream.config, upstream.scratch, upstream.stopped, upstream.witness)
    locks = _locks(wanted, _by_mirror(inputs, upstream), pip, upstream, build=spec.sdist == "build")
    wheels = _wheels(locks, pip, upstream)
    return (*_items(wheels), *_requirements(wheels, wanted, asked(inputs), upstream))


def _by_mirror(inputs: Inputs, upstream: Upstream) -> Inputs:
    """`inputs` with the URLs in them by way of the mirror map."""

    def mirrored(line: str) -> str:
        return _URL.sub(lambda url: upstream.mirrored(url[0]), line)

    return Inputs([mirrored(line) for line in inputs.requirements], [mirrored(line) for line in inputs.constraints])


def _locks(
    wanted: Sequence[Environment], inputs: Inputs, pip: Pip, upstream: Upstream, *, build: bool
) -> dict[Environment, list[Package]]:
    def one(environment: Environment) -> list[Package]:
        log.info("resolving wheels for Python %s", environment)
        return lock(environment, inputs, pip, build=build)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        locks = dict(zip(wanted, threads.map(one, wanted), strict=True))
    return {
        environment: [
            replace(package, url=original(package.url, upstream.config, upstream.mirrored)) for package in packages
        ]
        for environment, packages in locks.items()
    }


def lock(environment: Environment, inputs: Inputs, pip: Pip, *, build: bool) -> list[Package]:
    """The packages of `inputs` for `environment`, by pip-tools, each with the file that pip itself picks.

    With `build` off only wheels count, and no code of any package runs. Raises ResolveError, FetchError.
    """
    try:
        pins, choices = pip.lock(environment, inputs, only_wheels=not build)
    except ResolveError:
        if not build:
            _name_source_only(environment, inputs, pip)
        raise
    return _checked(pins, choices)


def _name_source_only(environment: Environment, inputs: Inputs, pip: Pip) -> None:
    """Raise ResolveError, naming them all, if packages without a wheel are why wheels alone do not satisfy `inputs`."""
    try:
        packages = _checked(*pip.lock(environment, inputs, only_wheels=False, builds=False))
    except ResolveError:
        return  # something else is wrong: the first reason stands
    named = sorted(
        f"{package.metadata.name} {package.metadata.version}" for package in packages if not package.is_wheel
    )
    if named:
        raise ResolveError(
            f"wheels: no wheel for Python {environment}, only source, of {', '.join(named)}",
            hint="set `sdist: build` to build them here, or ask for versions that have a wheel",
        )


def _checked(pins: Iterable[Pin], choices: Iterable[Mapping[str, Any]]) -> list[Package]:
    """The packages that pip chose. Raises FetchError where the index states another digest than for the lock."""
    allowed = {canonicalize_name(Requirement(pin.requirement).name): pin.sha256 for pin in pins}
    packages = []
    for entry in choices:
        metadata = CoreMetadata.of_report(entry["metadata"])
        sha256 = entry["download_info"]["archive_info"].get("hashes", {}).get("sha256")
        if sha256 is not None and sha256 not in allowed[canonicalize_name(metadata.name)]:
            raise FetchError(
                f"wheels: the index changed its mind about {metadata.name} {metadata.version} between two answers",
                hint="run it again",
            )
        packages.append(Package(metadata, entry["download_info"]["url"], sha256, entry["size"]))
    return packages


def _wheels(locks: Mapping[Environment, Sequence[Package]], pip: Pip, upstream: Upstream) -> list[Wheel]:
    """The wheels of all locks, each once, by file name."""
    published = {package.url: package for packages in locks.values() for package in packages if package.is_wheel}
    with ThreadPoolExecutor(upstream.config.jobs) as threads:
        found = threads.map(lambda package: _object(package, upstream), published.values())
        objects = dict(zip(published, found, strict=True))
    builder = Builder(pip, lambda url, to, sha256: upstream.download(url, to, sha256=sha256), upstream.scratch)
    wheels: dict[str, Wheel] = {}
    for environment, packages in locks.items():
        for package in packages:
            metadata, obj = package.metadata, objects.get(package.url)
            if obj is None:
                metadata, obj = _build(package, environment, builder, upstream)
            wheel = wheels.setdefault(obj.path, Wheel(metadata, obj))
            if wheel.obj.sha256 != obj.sha256:
                raise ResolveError(
                    f"wheels: {obj.path} would be two different files",
                    hint="name it by one URL, or from one index, for every Python",
                )
            wheel.environments.append(environment)
    return [wheels[path] for path in sorted(wheels)]


def _object(package: Package, upstream: Upstream) -> Object:
    path = f"wheels/{package.file_name}"
    if package.url.startswith("file:"):
        return upstream.local_object(path, unquote(urlsplit(package.url).path))
    size, sha256 = package.size, package.sha256
    if size is None or sha256 is None:
        size, sha256 = upstream.measure(package.url, sha256=sha256)
    return Object(path, size, sha256, Download(package.url))


def _build(
    package: Package, environment: Environment, builder: Builder, upstream: Upstream
) -> tuple[CoreMetadata, Object]:
    sha256 = package.sha256 or upstream.measure(package.url)[1]
    upstream.witness.doubts()  # what comes out is of this machine's programs too
    wheel = builder.wheel(Sdist(package.metadata, package.url, sha256), environment)
    return CoreMetadata.of_wheel(wheel), upstream.keep(f"wheels/{wheel.name}", wheel)


def _items(wheels: Iterable[Wheel]) -> Iterable[Item]:
    for wheel in wheels:
        file_name = Path(wheel.obj.path).name
        metadata = wheel.metadata
        yield Item(
            "wheels",
            metadata.project,
            metadata.version,
            (wheel.obj,),
            WheelAttributes(
                filename=file_name,
                python=tuple(dict.fromkeys(environment.python for environment in wheel.environments)),
                environments=tuple(str(environment) for environment in wheel.environments),
                tags=tuple(sorted(str(tag) for tag in parse_wheel_filename(file_name)[3])),
                requires_python=metadata.requires_python,
                requires_dist=metadata.requires_dist,
                provides_extra=metadata.provides_extra,
                metadata=metadata.form(),
            ).as_json(),
            purl=f"pkg:pypi/{metadata.project}@{quote(metadata.version)}?file_name={quote(file_name)}",
            licence=one_line(metadata.licence),
        )


def _requirements(
    wheels: Sequence[Wheel], wanted: Sequence[Environment], requirements: tuple[str, ...], upstream: Upstream
) -> Iterable[Item]:
    """A requirements file for each lock, for `pip install --no-index --find-links wheels --require-hashes -r FILE`."""
    several = len({environment.arch for environment in wanted}) > 1
    for environment in wanted:
        pins = [
            (wheel.metadata.project, wheel.metadata.version, wheel.obj.sha256)
            for wheel in wheels
            if environment in wheel.environments
        ]
        name = requirements_item_name(environment.python, environment.arch if several else None)
        kept = upstream.keep(f"wheels/{name}", requirements_text(pins).encode())
        attributes = LockAttributes(
            environment=str(environment),
            python=environment.python,
            arch=environment.arch,
            glibc="{}.{}".format(*environment.glibc),
            asked=requirements,
        )
        yield Item("wheels", name, environment.python, (kept,), attributes.as_json())

"""From requirements to exact wheels: one lock per Python and architecture, then the file of each pin."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from pydantic import ValidationError

from bundler.errors import ResolveError
from bundler.kinds.wheels.attributes import LockAttributes, WheelAttributes, tags_of
from bundler.kinds.wheels.builds import Builder
from bundler.kinds.wheels.environment import Environment, environments
from bundler.kinds.wheels.locked import requirements_item_name, requirements_text
from bundler.kinds.wheels.metadata import CoreMetadata, read_metadata
from bundler.kinds.wheels.packages import Package, lock
from bundler.kinds.wheels.pip import Pip
from bundler.kinds.wheels.requirements import LIMIT, Inputs, asked, gather, refuse_sources
from bundler.kinds.wheels.sandbox import Sandbox
from bundler.kinds.wheels.source import choose_index, original
from bundler.kinds.wheels.spec import Spec
from bundler.model.items import Download, Item, Object
from bundler.model.target import Target
from bundler.transfer.credentials import configured
from bundler.transfer.upstream import Upstream

log = logging.getLogger(__name__)

_URL = re.compile(r"https?://\S+")
_ROUNDS = 20
_AT_ONCE = 2  # resolutions; each keeps a core busy


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
    refuse_sources(inputs, spec.sources)
    index = choose_index(spec.index_url, upstream.config, upstream.mirrored)
    if index.credentials is not None and configured(upstream.config, index.url) is None:
        upstream.witness.doubts()  # a log-in out of pip's own configuration is pip's alone: nobody else can ask again
    pip = Pip(index, upstream.config, upstream.scratch, upstream.led, upstream.stopped, upstream.witness)
    sandbox = Sandbox(upstream.scratch, upstream.stopped)
    builder = Builder(pip, partial(_download, upstream), sandbox, upstream.scratch, spec.sources)
    locks = _locks(wanted, _by_mirror(inputs, upstream), pip, builder, upstream, spec.sources)
    wheels = _wheels(locks, builder, upstream)
    return (*_items(wheels), *_requirements(wheels, wanted, asked(inputs), upstream))


def _by_mirror(inputs: Inputs, upstream: Upstream) -> Inputs:
    """`inputs` with the URLs in them by way of the mirror map."""

    def mirrored(line: str) -> str:
        return _URL.sub(lambda url: upstream.mirrored(url[0]), line)

    # A mirror is in the config: whoever wrote the line, it leads there by the config's word.
    named = {
        mirror: author if mirror == url else mirror
        for url, author in inputs.named.items()
        for mirror in [mirrored(url)]
    }
    return Inputs(
        [mirrored(line) for line in inputs.requirements], [mirrored(line) for line in inputs.constraints], named
    )


def _download(upstream: Upstream, url: str, to: Path, sha256: str) -> None:
    upstream.download(url, to, sha256=sha256)


def _locks(
    wanted: Sequence[Environment],
    inputs: Inputs,
    pip: Pip,
    builder: Builder,
    upstream: Upstream,
    sources: frozenset[str] | None,
) -> dict[Environment, list[Package]]:
    def one(environment: Environment) -> list[Package]:
        log.info("resolving wheels for Python %s", environment)
        return _lock(environment, inputs, pip, builder, upstream, sources)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        locks = dict(zip(wanted, threads.map(one, wanted), strict=True))
    return {
        environment: [
            replace(package, url=original(package.url, upstream.config, upstream.mirrored)) for package in packages
        ]
        for environment, packages in locks.items()
    }


def _lock(
    environment: Environment,
    inputs: Inputs,
    pip: Pip,
    builder: Builder,
    upstream: Upstream,
    sources: frozenset[str] | None,
) -> list[Package]:
    """What `inputs` come to, where sources count by the wheels that are built of them.

    What a source needs is known for certain only then, and may lead to another choice: it goes on until nothing new is
    chosen.
    """
    built: dict[str, bytes] = {}
    for _ in range(_ROUNDS):
        packages = lock(environment, inputs, pip, sources=sources, built=built)
        new = [package for package in packages if not package.is_wheel and package.url not in built]
        if not new:
            return packages
        upstream.witness.doubts()  # what comes out is of this machine's programs too
        for package in new:
            sha256 = package.sha256 or upstream.measure(package.url)[1]
            built[package.url] = read_metadata(builder.wheel(replace(package, sha256=sha256), environment))
    raise ResolveError(
        f"wheels: Python {environment}: each build from source leads to another one: {', '.join(map(str, new))}",
        hint="ask for versions that have a wheel",
    )


def _wheels(locks: Mapping[Environment, Sequence[Package]], builder: Builder, upstream: Upstream) -> list[Wheel]:
    """The wheels of all locks, each once, by file name."""
    published = {package.url: package for packages in locks.values() for package in packages if package.is_wheel}
    with ThreadPoolExecutor(upstream.config.jobs) as threads:
        found = threads.map(lambda package: _object(package, upstream), published.values())
        objects = dict(zip(published, found, strict=True))
    wheels: dict[str, Wheel] = {}
    for environment, packages in locks.items():
        for package in packages:
            metadata, obj = package.metadata, objects.get(package.url)
            if obj is None:
                metadata, obj = _built(package, environment, builder, upstream)
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


def _built(
    package: Package, environment: Environment, builder: Builder, upstream: Upstream
) -> tuple[CoreMetadata, Object]:
    sha256 = package.sha256 or upstream.measure(package.url)[1]
    wheel = builder.wheel(replace(package, sha256=sha256), environment)
    return CoreMetadata.of_wheel(wheel), upstream.keep(f"wheels/{wheel.name}", wheel)


def _items(wheels: Iterable[Wheel]) -> Iterable[Item]:
    for wheel in wheels:
        file_name = Path(wheel.obj.path).name
        metadata = wheel.metadata
        try:
            attributes = WheelAttributes(
                filename=file_name,
                python=tuple(dict.fromkeys(environment.python for environment in wheel.environments)),
                environments=tuple(str(environment) for environment in wheel.environments),
                tags=tags_of(file_name),
                requires_python=metadata.requires_python,
                requires_dist=metadata.requires_dist,
                metadata=metadata.form(),
            )
        except ValidationError as error:
            raise ResolveError(
                f"wheels: {file_name[:200]!r} cannot be carried: {error.errors(include_url=False)[0]['msg']}",
                hint="ask for another version of that package, or for another package",
            ) from None
        yield Item(
            "wheels",
            metadata.project,
            metadata.version,
            (wheel.obj,),
            attributes.as_json(),
            purl=f"pkg:pypi/{metadata.project}@{quote(metadata.version)}?file_name={quote(file_name)}",
            licence=metadata.licence,
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

"""A repository's modules.yaml, read: module streams and their defaults.

Formats: modulemd v1 and v2, modulemd-defaults v1
(https://github.com/fedora-modularity/libmodulemd/tree/main/yaml_specs). Other documents do not change what dnf chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import yaml

from bundler import yaml_bounds
from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata, opened
from bundler.limits import LimitExceeded

# BaseLoader reads every scalar as text: a stream written as 1.10 must not become the number 1.1.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True, slots=True)
class Stream:
    """One build of a module's stream: one modulemd document. `requires` maps modules to their accepted streams."""

    repo: str
    name: str
    stream: str
    version: int
    context: str
    static_context: bool
    arch: str
    requires: tuple[tuple[str, tuple[str, ...]], ...]
    artifacts: frozenset[NEVRA]
    demodularized: frozenset[str]
    profiles: Mapping[str, tuple[str, ...]]

    @property
    def name_stream(self) -> str:
        return f"{self.name}:{self.stream}"


@dataclass(frozen=True, slots=True)
class Defaults:
    """A module's default stream, if it has one, and each stream's default profiles."""

    stream: str | None
    profiles: Mapping[str, tuple[str, ...]]
    modified: int = 0


@dataclass(frozen=True, slots=True)
class ModuleIndex:
    """All streams of some repositories, in the order of their repositories, and the merged defaults by module."""

    streams: tuple[Stream, ...]
    defaults: Mapping[str, Defaults]

    def streams_of(self, module: str) -> tuple[str, ...]:
        return tuple(sorted({stream.stream for stream in self.streams if stream.name == module}))

    def default_stream(self, module: str) -> str | None:
        defaults = self.defaults.get(module)
        return defaults.stream if defaults else None


def read_modules(repos: Iterable[RepoMetadata]) -> ModuleIndex:
    """Read the modules.yaml of each repository that has one.

    Raises ResolveError naming a repository whose file is damaged.
    """
    streams: list[Stream] = []
    defaults: dict[str, Defaults] = {}
    for repo in repos:
        found: list[Stream] = []
        for _, kind, data in documents(repo):
            if kind == "modulemd":
                found.append(_stream(repo, data))
            elif kind == "modulemd-defaults" and "module" in data:
                _merge(defaults, *_defaults(repo, data))
        streams += sorted(found, key=lambda stream: stream.name)
    return ModuleIndex(tuple(streams), defaults)


def documents(repo: RepoMetadata) -> Iterator[tuple[bytes, str, dict[str, Any]]]:
    """Each document of a repository's modules.yaml: its text, its kind, and its data with every scalar as text."""
    if repo.modules is None:
        return
    with opened(repo, repo.modules, "modules") as lines:
        for text in _split(lines):
            try:
                yaml_bounds.check(text)
                document = yaml.load(text, Loader=_Loader)  # noqa: S506 (it makes text, lists and mappings only)
            except yaml.YAMLError as error:
                raise _damaged(repo, str(error)) from error
            except LimitExceeded as error:
                raise error.of(ResolveError, f"repository {repo.id}: {repo.modules.name}") from None
            if document is None:
                continue
            if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
                raise _damaged(repo, "a document has no data")
            yield text, str(document.get("document")), document["data"]


def _split(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The YAML documents of a stream. `---` begins a document even inside a block scalar (YAML 1.2, 9.1.2)."""
    text: list[bytes] = []
    for line in lines:
        if line.startswith(b"---") and text:
            yield b"".join(text)
            text = []
        text.append(line)
    yield b"".join(text)


def _damaged(repo: RepoMetadata, why: str) -> ResolveError:
    return ResolveError(f"repository {repo.id}: its modules metadata is damaged: {why}", hint="tell whoever runs it")


@contextmanager
def _read(repo: RepoMetadata, what: str) -> Iterator[None]:
    """What is of another shape than it should be is damage, of `what`."""
    try:
        yield
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise _damaged(repo, f"{what[:200]}: {str(error)[:200]}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts; none where nothing is said."""
    if not isinstance(value or [], list):
        raise ValueError(f"{value!r} is no list")
    return tuple(map(_text, value or ()))


def _number(value: Any) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", _text(value)):
        raise ValueError(f"{value!r} is no number")
    return int(value)


def _stream(repo: RepoMetadata, data: dict[str, Any]) -> Stream:
    with _read(repo, f"module {data.get('name')}:{data.get('stream')}"):
        return Stream(
            repo=repo.id,
            name=_text(data["name"]),
            stream=_text(data["stream"]),
            version=_number(data["version"]),
            context=_text(data.get("context", "")),
            static_context=data.get("static_context") == "true",
            arch=_text(data.get("arch", "noarch")),
            requires=tuple(_requires(data.get("dependencies") or ())),
            artifacts=frozenset(_artifacts(_texts((data.get("artifacts") or {}).get("rpms")))),
            demodularized=frozenset(_texts((data.get("demodularized") or {}).get("rpms"))),
            profiles={
                _text(name): _texts((profile or {}).get("rpms"))
                for name, profile in (data.get("profiles") or {}).items()
            },
        )


def _requires(dependencies: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Version 2 has a list of dependencies with lists of streams, version 1 one dependency with one stream each."""
    for dependency in [dependencies] if isinstance(dependencies, dict) else dependencies:
        for module, streams in (dependency.get("requires") or {}).items():
            yield _text(module), (streams,) if isinstance(streams, str) else _texts(streams)


def _artifacts(rpms: Iterable[str]) -> Iterator[NEVRA]:
    for rpm in rpms:
        try:
            yield NEVRA.parse(rpm)
        except ValueError:
            continue  # libdnf passes over what is no NEVRA, too


def _defaults(repo: RepoMetadata, data: dict[str, Any]) -> tuple[str, Defaults]:
    """A module, and what one document says of it."""
    with _read(repo, f"the defaults of module {data.get('module')}"):
        profiles = {_text(stream): _texts(names) for stream, names in (data.get("profiles") or {}).items()}
        stream = _text(data.get("stream") or "")
        return _text(data["module"]), Defaults(stream or None, profiles, _number(data.get("modified") or "0"))


def _merge(defaults: dict[str, Defaults], module: str, new: Defaults) -> None:
    """Add a repository's defaults: the newer document wins; equally new ones that differ in stream leave none."""
    old = defaults.get(module)
    if old is None or old.modified < new.modified:
        defaults[module] = new
    elif old.modified == new.modified:
        stream = new.stream if old.stream == new.stream else None
        defaults[module] = Defaults(stream, {**old.profiles, **new.profiles}, new.modified)

"""Module streams, as dnf treats them: which are active, which packages that hides, and a subset's modules.yaml.

dnf hides every artifact of a stream that is neither enabled nor default, and an active stream hides the packages of
the same name (or that provide it) from outside the stream. Formats: modulemd v1 and v2, modulemd-defaults v1
(https://github.com/fedora-modularity/libmodulemd/tree/main/yaml_specs). Other documents do not change what dnf chooses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

import solv
import yaml

from bundler import yaml_bounds
from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata, opened
from bundler.kinds.rpms.sack import SOURCE_ARCHES, new_pool, new_solver, reasons
from bundler.limits import LimitExceeded

# BaseLoader reads every scalar as text: a stream written as 1.10 must not become the number 1.1.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_MODULE_SPEC = re.compile(r"(?P<name>[\w.+-]+)(:(?P<stream>[\w.+-]+))?(/(?P<profile>[\w.+-]+))?")


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """`name`, `name:stream`, either with `/profile`."""

    name: str
    stream: str | None
    profile: str | None

    @classmethod
    def parse(cls, text: str) -> ModuleSpec:
        """Read a module as a profile names it. Raises ResolveError when it has another form."""
        found = _MODULE_SPEC.fullmatch(text)
        if found is None:
            raise ResolveError(f"module {text!r} is not name[:stream][/profile]", hint="write it as nodejs:20")
        return cls(found["name"], found["stream"], found["profile"])


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


@dataclass(frozen=True, slots=True)
class ModularFilter:
    """What the modules rule lets through: `shown`, and else neither `hidden` nor what is called or provides `names`."""

    shown: frozenset[NEVRA]
    hidden: frozenset[NEVRA]
    names: frozenset[str]


def read_modules(repos: Iterable[RepoMetadata]) -> ModuleIndex:
    """Read the modules.yaml of each repository that has one.

    Raises ResolveError naming a repository whose file is damaged.
    """
    streams: list[Stream] = []
    defaults: dict[str, Defaults] = {}
    for repo in repos:
        found: list[Stream] = []
        for _, kind, data in _documents(repo):
            if kind == "modulemd":
                found.append(_stream(repo, data))
            elif kind == "modulemd-defaults" and "module" in data:
                _merge(defaults, *_defaults(repo, data))
        streams += sorted(found, key=lambda stream: stream.name)
    return ModuleIndex(tuple(streams), defaults)


def choose_streams(index: ModuleIndex, specs: Iterable[ModuleSpec]) -> dict[str, str]:
    """The stream to enable of each module in `specs`; a module named without a stream takes its default or only one.

    Raises ResolveError for an unknown module or stream, a module with a choice left open, two streams of one module.
    """
    enabled: dict[str, str] = {}
    for spec in sorted(specs, key=lambda spec: spec.stream is None):  # a bare name takes the stream enabled elsewhere
        streams = index.streams_of(spec.name)
        if not streams:
            known = ", ".join(sorted({stream.name for stream in index.streams})) or "none"
            raise ResolveError(f"no repository has a module {spec.name}", hint=f"the modules there are: {known}")
        stream = spec.stream or enabled.get(spec.name) or index.default_stream(spec.name)
        if stream is None and len(streams) == 1:
            stream = streams[0]
        if stream is None:
            raise ResolveError(
                f"module {spec.name} has no default stream", hint=f"name one of its streams: {', '.join(streams)}"
            )
        if stream not in streams:
            raise ResolveError(
                f"module {spec.name} has no stream {stream}", hint=f"its streams are: {', '.join(streams)}"
            )
        if enabled.setdefault(spec.name, stream) != stream:
            raise ResolveError(
                f"module {spec.name} is asked for in two streams, {enabled[spec.name]} and {stream}",
                hint="a system can have one stream of a module at a time: keep one, or build two bundles",
            )
    return enabled


def active_streams(
    index: ModuleIndex, enabled: Mapping[str, str], *, arch: str, platforms: Iterable[str]
) -> tuple[Stream, ...]:
    """The streams in effect: the enabled ones, default ones of other modules, and what these require.

    `platforms` are the streams of the pseudo-module `platform` (`el9`). As in libdnf (moduleSolve) libsolv decides:
    enabled streams are jobs, default streams too, or weak jobs where they stand in the way.
    Raises ResolveError, with libsolv's reasons, when the enabled streams do not go together.
    """
    wanted = [s for s in index.streams if s.stream == (enabled.get(s.name) or index.default_stream(s.name))]
    if not wanted:
        return ()
    pool = new_pool(arch)
    names = _add_streams(pool, index, platforms)
    problems: list[Any] = []
    for weak_defaults, best in ((False, True), (True, True), (True, False)):
        solver = new_solver(pool)
        problems = solver.solve(_module_jobs(pool, wanted, enabled, weak_defaults=weak_defaults, best=best))
        if not problems:
            chosen = {solvable.name for solvable in solver.transaction().newsolvables()}
            return tuple(stream for stream, name in zip(index.streams, names, strict=True) if name in chosen)
    raise ResolveError(
        "these module streams do not go together: "
        + ", ".join(f"{name}:{stream}" for name, stream in sorted(enabled.items()))
        + "; "
        + reasons(problems),
        hint="choose streams that agree on what they require",
    )


def modular_filter(index: ModuleIndex, active: Iterable[Stream]) -> ModularFilter:
    """What the active streams show and hide (libdnf, collectNevraForInclusionExclusion)."""
    active = tuple(active)
    latest: dict[tuple[str, str, str], Stream] = {}
    for stream in sorted(active, key=lambda stream: stream.version):
        latest[stream.name, stream.stream, stream.arch] = stream
    names: set[str] = set()
    for stream in active:
        released = latest[stream.name, stream.stream, stream.arch].demodularized
        binary = {nevra.name for nevra in stream.artifacts if nevra.arch not in SOURCE_ARCHES}
        names |= binary - released
    shown = frozenset(nevra for stream in active for nevra in stream.artifacts)
    hidden = frozenset(nevra for stream in index.streams for nevra in stream.artifacts)
    return ModularFilter(shown, hidden - shown, frozenset(names))


def modular_packages(
    repo: RepoMetadata,
    chosen: Iterable[NEVRA],
    *,
    modules: Iterable[str] = (),
    among: Sequence[RepoMetadata] = (),
) -> bytes | None:
    """The modules.yaml, plain, of a subset of `repo`; None when the subset has nothing modular.

    The modulemd documents of a stream are kept, word for word, when one of its artifacts is in `chosen`, or when a
    stream that is kept, of any repository in `among`, requires it: without the latter dnf would find the former
    unusable. Defaults and obsoletes of kept modules are kept too. `modules`, as the profile enables them, become the
    default streams, so that a node that never ran `dnf module enable` installs what was chosen here.
    """
    index = read_modules(among or (repo,))
    present = {stream.name for stream in index.streams}
    enabled = choose_streams(index, [spec for spec in map(ModuleSpec.parse, modules) if spec.name in present])
    kept = _streams_kept(index, frozenset(chosen))
    names = {name for name, _ in kept}
    documents: list[bytes] = []
    here: set[str] = set()
    for text, kind, data in _documents(repo):
        if kind == "modulemd":
            name = data["name"]
            concerned = (name, data["stream"]) in kept
        else:
            name = data.get("module", "")
            concerned = name in names and not (kind == "modulemd-defaults" and name in enabled)
        if concerned:
            documents.append(text)
            here.add(name)
    documents += [_defaults_document(index, name, enabled[name]) for name in sorted(enabled.keys() & here)]
    return b"".join(documents) or None


def _streams_kept(index: ModuleIndex, chosen: Collection[NEVRA]) -> set[tuple[str, str]]:
    waiting = [stream for stream in index.streams if not stream.artifacts.isdisjoint(chosen)]
    kept: set[tuple[str, str]] = set()
    while waiting:
        stream = waiting.pop()
        if (stream.name, stream.stream) in kept:
            continue
        kept.add((stream.name, stream.stream))
        for module, accepted in stream.requires:
            waiting += [other for other in index.streams if other.name == module and _accepts(accepted, other.stream)]
    return kept


def _accepts(accepted: tuple[str, ...], stream: str) -> bool:
    wanted = [one for one in accepted if not one.startswith("-")]
    return stream in wanted if wanted else f"-{stream}" not in accepted


def _defaults_document(index: ModuleIndex, module: str, stream: str) -> bytes:
    defaults = index.defaults.get(module)
    data: dict[str, object] = {"module": module, "stream": stream}
    if defaults and defaults.profiles:
        data["profiles"] = {name: list(profiles) for name, profiles in defaults.profiles.items()}
    document = {"document": "modulemd-defaults", "version": 1, "data": data}
    return yaml.safe_dump(document, explicit_start=True, explicit_end=True, sort_keys=False).encode()


def _documents(repo: RepoMetadata) -> Iterator[tuple[bytes, str, dict[str, Any]]]:
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


def _add_streams(pool: Any, index: ModuleIndex, platforms: Iterable[str]) -> list[str]:
    """Make each stream, and each platform, a package of `pool`, as libdnf does; the names of the streams' packages.

    All builds of a stream with the same context have one name: the newest is chosen, all of them become active.
    """
    platform = pool.add_repo("@System")
    pool.installed = platform
    for stream in platforms:
        _add_module(pool, platform, "platform", stream, f"platform:{stream}", "0", "noarch")
    repo = pool.add_repo("modules")
    static = {(s.name, s.stream, _signature(s)): s.context for s in index.streams if s.static_context}
    names = []
    for one in index.streams:
        signature = _signature(one)
        context = static.get((one.name, one.stream, signature), signature or "NoRequires")
        names.append(f"{one.name_stream}:{one.context if one.static_context else context}")
        solvable = _add_module(pool, repo, one.name, one.stream, names[-1], str(one.version), one.arch)
        for module, streams in one.requires:
            named = pool.Dep(f"module({module})")
            for stream in streams:
                if stream.startswith("-"):
                    solvable.add_conflicts(pool.Dep(f"module({module}:{stream[1:]})"))
            accepted = [pool.Dep(f"module({module}:{stream})") for stream in streams if not stream.startswith("-")]
            solvable.add_requires(reduce(lambda one, other: one.Rel(solv.REL_OR, other), accepted or [named]))
    pool.createwhatprovides()
    return names


def _add_module(pool: Any, repo: Any, name: str, stream: str, package: str, version: str, arch: str) -> Any:
    solvable = repo.add_solvable()
    solvable.name, solvable.evr, solvable.arch = package, version, arch
    solvable.add_provides(pool.Dep(f"module({name})"))
    solvable.add_conflicts(pool.Dep(f"module({name})"))
    solvable.add_provides(pool.Dep(f"module({name}:{stream})"))
    return solvable


def _signature(stream: Stream) -> str:
    """What a stream requires but for the platform: what libdnf tells contexts apart by where they are not static."""
    required = (
        f"{module}:[{','.join(sorted(streams))}]" if streams else module
        for module, streams in stream.requires
        if module != "platform"
    )
    return ";".join(sorted(required))


def _module_jobs(
    pool: Any, wanted: Iterable[Stream], enabled: Mapping[str, str], *, weak_defaults: bool, best: bool
) -> list[Any]:
    jobs = []
    for stream in {one.name_stream: one for one in wanted}.values():
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE_PROVIDES
        how |= solv.Job.SOLVER_FORCEBEST if best else 0
        how |= solv.Job.SOLVER_WEAK if weak_defaults and stream.name not in enabled else 0
        jobs.append(pool.Job(how, pool.Dep(f"module({stream.name_stream})").id))
    return jobs

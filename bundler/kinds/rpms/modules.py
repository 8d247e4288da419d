"""Module streams, as dnf treats them: which are active, which packages that hides, and a subset's modules.yaml.

dnf hides every artifact of a stream that is neither enabled nor default, and an active stream hides the packages of
the same name (or that provide it) from outside the stream.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import solv
import yaml

from bundler.errors import ResolveError
from bundler.kinds.rpms.decided import decided
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata
from bundler.kinds.rpms.modulemd import ModuleIndex, Stream, documents, read_modules
from bundler.kinds.rpms.sack import SOURCE_ARCHES, new_pool, new_solver, reasons

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
class ModularFilter:
    """What the modules rule lets through: `shown`, and else neither `hidden` nor what is called or provides `names`."""

    shown: frozenset[NEVRA]
    hidden: frozenset[NEVRA]
    names: frozenset[str]


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

    def solved() -> tuple[str, list[str]]:
        """What stands in the way, or the names of the streams' packages that are chosen."""
        problems: list[Any] = []
        for weak_defaults, best in ((False, True), (True, True), (True, False)):
            solver = new_solver(pool)
            problems = solver.solve(_module_jobs(pool, wanted, enabled, weak_defaults=weak_defaults, best=best))
            if not problems:
                return "", [solvable.name for solvable in solver.transaction().newsolvables()]
        return reasons(problems), []

    unsolved, chosen = decided(solved, "the dependencies of module streams")
    if not unsolved:
        return tuple(stream for stream, name in zip(index.streams, names, strict=True) if name in chosen)
    raise ResolveError(
        "these module streams do not go together: "
        + ", ".join(f"{name}:{stream}" for name, stream in sorted(enabled.items()))
        + "; "
        + unsolved,
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
    taken: list[bytes] = []
    here: set[str] = set()
    for text, kind, data in documents(repo):
        if kind == "modulemd":
            name = data["name"]
            concerned = (name, data["stream"]) in kept
        else:
            name = str(data.get("module", ""))
            concerned = name in names and not (kind == "modulemd-defaults" and name in enabled)
        if concerned:
            taken.append(text)
            here.add(name)
    taken += [_defaults_document(index, name, enabled[name]) for name in sorted(enabled.keys() & here)]
    return b"".join(taken) or None


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

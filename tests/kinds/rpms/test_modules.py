from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata
from bundler.kinds.rpms.modulemd import ModuleIndex, read_modules
from bundler.kinds.rpms.modules import (
    ModuleSpec,
    active_streams,
    choose_streams,
    modular_filter,
    modular_packages,
)
from bundler.kinds.rpms.solve import closure
from tests.kinds.rpms.rpmmd import Rpm, ask_dnf, cs9, write_repo, write_repomd


def document(
    name: str,
    stream: str,
    *artifacts: str,
    version: int = 1,
    context: str = "c0",
    requires: Mapping[str, Sequence[str]] | None = None,
    profiles: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """A modulemd v2 document, its stream unquoted as some distributions write it."""
    data = {
        "version": version,
        "context": context,
        "arch": "x86_64",
        "dependencies": [{"requires": {"platform": ["el9"], **{k: list(v) for k, v in (requires or {}).items()}}}],
        "profiles": {profile: {"rpms": list(rpms)} for profile, rpms in (profiles or {}).items()},
        "artifacts": {"rpms": list(artifacts)},
    }
    body = yaml.safe_dump(data, sort_keys=False).replace("\n", "\n  ").rstrip()
    return f"---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: {stream}\n  {body}\n...\n"


def defaults(
    module: str, stream: str, profiles: Mapping[str, Sequence[str]] | None = None, *, modified: int = 0
) -> str:
    data: dict[str, object] = {
        "module": module,
        "stream": stream,
        "modified": modified,
        "profiles": {k: list(v) for k, v in (profiles or {}).items()},
    }
    return yaml.safe_dump({"document": "modulemd-defaults", "version": 1, "data": data}, explicit_start=True)


Write = Callable[..., RepoMetadata]


@pytest.fixture
def repo(tmp_path: Path) -> Write:
    def write(repo_id: str, *rpms: Rpm, modules: str | None = None, module_hotfixes: bool = False) -> RepoMetadata:
        return write_repo(tmp_path, repo_id, list(rpms), modules=modules, module_hotfixes=module_hotfixes)

    return write


def active(index: ModuleIndex, *specs: str) -> set[tuple[str, str, int]]:
    enabled = choose_streams(index, map(ModuleSpec.parse, specs))
    streams = active_streams(index, enabled, arch="x86_64", platforms=["el9"])
    return {(stream.name, stream.stream, stream.version) for stream in streams}


def solve(repos: Sequence[RepoMetadata], *packages: str, modules: Sequence[str] = ()) -> list[str]:
    chosen = closure(repos, packages=packages, modules=modules, arch="x86_64", weak_deps=False, assume_installed=None)
    return [str(package.nevra) for package in chosen]


WEB = (
    defaults("web", "1.10", {"1.10": ["common"]})
    + document("web", "1.10", "web-0:1.10-1.x86_64", profiles={"common": ["web"], "full": ["web", "helper"]})
    + document("web", "2", "web-0:2-1.x86_64", "web-0:2-1.src")
    + document("web", "2", "web-0:2-2.x86_64", "web-libs-0:2-2.x86_64", version=2)
)
WEB_RPMS = (
    Rpm("web-1.10-1.x86_64"),
    Rpm("web-2-1.x86_64"),
    Rpm("web-2-2.x86_64", requires=("web-libs",)),
    Rpm("web-libs-2-2.x86_64"),
    Rpm("web-9-1.x86_64"),
    Rpm("web-like-9-1.x86_64", provides=("web = 9",)),
    Rpm("helper-1-1.noarch"),
)


# Reading


def test_streams_stay_text_and_versions_one_and_two_are_read(repo: Write) -> None:
    first = (
        "document: modulemd\nversion: 1\ndata:\n  name: old\n  stream: 1.20\n  version: 7\n  summary: |\n    text\n"
        "  dependencies:\n    requires:\n      platform: f28\n  artifacts:\n    rpms: [old-0:1-1.noarch, nonsense]\n"
    )
    index = read_modules([repo("base", modules=first + WEB)])
    assert index.streams_of("old") == ("1.20",)
    assert index.streams_of("web") == ("1.10", "2")
    assert index.default_stream("web") == "1.10"
    old = index.streams[0]
    assert old.requires == (("platform", ("f28",)),)
    assert old.artifacts == frozenset({NEVRA("old", 0, "1", "1", "noarch")})


def test_of_two_defaults_the_newer_wins_and_equals_that_differ_leave_none(repo: Write) -> None:
    first, second = (
        repo("first", modules=defaults("a", "1") + defaults("b", "1")),
        repo("second", modules=defaults("a", "2") + defaults("b", "2", modified=20260101)),
    )
    index = read_modules([first, second])
    assert (index.default_stream("a"), index.default_stream("b")) == (None, "2")


@pytest.mark.parametrize("content", ["--- [", "---\njust text\n", "---\ndocument: modulemd\ndata: {name: a}\n"])
def test_damaged_modules_name_their_repository(repo: Write, content: str) -> None:
    with pytest.raises(ResolveError, match="repository broken: its modules metadata is damaged"):
        read_modules([repo("broken", modules=content)])


# Choosing streams


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("wob:1", "no repository has a module wob", "web"),
        ("web:3", "module web has no stream 3", "1.10, 2"),
        ("free", "module free has no default stream", "1, 2"),
        ("web 2", "is not name", "nodejs:20"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(repo: Write, spec: str, message: str, hint: str) -> None:
    index = read_modules([repo("base", modules=WEB + document("free", "1") + document("free", "2"))])
    with pytest.raises(ResolveError, match=message) as caught:
        choose_streams(index, [ModuleSpec.parse(spec)])
    assert hint in caught.value.hint


def test_two_streams_of_a_module_are_refused(repo: Write) -> None:
    index = read_modules([repo("base", modules=WEB)])
    with pytest.raises(ResolveError, match="module web is asked for in two streams"):
        choose_streams(index, map(ModuleSpec.parse, ["web:2", "web:1.10"]))
    assert choose_streams(index, map(ModuleSpec.parse, ["web", "web:2"])) == {"web": "2"}


def test_all_builds_of_a_stream_are_active_and_what_it_requires(repo: Write) -> None:
    needy = document("needy", "1", requires={"lib": []}) + document("lib", "a") + document("lib", "b")
    index = read_modules([repo("base", modules=WEB + needy)])
    assert active(index) == {("web", "1.10", 1)}
    assert active(index, "web:2") == {("web", "2", 1), ("web", "2", 2)}
    assert {name for name, _, _ in active(index, "needy:1")} == {"web", "needy", "lib"}
    assert active(index, "needy:1", "lib:b") >= {("lib", "b", 1)}


def test_a_default_stream_gives_way_to_an_enabled_one(repo: Write) -> None:
    text = defaults("app", "1") + document("app", "1", requires={"web": ["1.10"]}) + WEB
    assert active(read_modules([repo("base", modules=text)]), "web:2") == {("web", "2", 1), ("web", "2", 2)}


def test_enabled_streams_that_exclude_each_other_are_refused_with_the_reason(repo: Write) -> None:
    text = WEB + document("app", "1", requires={"web": ["1.10"]}) + document("not2", "1", requires={"web": ["-2"]})
    index = read_modules([repo("base", modules=text)])
    with pytest.raises(ResolveError, match=r"do not go together: app:1, web:2; .*module.web"):
        active(index, "app:1", "web:2")
    with pytest.raises(ResolveError, match="do not go together: not2:1, web:2"):
        active(index, "not2:1", "web:2")


# The rule


def test_an_active_stream_hides_its_names_and_others_hide_their_artifacts(repo: Write) -> None:
    index = read_modules([repo("base", modules=WEB)])
    streams = active_streams(index, {"web": "2"}, arch="x86_64", platforms=["el9"])
    rule = modular_filter(index, streams)
    assert {str(nevra) for nevra in rule.shown} >= {"web-2-1.x86_64", "web-2-2.x86_64"}
    assert {str(nevra) for nevra in rule.hidden} == {"web-1.10-1.x86_64"}
    assert rule.names == {"web", "web-libs"}


def test_what_is_chosen_follows_the_streams(repo: Write) -> None:
    base = repo("base", *WEB_RPMS, modules=WEB)
    assert solve([base], "web") == ["web-1.10-1.x86_64"]
    assert solve([base], "web", modules=["web:2"]) == ["web-2-2.x86_64", "web-libs-2-2.x86_64"]
    assert solve([base], "@web") == ["web-1.10-1.x86_64"]
    assert solve([base], "@web:1.10/full") == ["helper-1-1.noarch", "web-1.10-1.x86_64"]
    assert solve([base], modules=["web/full"]) == ["helper-1-1.noarch", "web-1.10-1.x86_64"]


def test_hotfix_repositories_are_exempt(repo: Write) -> None:
    base = repo("base", *WEB_RPMS, modules=WEB)
    hotfix = repo("hotfix", Rpm("web-1.10-2.x86_64"), module_hotfixes=True)
    assert solve([base, hotfix], "web") == ["web-1.10-2.x86_64"]


def test_a_package_of_a_stream_that_is_not_enabled_is_missed_with_the_stream_in_the_hint(repo: Write) -> None:
    base = repo("base", *WEB_RPMS, modules=WEB)
    with pytest.raises(ResolveError, match="nothing provides web-libs") as caught:
        solve([base], "web-libs")
    assert "web:2" in caught.value.hint


def test_an_unknown_profile_is_named_with_the_profiles_there_are(repo: Write) -> None:
    base = repo("base", *WEB_RPMS, modules=WEB)
    with pytest.raises(ResolveError, match=r"module web:1.10 has no profile tiny") as caught:
        solve([base], "@web:1.10/tiny")
    assert "common, full" in caught.value.hint
    with pytest.raises(ResolveError, match="module web:2 has no default profile"):
        solve([base], "@web:2")


# A subset's modules.yaml


def test_a_subset_keeps_whole_documents_and_what_they_require(repo: Write) -> None:
    lib = document("lib", "1", "lib-0:1-1.x86_64")
    app = defaults("app", "1") + document("app", "1", "app-0:1-1.x86_64", requires={"lib": ["1"]})
    base = repo("base", modules=WEB + lib + app)
    kept = modular_packages(base, [NEVRA("app", 0, "1", "1", "x86_64")])
    assert kept is not None
    assert kept.decode() == lib + app
    assert modular_packages(base, [NEVRA("bash", 0, "5", "1", "x86_64")]) is None


def test_streams_required_from_another_repository_are_kept_there(repo: Write) -> None:
    lib = repo("lib", modules=document("lib", "1", "lib-0:1-1.x86_64"))
    app = repo("app", modules=document("app", "1", "app-0:1-1.x86_64", requires={"lib": ["1"]}))
    chosen = [NEVRA("app", 0, "1", "1", "x86_64")]
    assert modular_packages(lib, chosen) is None
    assert modular_packages(lib, chosen, among=[lib, app]) == document("lib", "1", "lib-0:1-1.x86_64").encode()


def test_enabled_streams_become_the_subsets_defaults(repo: Write) -> None:
    base = repo("base", modules=WEB)
    kept = modular_packages(base, [NEVRA("web", 0, "2", "2", "x86_64")], modules=["web:2"])
    assert kept is not None
    *documents, last = yaml.safe_load_all(kept)
    assert [each["data"]["version"] for each in documents] == [1, 2]
    assert last["data"] == {"module": "web", "stream": "2", "profiles": {"1.10": ["common"]}}


def test_dnf_needs_no_module_enable_with_the_subsets_modules(shared: Path, tmp_path: Path) -> None:
    baseos, appstream = cs9(shared)
    chosen = closure(
        [baseos, appstream],
        packages=["nodejs", "npm"],
        modules=["nodejs:20"],
        arch="x86_64",
        weak_deps=False,
        assume_installed=None,
    )
    modules = tmp_path / "modules.yaml"
    kept = modular_packages(appstream, [package.nevra for package in chosen], modules=["nodejs:20"])
    assert kept is not None
    modules.write_bytes(kept)
    assert appstream.filelists is not None
    write_repomd(
        tmp_path / "appstream",
        {"primary": appstream.primary, "filelists": appstream.filelists, "modules": modules},
    )
    repos = {"baseos": shared / "rpm/cs9-metadata/baseos", "appstream": tmp_path / "appstream"}
    request = {"packages": ["nodejs", "npm"], "modules": [], "weak_deps": False}
    [answer] = ask_dnf(repos, [request], tmp_path / "root")
    assert answer == {(package.repo, str(package.nevra)) for package in chosen}


DEFAULTS = "---\ndocument: modulemd-defaults\nversion: 1\ndata: %s\n...\n"
STREAM = "---\ndocument: modulemd\nversion: 2\ndata: {name: a, stream: s, version: 1, %s}\n...\n"


@pytest.mark.parametrize(
    "document",
    [
        DEFAULTS % "{module: m, modified: abc}",
        DEFAULTS % ("{module: m, modified: " + "9" * 5000 + "}"),
        DEFAULTS % "{module: m, profiles: [a]}",
        DEFAULTS % "{module: m, profiles: {s: [[x]]}}",
        DEFAULTS % "{module: [m]}",
        DEFAULTS % "{module: m, stream: [s]}",
        STREAM % "name: [a]",
        STREAM % "stream: [s]",
        STREAM % "version: ٣",
        STREAM % "arch: {x: y}",
        STREAM % "context: [c]",
        STREAM % "dependencies: [{requires: {b: [[x]]}}]",
        STREAM % "dependencies: [[x]]",
        STREAM % "artifacts: {rpms: [[x]]}",
        STREAM % "artifacts: [x]",
        STREAM % "demodularized: {rpms: [[x]]}",
        STREAM % "profiles: {p: {rpms: [[x]]}}",
        STREAM % "profiles: [p]",
    ],
)
def test_metadata_of_another_shape_is_damaged(tmp_path: Path, document: str) -> None:
    repo = write_repo(tmp_path, "r", [Rpm("top-1-1.noarch")], modules=document)
    with pytest.raises(ResolveError, match=r"^repository r: its modules metadata is damaged: "):
        closure([repo], packages=["top"], modules=[], arch="x86_64", weak_deps=True, assume_installed=None)


def test_a_stream_is_no_expression(tmp_path: Path) -> None:
    """What a module requires stands for itself, whatever is in it."""
    document = STREAM % "dependencies: [{requires: {'b c)(': ['x = 1 (', ') y']}}]"
    repo = write_repo(tmp_path, "r", [Rpm("top-1-1.noarch")], modules=document)
    with pytest.raises(ResolveError, match="do not go together"):
        closure([repo], packages=["top"], modules=["a:s"], arch="x86_64", weak_deps=True, assume_installed=None)

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import createrepo_c
import pytest

from bundler.errors import ResolveError
from bundler.kinds.rpms.metadata import Chosen, RepoMetadata
from bundler.kinds.rpms.solve import closure
from tests.kinds.rpms.rpmmd import Rpm, ask_dnf, cs9, write_repo

REFERENCES = ("kubespray-nodes", "nginx-podman-nfs-utils", "nginx-podman-nfs-utils-weak", "python3.12")


def solve(
    repos: Iterable[RepoMetadata],
    *packages: str,
    modules: Iterable[str] = (),
    weak_deps: bool = False,
    installed: RepoMetadata | None = None,
    exclude: Iterable[str] = (),
) -> tuple[Chosen, ...]:
    return closure(
        tuple(repos),
        packages=packages,
        modules=tuple(modules),
        arch="x86_64",
        weak_deps=weak_deps,
        assume_installed=installed,
        exclude=tuple(exclude),
    )


def names(chosen: Iterable[Chosen]) -> list[str]:
    return [package.nevra.name for package in chosen]


def nevras(chosen: Iterable[Chosen]) -> list[str]:
    return [str(package.nevra) for package in chosen]


# What dnf itself answers


@pytest.mark.parametrize("name", REFERENCES)
def test_the_closure_is_the_one_dnf_recorded(shared: Path, name: str) -> None:
    reference = shared / "rpm" / "cs9-metadata" / "reference" / f"{name}.txt"
    head, *lines = reference.read_text().splitlines()
    options, _, packages = head.removeprefix("# ").partition(" packages: ")
    chosen = solve(cs9(shared), *packages.split(), weak_deps=options == "weak_deps=1")
    assert sorted(f"{package.repo}\t{package.nevra}" for package in chosen) == sorted(lines)


Request = tuple[tuple[str, ...], tuple[str, ...], bool]
REQUESTS: tuple[Request, ...] = (
    (("nodejs",), (), False),
    (("nodejs", "npm"), ("nodejs:20",), True),
    (("php",), ("php:8.2", "nginx:1.24"), True),
    (("ruby", "rubygem-mysql2"), ("ruby:3.3",), False),
    (("mariadb-server", "redis"), (), True),
    (("@container-management", "@network-server"), (), False),
    (("@nodejs:18/common",), (), True),
    (("python3.1?", "zsh*"), (), False),
    (("perl(Carp)", "bind >= 9.16"), (), False),
    (("/usr/sbin/httpd", "*/bin/tmux"), (), False),
    (("httpd",), (), True),
    (("pki-base",), (), False),
    (("glibc.i686", "bash.*", "podman-5:5.3.1-1.el9"), (), False),
)


@pytest.fixture(scope="module")
def dnf_answers(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Request, set[tuple[str, str]]]:
    """What the real dnf would install, for every request."""
    requests = [{"packages": p, "modules": m, "weak_deps": w} for p, m, w in REQUESTS]
    repos = {repo: shared / "rpm/cs9-metadata" / repo for repo in ("baseos", "appstream")}
    return dict(zip(REQUESTS, ask_dnf(repos, requests, tmp_path_factory.mktemp("root")), strict=True))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: " ".join((*request[0], *request[1])))
def test_the_closure_is_the_one_dnf_chooses(
    shared: Path, dnf_answers: dict[Request, set[tuple[str, str]]], request_: Request
) -> None:
    packages, modules, weak_deps = request_
    chosen = solve(cs9(shared), *packages, modules=modules, weak_deps=weak_deps)
    assert {(package.repo, str(package.nevra)) for package in chosen} == dnf_answers[request_]


def test_each_package_comes_with_what_primary_says_of_its_file(shared: Path) -> None:
    chosen = solve(cs9(shared), "python3.12")
    described: dict[tuple[str, str], tuple[str, str, str, int]] = {}

    def note(package: createrepo_c.Package) -> None:
        described[package.nevra(), package.pkgId] = (
            package.location_href,
            package.checksum_type,
            package.pkgId,
            package.size_package,
        )

    for repo in cs9(shared):
        createrepo_c.xml_parse_primary(str(repo.primary), pkgcb=note)
    full = {f"{p.nevra.name}-{p.nevra.epoch}:{p.nevra.version}-{p.nevra.release}.{p.nevra.arch}": p for p in chosen}
    assert all(
        described[nevra, p.checksum] == (p.location, p.checksum_type, p.checksum, p.size) for nevra, p in full.items()
    )


# The rules one by one


@pytest.fixture
def repo(tmp_path: Path) -> Callable[..., RepoMetadata]:
    def write(repo_id: str, *rpms: Rpm, **more: object) -> RepoMetadata:
        return write_repo(tmp_path, repo_id, list(rpms), **more)  # type: ignore[arg-type]

    return write


Write = Callable[..., RepoMetadata]


def test_the_newest_version_with_all_it_requires(repo: Write) -> None:
    base = repo(
        "base",
        Rpm("app-1.9-1.x86_64"),
        Rpm("app-1.10-1.x86_64", requires=("libfoo.so.1()(64bit)", "/opt/tool")),
        Rpm("foo-1-1.x86_64", provides=("libfoo.so.1()(64bit)",)),
        Rpm("tool-1-1.noarch", files=("/opt/tool",)),
        Rpm("other-1-1.noarch"),
    )
    assert nevras(solve([base], "app")) == ["app-1.10-1.x86_64", "foo-1-1.x86_64", "tool-1-1.noarch"]


@pytest.mark.parametrize(
    "word",
    [
        "app",
        "app.x86_64",
        "app-1.10",
        "app-1.10-1",
        "app-0:1.10-1",
        "app-1.10-1.x86_64",
        "ap?",
        "virtual(app)",
        "virtual(app) >= 3",
        "virtual(a*",
        "/opt/app/run",
        "/opt/*/run",
    ],
)
def test_the_forms_a_package_can_be_named_in(repo: Write, word: str) -> None:
    base = repo(
        "base", Rpm("app-1.10-1.x86_64", provides=("virtual(app) = 3",), files=("/opt/app/run",)), Rpm("b-1-1.noarch")
    )
    assert names(solve([base], word)) == ["app"]


def test_source_packages_and_foreign_architectures_stay_out(repo: Write) -> None:
    base = repo("base", Rpm("app-2-1.src"), Rpm("app-3-1.aarch64"), Rpm("app-1-1.x86_64"))
    assert nevras(solve([base], "app")) == ["app-1-1.x86_64"]


def test_thirty_two_bit_packages_go_beside_the_others(repo: Write) -> None:
    base = repo("base", Rpm("app-1-1.x86_64"), Rpm("app-1-1.i686"))
    assert nevras(solve([base], "app")) == ["app-1-1.x86_64"]
    assert nevras(solve([base], "app.*")) == ["app-1-1.i686", "app-1-1.x86_64"]


def test_weak_dependencies_come_when_wanted_and_possible(repo: Write) -> None:
    base = repo(
        "base",
        Rpm("app-1-1.noarch", recommends=("nice", "impossible", "missing")),
        Rpm("nice-1-1.noarch"),
        Rpm("impossible-1-1.noarch", requires=("nothing",)),
        Rpm("langpack-1-1.noarch", supplements=("app",)),
    )
    assert names(solve([base], "app")) == ["app"]
    assert names(solve([base], "app", weak_deps=True)) == ["app", "langpack", "nice"]


def test_a_package_that_obsoletes_the_one_asked_for_replaces_it(repo: Write) -> None:
    base = repo("base", Rpm("old-1-1.noarch"), Rpm("new-2-1.noarch", provides=("old = 2",), obsoletes=("old < 2",)))
    assert names(solve([base], "old")) == ["new"]


def test_the_lower_priority_number_wins_over_the_newer_version(repo: Write) -> None:
    ours = repo("ours", Rpm("app-1-1.noarch"), priority=10)
    theirs = repo("theirs", Rpm("app-2-1.noarch"))
    assert nevras(solve([theirs, ours], "app")) == ["app-1-1.noarch"]


def test_of_equal_packages_the_earlier_repository_gives(repo: Write) -> None:
    repos = [repo("first", Rpm("app-1-1.noarch")), repo("second", Rpm("app-1-1.noarch"))]
    assert [package.repo for package in solve(repos, "app")] == ["first"]
    assert [package.repo for package in solve(reversed(repos), "app")] == ["second"]


def test_a_newest_version_that_cannot_be_installed_is_passed_over(
    repo: Write, caplog: pytest.LogCaptureFixture
) -> None:
    base = repo("base", Rpm("app-1-1.noarch"), Rpm("app-2-1.noarch", requires=("nothing",)))
    assert nevras(solve([base], "app")) == ["app-1-1.noarch"]
    assert "nothing provides nothing needed by app-2-1.noarch" in caplog.text


def test_excluded_packages_are_not_there(repo: Write) -> None:
    base = repo("base", Rpm("app-1-1.noarch"), Rpm("app-2-1.noarch"), Rpm("app-doc-1-1.noarch"))
    assert nevras(solve([base], "app*", exclude=["app-2*", "*-doc"])) == ["app-1-1.noarch"]


def test_what_is_installed_is_not_brought_again_unless_newer(repo: Write) -> None:
    base = repo(
        "base", Rpm("app-1-1.noarch", requires=("lib >= 2", "tool")), Rpm("lib-2-1.noarch"), Rpm("tool-1-1.noarch")
    )
    node = repo("node", Rpm("lib-1-1.noarch"), Rpm("tool-1-1.noarch"))
    assert nevras(solve([base], "app", installed=node)) == ["app-1-1.noarch", "lib-2-1.noarch"]
    assert solve([base], "tool", installed=node) == ()


def test_what_the_installed_packages_do_without_is_not_brought_as_a_weak_dependency(repo: Write) -> None:
    base = repo(
        "base", Rpm("app-1-1.noarch", recommends=("extra", "nice")), Rpm("extra-1-1.noarch"), Rpm("nice-1-1.noarch")
    )
    node = repo("node", Rpm("tool-1-1.noarch", recommends=("extra",)))
    assert names(solve([base], "app", installed=node, weak_deps=True)) == ["app", "nice"]


def test_groups_bring_their_packages(repo: Write) -> None:
    comps = """<?xml version="1.0"?><comps><group><id>web</id><name>Web</name><packagelist>
        <packagereq type="mandatory">app</packagereq><packagereq type="default">nice</packagereq>
        <packagereq type="optional">extra</packagereq><packagereq type="default">gone</packagereq>
        <packagereq type="conditional" requires="app">app-lang</packagereq>
        <packagereq type="conditional" requires="extra">extra-lang</packagereq></packagelist></group></comps>"""
    rpms = [Rpm(f"{name}-1-1.noarch") for name in ("app", "nice", "extra", "app-lang", "extra-lang")]
    assert names(solve([repo("base", *rpms, comps=comps)], "@web")) == ["app", "app-lang", "nice"]


# What goes wrong


def test_a_word_that_matches_nothing_is_named_with_what_is_close(repo: Write) -> None:
    base = repo("base", Rpm("conntrack-tools-1-1.x86_64"))
    with pytest.raises(ResolveError, match="nothing provides contrack-tools for x86_64") as caught:
        solve([base], "contrack-tools")
    assert "conntrack-tools" in caught.value.hint


def test_an_impossible_request_ends_with_the_solvers_reasons(repo: Write) -> None:
    base = repo("base", Rpm("app-1-1.noarch", requires=("libmissing",)))
    with pytest.raises(ResolveError, match=r"nothing provides libmissing needed by app-1-1.noarch"):
        solve([base], "app")
    fight = repo("fight", Rpm("a-1-1.noarch", conflicts=("b",)), Rpm("b-1-1.noarch"))
    with pytest.raises(ResolveError, match=r"package a-1-1.noarch conflicts with b provided by b-1-1.noarch"):
        solve([fight], "a", "b")


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8bgarbage", b"\xfd7zXZ\x00garbage", b"BZhgarbage", b"\x28\xb5\x2f\xfdgarbage", b"<p>sorry"]
)
def test_damaged_metadata_names_its_repository(repo: Write, content: bytes) -> None:
    base = repo("broken", Rpm("app-1-1.noarch"))
    base.primary.write_bytes(content)
    with pytest.raises(ResolveError, match=r"repository broken: primary.xml.gz"):
        solve([base], "app")


def test_truncated_and_missing_metadata_name_their_repository(repo: Write) -> None:
    base = repo("broken", *(Rpm(f"app{number}-1-1.noarch") for number in range(100)))
    base.primary.write_bytes(base.primary.read_bytes()[:-100])
    with pytest.raises(ResolveError, match=r"repository broken: primary.xml.gz"):
        solve([base], "app1")
    base.primary.unlink()
    with pytest.raises(ResolveError, match=r"repository broken: primary.xml.gz"):
        solve([base], "app1")


@pytest.mark.parametrize("form", ["plain", "gz", "xz", "bz2", "zst"])
def test_metadata_may_be_compressed_in_any_way(repo: Write, form: str) -> None:
    base = repo("base", Rpm("app-1-1.noarch"))
    plain = gzip.decompress(base.primary.read_bytes())
    if form == "zst":
        source = base.primary.with_name("plain.xml")
        source.write_bytes(plain)
        createrepo_c.compress_file(str(source), str(base.primary), createrepo_c.ZSTD_COMPRESSION)
    else:
        forms = {"plain": plain, "gz": gzip.compress(plain), "xz": lzma.compress(plain), "bz2": bz2.compress(plain)}
        base.primary.write_bytes(forms[form])
    assert names(solve([base], "app")) == ["app"]


# What nobody can solve


def pigeons(holes: int) -> list[Rpm]:
    """One pigeon more than there are holes: eight kilobytes of metadata, and no end of trying."""
    rpms = [Rpm("top-1-1.noarch", requires=tuple(f"pigeon{pigeon}" for pigeon in range(holes + 1)))]
    for pigeon in range(holes + 1):
        for hole in range(holes):
            others = tuple(f"in{hole}x{other}" for other in range(holes + 1) if other != pigeon)
            provides = (f"pigeon{pigeon}", f"in{hole}x{pigeon}")
            rpms.append(Rpm(f"p{pigeon}h{hole}-1-1.noarch", provides=provides, conflicts=others))
    return rpms


def test_what_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.rpms.decided.SECONDS", 2)
    began = time.monotonic()
    with pytest.raises(ResolveError, match="the packages for x86_64 are not solved within 2 s"):
        solve([write_repo(tmp_path, "pigs", pigeons(14))], "top")
    assert time.monotonic() - began < 10


def test_module_streams_that_take_too_long_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules conflict with themselves: a module for each hole, a stream for each pigeon in it."""
    monkeypatch.setattr("bundler.kinds.rpms.decided.SECONDS", 1)
    monkeypatch.setattr("bundler.kinds.rpms.modules.new_solver", _Endless)
    head = "---\ndocument: modulemd\nversion: 2\ndata: {name: a, stream: s, version: 1}\n...\n"
    repo = write_repo(tmp_path, "r", [Rpm("top-1-1.noarch")], modules=head)
    with pytest.raises(ResolveError, match="module streams are not solved within 1 s"):
        solve([repo], "top", modules=["a:s"])


class _Endless:
    def __init__(self, _pool: object) -> None:
        pass

    def solve(self, _jobs: object) -> None:
        while True:
            pass


def test_a_solver_that_dies_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("bundler.kinds.rpms.solve.new_solver", dies)
    with pytest.raises(ResolveError, match="cannot be solved"):
        solve([write_repo(tmp_path, "r", [Rpm("top-1-1.noarch")])], "top")


def test_an_interrupt_ends_it(tmp_path: Path) -> None:
    """Ctrl-C is for the whole group of processes."""
    repo = write_repo(tmp_path, "pigs", pigeons(14))
    program = (
        "import sys, pathlib; from bundler.kinds.rpms.solve import closure; "
        "from bundler.kinds.rpms.metadata import RepoMetadata; print('ready', flush=True); "
        "closure([RepoMetadata('r', pathlib.Path(sys.argv[1]))], packages=['top'], modules=[], arch='x86_64', "
        "weak_deps=False, assume_installed=None)"
    )
    command = [sys.executable, "-c", program, str(repo.primary)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        time.sleep(1)
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=10)
        with pytest.raises(ProcessLookupError):
            os.killpg(running.pid, 0)


@pytest.mark.parametrize("condition", [") (", "a and", "((((", "top) or (x"])
def test_a_groups_condition_is_no_expression(tmp_path: Path, condition: str) -> None:
    package = f'<packagereq type="conditional" requires="{condition}">top</packagereq>'
    comps = f"<comps><group><id>g</id><name>g</name><packagelist>{package}</packagelist></group></comps>"
    repo = write_repo(tmp_path, "r", [Rpm("top-1-1.noarch"), Rpm("other-1-1.noarch")], comps=comps)
    assert names(solve([repo], "@g", "other")) == ["other"]

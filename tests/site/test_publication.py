"""Publishing is one act: what fails late leaves what nodes saw; and nodes find nothing but what was published."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.errors import BundleError, SiteError, SpaceError
from bundler.model.node_files import NodeFiles, NodeTree
from bundler.model.site import SiteConfig
from bundler.site import registry_client, web
from bundler.site.health import examine
from bundler.site.index import WheelIndex
from bundler.site.publication import kept_at, wheels_kept_at
from bundler.site.registry import RegistryStore
from bundler.site.site import Site
from bundler.site.web import WebRoot
from tests.site.small_release import SmallRelease, fetched, pid_of, seen
from tests.site.test_services import ask, make_config, require


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    """A site with all three services, whose releases the tests leave behind: each has names of its own."""
    require("nginx", "docker-registry", "devpi-server")
    config = make_config(tmp_path_factory.mktemp("published") / "site", free_port)
    yield config
    Site(config).services.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "_FIRST_WAIT", 0.01)


def pair(name: str) -> tuple[SmallRelease, SmallRelease]:
    """A release and its upgrade, which moves the tag `stable` and has five more."""
    one = SmallRelease(name, "1", f"{name} one", f"{name}/app", ("stable", "1"))
    return one, SmallRelease(name, "2", f"{name} two", f"{name}/app", ("stable", *"abcde"), wheel="2.0")


def leftovers(config: SiteConfig) -> list[str]:
    return [path.name for path in Path(config.root).iterdir() if path.name.startswith(".publishing")]


def test_what_is_refused_late_is_refused_before_the_first_switch(config: SiteConfig) -> None:
    """A source tree that cannot be unpacked: neither tags nor pages have changed, as a first release or as the next."""
    one, two = pair("refused")
    broken = NodeFiles(trees=(NodeTree("tree", "files/word"),))  # no archive
    for release in (one, two):
        before = seen(config, one, two) if release is two else None
        with pytest.raises(BundleError, match="cannot be unpacked"), release.opened(config) as site:
            site.commit(broken)
        if before:
            assert seen(config, one, two) == before
        else:
            assert {fetched(url) for kind, url in one.urls(config).items() if kind != "catalog"} == {"404"}
        release.install(config)
    # And again over a tree that is served: its node files stay.
    before = seen(config, one, two)
    with pytest.raises(BundleError, match="cannot be unpacked"), two.opened(config) as site:
        site.commit(NodeFiles((*two.nodes.files,), trees=broken.trees))
    assert seen(config, one, two) == before


def refuse_the_third_tag(config: SiteConfig, release: SmallRelease, _: pytest.MonkeyPatch) -> None:
    """A file where the registry wants to make a folder: it answers 500."""
    data = Path(config.root, "registry")
    tags = data / f"docker/registry/v2/repositories/{release.repository}/_manifests/tags"
    tags.mkdir(parents=True, exist_ok=True)
    (tags / "c").write_text("in the way")
    for path in (tags, *tags.parents):
        if path.is_relative_to(data):
            os.chown(path, data.stat().st_uid, data.stat().st_gid)


def kill_devpi(config: SiteConfig, _: SmallRelease, patch: pytest.MonkeyPatch) -> None:
    """Between the switches: the registry has switched, and the index does not answer."""
    commit = WheelIndex.commit

    def dies(index: WheelIndex) -> None:
        os.kill(pid_of(config, "devpi"), signal.SIGKILL)
        commit(index)

    patch.setattr(WheelIndex, "commit", dies)


def fill_the_disk(_config: SiteConfig, _release: SmallRelease, patch: pytest.MonkeyPatch) -> None:
    """The very last link finds no room."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    patch.setattr(web, "note_current", no_room)


@pytest.mark.parametrize("fault", [refuse_the_third_tag, kill_devpi, fill_the_disk])
@pytest.mark.parametrize("upgrade", [False, True])
def test_what_fails_late_is_put_back(
    config: SiteConfig,
    fault: Callable[[SiteConfig, SmallRelease, pytest.MonkeyPatch], None],
    upgrade: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, two = pair(f"{fault.__name__.replace('_', '-')}-{upgrade}".lower())
    if upgrade:
        one.install(config)
    before = seen(config, one, two)
    with monkeypatch.context() as patched:
        fault(config, two, patched)
        with pytest.raises((SiteError, SpaceError)):
            two.install(config)
    if fault is kill_devpi:
        # Its pages were not switched; but nobody could ask it. The site says so, and is put in order.
        assert [each.check for each in examine(Site(config)) if each.check == "publication"]
        Site(config).recover()
    assert leftovers(config) == []
    for path in Path(config.root).glob(f"registry/**/{two.repository}/_manifests/tags/c"):
        path.unlink() if path.is_file() else None
    assert seen(config, one, two) == before
    two.install(config)
    assert fetched(two.urls(config)["current"]) != "404"
    assert fetched(two.urls(config)["tag stable"]) == two.digest


# Where a process is killed: before the registry's third push, before the index, before the link, and after it.
KILLED = {
    "push": (RegistryStore, "_push", 3),
    "index": (WheelIndex, "commit", 1),
    "tree": (web, "publish", 1),
    "link": (web, "set_link", 1),
    "history": (web, "note_current", 1),
}


@pytest.mark.parametrize("point", KILLED)
@pytest.mark.parametrize("upgrade", [False, True])
def test_what_is_killed_is_put_back_or_finished(config: SiteConfig, point: str, upgrade: bool) -> None:
    one, two = pair(f"killed-{point}-{upgrade}".lower())
    if upgrade:
        one.install(config)
    before = seen(config, one, two)
    place, function, times = KILLED[point]
    if (child := os.fork()) == 0:
        try:
            install_until(two, config, place, function, times)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was killed too late"
    (finding,) = [each for each in examine(Site(config)) if each.check == "publication"]
    assert finding.mend is not None
    finding.mend()  # what `doctor --fix` does
    assert leftovers(config) == []
    if point == "history":
        assert fetched(two.urls(config)["current"]) == fetched(two.urls(config)["versioned"]) != "404"
        assert next(release.version for release in Site(config).in_order(two.name)) == "2"
    else:
        assert seen(config, one, two) == before
    two.install(config)
    assert fetched(two.urls(config)["tag e"]) == two.digest
    assert fetched(two.urls(config)["own wheels"]) != "404"


def install_until(release: SmallRelease, config: SiteConfig, place: object, function: str, times: int) -> None:
    done = getattr(place, function)
    left = [times]

    def killed(*arguments: object, **more: object) -> object:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done(*arguments, **more)

    setattr(place, function, killed)
    release.install(config)


def test_the_next_install_puts_in_order_what_was_killed(config: SiteConfig) -> None:
    """Of another release too; what was begun leaves no tag and no page."""
    one, two = pair("next")
    one.install(config)
    before = seen(config, one, two)
    if (child := os.fork()) == 0:
        try:
            install_until(two, config, WebRoot, "commit", 1)
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    assert seen(config, one, two) != before
    other = SmallRelease("bystander", "1", "bystander", "bystander/app", wheel="7.0")
    other.install(config)
    after = seen(config, one, two)
    shared = {one.urls(config)[what] for what in ("catalog", "wheels")}
    assert {url: what for url, what in after.items() if url not in shared} == {
        url: what for url, what in before.items() if url not in shared
    }


def test_only_what_was_published_is_found(config: SiteConfig) -> None:
    """Kept releases stay at an address of their own; staged, pruned and uninstalled ones are nowhere."""
    one, two = pair("kept")
    with one.opened(config):
        staged = one.urls(config)
        assert {fetched(url) for what, url in staged.items() if what not in ("catalog", "wheels")} == {"404"}
        assert "kept/app" not in Path(config.root, "repos/.published/.catalog.json").read_text()
    one.install(config)
    assert "404" not in seen(config, one).values()
    first = fetched(one.urls(config)["versioned"])
    two.install(config)
    assert fetched(one.urls(config)["versioned"]) == first != fetched(two.urls(config)["current"])
    assert "404" not in (fetched(one.urls(config)["own wheels"]), fetched(two.urls(config)["own wheels"]))
    assert fetched(one.urls(config)["tag 1"]) == one.digest
    kept = {release.version: release for release in Site(config).in_order("kept")}["1"]
    assert (kept_at(kept, config), wheels_kept_at(kept, config)) == (
        f"{config.web_url}/kept@1",
        f"{config.index_url}/root/{one.index}/+simple/",
    )
    Site(config).prune("kept", keep=1)
    for what in ("versioned", "tag 1", "digest", "own wheels"):
        assert fetched(one.urls(config)[what]) == "404", what
    assert "404" not in seen(config, two).values()
    Site(config).remove("kept", purge=False)
    for what in ("current", "node file", "versioned", "tag stable", "tag a", "digest", "own wheels"):
        assert fetched(two.urls(config)[what]) == "404", what


# What the name of an index stands for is put in for `*`.
_SPELLINGS = (
    *("/root/*", "/root/*/", "/root/*/+simple", "/root/*/+simple/", "/root/*/+simple/thing/", "/root/*/thing/1.0"),
    *("/root/*/%2Bsimple/", "/root/*/%2bsimple/thing/", "/root%2f*%2f+simple/", "//root//*//+simple//"),
    *("/root/prod/../*/+simple/", "/root/prod/+simple/../../*/+simple/", "/root/prod/%2e%2e/*/+simple/thing/"),
    *("/root/prod/+simple/..%2f..%2f*/+simple/", "/root/prod/+f/..%2F..%2F*%2F+simple%2Fthing%2F"),
    *("/root/prod/+simple/..%252f..%252f*/+simple/", "/root/prod/+simple/%2e%2e%252f*/", "/root/./*/./+simple/"),
    *("/root/*./+simple/", "/root/*%20/+simple/", "/root/*%0a/+simple/", "/root/*%00/+simple/", "/ROOT/*/+simple/"),
    *("/root/prod;/../*/+simple/", "/root/prod/+simple/?/../../*/", "/root/*/+f/", "/root/*/+simple/thing/refresh"),
    *("/+api/../root/*/+simple/", "/root/prod/+simple/thing%0a/../../../*/+simple/", "/root/prod,*/+simple/"),
    *("/", "/root", "/root/", "/root/prod", "/root/prod/", "/root/prod/thing", "/+status", "/+login", "/+search"),
)


@pytest.mark.parametrize("spelling", _SPELLINGS)
def test_no_spelling_leads_to_a_page_that_is_not_published(
    staged: SmallRelease, config: SiteConfig, spelling: str
) -> None:
    for index in (staged.index, staged.index.upper(), staged.index.title()):
        for agent in ("curl/8", "pip/26.0"):
            path = spelling.replace("*", index)
            status, _, page = ask(config.ports.index, path, headers={"User-Agent": agent})
            assert status in (400, 404) or b"staged" not in page, path
            if "*" in spelling and "?" not in spelling:
                assert status in (400, 404), path


@pytest.mark.parametrize(
    "path", ["/v2/_catalog", "/v2/_catalog/", "/v2/_catalog?n=9", "/v2/%5Fcatalog", "//v2//_catalog", "/v2/./_catalog"]
)
def test_the_catalogue_has_what_is_published(staged: SmallRelease, config: SiteConfig, path: str) -> None:
    status, _, page = ask(config.ports.registry, path)
    assert (status, b"unseen/app" in page) == (200, True), page
    assert staged.repository.encode() not in page


@pytest.mark.parametrize("path", ["/staged@1/", "/staged/", "/staged@1/manifest.json", "/unseen@1@x/", "/unseen@"])
def test_the_web_root_has_what_is_published(staged: SmallRelease, config: SiteConfig, path: str) -> None:
    assert staged.name == "staged"
    assert ask(config.web_port, path)[0] == 404
    assert b"@" not in ask(config.web_port, "/")[2], "addresses with a version are in no listing"
    assert ask(config.web_port, "/unseen@1/")[0] == 200
    assert ask(config.web_port, "/unseen@1")[1]["location"] == "/unseen@1/"


@pytest.fixture(scope="module")
def staged(config: SiteConfig) -> SmallRelease:
    """A release that was loaded and never published; another one, `unseen`, was."""
    SmallRelease("unseen", "1", "unseen", "unseen/app").install(config)
    release = SmallRelease("staged", "1", "staged", "staged/app")
    with release.opened(config):
        pass
    return release


def test_two_bundles_of_one_version_are_not_taken_for_each_other(config: SiteConfig) -> None:
    one = SmallRelease("twin", "1", "this", "twin/app", ("1",))
    other = SmallRelease("twin", "1", "that", "twin/app", ("1",))
    one.install(config)
    before = seen(config, one)
    with pytest.raises(SiteError, match=f"its id is {one.manifest.id}, and this bundle's {other.manifest.id}"):
        other.install(config)
    assert seen(config, one) == before
    other.install(config, replace=True)
    assert fetched(other.urls(config)["versioned"]) == fetched(other.urls(config)["current"])
    assert fetched(other.urls(config)["tag 1"]) == other.digest
    aside = f"{config.web_url}/twin@1@{one.manifest.id[:12]}/files/word"
    assert fetched(aside) == before[one.urls(config)["current"]]
    with pytest.raises(SiteError, match="with different content"):
        one.install(config)
    one.install(config, replace=True)
    assert fetched(one.urls(config)["versioned"]) == before[one.urls(config)["versioned"]]
    assert fetched(aside) == "404"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(config: SiteConfig, umask: int) -> None:
    release = SmallRelease(f"umask-{umask}", "1", f"umask {umask}", f"umask-{umask}/app")
    old = os.umask(umask)
    try:
        release.install(config)
    finally:
        os.umask(old)
    web = Path(config.root) / "repos"
    folders = [web, web / ".published", web / ".published/.index", web / ".history"]
    files = [
        web / ".published/.catalog.json",
        web / ".published/.index" / release.index,
        web / ".history" / release.name,
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o755}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    assert stat.S_IMODE((web / ".staging").stat().st_mode) == 0o700
    assert stat.S_IMODE((web / ".releases").stat().st_mode) == 0o750
    assert "404" not in seen(config, release).values()


class TestCollisions:
    def test_what_another_release_serves_is_not_taken(self, config: SiteConfig) -> None:
        base = SmallRelease("base", "1", "base", "library/thing", ("v1", "v2"), wheel="3.0", project="thing")
        other = SmallRelease("other", "1", "other", "library/thing", ("v2",), wheel="3.0", project="thing")
        base.install(config)
        before = seen(config, base)
        with pytest.raises(SiteError) as refused:
            other.install(config)
        assert refused.value.message == (
            "other 1 brings different content for what is served already: library/thing:v2 of base 1, "
            "thing-3.0-py3-none-any.whl of base 1"
        )
        assert "--replace" in refused.value.hint
        assert seen(config, base) == before
        other.install(config, replace=True)
        assert fetched(other.urls(config)["tag v2"]) == other.digest
        assert seen(config, base) != before
        Site(config).remove("other", purge=True)
        assert seen(config, base) == before, "given back"

    def test_upgrading_and_pruning_give_back_too(self, config: SiteConfig) -> None:
        base = SmallRelease("first", "1", "first", "library/back", ("v2",), wheel="4.0", project="thing")
        other = SmallRelease("second", "1", "second", "library/back", ("v2",), wheel="4.0", project="thing")
        later = SmallRelease("second", "2", "later", "library/elsewhere", ("v2",), wheel="4.1", project="thing")
        base.install(config)
        before = fetched(base.urls(config)["tag v2"])
        other.install(config, replace=True)
        assert fetched(base.urls(config)["tag v2"]) == other.digest
        later.install(config)  # it does not bring what the one before had taken
        assert fetched(base.urls(config)["tag v2"]) == base.digest
        assert fetched(base.urls(config)["wheels"]) != "404"
        other.install(config, replace=True)
        assert fetched(base.urls(config)["tag v2"]) == other.digest
        later.install(config)
        Site(config).prune("second", keep=1)
        assert fetched(base.urls(config)["tag v2"]) == before == base.digest

    def test_the_same_content_is_shared(self, config: SiteConfig) -> None:
        one = SmallRelease("sharing", "1", "same", "library/same", ("v2",), wheel="5.0", project="thing")
        two = SmallRelease("shared", "1", "same", "library/same", ("v2",), wheel="5.0", project="thing")
        one.install(config)
        two.install(config)
        before = seen(config, one)
        Site(config).remove("shared", purge=True)
        after = seen(config, one)
        assert {url: what for url, what in after.items() if "prod" not in url} == {
            url: what for url, what in before.items() if "prod" not in url
        }
        assert "404" not in after.values()

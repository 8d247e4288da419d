"""Taking releases away is one act as well: what was interrupted is ended, and what is purged is gone."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.model.site import SiteConfig
from bundler.site.health import examine
from bundler.site.publication import Publication
from bundler.site.site import Site
from bundler.site.web import WebRoot
from tests.site.small_release import SmallRelease, fetched, seen
from tests.site.test_services import make_config, require


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    """A site with all three services, whose releases the tests leave behind: each has names of its own."""
    require("nginx", "docker-registry", "devpi-server")
    config = make_config(tmp_path_factory.mktemp("removed") / "site", free_port)
    yield config
    Site(config).services.stop()


@pytest.mark.parametrize(
    ("step", "purge"),
    [("unpublish", False), ("unpublish", True), ("take_away", False), ("take_away", True), ("remove", True)],
)
def test_an_uninstall_that_was_killed_is_ended_by_the_next_command(
    config: SiteConfig, monkeypatch: pytest.MonkeyPatch, step: str, purge: bool
) -> None:
    other = SmallRelease("stays", "1", "stays", "stays/app")
    name = f"killed-{step}-{purge}".lower().replace("_", "-")
    one = SmallRelease(name, "1", name, f"{name}/app")
    for release in (other, one):
        release.install(config)
    where = Publication if step == "take_away" else WebRoot

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Site(config).remove(one.name, purge=purge)
    assert [each.check for each in examine(Site(config)) if each.check == "publication"]
    before = seen(config, other)
    Site(config).recover()
    assert not [each.check for each in examine(Site(config)) if each.check == "publication"]
    gone = one.urls(config)
    assert {kind: fetched(url) for kind, url in gone.items() if kind not in ("catalog", "tags", "digest")} == {
        kind: "404" for kind in gone if kind not in ("catalog", "tags", "digest")
    }
    catalog = gone["catalog"]
    assert {url: found for url, found in seen(config, other).items() if url != catalog} == {
        url: found for url, found in before.items() if url != catalog
    }
    assert one.repository.encode() not in urllib.request.urlopen(catalog).read()


def test_what_is_purged_is_deleted_at_once(config: SiteConfig) -> None:
    other = SmallRelease("unpurged", "1", "unpurged", "unpurged/app")
    one = SmallRelease("purged", "1", "purged", "purged/app")
    for release in (other, one):
        release.install(config)
    blobs = [
        (f"{config.registry_url}/v2/{release.repository}/blobs/sha256:{obj.sha256}", release)
        for release in (one, other)
        for item in release.manifest.items
        for obj in item.objects
        if item.kind == "images" and f"sha256:{obj.sha256}" != release.digest
    ]
    assert "404" not in {fetched(url) for url, _ in blobs}
    Site(config).remove(one.name, purge=True)
    assert {fetched(url) for url, release in blobs if release is one} == {"404"}
    assert "404" not in {fetched(url) for url, release in blobs if release is other}
    assert not (Path(config.root) / "repos/.releases" / f"purged-1-{one.manifest.id[:12]}").exists()

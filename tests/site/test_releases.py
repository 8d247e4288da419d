"""Releases as people name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import SiteError
from bundler.model.items import Item
from bundler.model.site import SiteConfig
from bundler.site.releases import Release
from bundler.site.site import Site
from tests.site.content import make_object


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(SiteConfig(address="127.0.0.1", root=str(tmp_path)))


def put(site: Site, version: str, word: str) -> str:
    """A complete release of `app` on the web root; its id."""
    item = Item("files", "word", "1", (make_object("files/word", word.encode()),))
    manifest = Manifest("app", version, "1" * 64, "2" * 64, (item,), ())
    tree = site.web.directory / ".releases" / Release("app", version, manifest.id).folder
    tree.mkdir(parents=True)
    (tree / "manifest.json").write_bytes(manifest.data)
    return manifest.id


def test_a_version_or_an_id_finds_its_release(site: Site) -> None:
    one, two = put(site, "1", "one"), put(site, "2", "two")
    for word in ("1", one, one[:12], one[:30], f"@{one}", f"@{one[:12]}"):
        assert site.earlier("app", word).id == one
    assert site.earlier("app", "2").id == two


@pytest.mark.parametrize("digits", [0, 1, 11])
def test_few_digits_are_no_id(site: Site, digits: int) -> None:
    one = put(site, "1", "one")
    for word in (one[:digits], f"@{one[:digits]}"):
        with pytest.raises(SiteError, match="is not on this site; it has: 1 @"):
            site.earlier("app", word or "@")


@pytest.mark.parametrize("digits", [12, 20, 64])
def test_a_version_that_is_anothers_id_is_refused_with_both(site: Site, digits: int) -> None:
    one = put(site, "1", "approved")
    imposter = put(site, one[:digits], "imposter")
    with pytest.raises(SiteError) as caught:
        site.earlier("app", one[:digits])
    assert f"1 @{one[:12]}" in caught.value.message
    assert f"{one[:digits]} @{imposter[:12]}" in caught.value.message
    assert site.earlier("app", f"@{one[:digits]}").id == one
    assert site.earlier("app", imposter).id == imposter


def test_two_bundles_of_a_version_are_told_apart_by_their_ids(site: Site) -> None:
    one, other = put(site, "1", "one"), put(site, "1", "other")
    with pytest.raises(SiteError, match="app 1 may be any of"):
        site.earlier("app", "1")
    assert {site.earlier("app", f"@{each[:12]}").id for each in (one, other)} == {one, other}

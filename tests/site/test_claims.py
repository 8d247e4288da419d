"""What a release has under names that others could give too: what its manifest says, and does bring."""

from __future__ import annotations

import pytest

from bundler.bundle.manifest import Manifest
from bundler.model.items import Item, Json
from bundler.site.claims import claims_of
from tests.site.content import make_object
from tests.site.small_release import SmallRelease

OBJECT = make_object("images/x", b"x")
DIGEST = f"sha256:{OBJECT.sha256}"


def claiming(attributes: dict[str, Json]) -> Manifest:
    return Manifest("demo", "1", "1" * 64, "2" * 64, (Item("images", "x", "1", (OBJECT,), attributes),), ())


def test_tags_manifests_and_wheels() -> None:
    release = SmallRelease("demo", "1", "word", "team/app", ("1", "stable"))
    claims = claims_of(release.manifest)
    assert claims.tags == {("team/app", "1"): release.digest, ("team/app", "stable"): release.digest}
    assert claims.manifests == {("team/app", release.digest)}
    assert list(claims.wheels) == ["thing_demo-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    "manifests", [None, [], [{}], ["x"], [{"digest": None}], [{"digest": []}], [{"digest": "sha256:" + "0" * 64}], {}]
)
def test_what_is_not_brought_is_not_claimed(manifests: Json) -> None:
    """Uninstalling deletes what was claimed: a bundle cannot name what is somebody else's."""
    said: dict[str, Json] = {"repository": "team/app", "tags": ["1"], "digest": DIGEST, "manifests": manifests}
    assert claims_of(claiming(said)).manifests == {("team/app", DIGEST)}
    claims = claims_of(claiming({**said, "digest": "sha256:" + "0" * 64}))
    assert (claims.tags, claims.manifests) == ({}, set())

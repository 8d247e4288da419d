"""What a release has under names that others could give too: what its manifest says, and does bring."""

from __future__ import annotations

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import BundleError
from bundler.kinds import KINDS
from bundler.kinds.base import Kind
from bundler.model.items import Item, Json
from bundler.sections import items_by_section
from bundler.site.claims import claims_of
from bundler.site.rival_wheels import rivals
from tests.site.content import make_object
from tests.site.small_release import SmallRelease

OBJECT = make_object("images/x", b"x")
DIGEST = f"sha256:{OBJECT.sha256}"


def claiming(attributes: dict[str, Json], kind: str = "images") -> Manifest:
    return Manifest("demo", "1", "1" * 64, "2" * 64, (Item(kind, "x", "1", (OBJECT,), attributes),), ())


def test_tags_manifests_and_wheels() -> None:
    release = SmallRelease("demo", "1", "word", "team/app", ("1", "stable"))
    claims = claims_of(release.manifest)
    assert claims.tags == {("team/app", "1"): release.digest, ("team/app", "stable"): release.digest}
    assert claims.manifests == {("team/app", release.digest)}
    assert list(claims.wheels) == ["thing_demo-1.0-py3-none-any.whl"]


SAID: dict[str, Json] = {"repository": "team/app", "tags": ["1"], "digest": DIGEST, "manifests": []}
WHEEL: dict[str, Json] = {"metadata": {"name": "thing"}}
ZEROS = "sha256:" + "0" * 64


@pytest.mark.parametrize("manifests", [[], [{"digest": ZEROS}]])
def test_what_is_not_brought_is_not_claimed(manifests: Json) -> None:
    """Uninstalling deletes what was claimed: a bundle cannot name what is somebody else's."""
    said: dict[str, Json] = {**SAID, "manifests": manifests}
    assert claims_of(claiming(said)).manifests == {("team/app", DIGEST)}
    claims = claims_of(claiming({**said, "digest": ZEROS}))
    assert (claims.tags, claims.manifests) == ({}, set())


@pytest.mark.parametrize("kind", ["files", "rpms", "bootstrap", "wheels", "kubespray"])
def test_only_images_claim_names_in_the_registry(kind: str) -> None:
    claims = claims_of(claiming(SAID, kind))
    assert (claims.tags, claims.manifests) == ({}, set())


@pytest.mark.parametrize("kind", ["files", "rpms", "bootstrap", "images", "kubespray"])
def test_only_wheels_claim_files_of_the_index(kind: str) -> None:
    assert claims_of(claiming(WHEEL, "wheels")).wheels == {"x": OBJECT.sha256}
    assert claims_of(claiming(WHEEL, kind)).wheels == {}


NO_NAMES: dict[str, list[Json]] = {
    "repository": [
        "x/../library/nginx",
        "..",
        ".",
        "/x",
        "x/",
        "x//y",
        "x?y",
        "x%2f..",
        "X",
        "x\n",
        "",
        "a" * 256,
        None,
        [],
    ],
    "tags": [["a/b"], [".."], ["../1"], ["1?x"], ["1#"], [""], ["1\n"], ["a" * 129], [None], "1", None],
    "digest": ["sha256:../x", "sha256:", "", "sha512:" + "0" * 128, ZEROS + "/..", ZEROS + "\n", None, [ZEROS]],
    "manifests": [None, [{}], ["x"], [{"digest": None}], [{"digest": []}], [{"digest": "../x"}], {}],
}


@pytest.mark.parametrize(("word", "value"), [(word, value) for word, values in NO_NAMES.items() for value in values])
def test_an_image_that_is_named_in_other_words_than_a_registrys_claims_nothing(word: str, value: Json) -> None:
    claims = claims_of(claiming({**SAID, word: value}))
    assert (claims.tags, claims.manifests) == ({}, set())


@pytest.mark.parametrize("project", ["..", "../x", "x/y", "x?", "-", "", "x\n", "a" * 256, None, ["x"]])
def test_a_wheel_of_no_project_claims_nothing(project: Json) -> None:
    assert claims_of(claiming({"metadata": {"name": project}}, "wheels")).wheels == {}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("attributes", [SAID, WHEEL, {"repository": "x/../library/nginx"}], ids=str)
def test_an_item_that_says_what_its_kind_does_not_know_is_refused(kind: Kind, attributes: dict[str, Json]) -> None:
    said = Item(kind.name, "x", "1", (), attributes)
    with pytest.raises(BundleError, match=f"{kind.name} x 1: "):
        items_by_section([said], "evil.tar")


@pytest.mark.parametrize(
    "file",
    [
        "thing-1.0-7-py3-none-any.whl",
        "thing-1.0-cp311-none-any.whl",
        "Thing-1.0-py3-none-any.whl",
        "thing-1-py3-none-any.whl",
        "thing-1.0-py2.py3-none-any.whl",
        "thing-1.0-cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    ],
)
def test_another_file_of_the_same_version_is_a_collision(file: str) -> None:
    assert list(rivals({file: "1" * 64}, {"thing-1.0-py3-none-any.whl": "2" * 64})) == [file]
    assert list(rivals({file: "2" * 64}, {"thing-1.0-py3-none-any.whl": "2" * 64})) == []


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("thing-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "thing-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"),
        ("thing-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "thing-1.0-cp311-cp311-manylinux_2_17_aarch64.whl"),
        ("thing-1.0-py3-none-any.whl", "thing-1.1-py3-none-any.whl"),
        ("thing-1.0-py3-none-any.whl", "thing_more-1.0-py3-none-any.whl"),
    ],
)
def test_wheels_for_other_nodes_are_none(mine: str, theirs: str) -> None:
    assert list(rivals({mine: "1" * 64}, {theirs: "2" * 64})) == []

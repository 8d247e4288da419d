"""What holds for every recipe, as the docstring of bundler.recipes.base says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.build import expand
from bundler.errors import ProfileError
from bundler.inputs import profile_schema, read_profile
from bundler.kinds import KINDS
from bundler.model.profile import Profile
from bundler.model.site import Served, SiteConfig
from bundler.recipes import RECIPES
from bundler.recipes.base import Recipe
from bundler.transfer.upstream import Upstream

each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def section(recipe: Recipe, shared: Path) -> dict[str, Any]:
    """A section of each recipe that can be expanded here."""
    samples: dict[str, dict[str, Any]] = {
        "kubespray": {"version": "v2.31.0", "source": str(shared / "kubespray" / "v2.31.0")},
        "admin": {"target": "rocky-9"},
    }
    return samples[recipe.name]


def profile(tmp_path: Path, **sections: Any) -> Path:
    path = tmp_path / "p.yaml"
    words = {"name": "x", "version": "1", "targets": [{"distro": "rocky", "release": "9"}], **sections}
    path.write_text(yaml.safe_dump(words))
    return path


def test_a_recipe_is_documented_and_in_the_schema() -> None:
    schema: Any = profile_schema()
    names = {recipe.name for recipe in RECIPES}
    assert names <= set(schema["properties"])
    assert not names & {kind.name for kind in KINDS}
    for name in names:
        assert (Path(__file__).parents[2] / "bundler/recipes" / name / "README.md").is_file()


@each_recipe
def test_an_unknown_key_is_named_with_its_place(recipe: Recipe, shared: Path, tmp_path: Path) -> None:
    path = profile(tmp_path, **{recipe.name: {**section(recipe, shared), "surprise": 1}})
    with pytest.raises(ProfileError) as caught:
        read_profile(path)
    assert any(f"{path}:" in line and "surprise" in line for line in caught.value.message.splitlines())


@pytest.fixture
def wanted(recipe: Recipe, shared: Path, tmp_path: Path) -> Profile:
    """A profile with nothing but the recipe's section."""
    return read_profile(profile(tmp_path, **{recipe.name: section(recipe, shared)}))


@each_recipe
def test_what_it_expands_to_a_person_could_have_written(
    recipe: Recipe, wanted: Profile, tmp_path: Path, outside: Upstream
) -> None:
    expanded, items = expand(wanted, outside)
    assert [item.kind for item in items] == [recipe.name]
    assert not items[0].objects
    document = expanded.document()
    assert set(document) <= {"name", "version", "targets", *(kind.name for kind in KINDS)}
    read_again = read_profile(profile(tmp_path, **json.loads(json.dumps(document))))
    assert read_again.document() == document
    assert expand(wanted, outside)[1] == items


@each_recipe
def test_what_it_emits_reads_nothing_but_its_item(recipe: Recipe, wanted: Profile, outside: Upstream) -> None:
    _, items = expand(wanted, outside)
    served = Served(SiteConfig(address="192.168.10.10"), "x", "1")
    made = recipe.emit(items[0], tuple(items), served)
    assert made == recipe.emit(items[0], tuple(items), served)
    assert all(file.path.startswith(f"{recipe.name}/") for file in made.files)

"""What a person wrote wrong is named with its place, its line and what was expected."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from bundler.errors import ProfileError
from bundler.model import written
from bundler.model.site import SiteConfig
from bundler.model.target import StrictModel


class Repository(StrictModel):
    id: str
    mode: Literal["packages", "mirror"] = "packages"
    only: tuple[str, ...] | None = Field(default=None, alias="for")


class Section(StrictModel):
    repos: tuple[Repository, ...] = ()
    weak_deps: bool = False


class Document(StrictModel):
    name: str
    rpms: Section | None = None


def parse(text: str, **changes: str) -> Document:
    return written.parse(text, Document, "p.yaml", ProfileError, changes=changes)


def message(text: str, **changes: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse(text, **changes)
    return caught.value.message


def test_a_right_document_is_taken() -> None:
    document = parse("name: x\nrpms: {repos: [{id: a, for: [el9]}]}\n")
    assert document.rpms is not None
    assert document.rpms.repos[0].only == ("el9",)


def test_an_unknown_key_is_named_with_its_line_and_what_is_known() -> None:
    found = message("name: x\nrpms:\n  repos:\n    - id: a\n      modee: mirror\n")
    assert found.startswith("p.yaml:5: rpms.repos.0.modee: unknown key; did you mean 'mode'?")
    assert "expected one of for, id, mode" in found


def test_a_wrong_type_says_what_came() -> None:
    assert message("name: 1.0\n") == "p.yaml:1: name: Input should be a valid string, got 1.0"


def test_an_impossible_value_says_what_is_possible() -> None:
    found = message("name: x\nrpms:\n  repos:\n  - {id: a, mode: half}\n")
    assert found == "p.yaml:4: rpms.repos.0.mode: Input should be 'packages' or 'mirror', got 'half'"


def test_a_missing_key_is_named_where_it_is_missing() -> None:
    assert message("rpms: {}\n").endswith(": name: Field required")
    assert message("name: x\nrpms:\n  repos:\n  - {mode: mirror}\n").startswith("p.yaml:4: rpms.repos.0.id: Field")


def test_every_mistake_is_told_at_once() -> None:
    assert len(message("nam: x\nrpms: {weak_deps: perhaps}\n").splitlines()) == 3


@pytest.mark.parametrize(
    "text", ["tls:\n 3:\n Owtls:\n nTls:\n -3:\n OwnTls:\n -", "tls: {-1: x, [a]: b}", "? [a]\n: b", "tls: [1, 2]"]
)
def test_keys_that_are_no_words(text: str) -> None:
    """What fuzzing found: keys that are numbers or lists, where a section may be of several sorts."""
    with pytest.raises(ProfileError):
        written.parse(text, SiteConfig, "site.yaml", ProfileError)


def test_a_key_given_twice_is_refused() -> None:
    assert "stands here twice" in message("name: x\nname: y\n")


@pytest.mark.parametrize("text", ["name: [", "\t- x", "- a\n- b\n", "just words", "", "name: *nobody"])
def test_what_is_no_such_document_is_an_error(text: str) -> None:
    assert "p.yaml" in message(text)


def test_set_changes_values_and_makes_the_way() -> None:
    document = parse("name: x\n", **{"rpms.weak_deps": "true", "rpms.repos": "[{id: a}]"})
    assert document.rpms == Section(repos=(Repository(id="a"),), weak_deps=True)
    assert parse("name: x\nrpms: {repos: [{id: a}]}", **{"rpms.repos.0.id": "b"}).rpms == Section(
        repos=(Repository(id="b"),)
    )


@pytest.mark.parametrize("key", ["name.deeper", "rpms.repos.7.id", "rpms.repos.first.id"])
def test_set_at_no_place_is_an_error(key: str) -> None:
    assert f"--set {key}=1" in message("name: x\nrpms: {repos: [{id: a}]}\n", **{key: "1"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("name: " + "[" * 100_000, "100 levels", id="brackets"),
        pytest.param("name: " + "{a: " * 100_000, "100 levels", id="mappings"),
        pytest.param(
            "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "2000000 nodes",
            id="merges",
        ),
        pytest.param("name: &a [*a]", "within itself", id="a ring"),
    ],
)
def test_yaml_that_grows_is_refused(text: str, words: str) -> None:
    """PyYAML's loaders would end the process, or take all memory."""
    assert words in message(text)
    assert message(text).startswith("p.yaml: ")


def test_a_setting_that_nests_without_end_is_refused() -> None:
    assert "there is no such place" in message("name: x", rpms="[" * 100_000)


def test_aliases_that_people_write_are_taken() -> None:
    assert parse("name: &n demo\nrpms: {repos: [{id: *n}]}").rpms == Section(repos=(Repository(id="demo"),))

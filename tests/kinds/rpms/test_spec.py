from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bundler.kinds.rpms.spec import Spec
from bundler.model.target import Target

ROCKY9 = Target(distro="rocky", release="9")
ROCKY10 = Target(distro="rocky", release="10")
REPO: dict[str, Any] = {"id": "baseos", "url": "https://example.org/$releasever/", "gpgkey": ["keys/rocky"]}


def parse(**section: Any) -> Spec:
    return Spec.model_validate(section)


def test_for_limits_repositories_and_packages() -> None:
    spec = parse(
        repos=[REPO, {**REPO, "id": "extras", "for": ["rocky-10"]}],
        packages=["socat", {"name": "conntrack", "for": ["9"]}, {"names": ["a", "socat", "b"]}],
        modules=[{"name": "nodejs:20", "for": ["rocky-9"]}],
    )
    assert [repo.id for repo in spec.repos_for(ROCKY9)] == ["baseos"]
    assert [repo.id for repo in spec.repos_for(ROCKY10)] == ["baseos", "extras"]
    assert spec.packages_for(ROCKY9) == ("socat", "conntrack", "a", "b")
    assert spec.packages_for(ROCKY10) == ("socat", "a", "b")
    assert spec.modules_for(ROCKY10) == ()


def test_streams_are_those_of_modules_and_of_module_words_among_the_packages() -> None:
    spec = parse(repos=[REPO], packages=["socat", "@nodejs:20/common", "@core"], modules=["php:8.2"])
    assert spec.streams_for(ROCKY9) == ("php:8.2", "nodejs:20/common")


@pytest.mark.parametrize(
    ("repo", "checked"),
    [({}, True), ({"gpgkey": []}, False), ({"gpgcheck": False}, False), ({"gpgcheck": True}, True)],
)
def test_signatures_are_checked_where_there_is_a_key(repo: dict[str, object], checked: bool) -> None:
    assert parse(repos=[{**REPO, **repo}], packages=["a"]).repos[0].checked is checked


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"repos": [{**REPO, "gpgkey": [], "gpgcheck": True}], "packages": ["a"]}, "gpgcheck: false"),
        ({"repos": [{**REPO, "metalink": "https://example.org/m"}], "packages": ["a"]}, "exactly one of"),
        ({"repos": [{**REPO, "url": None}], "packages": ["a"]}, "exactly one of"),
        ({"repos": [{**REPO, "url": "ftp://example.org/"}], "packages": ["a"]}, "should match pattern"),
        ({"repos": [{**REPO, "url": "https://example.org/\nenabled=1"}], "packages": ["a"]}, "should match pattern"),
        ({"repos": [{**REPO, "id": "a/../b"}], "packages": ["a"]}, "should match pattern"),
        ({"repos": [{**REPO, "newest_only": True}], "packages": ["a"]}, "goes with `mode: mirror`"),
        ({"repos": [REPO], "packages": ["a\nb"]}, "should match pattern"),
        ({"repos": [REPO], "packages": [{"for": ["9"]}]}, "either `name` or `names`"),
        ({"repos": [REPO], "packages": [{"names": ["a", "--pipe=id"], "bootstrap": True}]}, "names of packages alone"),
        ({"repos": [REPO], "packages": [{"name": "@core", "bootstrap": True}]}, "names of packages alone"),
        ({"repos": [REPO], "packages": [{"name": "a", "arch": "9"}]}, "Extra inputs"),
        ({"repos": [REPO], "packages": ["a"], "assume_installed": "some"}, "should match pattern"),
        ({"repos": [REPO], "packages": ["a"], "weak": True}, "Extra inputs"),
    ],
)
def test_impossible_sections_are_refused_in_one_line(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Spec.model_validate(section)
    errors = caught.value.errors()
    assert len(errors) == 1
    assert words in errors[0]["msg"]

from __future__ import annotations

import pytest
from pydantic import ValidationError

from bundler.kinds.wheels.spec import Spec, names_file


@pytest.mark.parametrize(
    ("entry", "is_file"),
    [
        ("requirements.txt", True),
        ("deps/base.in", True),
        ("https://example.org/requirements", True),
        ("ansible==11.13.0", False),
        ("zope.interface", False),
        ("https://example.org/a-1.0-py3-none-any.whl#sha256=00", False),
        ("a @ https://example.org/requirements.txt", False),
    ],
)
def test_an_entry_is_a_requirement_or_a_file(entry: str, is_file: bool) -> None:
    assert names_file(entry) is is_file


def test_defaults() -> None:
    spec = Spec.model_validate({"python": ["3.12"], "requirements": ["six"]})
    assert (spec.sdist, spec.index_url, spec.constraints, spec.glibc_version) == ("refuse", None, (), None)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"python": ["3.12"], "requirements": ["six"], "pythons": []}, "pythons"),
        ({"python": [], "requirements": ["six"]}, "python"),
        ({"python": ["3.12", "3.12"], "requirements": ["six"]}, "each Python once"),
        ({"python": ["2.7"], "requirements": ["six"]}, "python.0"),
        ({"python": ["3.12"], "requirements": ["six ="]}, "neither a requirement"),
        ({"python": ["3.12"], "requirements": ["git+https://example.org/x"]}, "build a wheel of it"),
        ({"python": ["3.12"], "requirements": ["-e ."]}, "build a wheel of it"),
        ({"python": ["3.12"], "requirements": ["six"], "sdist": "maybe"}, "sdist"),
        ({"python": ["3.12"], "requirements": ["six"], "sdist": ["no/name"]}, "sdist"),
        ({"python": ["3.1\u0662"], "requirements": ["six"]}, "python.0"),
        ({"python": ["3.12"], "requirements": ["https://e.org/${TOKEN}/a-1-py3-none-any.whl"]}, "variables"),
        ({"python": ["3.12"], "requirements": ["a @ file:///srv/a.tar.gz"]}, "places to take a package from"),
        ({"python": ["3.12"], "requirements": ["a @ /srv/a"]}, "places to take a package from"),
        ({"python": ["3.12"], "requirements": ["six"], "index_url": "https://me:pw@example.org/simple"}, "index_url"),
        ({"python": ["3.12"], "requirements": ["six"], "glibc": "musl"}, "glibc"),
    ],
)
def test_what_is_wrong_is_named(section: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        Spec.model_validate(section)


@pytest.mark.parametrize(
    ("sdist", "sources"),
    [("refuse", frozenset()), ("build", None), (["Devpi_Web", "six"], frozenset({"devpi-web", "six"}))],
)
def test_what_may_be_built(sdist: object, sources: frozenset[str] | None) -> None:
    spec = Spec.model_validate({"python": ["3.12"], "requirements": ["six"], "sdist": sdist})
    assert spec.sources == sources

"""The proof's time goes with the size of the metadata, whatever that says."""

from __future__ import annotations

import time

import pytest

from bundler.errors import BundleError
from bundler.kinds.wheels.prove import prove
from bundler.model.items import Item
from tests.kinds.wheels.test_prove import NOTHING, lock, wheel


def test_extras_beyond_number_are_followed_in_a_moment() -> None:
    """What is asked for, times what could depend on it, would take hours."""
    needs = [f'a; extra == "e{n}"' for n in range(5000)]
    asked = [f"a[{','.join(f'x{k}-{n}' for n in range(500))}]" for k in range(50)]
    named = [f"a[{','.join(f'e{n}' for n in range(k * 500, k * 500 + 500))}]" for k in range(10)]
    began = time.process_time()
    assert list(prove((wheel("a", "1", *needs), lock("3.12", *asked, *named)), NOTHING)) == []
    assert time.process_time() - began < 60


def test_conditions_beyond_number_are_refused() -> None:
    names = [f"e{n}" for n in range(150)]
    need = "a; " + " or ".join(f'extra == "{name}"' for name in names)
    items = (wheel("a", "1", *[need] * 300), lock("3.12", f"a[{','.join(names)}]"))
    with pytest.raises(BundleError, match="conditions of requirements"):
        list(prove(items, NOTHING))


@pytest.mark.parametrize(
    "items",
    [
        [lock("3.12", arch=f"a{n}") for n in range(65)],
        [wheel("a", str(n), *["b"] * 5000) for n in range(41)],
    ],
    ids=["locks", "requirements"],
)
def test_more_than_any_bundle_has_is_refused(items: list[Item]) -> None:
    with pytest.raises(BundleError, match="no bundle has more than"):
        list(prove(tuple(items), NOTHING))


def test_an_extra_in_a_list_of_extras_is_followed() -> None:
    items = (wheel("a", "1", 'b; extra in "x, y"'), lock("3.12", "a[y]"))
    assert list(prove(items, NOTHING)) == ["wheels: Python 3.12-x86_64: a 1 needs b, which is not in the bundle"]

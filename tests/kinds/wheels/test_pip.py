from __future__ import annotations

import pytest

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.pip import Pin, explain, pins_of


def test_a_lock_is_read() -> None:
    lock = "# comment\nsix==1.17.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    lock += "x @ https://e.org/x.whl \\\n    --hash=sha256:cc\n"
    assert pins_of(lock) == [
        Pin("six==1.17.0", frozenset({"aa", "bb"})),
        Pin("x @ https://e.org/x.whl", frozenset({"cc"})),
    ]


def test_a_pin_without_a_hash_is_refused() -> None:
    with pytest.raises(ResolveError, match="x @ file:///x has no digest"):
        pins_of("x @ file:///x\n")


def test_a_failure_is_shortened() -> None:
    logged = (
        "  ERROR: Ignored the following yanked versions: 0.1\n"
        "  ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1, 2, 3, 4, 5)\n"
    )
    error = explain("resolve", logged, "Traceback\npip._internal.exceptions.DistributionNotFound: No matching x==9")
    assert isinstance(error, ResolveError)
    assert error.message == (
        "wheels: cannot resolve: Could not find a version that satisfies the requirement x==9 "
        "(it has 5, 4, 3 … 5 in all)"
    )


def test_the_network_is_told_from_the_requirement() -> None:
    error = explain("resolve", "", "pip._internal.exceptions.NetworkConnectionError: 503 Server Error: for url: …")
    assert isinstance(error, FetchError)

from __future__ import annotations

from bundler.errors import FetchError, ResolveError
from bundler.kinds.wheels.pip import explain


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

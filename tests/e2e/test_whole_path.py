"""The whole job, as `make demo` shows it: every one of its checks, with real servers and real clients."""

from __future__ import annotations

import pytest

from scripts.demo.checks import CHECKS, Check
from scripts.demo.journey import Journey

# One bundle and one node for all, and a check may stand on the one before it: in this order, in one process.
pytestmark = [pytest.mark.e2e, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("whole path")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.title)
def test_check(way: Journey, check: Check) -> None:
    if why := check.left_out(way):
        pytest.skip(why)
    assert check.work(way)

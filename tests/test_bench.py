"""The benchmark's own instruments: what they say is what happened."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import requests

from scripts.bench.data import make
from scripts.bench.measure import measure, run
from scripts.bench.upstream import upstream

_MEBIBYTE = 1 << 20
_WORK = """
import subprocess, sys, time
held = bytearray(60 << 20)
if sys.argv[1:]:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
time.sleep(0.4)
"""
_WRITE = "open('written', 'wb').write(bytes(range(256)) * (30 << 12))"


def test_the_whole_process_tree_is_measured(tmp_path: Path) -> None:
    found = measure(lambda: run([sys.executable, "-c", _WORK, _WRITE], cwd=tmp_path), tmp_path)
    assert 0.4 < found.seconds < 10
    assert 60 * _MEBIBYTE < found.memory < 120 * _MEBIBYTE
    assert 30 * _MEBIBYTE <= found.written < 40 * _MEBIBYTE


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        measure(lambda: run([sys.executable, "-c", "raise SystemExit('no such thing')"]), tmp_path)


def test_what_is_far_away_answers_late_and_slowly(tmp_path: Path) -> None:
    data = make(tmp_path / "data", 1 / 200)
    assert make(tmp_path / "data", 1 / 200) == data, "what is there is taken again"
    with upstream(data, tmp_path / "up", latency=0.1, rate=4 << 20) as there, requests.Session() as session:
        url = f"{there.url}/files/{next(iter(data.files))}"
        for expected in (0.2, 0.1):  # the first has a connection to make
            start = time.monotonic()
            session.head(url, timeout=10).raise_for_status()
            assert expected <= time.monotonic() - start < expected + 0.5
        start = time.monotonic()
        size = len(session.get(url, timeout=30).content)
        assert time.monotonic() - start > 0.7 * size / (4 << 20)

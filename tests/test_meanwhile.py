"""Work that goes on beside other work ends with it, and its failure is not lost."""

from __future__ import annotations

import threading

import pytest

from bundler.meanwhile import every


def test_it_is_done_again_and_again_until_the_block_ends() -> None:
    done = threading.Semaphore(0)
    with every(0.001, done.release):
        for _ in range(3):
            assert done.acquire(timeout=10)
    while done.acquire(blocking=False):
        pass
    assert not done.acquire(timeout=0.05), "nothing is done any more"


def test_what_it_raises_is_raised_when_the_block_has_ended() -> None:
    tried = threading.Event()

    def fail() -> None:
        tried.set()
        raise OSError("no")

    with pytest.raises(OSError, match="no"), every(0.001, fail):
        assert tried.wait(10)


def test_what_the_block_raises_comes_first() -> None:
    tried = threading.Event()

    def fail() -> None:
        tried.set()
        raise OSError("no")

    def both() -> None:
        with every(0.001, fail):
            assert tried.wait(10)
            raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        both()

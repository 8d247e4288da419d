"""Answers of services that somebody else has taken over."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bundler.errors import SiteError
from bundler.site import registry_client, session
from bundler.site.index_client import IndexClient
from bundler.site.registry_client import RegistryClient
from bundler.site.session import LOCAL
from tests.site.content import make_object

HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
ASKS: dict[str, Callable[[Path], object]] = {
    "index": lambda path: IndexClient("see its log", socket=path).stated(f"{LOCAL}/", "x", make_object("x", b"x")),
    "registry": lambda path: RegistryClient(LOCAL, socket=path).request("GET", "a", "manifests/1", expect=(200,)),
}


@contextmanager
def answering(path: Path, head: bytes, chunk: bytes) -> Iterator[None]:
    """A service that sends `chunk` for as long as somebody listens."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def answer() -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                with client, suppress(OSError):
                    client.recv(1 << 16)
                    client.sendall(head)
                    while True:
                        client.sendall(chunk)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "_FIRST_WAIT", 0.01)


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(
    "head",
    [
        HEAD % b"200 OK" + b"\r\n",
        HEAD % b"500 No" + b"\r\n",
        HEAD % b"200 OK" + b"Content-Length: 100000000000\r\n\r\n",
        HEAD % b"302 Found" + b"Location: /there\r\n\r\n",
    ],
    ids=["without a length", "an error", "with a length", "a redirect"],
)
def test_an_answer_without_an_end_is_not_read_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, ask: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(session, "_LARGEST_ANSWER", 1 << 20)
    with answering(tmp_path / "s", head, b"x" * (1 << 16)), pytest.raises(SiteError, match="answer has no end"):
        ask(tmp_path / "s")


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_an_answer_that_trickles_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(session, "_LONGEST_ANSWER", 0.2)
    with (
        answering(tmp_path / "s", HEAD % b"200 OK" + b"Content-Length: 1000000000\r\n\r\n", b" "),
        pytest.raises(SiteError, match="answer has no end"),
    ):
        ask(tmp_path / "s")

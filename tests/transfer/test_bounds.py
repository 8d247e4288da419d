"""Upstreams that never end, that trickle, and that answer with far more than was asked for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.errors import FetchError
from bundler.limits import Limit
from bundler.model.config import Config, Retries
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes.upstream import Fault
from tests.fakes.upstream import Upstream as Server
from tests.measured import measured

# A second is to these tests what a minute is to others.
HASTY = Config(retries=Retries(attempts=2, backoff=0.01, ceiling=1, timeout=0.5, slowest=1000))
Answer = Callable[[socket.socket], object]


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(HASTY, base=tmp_path, store=Store(tmp_path / "store")) as opened:
        yield opened


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A server on loopback that answers every request with `answer`, until the client hangs up; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def one(peer: socket.socket) -> None:
            with peer:
                try:
                    peer.recv(1 << 16)
                    answer(peer)
                except OSError:
                    pass

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(peer,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def trickle(head: bytes, piece: bytes, pause: float = 0.1) -> Answer:
    def answer(peer: socket.socket) -> None:
        peer.sendall(head)
        while True:
            peer.sendall(piece)
            time.sleep(pause)

    return answer


def flood(head: bytes, piece: bytes) -> Answer:
    return trickle(head, piece * (1 + (64 << 10) // len(piece)), pause=0)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(trickle(OK + b"Content-Length: 1000000\r\n\r\n", b"x"), id="a body"),
        pytest.param(trickle(OK + b"\r\n", b"x"), id="a body without a length"),
        pytest.param(trickle(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks"),
        pytest.param(trickle(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), id="a chunk's head"),
        pytest.param(trickle(b"", b"H"), id="a status line"),
        pytest.param(trickle(OK, b"X: y\r\n"), id="headers"),
        pytest.param(trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="answers before the answer"),
    ],
)
def test_what_trickles_is_given_up(hasty: Upstream, answer: Answer) -> None:
    began = time.monotonic()
    with answering(answer) as url:
        with pytest.raises(
            FetchError, match=r"only \d+ bytes came in \d+ s, fewer than 1000 a second.*2 tries"
        ) as caught:
            hasty.read(f"{url}/x", limit=1 << 20)
        with pytest.raises(FetchError, match="only"):
            hasty.digests(f"{url}/x")
    assert f"{url}/x" in caught.value.message
    assert time.monotonic() - began < 10


def test_a_question_for_the_size_that_trickles_is_given_up(hasty: Upstream) -> None:
    with answering(trickle(OK, b"X: y\r\n")) as url, pytest.raises(FetchError, match="fewer than 1000 a second"):
        hasty.measure(f"{url}/x", sha256="0" * 64)


def test_a_slow_line_is_no_trickle(hasty: Upstream, server: Server) -> None:
    """Twice as fast as the slowest that is taken, in small pieces, for longer than the time that counts."""
    data = b"x" * 3000
    url = server.put("/x", data, Fault(piece=100, pause=0.05))
    assert hasty.read(url, limit=4000) == data
    assert len(server.seen) == 1


def test_a_slow_reader_is_no_slow_line(hasty: Upstream, server: Server) -> None:
    url = server.put("/x", b"x" * (4 << 20))
    with hasty._http.get(url) as answer:
        next(answer.chunks)
        time.sleep(1)
        assert sum(map(len, answer.chunks)) > 3 << 20


def test_an_upstream_that_hangs_up_after_every_byte_is_given_up(hasty: Upstream, server: Server) -> None:
    url = server.put("/x", b"x" * 100_000, *[Fault(cut_at=1)] * 1000)
    server.etags["/x"] = '"one"'
    with pytest.raises(FetchError, match="2 tries"):
        hasty.digests(url)
    assert len(server.seen) < 20


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "the head of an answer", id="answers before it"),
        pytest.param(flood(OK, b"X: y\r\n"), "100 headers", id="headers"),
        pytest.param(flood(OK + b"X: ", b"y"), "header line", id="a header"),
        pytest.param(flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"), "head of an|size line", id="chunk head"),
        pytest.param(
            flood(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"), "the head of an answer", id="trailers"
        ),
        pytest.param(flood(OK + b"\r\n", b"x"), "limit of 1.0 MiB for such a file", id="a body"),
    ],
)
def test_what_never_ends_is_refused(hasty: Upstream, answer: Answer, words: str) -> None:
    with answering(answer) as url, pytest.raises(FetchError, match=words) as caught:
        hasty.read(f"{url}/x", limit=1 << 20)
    assert f"{url}/x" in caught.value.message


def test_a_token_that_is_nested_without_end_is_none(tmp_path: Path, server: Server) -> None:
    challenge = Fault(status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'})
    server.put("/v2/", b"{}", challenge)
    server.put("/v2/org/app/manifests/1", b"{}", *[challenge] * 9)
    server.put("/token?service=s", b"[" * 500_000)
    config = HASTY.model_copy(update={"mirrors": {"example.org": server.url}})
    with (
        Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside,
        pytest.raises(FetchError, match="there is none for it"),
    ):
        outside.registry("example.org").manifest("org/app", "1")


@pytest.mark.parametrize("value", ["9" * 40_000, "Mon, 01 Jan 99999999999 00:00:00 GMT", "-1", "1e999", "x" * 40_000])
def test_a_wait_that_nobody_can_mean_is_not_waited_for(hasty: Upstream, server: Server, value: str) -> None:
    began = time.monotonic()
    assert hasty.read(server.put("/x", b"x", Fault(status=429, headers={"Retry-After": value})), limit=10) == b"x"
    assert time.monotonic() - began < 3


def test_a_file_of_unknown_size_is_bounded_by_the_config(tmp_path: Path) -> None:
    config = HASTY.model_copy(update={"largest_file": 1 << 20})
    with (
        Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside,
        answering(flood(OK + b"\r\n", b"x")) as url,
    ):
        with pytest.raises(FetchError, match="largest_file"):
            outside.digests(f"{url}/x")
        with pytest.raises(FetchError, match="limit of 10 B for a test"):
            outside.download(f"{url}/x", tmp_path / "x", limit=Limit("a test", 10))


FLOOD = """
import socket, threading
def serve(listening, head):
    while True:
        peer, _ = listening.accept()
        def one(peer):
            try:
                asked = peer.recv(1 << 16)
                peer.sendall(head(asked))
                while True: peer.sendall(b"x" * (1 << 20))
            except OSError: pass
        threading.Thread(target=one, args=(peer,), daemon=True).start()
listening = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listening.getsockname()[1]}"
from pathlib import Path
from bundler.errors import FetchError
from bundler.model.config import Config, Retries
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
def run(head, ask):
    threading.Thread(target=serve, args=(listening, head), daemon=True).start()
    config = Config(retries=Retries(attempts=1), mirrors={"example.org": url})
    with Upstream(config, base=Path("."), store=Store(Path("store"))) as outside:
        try: ask(outside)
        except FetchError as error: print(error.message)
"""


@pytest.mark.parametrize(
    ("head", "ask", "words"),
    [
        pytest.param(
            'b"HTTP/1.1 200 OK\\r\\n\\r\\n" if b"/token" in asked else b"HTTP/1.1 401 No\\r\\nContent-Length: 0\\r\\n'
            'WWW-Authenticate: Bearer realm=\\"" + url.encode() + b"/token\\",service=\\"s\\"\\r\\n\\r\\n"',
            'outside.registry("example.org").manifest("org/app", "1")',
            "limit of 1.0 MiB for a registry's token",
            id="a token",
        ),
        pytest.param(
            'b"HTTP/1.1 302 Away\\r\\nLocation: /x\\r\\n\\r\\n"',
            'outside.read(url + "/x", limit=100)',
            "Exceeded 10 redirects",
            id="redirects with bodies",
        ),
        pytest.param(
            'b"HTTP/1.1 403 No\\r\\n\\r\\n"', 'outside.read(url + "/x", limit=100)', "answered 403", id="a refusal"
        ),
    ],
)
def test_answers_without_end_take_no_memory(head: str, ask: str, words: str) -> None:
    taken = measured(f"{FLOOD}\nrun(lambda asked: {head}, lambda outside: {ask})")
    assert words in taken.said
    assert taken.memory < 150 << 20
    assert taken.seconds < 15

"""What one machine can take up of a front door: others are served meanwhile, on all three ports."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from bundler.model.site import SiteConfig
from bundler.site.services import nginx
from tests.site.test_services import NOTHING, ask, make_config, make_manager, require

GREEDY = "127.0.0.2"
HALF_OPEN = 5000
PROMPT = 3.0  # seconds: on a machine where other tests run


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    require("nginx", "docker-registry", "devpi-server")
    config = make_config(tmp_path_factory.mktemp("limits"), free_port)
    manager = make_manager(config)
    try:
        manager.prepare({"web", "registry", "index"}, [], NOTHING)
        manager.start()
        (Path(config.root) / "repos" / "large").write_bytes(bytes(32 << 20))
        yield config
    finally:
        manager.stop()


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < HALF_OPEN + 1000:
        pytest.skip(f"this process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ports(config: SiteConfig) -> dict[int, str]:
    return {config.web_port: "/", config.ports.registry: "/v2/", config.ports.index: "/+api"}


@contextmanager
def taken_up(config: SiteConfig, number: int, sends: bytes) -> Iterator[list[socket.socket]]:
    """So many connections of one address, shared among the ports, each of which has sent so much."""
    with ExitStack() as opened:
        found = []
        for count in range(number):
            port = list(ports(config))[count % 3]
            each = opened.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(GREEDY, 0))
            )
            each.sendall(sends)
            found.append(each)
        yield found


def others_are_served(config: SiteConfig) -> None:
    for port, path in ports(config).items():
        start = time.monotonic()
        assert ask(port, path)[0] == 200
        assert time.monotonic() - start < PROMPT, path


@pytest.mark.parametrize("sends", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_connections_that_say_nothing_or_half(running: SiteConfig, sends: bytes) -> None:
    with taken_up(running, HALF_OPEN, sends) as connections:
        others_are_served(running)
        # And they do not stay: who does not say in time what he wants is let go.
        deadline = time.monotonic() + 25
        for each in connections[:: HALF_OPEN // 50]:
            each.settimeout(max(0.1, deadline - time.monotonic()))
            with suppress(ConnectionResetError):
                while each.recv(1024):
                    """What nginx says before it closes: 408."""


def test_slow_senders(running: SiteConfig) -> None:
    """One byte a second does not prolong it."""
    stop = threading.Event()
    with taken_up(running, 300, b"GET / HTTP/1.1\r\nX-Slow: ") as connections:

        def trickle() -> None:
            while not stop.wait(1):
                for each in connections:
                    with suppress(OSError):
                        each.send(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            others_are_served(running)
            connections[0].settimeout(20)
            with suppress(ConnectionResetError):
                while connections[0].recv(1024):
                    """408."""
        finally:
            stop.set()
            thread.join()


def test_readers_that_take_nothing(running: SiteConfig) -> None:
    """An address has 256 requests at a time; more are told to come again."""
    request = b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    refused = 0
    with ExitStack() as opened:
        for _ in range(300):
            each = opened.enter_context(
                socket.create_connection(("127.0.0.1", running.web_port), timeout=20, source_address=(GREEDY, 0))
            )
            each.sendall(request)
            refused += each.recv(12).endswith(b"429")
        assert refused == 300 - 256
        others_are_served(running)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "events {\n    worker_connections 768;\n    # multi_accept on;\n}\n",
            "events {\n    worker_connections 131072; accept_mutex on;\n",
        ),
        ("events { worker_connections 1024; }", "events { worker_connections 131072; accept_mutex on; }"),
        ("# worker_connections 99999;\nevents {\n}\n", "events {\n    worker_connections 131072; accept_mutex on;\n}"),
        ("events {\n    worker_connections 200000;\n}\n", None),
    ],
)
def test_the_machines_own_nginx_is_given_room(text: str, wanted: str | None) -> None:
    found = nginx.enlarged(text)
    assert found is None if wanted is None else wanted in str(found)

"""What one machine can take up of a front door: others are served meanwhile, on all three ports."""

from __future__ import annotations

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from bundler.model.items import Json
from bundler.model.site import SiteConfig
from bundler.site.folders import make_folder
from bundler.site.index import WheelIndex, index_name
from bundler.site.releases import Release
from bundler.site.services import nginx
from tests.kinds.wheels.indexes import make_wheel, wheel_files
from tests.site.content import MemoryContent, make_object
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


@pytest.fixture(scope="module")
def large_wheel(running: SiteConfig) -> str:
    """The path on the index of a wheel that is larger than what devpi keeps of an answer."""
    data = make_wheel(wheel_files("tiny", "1.0", "py3-none-any") | {"tiny/data": os.urandom(40 << 20).hex()})
    obj = make_object("wheels/tiny-1.0-py3-none-any.whl", data)
    index, release = WheelIndex(running), Release("demo", "1", "0" * 64)
    index.open(release)
    metadata: Mapping[str, Json] = {"metadata_version": "2.4", "name": "tiny", "version": "1.0"}
    index.stage(obj, metadata, MemoryContent({obj.path: data}))
    shown = make_folder(Path(running.root) / "repos" / ".published" / ".index") / index_name(release)
    shown.touch()
    page = ask(running.ports.index, f"/root/{shown.name}/+simple/tiny/")[2].decode()
    found = re.search(r'href="[./]*/(\+f/[^"#]+)', page)
    assert found, page
    return f"/root/{shown.name}/{found[1]}"


def workers_limits(config: SiteConfig) -> list[Path]:
    master = (Path(config.root) / "services" / "nginx" / "pid").read_text().strip()
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return [Path("/proc", child, "limits") for child in children]


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


def test_readers_of_the_index_that_take_nothing(running: SiteConfig, large_wheel: str) -> None:
    """Each would hold one of devpi's threads: an address has 64 of them, and pip comes again after a 503."""
    refused = 0
    with ExitStack() as opened:
        for _ in range(80):
            each = opened.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            each.bind((GREEDY, 0))
            each.settimeout(20)
            each.connect(("127.0.0.1", running.ports.index))
            each.sendall(f"GET {large_wheel} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            status = each.recv(12)[-3:]
            assert status in (b"200", b"503")
            refused += status == b"503"
        assert refused == 80 - 64
        others_are_served(running)


def test_one_address_runs_out_of_ports_before_nginx_runs_out_of_connections(running: SiteConfig) -> None:
    """Only a request whose head is there counts as one of an address."""
    text = (Path(running.root) / "services" / "nginx" / "nginx.conf").read_text()
    found = {name: int(value) for name, value in re.findall(r"\b(worker_\w+) (\d+);", text)}
    room = found["worker_processes"] * found["worker_connections"] * 7 // 8  # then a worker takes no more
    assert "accept_mutex on;" in text
    assert room > 3 * (65535 - 1024)
    assert found["worker_rlimit_nofile"] > found["worker_connections"]
    limits = {path.read_text() for path in workers_limits(running)}
    assert limits
    for text in limits:
        allowed = re.search(r"Max open files +(\d+)", text)
        assert allowed
        assert int(allowed[1]) >= found["worker_rlimit_nofile"]


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

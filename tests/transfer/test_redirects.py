"""Where upstreams lead to: CDNs and mirrors, and places that only this machine can reach."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from bundler.errors import FetchError
from bundler.transfer.addresses import inward
from bundler.transfer.redirects import Hosts, Lead
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake
from tests.fakes.outside import CONFIG
from tests.fakes.upstream import Fault
from tests.fakes.upstream import Upstream as Server

PUBLIC = "http://mirror.example/x"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, str]:
    """Names and what they resolve to, as a DNS server of the test's would say; what is not here, is not there.

    203.0.113.1 is the fake server, which has no other address than loopback's.
    """
    known = {"mirror.example": "203.0.113.1"}
    genuine, connect = socket.getaddrinfo, socket.socket.connect
    peer = socket.socket.getpeername

    def resolve(host: str, *arguments: object, **options: object) -> object:
        numeric = options.get("flags") == socket.AI_NUMERICHOST  # which asks no server
        return genuine(host if numeric else known.get(host, host), *arguments, **options)  # type: ignore[arg-type]

    class Socket(socket.socket):
        told: object = None

        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            if address[0] == "203.0.113.1":
                self.told = address
                address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            connect(self, address)

        def getpeername(self) -> object:
            return self.told or peer(self)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "socket", Socket)
    return known


def away(to: str, status: int = 302) -> Fault:
    return Fault(status=status, headers={"Location": to})


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("http://127.0.0.1:1/x", "this machine"),
        ("http://127.9.9.9/x", "this machine"),
        ("http://localhost:1/x", "this machine"),
        ("http://x.localhost./x", "this machine"),
        ("http://2130706433/x", "this machine"),
        ("http://0x7f.1/x", "this machine"),
        ("http://[::1]:1/x", "this machine"),
        ("http://[::ffff:127.0.0.1]/x", "this machine"),
        ("http://[::ffff:7f00:1]/x", "this machine"),
        ("http://[64:ff9b::7f00:1]/x", "this machine"),
        ("http://[2002:7f00:1::]/x", "this machine"),
        ("http://0.0.0.0:1/x", "no address of a server"),
        ("http://[::]/x", "no address of a server"),
        ("http://169.254.169.254/latest/meta-data", "a link-local address"),
        ("http://[fe80::1]/x", "a link-local address"),
        ("http://[fd00:ec2::254]/latest", "a cloud's metadata"),
        ("http://224.0.0.1/x", "a multicast address"),
        ("http://me:hunter2@mirror.example/x", "has a user in it"),
    ],
)
def test_an_upstream_leads_nowhere_inward(outside: Upstream, server: Server, target: str, why: str) -> None:
    server.put("/x", b"", *[away(f"{target}?signature=hunter3")] * 3)
    with pytest.raises(FetchError, match=why) as caught:
        outside.read(f"{PUBLIC}", limit=100)
    assert PUBLIC in caught.value.message
    assert target.replace("me:hunter2@", "") in caught.value.message
    assert "hunter" not in caught.value.message
    assert "mirrors" in caught.value.hint
    assert len(server.seen) == 1  # it is not tried again


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"])
def test_a_name_that_leads_inward_is_found_by_its_address(
    outside: Upstream, server: Server, names: dict[str, str], address: str
) -> None:
    names["inside.example"] = address
    server.put("/x", b"", *[away(f"http://inside.example:{server.url.rpartition(':')[2]}/y")] * 3)
    server.put("/y", b"secret")
    with pytest.raises(FetchError) as caught:
        outside.read(PUBLIC, limit=100)
    assert "secret" not in caught.value.message
    assert [request.path for request in server.seen] == ["/x"] * len(server.seen)


def test_a_name_that_changes_its_address_is_found(outside: Upstream, server: Server, names: dict[str, str]) -> None:
    """DNS rebinding: the address counts that is connected to, whatever the name was before."""
    port = server.url.rpartition(":")[2]
    server.put("/x", b"", away(f"http://other.example:{port}/y"), away(f"http://other.example:{port}/y"))
    names["other.example"] = "203.0.113.1"
    server.put("/y", b"data", Fault(headers={"Connection": "close"}))
    assert outside.read(PUBLIC, limit=100) == b"data"
    names["other.example"] = "127.0.0.1"
    with pytest.raises(FetchError, match=r"other\.example:\d+/y, which is 127\.0\.0\.1, this machine"):
        outside.read(PUBLIC, limit=100)


def test_mirrors_lead_to_mirrors(outside: Upstream, server: Server, names: dict[str, str]) -> None:
    names["cdn.example"] = "203.0.113.1"
    server.put("/x", b"", away("http://cdn.example/y?signature=1"), away("/z", 308))
    server.put("/y?signature=1", b"from a CDN")
    server.put("/z", b"from itself")
    assert outside.read(PUBLIC, limit=100) == b"from a CDN"
    assert outside.read(PUBLIC, limit=100) == b"from itself"


def test_who_is_inward_may_lead_inward(outside: Upstream, server: Server, names: dict[str, str]) -> None:
    port = server.url.rpartition(":")[2]
    names["here.example"] = "127.0.0.1"
    server.put("/x", b"", away(f"http://localhost:{port}/y"), away(f"http://here.example:{port}/y"))
    server.put("/y", b"data")
    assert [outside.read(f"{server.url}/x", limit=100) for _ in range(2)] == [b"data"] * 2


def test_a_host_of_the_config_that_is_inward_may_lead_inward(
    tmp_path: Path, server: Server, names: dict[str, str]
) -> None:
    """What it is at is what it was connected to first; another answer of a name server's is no matter."""
    port = server.url.rpartition(":")[2]
    names["here.example"] = "127.0.0.1"
    server.put("/x", b"", *[away(f"http://127.0.0.1:{port}/y")] * 2)
    server.put("/y", b"data")
    config = CONFIG.model_copy(update={"mirrors": {"https://dl.example/": f"http://here.example:{port}/"}})
    with Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside:
        assert outside.read("https://dl.example/x", limit=100) == b"data"
        names["here.example"] = "203.0.113.1"
        assert outside.read("https://dl.example/x", limit=100) == b"data"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"])
def test_a_name_of_the_profile_may_not_be_inward(
    outside: Upstream, server: Server, names: dict[str, str], address: str
) -> None:
    """Another answers for it; the address itself, or the config, says that it is meant."""
    names["repo.example"] = address
    server.put("/x", b"secret")
    with pytest.raises(FetchError) as caught:
        outside.read(f"http://repo.example:{server.url.rpartition(':')[2]}/x", limit=100)
    assert not server.seen
    if address == "127.0.0.1":
        assert "/x: its host is 127.0.0.1, this machine" in caught.value.message
        assert "mirrors" in caught.value.hint


def test_a_registry_whose_name_is_inward_is_refused(tmp_path: Path, server: Server, names: dict[str, str]) -> None:
    names["registry.example"] = "127.0.0.1"
    port = server.url.rpartition(":")[2]
    with (
        Upstream(CONFIG, base=tmp_path, store=Store(tmp_path / "store")) as outside,
        pytest.raises(FetchError, match="this machine"),
    ):
        outside.registry(f"registry.example:{port}").manifest("org/app", "1")
    assert not server.seen


def test_an_origin_that_changes_its_address_leads_nowhere_inward(
    outside: Upstream, server: Server, names: dict[str, str]
) -> None:
    """DNS rebinding: what the origin is was decided by the address that it was connected to."""
    port = server.url.rpartition(":")[2]
    names["evil.example"] = "203.0.113.1"
    server.put("/first", b"", Fault(headers={"Connection": "close"}))
    server.put("/x", b"", *[away(f"http://127.0.0.1:{port}/y")] * 3)
    server.put("/y", b"secret")
    outside.read("http://evil.example/first", limit=100)
    genuine = socket.getaddrinfo

    def rebound(host: str, *arguments: object, **options: object) -> object:
        found = genuine(host, *arguments, **options)  # type: ignore[arg-type]
        if host == "evil.example":
            names[host] = "127.0.0.1"  # for whoever asks again
        return found

    socket.getaddrinfo = rebound  # type: ignore[assignment]
    try:
        with pytest.raises(FetchError, match="it leads to http://127"):
            outside.read("http://evil.example/x", limit=100)
    finally:
        socket.getaddrinfo = genuine
    assert not any(request.path == "/y" for request in server.seen)


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://[x/y", "http://mirror.example:x/", "http://%s.example/" % ("a" * 70)]
)
def test_a_location_that_is_no_url_is_an_error(outside: Upstream, server: Server, location: str) -> None:
    server.put("/x", b"", *[away(location)] * 3)
    with pytest.raises(FetchError):
        outside.read(f"{server.url}/x", limit=100)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:1/x",
        "https://localhost/x",
        "https://127.1/",
        "https://[::ffff:127.0.0.1]/",
        "http://a.example/",
        "https://me@a.example/",
        "file:///etc/passwd",
        "ftp://a.example/",
        "https://[x/",
        "https://a.example:x/",
    ],
)
def test_a_document_leads_no_further_than_a_redirect(outside: Upstream, target: str) -> None:
    with pytest.raises(FetchError, match=r"^https://mirror\.example/list: it leads to"):
        outside.led("https://mirror.example/list", target)


def test_a_document_leads_to_mirrors(outside: Upstream) -> None:
    outside.led("https://mirror.example/list", "https://a.example/x")
    outside.led("http://mirror.example/list", "http://10.0.0.1/x")
    outside.led("http://127.0.0.1:1/list", "http://127.0.0.1:2/x")


def test_private_networks_may_be_led_to() -> None:
    for address in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "fd12::1", "100.64.0.1", "::ffff:10.0.0.1"):
        assert inward(address) is None
        host = f"[{address}]" if ":" in address else address
        Lead("https://mirror.example/", "https://mirror.example/", f"https://{host}/x").check(Hosts())


def test_what_is_encrypted_stays_so(tmp_path: Path, server: Server) -> None:
    certificate = tmp_path / "server.pem"
    made = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(certificate), "-out", str(certificate)]
    subprocess.run(["openssl", "req", *made, *named, *files], check=True, capture_output=True)
    config = CONFIG.model_copy(update={"ca_files": (str(certificate),)})
    with (
        fake.upstream(certificate=certificate) as secure,
        Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside,
    ):
        plain = server.put("/y", b"changed on the way")
        secure.put("/x", b"", away(plain))
        with pytest.raises(FetchError, match="which is not encrypted"):
            outside.read(f"{secure.url}/x", limit=100)
        server.put("/x", b"", away(f"{secure.url}/y"))
        secure.put("/y", b"data")
        assert outside.read(f"{server.url}/x", limit=100) == b"data"
        assert [request.path for request in server.seen] == ["/x"]


def test_a_ring_of_redirects_ends(outside: Upstream, server: Server) -> None:
    url = server.put("/x", b"", *[away("/x")] * 50)
    with pytest.raises(FetchError, match="Exceeded 10 redirects"):
        outside.read(url, limit=100)
    assert len(server.seen) == 11


@pytest.mark.parametrize("realm", ["http://127.0.0.1:{port}/token", "http://[::1]:{port}/token", "http://metadata/t"])
def test_a_registry_names_no_token_server_inward(
    tmp_path: Path, server: Server, names: dict[str, str], realm: str
) -> None:
    names["metadata"] = "169.254.169.254"
    realm = realm.format(port=server.url.rpartition(":")[2])
    challenge = Fault(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})
    server.put("/v2/", b"{}", challenge)
    server.put("/v2/org/app/manifests/1", b"{}", *[challenge] * 9)
    server.put("/token?service=s", b'{"token": "x"}')
    config = CONFIG.model_copy(update={"mirrors": {"example.org": "http://mirror.example"}})
    with (
        Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside,
        pytest.raises(FetchError, match=r"http://mirror\.example/v2/: it leads to"),
    ):
        outside.registry("example.org").manifest("org/app", "1")
    assert not any("token" in request.path for request in server.seen)


@pytest.mark.usefixtures("names")
def test_a_registrys_blob_is_not_fetched_from_this_machine(tmp_path: Path, server: Server) -> None:
    server.put("/v2/", b"{}")
    server.put("/v2/org/app/manifests/1", b"{}", *[away("http://127.0.0.1:1/x", 307)] * 3)
    config = CONFIG.model_copy(update={"mirrors": {"example.org": "http://mirror.example"}})
    with (
        Upstream(config, base=tmp_path, store=Store(tmp_path / "store")) as outside,
        pytest.raises(FetchError, match="manifests/1: it leads to http://127"),
    ):
        outside.registry("example.org").manifest("org/app", "1")

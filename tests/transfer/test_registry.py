"""Pulling from real registries on loopback, with and without log-ins, and from one that sends elsewhere for blobs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.errors import FetchError, IntegrityError, ResolveError
from bundler.model.config import HostCredentials
from bundler.model.items import Object, RegistryBlob
from bundler.transfer.registry import Registry
from bundler.transfer.store import Store
from bundler.transfer.upstream import Upstream
from tests.fakes import upstream as fake
from tests.fakes.outside import CONFIG
from tests.fakes.upstream import Fault
from tests.kinds.images.registries import PASSWORD, USER, basic_auth, digest_of, running_registry, token_auth
from tests.transfer.test_engine import DATA, HALF, run

MANIFEST = b'{\n   "schemaVersion": 2,\n   "mediaType": "application/vnd.oci.image.manifest.v1+json" }'
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
MANIFEST_PATH = "/v2/org/app/manifests/1"
BLOB = digest_of(DATA)
BLOB_PATH = f"/v2/org/app/blobs/{BLOB}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, where no log-in of the machine's user is found."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def opened(tmp_path: Path, **changes: object) -> Upstream:
    return Upstream(CONFIG.model_copy(update=changes), base=tmp_path, store=Store(tmp_path / "store"))


@pytest.fixture
def registry(tmp_path: Path, server: fake.Upstream) -> Iterator[Registry]:
    """The server under the name `example.org`, with a manifest and a blob."""
    server.put("/v2/", b"{}")
    server.put(BLOB_PATH, DATA)
    manifest = Fault(content_type=MEDIA_TYPE, headers={"Docker-Content-Digest": digest_of(MANIFEST)})
    server.put(MANIFEST_PATH, MANIFEST, manifest)
    with opened(tmp_path, mirrors={"example.org": server.url}) as outside:
        yield outside.registry("example.org")


def blob_object() -> Object:
    return Object(
        "images/blobs/x", len(DATA), BLOB.removeprefix("sha256:"), RegistryBlob("example.org", "org/app", BLOB)
    )


def test_a_manifest_is_its_bytes_as_sent(registry: Registry) -> None:
    found = registry.manifest("org/app", "1")
    assert (found.data, found.media_type, found.digest) == (MANIFEST, MEDIA_TYPE, digest_of(MANIFEST))


def test_a_manifest_that_is_not_there_names_the_image(registry: Registry) -> None:
    with pytest.raises(ResolveError, match=r"example.org/org/app:2: ") as caught:
        registry.manifest("org/app", "2")
    assert "skopeo list-tags" in caught.value.hint


def test_other_bytes_than_the_digest_promises_are_refused(registry: Registry, server: fake.Upstream) -> None:
    server.put(f"/v2/org/app/manifests/{BLOB}", MANIFEST)
    with pytest.raises(IntegrityError, match=digest_of(MANIFEST)):
        registry.manifest("org/app", BLOB)
    server.faults[MANIFEST_PATH].clear()
    server.put(MANIFEST_PATH, MANIFEST, Fault(headers={"Docker-Content-Digest": BLOB}))
    with pytest.raises(IntegrityError, match=BLOB):
        registry.manifest("org/app", "1")


def test_a_manifest_without_end_is_refused(registry: Registry, server: fake.Upstream) -> None:
    server.put("/v2/org/app/manifests/huge", bytes(5 << 20))
    with pytest.raises(FetchError, match="larger than"):
        registry.manifest("org/app", "huge")


@pytest.mark.parametrize(
    "fault", [Fault(status=429, headers={"Retry-After": "0"}), Fault(status=502), Fault(cut_at=10), Fault(reset_at=10)]
)
def test_a_passing_fault_is_passed(registry: Registry, server: fake.Upstream, fault: Fault) -> None:
    server.faults["/v2/"].append(Fault(status=503))
    server.faults[MANIFEST_PATH].appendleft(fault)
    assert registry.manifest("org/app", "1").data == MANIFEST


def test_the_size_of_a_blob_is_asked_for_alone(registry: Registry, server: fake.Upstream) -> None:
    before = server.sent
    assert registry.blob_size("org/app", BLOB) == len(DATA)
    assert server.sent - before <= len(b"{}")
    server.put(BLOB_PATH, DATA, Fault(chunked=True))
    with pytest.raises(FetchError, match="does not tell its size"):
        registry.blob_size("org/app", BLOB)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(cut_at=HALF)], id="truncated"),
        pytest.param([Fault(cut_at=HALF), Fault(ignore_range=True)], id="no ranges"),
        pytest.param([Fault(cut_at=HALF), Fault(status=416)], id="a range refused"),
        pytest.param([Fault(status=500), Fault(status=429)], id="busy"),
        pytest.param([Fault(body=bytes(len(DATA)))], id="wrong bytes once"),
    ],
)
@pytest.mark.usefixtures("registry")
def test_a_blob_arrives(tmp_path: Path, server: fake.Upstream, faults: list[Fault]) -> None:
    server.faults[BLOB_PATH].extend(faults)
    with opened(tmp_path, mirrors={"example.org": server.url}) as outside:
        run(tmp_path / "demo-1.tar", outside, blob_object())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=404), ["404"]),
        (Fault(status=403), ["refuses access", "podman login"]),
        (Fault(body=b"<html>", content_type="text/html", chunked=True), ["HTML page"]),
    ],
)
@pytest.mark.usefixtures("registry")
def test_a_blob_that_is_refused_is_named(tmp_path: Path, server: fake.Upstream, fault: Fault, words: list[str]) -> None:
    server.faults[BLOB_PATH].extend([fault] * 3)
    with opened(tmp_path, mirrors={"example.org": server.url}) as outside, pytest.raises(FetchError) as caught:
        run(tmp_path / "demo-1.tar", outside, blob_object())
    told = f"{caught.value.message}\n{caught.value.hint}"
    assert all(word in told for word in ["images/blobs/x", f"example.org/org/app@{BLOB}", *words]), told


def test_a_redirect_to_another_host_carries_no_log_in(tmp_path: Path, server: fake.Upstream, home: Path) -> None:
    """As CDNs have it. The server asks for a token, gives it, and sends the bearer to a second server."""
    with fake.upstream() as cdn:
        cdn.put("/blob", DATA)
        challenge = Fault(
            status=401, headers={"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s",scope="pull"'}
        )
        server.put("/v2/", b"{}", challenge)
        server.put("/token?service=s&scope=pull", b'{"token": "secret"}', Fault(status=503), Fault(status=429))
        away = cdn.url.replace("127.0.0.1", "localhost")
        server.put(BLOB_PATH, b"", *[challenge] * 3, Fault(status=307, headers={"Location": f"{away}/blob"}))
        (home / ".docker").mkdir(parents=True)
        pair = base64.b64encode(b"me:hunter2").decode()
        host = server.url.removeprefix("http://")
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": pair}}}))
        with opened(tmp_path, mirrors={"example.org": server.url}) as outside:
            run(tmp_path / "demo-1.tar", outside, blob_object())
        shown = {request.path: request.headers.get("Authorization") for request in server.seen}
        assert shown["/token?service=s&scope=pull"] == f"Basic {pair}"
        assert shown[BLOB_PATH] == "Bearer secret"
        assert [request.headers.get("Authorization") for request in cdn.seen] == [None]


@pytest.mark.parametrize("way", ["basic", "token"])
def test_a_real_registry_is_logged_in_to(
    tmp_path: Path, free_port: Callable[[], int], way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """docker-registry with an htpasswd file, and with a token server."""
    with running_registry(tmp_path / "registry", free_port()) as running:
        running.push_image("org/app", "1")
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")

    def pull(host: str, **changes: object) -> bytes:
        with opened(tmp_path, mirrors={"example.org": f"http://{host}"}, **changes) as outside:
            return outside.registry("example.org").manifest("org/app", "1").data

    def check(auth: dict[str, object]) -> None:
        with running_registry(tmp_path / "registry", free_port(), auth=auth) as locked:
            login = HostCredentials(username=USER, password_file=str(secret))
            assert json.loads(pull(locked.host, credentials={locked.host: login}))["schemaVersion"] == 2
            with pytest.raises(FetchError) as caught:
                pull(locked.host)
            assert "podman login" in caught.value.hint
            assert PASSWORD not in str(caught.value)

    if way == "basic":
        check(basic_auth(tmp_path / "auth"))
    else:
        with token_auth(tmp_path / "auth", free_port()) as auth:
            check(auth)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("docker.io", "https://registry-1.docker.io/v2/"),
        ("quay.io", "https://quay.io/v2/"),
        ("localhost:5000", "http://localhost:5000/v2/"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/"),
        ("[::1]:5000", "http://[::1]:5000/v2/"),
        ("localhost.example.org", "https://localhost.example.org/v2/"),
        ("127.example.org", "https://127.example.org/v2/"),
    ],
)
def test_only_this_machine_is_spoken_to_in_plain_http(tmp_path: Path, name: str, url: str) -> None:
    with opened(tmp_path) as outside:
        assert outside.registry(name)._root == url

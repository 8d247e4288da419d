"""RegistryStore against Debian's docker-registry."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.errors import BundleError, IntegrityError, SiteError, SpaceError
from bundler.model.items import Object
from bundler.model.site import Credentials, ExternalRegistry, Ports, SiteConfig
from bundler.site import registry as registry_store
from bundler.site import registry_client
from bundler.site.registry import RegistryStore, discard_uploads
from bundler.site.services.process import ProcessManager
from tests.kinds.images.contents import MemoryContent, object_with
from tests.kinds.images.registries import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    PASSWORD,
    USER,
    RunningRegistry,
    basic_auth,
    digest_of,
    running_registry,
    token_auth,
)

LAYER = bytes(range(256)) * 4096  # 1 MiB
CONFIG = b'{"os":"linux","architecture":"amd64"}'


def descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, OCI_CONFIG),
        "layers": [descriptor(LAYER, OCI_LAYER)],
    }
).encode()
INDEX = json.dumps(
    {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(MANIFEST, OCI_MANIFEST)]}
).encode()


@pytest.fixture
def content() -> MemoryContent:
    return MemoryContent.of(LAYER, CONFIG, MANIFEST, INDEX)


@pytest.fixture
def registry(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path / "registry", free_port()) as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "_FIRST_WAIT", 0.01)


def store_at(url: str, credentials: Credentials | None = None) -> RegistryStore:
    return RegistryStore(SiteConfig(address="127.0.0.1", registry=ExternalRegistry(url=url, credentials=credentials)))


def stage(store: RegistryStore, content: MemoryContent, repository: str = "library/hello", tag: str = "1") -> None:
    for blob in (LAYER, CONFIG):
        store.stage_blob(repository, digest_of(blob), object_with(blob), content)
    store.stage_manifest(repository, (), OCI_MANIFEST, 0, object_with(MANIFEST), content)
    store.stage_manifest(repository, (tag,), OCI_INDEX, 1, object_with(INDEX), content)


def test_the_own_registry_is_written_to_behind_its_front(
    tmp_path: Path, content: MemoryContent, free_port: Callable[[], int]
) -> None:
    ports = Ports(web=free_port(), registry=free_port(), index=free_port())
    config = SiteConfig(address="192.0.2.1", services="process", root=str(tmp_path), ports=ports)
    (tmp_path / "repos").mkdir()
    manager = ProcessManager(config, tmp_path / "repos")
    manager.prepare({"registry"}, [], content)
    manager.start()
    try:
        store = RegistryStore(config)
        stage(store, content)
        store.commit()
        front = RunningRegistry(f"127.0.0.1:{ports.registry}", tmp_path / "registry")
        assert front.tags("library/hello") == ["1"]
        assert front.digest("library/hello", "1") == digest_of(INDEX)
    finally:
        manager.stop()
    with pytest.raises(SiteError, match=f"the registry at {tmp_path}/run/registry/socket does not answer"):
        store.remove_tag("library/hello", "1")


def test_nothing_can_be_pulled_before_the_commit(registry: RunningRegistry, content: MemoryContent) -> None:
    store = store_at(registry.url)
    stage(store, content)
    assert registry.get("library/hello/tags/list").status_code == 404
    assert registry.digest("library/hello", digest_of(MANIFEST)) is None
    store.commit()
    assert registry.digest("library/hello", "1") == digest_of(INDEX)
    assert registry.digest("library/hello", digest_of(MANIFEST)) == digest_of(MANIFEST)


def test_the_second_time_nothing_is_written(registry: RunningRegistry, content: MemoryContent) -> None:
    first = store_at(registry.url)
    stage(first, content)
    first.commit()
    assert first.objects_written == 5  # two blobs, two manifests, one tag
    assert first.bytes_written == len(LAYER) + len(CONFIG) + len(MANIFEST) + 2 * len(INDEX)
    content.asked.clear()
    second = store_at(registry.url)
    stage(second, content)
    second.commit()
    assert (second.objects_written, second.bytes_written, content.asked) == (0, 0, {})


def test_a_blob_of_another_repository_is_mounted(registry: RunningRegistry, content: MemoryContent) -> None:
    store = store_at(registry.url)
    for repository in ("a/one", "a/two"):
        store.stage_blob(repository, digest_of(LAYER), object_with(LAYER), content)
    assert store.bytes_written == len(LAYER)
    assert registry.has_blob("a/two", digest_of(LAYER))


def test_threads_send_a_blob_once(registry: RunningRegistry, content: MemoryContent) -> None:
    store = store_at(registry.url)
    threads = [
        threading.Thread(target=store.stage_blob, args=(f"a/r{n % 3}", digest_of(LAYER), object_with(LAYER), content))
        for n in range(9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert content.asked == {object_with(LAYER).path: 1}
    assert all(registry.has_blob(f"a/r{n}", digest_of(LAYER)) for n in range(3))


@pytest.mark.parametrize("place", [0, len(LAYER) // 2, len(LAYER) - 1])
def test_a_damaged_blob_never_arrives(registry: RunningRegistry, content: MemoryContent, place: int) -> None:
    obj = object_with(LAYER)
    damaged = bytearray(LAYER)
    damaged[place] ^= 1
    content.contents[obj.path] = bytes(damaged)
    store = store_at(registry.url)
    with pytest.raises(IntegrityError, match=obj.path):
        store.stage_blob("library/hello", digest_of(LAYER), obj, content)
    assert not registry.has_blob("library/hello", digest_of(LAYER))
    assert content.asked[obj.path] == 1, "damage is not to be tried again"
    discard_uploads(registry.folder)
    assert registry.unfinished_uploads() == []
    content.contents[obj.path] = LAYER
    store.stage_blob("library/hello", digest_of(LAYER), obj, content)
    assert registry.has_blob("library/hello", digest_of(LAYER))


def test_what_a_link_of_the_registry_leads_to_is_not_deleted(tmp_path: Path) -> None:
    theirs, storage = tmp_path / "theirs", tmp_path / "registry"
    (theirs / "_uploads" / "session").mkdir(parents=True)
    uploads = storage / "docker/registry/v2/repositories/a/_uploads"
    (uploads / "session").mkdir(parents=True)
    (uploads / "link").symlink_to(theirs)
    (uploads.parent.parent / "b").symlink_to(theirs)
    (uploads.parent.parent / "c").mkdir()
    (uploads.parent.parent / "c" / "_uploads").symlink_to(theirs / "_uploads")
    discard_uploads(storage)
    assert not (uploads / "session").exists()
    assert (theirs / "_uploads" / "session").is_dir()


def test_a_link_that_comes_and_goes_leads_to_nothing(tmp_path: Path) -> None:
    theirs, storage = tmp_path / "theirs", tmp_path / "registry"
    (theirs / "registry/v2/repositories/a/_uploads/session").mkdir(parents=True)
    storage.mkdir()
    (storage / "docker").symlink_to(theirs)
    discard_uploads(storage)
    assert (theirs / "registry/v2/repositories/a/_uploads/session").is_dir()


@pytest.mark.parametrize(
    ("repository", "path"),
    [
        ("x/../library/nginx", "manifests/1"),
        ("../../api/v2.0/projects/prod/repositories/payroll?", "manifests/1"),
        ("..", "manifests/1"),
        ("x#", "manifests/1"),
        ("x%2f..", "manifests/1"),
        ("X", "manifests/1"),
        ("", "manifests/1"),
        ("a" * 256, "manifests/1"),
        ("a\n", "manifests/1"),
        ("a", "manifests/.."),
        ("a", "manifests/../../b/manifests/1"),
        ("a", "manifests/1?x"),
        ("a", "manifests/"),
        ("a", "manifests/1\n"),
        ("a", "blobs/sha256:1"),
        ("a", "blobs/../../b"),
        ("a", "tags/list"),
        ("a", ""),
    ],
)
def test_nothing_is_asked_beyond_a_repository(repository: str, path: str) -> None:
    client = registry_client.RegistryClient("http://127.0.0.1:1")
    with pytest.raises(BundleError, match="names nothing in a registry"):
        client.request("DELETE", repository, path, expect=(202,))


def test_no_blob_is_mounted_from_beyond_a_repository(content: MemoryContent) -> None:
    client = registry_client.RegistryClient("http://127.0.0.1:1")
    with pytest.raises(BundleError, match="names nothing in a registry"):
        client.upload("a", digest_of(LAYER), registry_store._Body(object_with(LAYER), content), mount_from="../b")


def test_a_damaged_manifest_ends_the_load_and_not_the_commit(content: MemoryContent) -> None:
    content.contents[object_with(INDEX).path] = INDEX[:-1] + b" "
    with pytest.raises(IntegrityError):
        store_at("http://127.0.0.1:1").stage_manifest("a", ("1",), OCI_INDEX, 0, object_with(INDEX), content)


def test_an_empty_blob_arrives(registry: RunningRegistry) -> None:
    store_at(registry.url).stage_blob("a", digest_of(b""), object_with(b""), MemoryContent.of(b""))
    assert registry.has_blob("a", digest_of(b""))


def test_a_tag_moves_only_after_every_manifest_is_in(registry: RunningRegistry, content: MemoryContent) -> None:
    old = registry.push_image("library/hello", "1")
    store = store_at(registry.url)
    stage(store, content)
    # An index of a manifest that is nowhere: the registry refuses it.
    orphan = INDEX.replace(digest_of(MANIFEST).encode(), digest_of(b"nowhere").encode())
    content.contents[object_with(orphan).path] = orphan
    store.stage_manifest("library/other", ("1",), OCI_INDEX, 0, object_with(orphan), content)
    with pytest.raises(SiteError, match="MANIFEST_BLOB_UNKNOWN"):
        store.commit()
    assert registry.digest("library/hello", "1") == old["digest"]


def test_a_prefix_of_an_external_registry_is_kept(registry: RunningRegistry, content: MemoryContent) -> None:
    store = store_at(f"{registry.url}/team/site/")
    stage(store, content)
    store.stage_blob("library/other", digest_of(LAYER), object_with(LAYER), content)
    store.commit()
    assert registry.tags("team/site/library/hello") == ["1"]
    assert registry.has_blob("team/site/library/other", digest_of(LAYER))


class TestRemove:
    def test_a_tag_goes_and_its_manifest_stays(self, registry: RunningRegistry, content: MemoryContent) -> None:
        store = store_at(registry.url)
        stage(store, content)
        store.commit()
        store.remove_tag("library/hello", "1")
        assert registry.tags("library/hello") == []
        assert registry.digest("library/hello", digest_of(INDEX)) == digest_of(INDEX)
        store.remove_tag("library/hello", "1")
        store.remove_tag("library/never", "1")

    def test_a_tag_goes_though_another_shares_its_digest(
        self, registry: RunningRegistry, content: MemoryContent
    ) -> None:
        store = store_at(registry.url)
        stage(store, content)
        stage(store, content, tag="2")
        store.commit()
        store.remove_tag("library/hello", "1")
        assert registry.tags("library/hello") == ["2"]
        assert registry.digest("library/hello", "2") == digest_of(INDEX)

    def test_a_manifest_goes(self, registry: RunningRegistry, content: MemoryContent) -> None:
        store = store_at(registry.url)
        stage(store, content)
        store.commit()
        store.remove_manifest("library/hello", digest_of(MANIFEST))
        assert registry.digest("library/hello", digest_of(MANIFEST)) is None
        store.remove_manifest("library/hello", digest_of(MANIFEST))
        store.remove_manifest("library/never", digest_of(MANIFEST))


class TestRestore:
    def test_tags_lead_where_they_led_and_new_manifests_go(
        self, registry: RunningRegistry, content: MemoryContent
    ) -> None:
        old = registry.push_image("library/hello", "1")
        store = store_at(registry.url)
        stage(store, content)
        stage(store, content, tag="2")
        before = store.state()
        store.commit()
        assert registry.tags("library/hello") == ["1", "2"]
        store.restore(before, keep={("library/hello", digest_of(MANIFEST))})
        assert registry.tags("library/hello") == ["1"]
        assert registry.digest("library/hello", "1") == old["digest"]
        assert registry.digest("library/hello", digest_of(INDEX)) is None
        assert registry.digest("library/hello", digest_of(MANIFEST)), "another release has it"

    def test_a_registry_that_deletes_nothing_ends_no_recovery(
        self, tmp_path: Path, free_port: Callable[[], int], content: MemoryContent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGISTRY_STORAGE_DELETE_ENABLED", "false")
        with running_registry(tmp_path / "registry", free_port()) as registry:
            old = registry.push_image("library/hello", "1")
            store = store_at(registry.url)
            stage(store, content)
            stage(store, content, tag="2")
            before = store.state()
            store.commit()
            store.restore(before, keep=set())
            assert registry.digest("library/hello", "1") == old["digest"]
            assert registry.digest("library/hello", "2") == digest_of(INDEX)


class TestCredentials:
    @pytest.fixture(params=["basic", "token"])
    def guarded(
        self, request: pytest.FixtureRequest, tmp_path: Path, free_port: Callable[[], int]
    ) -> Iterator[RunningRegistry]:
        folder = tmp_path / "registry"
        if request.param == "basic":
            with running_registry(folder, free_port(), auth=basic_auth(tmp_path / "auth")) as running:
                yield running
        else:
            with (
                token_auth(tmp_path / "auth", free_port()) as auth,
                running_registry(folder, free_port(), auth=auth) as running,
            ):
                yield running

    def credentials(self, tmp_path: Path, password: str) -> Credentials:
        file = tmp_path / "password"
        file.write_text(f"{password}\n")
        return Credentials(username=USER, password_file=str(file))

    def test_a_user_with_the_password_pushes(
        self, guarded: RunningRegistry, tmp_path: Path, content: MemoryContent
    ) -> None:
        store = store_at(guarded.url, self.credentials(tmp_path, PASSWORD))
        stage(store, content)
        store.stage_blob("library/other", digest_of(LAYER), object_with(LAYER), content)
        store.commit()
        assert store.bytes_written < 2 * len(LAYER), "the second repository mounts"
        again = store_at(guarded.url, self.credentials(tmp_path, PASSWORD))
        stage(again, content)
        again.commit()
        assert again.objects_written == 0
        again.remove_tag("library/hello", "1")

    def test_many_threads_are_asked_at_once(self, guarded: RunningRegistry, tmp_path: Path) -> None:
        """Each of them has sent a request without a log-in by the time that the first one learns of it."""
        client = registry_client.RegistryClient(guarded.url, self.credentials(tmp_path, PASSWORD))
        together = threading.Barrier(8)

        def ask(number: int) -> int:
            together.wait()
            return client.request("GET", "library/none", f"manifests/{number}", expect=(404,)).status_code

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == [404] * 8

    def test_a_wrong_password_is_named(self, guarded: RunningRegistry, tmp_path: Path, content: MemoryContent) -> None:
        with pytest.raises(SiteError, match="401") as refused:
            stage(store_at(guarded.url, self.credentials(tmp_path, "wrong")), content)
        assert "credentials" in refused.value.hint
        assert "wrong" not in str(refused.value)

    def test_no_credentials_are_named(self, guarded: RunningRegistry, content: MemoryContent) -> None:
        with pytest.raises(SiteError, match="401") as refused:
            stage(store_at(guarded.url), content)
        assert "credentials" in refused.value.hint


class CuttingProxy:
    """Passes connections on to a registry, and cuts the first `cuts` of them after `after` bytes of request."""

    def __init__(self, registry: RunningRegistry, *, cuts: int, after: int) -> None:
        host, _, port = registry.host.partition(":")
        self._upstream = (host, int(port))
        self._cuts, self._after = cuts, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._upstream)
            threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(client, server, self._after), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, after: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if after is not None and self._cuts > 0 and passed > after:
                    self._cuts -= 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()

    def close(self) -> None:
        self._listener.close()


def test_a_broken_upload_is_tried_again(registry: RunningRegistry, content: MemoryContent) -> None:
    proxy = CuttingProxy(registry, cuts=2, after=200_000)
    try:
        store = store_at(proxy.url)
        store.stage_blob("library/hello", digest_of(LAYER), object_with(LAYER), content)
    finally:
        proxy.close()
    assert content.asked[object_with(LAYER).path] == 3
    assert registry.has_blob("library/hello", digest_of(LAYER))
    assert store.bytes_written == len(LAYER)


def test_a_registry_that_is_down_is_named(content: MemoryContent, free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SiteError, match=f"{url} does not answer: .*[Rr]efused"):
        stage(store_at(url), content)


def test_a_full_disk_is_named(tmp_path: Path, free_port: Callable[[], int], content: MemoryContent) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        with running_registry(small / "registry", free_port()) as registry, pytest.raises(SpaceError):
            store_at(registry.url).stage_blob("a", digest_of(LAYER), object_with(LAYER), content)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_environment_has_no_say(
    registry: RunningRegistry, content: MemoryContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    stage(store_at(registry.url), content)


def test_a_lost_medium_is_the_bundles_failure(registry: RunningRegistry) -> None:
    class LostContent(MemoryContent):
        def stream(self, obj: Object) -> Iterator[bytes]:
            yield LAYER[:1000]
            raise OSError(5, "Input/output error", obj.path)

    with pytest.raises(BundleError, match="Input/output error"):
        store_at(registry.url).stage_blob("a", digest_of(LAYER), object_with(LAYER), LostContent({}))

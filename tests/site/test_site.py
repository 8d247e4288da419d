"""A whole site: its real services, releases that come, change and go."""

from __future__ import annotations

import io
import json
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import BusyError, IntegrityError, SiteError, SpaceError
from bundler.model.items import Item, Json
from bundler.model.node_files import NodeFile, NodeFiles
from bundler.model.site import SiteConfig
from bundler.site.site import Site, Written
from tests.site.content import MemoryContent, make_manifest, make_object
from tests.site.images import image_item, tar_of
from tests.site.test_services import make_config, require

NODES = NodeFiles((NodeFile("pip.conf", "[global]\n"),))


def get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as answer:
        data: bytes = answer.read()
        return data


def is_gone(url: str) -> bool:
    try:
        get(url)
    except urllib.error.HTTPError as error:
        return error.code == 404
    return False


@pytest.fixture
def config(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    require("nginx", "docker-registry", "devpi-server")
    config = make_config(tmp_path / "site", free_port)
    yield config
    Site(config).services.stop()


def install(
    config: SiteConfig, manifest: Manifest, content: MemoryContent, load: Callable[[Site], None] | None = None
) -> Written:
    with Site(config).opened(manifest, content) as site:
        site.each(
            lambda obj: site.web.stage(obj, content), [o for o in manifest.payload if o.path.startswith("files/")]
        )
        if load:
            load(site)
        site.commit(NODES)
    return site.written


def test_install_upgrade_and_uninstall_of_files(config: SiteConfig) -> None:
    first, second = {"files/a": b"1" * 1000, "files/b": b"2"}, {"files/a": b"1" * 1000, "files/c": b"3"}
    one, two = make_manifest("1", first), make_manifest("2", second)
    assert install(config, one, MemoryContent(first)).objects == 4
    assert get(f"{config.web_url}/demo/files/b") == b"2"
    assert get(f"{config.web_url}/demo/nodes/pip.conf") == b"[global]\n"
    assert get(f"{config.web_url}/demo/manifest.json") == one.data
    assert install(config, one, MemoryContent(first)) == Written(0, 0)

    assert install(config, two, MemoryContent(second)).size == 1 + len(two.data) + 9
    assert is_gone(f"{config.web_url}/demo/files/b")
    assert get(f"{config.web_url}/demo/files/a") == first["files/a"]

    other = make_manifest("1", first, name="other")
    install(config, other, MemoryContent(first))
    site = Site(config)
    site.remove("demo", purge=True)
    assert is_gone(f"{config.web_url}/demo/")
    assert get(f"{config.web_url}/other/files/b") == b"2"
    assert [release.name for release in site.releases()] == ["other"]

    site.remove("other", purge=False)
    assert [(release.name, release.current) for release in site.releases()] == [("other", False)]
    assert not any(service.running for service in site.services.status())
    with pytest.raises(SiteError, match="no release called demo is installed") as caught:
        site.remove("demo", purge=False)
    assert "other" in caught.value.hint

    site.remove("other", purge=True)
    assert not Path(config.root).exists()


def test_a_load_that_fails_leaves_the_running_release(config: SiteConfig) -> None:
    first = {"files/a": b"good"}
    install(config, make_manifest("1", first), MemoryContent(first))
    second = {"files/a": b"better", "files/b": b"b" * 200_000}
    manifest = make_manifest("2", second)
    with pytest.raises(IntegrityError):
        install(config, manifest, MemoryContent({**second, "files/b": b"b" * 199_999 + b"?"}))
    assert get(f"{config.web_url}/demo/files/a") == b"good"
    assert is_gone(f"{config.web_url}/demo/files/b")
    assert [release.version for release in Site(config).releases()] == ["1"]
    assert install(config, manifest, MemoryContent(second)).size < 200_000 + 9 + len(manifest.data) + 1
    assert get(f"{config.web_url}/demo/files/a") == b"better"


def test_images_and_wheels_come_and_go(config: SiteConfig) -> None:
    image, files = image_item("app:1", "team/app", [tar_of({"etc/x": b"x"})], role=None)
    wheel = make_wheel()
    files = {**files, "wheels/thing-1-py3-none-any.whl": wheel}
    wheel_object = make_object("wheels/thing-1-py3-none-any.whl", wheel)
    wheel_item = Item("wheels", "thing", "1", (wheel_object,), {"metadata": {"name": "thing"}})
    content = MemoryContent(files)

    def bundle(name: str) -> Manifest:
        return Manifest(name, "1", "1" * 64, "2" * 64, (image, wheel_item), ())

    def load(site: Site) -> None:
        by_type = sorted(image.objects, key=lambda obj: b"mediaType" in files[obj.path])
        documents = [obj for obj in by_type if b"mediaType" in files[obj.path]]
        for obj in by_type[: -len(documents)]:
            site.registry.stage_blob("team/app", f"sha256:{obj.sha256}", obj, content)
        entry = next(obj for obj in documents if b"layers" in files[obj.path])
        media_type = json.loads(files[entry.path])["mediaType"]
        site.registry.stage_manifest("team/app", ["1"], media_type, 0, entry, content)
        site.index.stage(wheel_object, {"metadata_version": "2.1", "name": "thing", "version": "1"}, content)

    digest = _manifest_digest(files)
    named: dict[str, Json] = {**image.attributes, "digest": digest, "manifests": [{"digest": digest}]}
    image = replace(image, attributes=named)
    assert install(config, bundle("one"), content, load).objects > 4
    assert install(config, bundle("one"), content, load) == Written(0, 0)
    install(config, bundle("two"), content, load)
    tags, simple = f"{config.registry_url}/v2/team/app/tags/list", f"{config.simple_url}thing/"
    assert json.loads(get(tags))["tags"] == ["1"]
    assert b"thing-1-py3-none-any.whl" in get(simple)

    Site(config).remove("one", purge=True)
    assert json.loads(get(tags))["tags"] == ["1"]
    assert b"thing-1-py3-none-any.whl" in get(simple)
    # Files alone: the stores that earlier releases use go on.
    plain = {"files/a": b"1"}
    install(config, make_manifest("1", plain, name="plain"), MemoryContent(plain))
    Site(config).remove("two", purge=False)
    assert not json.loads(get(tags))["tags"]
    assert is_gone(simple)
    assert get(f"{config.web_url}/plain/files/a") == b"1"


def _manifest_digest(files: dict[str, bytes]) -> str:
    path = next(path for path, data in files.items() if b'"layers"' in data)
    return f"sha256:{path.rsplit('/', 1)[1]}"


def make_wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("thing.py", "")
        file.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        file.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("thing-1.dist-info/RECORD", "")
    return out.getvalue()


def test_only_one_bundler_changes_a_site(config: SiteConfig) -> None:
    manifest = make_manifest("1", {})
    with (
        Site(config).opened(manifest, MemoryContent({})),
        pytest.raises(BusyError),
        Site(config).opened(manifest, MemoryContent({})),
    ):
        pass


def test_a_release_that_finds_no_room_is_refused_at_once(config: SiteConfig) -> None:
    huge = make_object("files/huge", b"")
    items = (Item("files", "huge", "1", (type(huge)(huge.path, 1 << 49, "0" * 64, huge.source),)),)
    manifest = Manifest("demo", "1", "1" * 64, "2" * 64, items, ())
    with pytest.raises(SpaceError, match=r"needs 524288\.00 GiB"), Site(config).opened(manifest, MemoryContent({})):
        pass
    assert Site(config).services.status() == ()


def test_each_stops_at_the_first_error(config: SiteConfig) -> None:
    done: list[int] = []
    gate = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            raise IntegrityError("bad", hint="")
        gate.wait(0.05)
        done.append(number)

    with pytest.raises(IntegrityError):
        Site(config, jobs=2).each(work, range(100))
    assert len(done) < 10

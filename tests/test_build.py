"""The proof runs beside the transfer: what could not be installed is not fetched to the end."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler import __version__
from bundler.build import LockFile, build
from bundler.bundle.content import Content
from bundler.bundle.documents import describe
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import Receipt
from bundler.bundle.volumes import split
from bundler.errors import FetchError, IncompleteError, ProfileError, SpaceError
from bundler.kinds.images.attributes import ImageAttributes, ManifestEntry, blob_path
from bundler.kinds.images.oci import OCI_MANIFEST
from bundler.kinds.wheels.attributes import LockAttributes
from bundler.kinds.wheels.prove import prove
from bundler.model.config import Config
from bundler.model.items import Download, Item, Object
from bundler.model.lock import Lock
from bundler.progress import Silent
from bundler.transfer.http import CHUNK
from bundler.transfer.store import Store
from tests.fakes.outside import CONFIG
from tests.fakes.upstream import Fault, Upstream

LARGE = bytes(range(256)) * (1 << 16)  # 16 MiB


def locked(url: str, *more: Item) -> Lock:
    large = Object("files/large", len(LARGE), hashlib.sha256(LARGE).hexdigest(), Download(url))
    return Lock("demo", "1", "0" * 64, (Item("files", "large", "1", (large,)), *more))


def lacking() -> Item:
    """A lock of wheels that has none of what was asked for."""
    attributes = LockAttributes(
        environment="3.12-x86_64", python="3.12", arch="x86_64", glibc="2.34", asked=("absent==1.0",)
    )
    return Item("wheels", "lock", "3.12-x86_64", (), attributes.as_json())


def make(
    lock: Lock,
    folder: Path,
    *,
    allow_incomplete: bool = False,
    replace: bool = False,
    since: Receipt | None = None,
    config: Config = CONFIG,
) -> Path:
    file = LockFile(folder / "demo-1.lock.json")
    return build(
        lock,
        folder,
        file,
        folder,
        config=config,
        reuse=(),
        progress=Silent(),
        allow_incomplete=allow_incomplete,
        replace=replace,
        since=since,
    )


def noted(folder: Path) -> list[dict[str, object]]:
    document = json.loads((folder / "demo-1.fetched.json").read_bytes())
    assert document["format"] == 1
    return list(document["fetched"])


def test_where_files_really_came_from_is_noted_beside_the_lock(server: Upstream, tmp_path: Path) -> None:
    """A mirror, what it leads to, and a place as its source says, in a build that is interrupted once."""
    server.put("/direct~x", b"direct")
    direct = f"{server.url}/direct%7Ex"
    server.put("/mirror/a", b"", Fault(status=302, headers={"Location": f"{server.url}/cdn/a?signature=hunter2"}))
    server.put("/cdn/a?signature=hunter2", b"led")
    server.put("/mirror/b", b"mirrored", *[Fault(status=404)] * 9)
    dl = "https://dl.k8s.io"
    made = {"direct": (direct, b"direct"), "a": (f"{dl}/a", b"led"), "b": (f"{dl}/b", b"mirrored")}
    objects = tuple(
        Object(f"files/{name}", len(data), hashlib.sha256(data).hexdigest(), Download(url))
        for name, (url, data) in made.items()
    )
    lock = Lock("demo", "1", "0" * 64, (Item("files", "x", "1", objects),))
    config = CONFIG.model_copy(update={"mirrors": {"https://dl.k8s.io/": f"{server.url}/mirror/"}, "jobs": 1})
    with pytest.raises(FetchError, match="404"):
        make(lock, tmp_path, config=config)
    server.faults["/mirror/b"].clear()
    bundle = make(lock, tmp_path, config=config)
    assert noted(tmp_path) == [
        {
            "path": "files/a",
            "sha256": hashlib.sha256(b"led").hexdigest(),
            "source": "https://dl.k8s.io/a",
            "places": [f"{server.url}/cdn/a"],
        },
        {
            "path": "files/b",
            "sha256": hashlib.sha256(b"mirrored").hexdigest(),
            "source": "https://dl.k8s.io/b",
            "places": [f"{server.url}/mirror/b"],
        },
    ]
    assert b"mirror" not in bundle.read_bytes().replace(b"mirrored", b"")


def test_without_mirrors_nothing_is_noted(server: Upstream, tmp_path: Path) -> None:
    (tmp_path / "demo-1.fetched.json").write_text('{"fetched": [{"path": 1}]}')
    make(locked(server.put("/large", LARGE)), tmp_path)
    assert not (tmp_path / "demo-1.fetched.json").exists()


def test_what_lacks_ends_the_transfer(server: Upstream, tmp_path: Path) -> None:
    url = server.put("/large", LARGE, Fault(pause=0.5))  # two minutes at that pace
    with pytest.raises(IncompleteError, match="absent"):
        make(locked(url, lacking()), tmp_path)
    assert server.sent < len(LARGE)
    assert not list(tmp_path.glob("*.tar"))


def test_what_was_fetched_until_then_stays(server: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(items: tuple[Item, ...], content: Content) -> Iterator[str]:
        """The proof of wheels, once something has come: it takes a moment only."""
        while server.sent < 2 * CHUNK:
            time.sleep(0.01)
        return prove(items, content)

    monkeypatch.setattr("bundler.kinds.wheels.prove.prove", later)
    lock = locked(server.put("/large", LARGE, Fault(pause=0.5)), lacking())
    with pytest.raises(IncompleteError):
        make(lock, tmp_path)
    assert make(lock, tmp_path, allow_incomplete=True).is_file()
    begun, gone_on = server.ranges()
    assert (begun, str(gone_on).startswith("bytes=")) == (None, True)


def test_a_transfer_that_fails_ends_the_proof(server: Upstream, tmp_path: Path) -> None:
    """It waits for a manifest that will not come."""
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    gone = Object(blob_path(digest), 2, digest.removeprefix("sha256:"), Download(f"{server.url}/gone"))
    attributes = ImageAttributes(
        reference="docker.io/library/x:1",
        registry="docker.io",
        repository="library/x",
        tags=("1",),
        digest=digest,
        media_type=OCI_MANIFEST,
        upstream_digest=digest,
        platforms=("linux/amd64",),
        manifests=(ManifestEntry(digest=digest, media_type=OCI_MANIFEST),),
        blobs=(),
    )
    image = Item("images", "docker.io/library/x", "1", (gone,), attributes.as_json())
    with pytest.raises(FetchError, match="404"):
        make(locked(server.put("/large", LARGE), image), tmp_path)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prove")]


def test_a_disk_that_fails_ends_the_transfer_and_what_it_took_is_not_trusted(
    server: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync says once that something was lost: the next one says yes, and the bytes are lost all the same."""
    lock = locked(server.put("/large", LARGE, Fault(pause=0.5)))

    def lost(_: int) -> None:
        if server.sent > 1 << 18:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("bundler.build._FLUSHED_EVERY", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", lost)
        with pytest.raises(SpaceError, match="to the disk: Input/output error"):
            make(lock, tmp_path)
    assert server.sent < len(LARGE)
    make(lock, tmp_path)
    assert server.ranges() == [None, None], "from the first byte"


def test_another_content_of_the_same_version_is_refused(server: Upstream, tmp_path: Path) -> None:
    """Nothing is lost: the bundle and its lock are as they were, until someone means it."""
    bundle = make(locked(server.put("/large", LARGE)), tmp_path)
    lock, data = (tmp_path / "demo-1.lock.json").read_bytes(), bundle.read_bytes()
    signature = bundle.with_name(f"{bundle.name}.sig.json")
    signature.write_text("{}")
    changed = changed_lock(server)
    with pytest.raises(
        ProfileError, match=r"demo-1\.tar is demo 1 with different content: its id is [0-9a-f]{64}, and"
    ):
        make(changed, tmp_path)
    assert bundle.read_bytes() == data
    assert (tmp_path / "demo-1.lock.json").read_bytes() == lock
    assert signature.exists()
    again = make(changed, tmp_path, replace=True)
    assert again == bundle
    assert bundle.read_bytes() != data
    assert not signature.exists(), "it was for what is gone"
    assert make(changed, tmp_path) == bundle


def test_volumes_and_deltas_of_another_content_are_that_bundle_too(server: Upstream, tmp_path: Path) -> None:
    lock = locked(server.put("/large", LARGE))
    bundle = make(lock, tmp_path)
    split(bundle, tmp_path, 4 << 20, progress=Silent())
    bundle.unlink()
    with pytest.raises(ProfileError, match=r"demo-1\.tar\.volumes\.json is demo 1 with different content"):
        make(changed_lock(server), tmp_path)
    make(lock, tmp_path, since=Receipt("0" * 64, (), frozenset()))
    assert make(changed_lock(server), tmp_path, replace=True).is_file()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"demo-1.tar", "demo-1.lock.json"}


def test_a_damaged_bundle_is_built_again(server: Upstream, tmp_path: Path) -> None:
    """Of one that cannot be read nobody knows what it was."""
    bundle = make(locked(server.put("/large", LARGE)), tmp_path)
    bundle.write_bytes(b"?" * 4096)
    assert make(changed_lock(server), tmp_path) == bundle


def test_what_was_begun_of_another_lock_is_not_taken_for_this_ones(server: Upstream, tmp_path: Path) -> None:
    url = server.put("/large", LARGE, Fault(pause=0.5))
    with pytest.raises(IncompleteError):
        make(locked(url, lacking()), tmp_path)
    assert (tmp_path / "demo-1.tar.part").exists()
    bundle = make(changed_lock(server), tmp_path)
    with Bundle(bundle) as opened:
        opened.verify(jobs=1)
        assert [obj.path for obj in opened.manifest.payload] == ["files/small"]
    assert not (tmp_path / "demo-1.tar.part").exists()


def changed_lock(server: Upstream) -> Lock:
    """Of the same name and version, once upstream has something else."""
    small = b"something else"
    url = server.put("/small", small)
    obj = Object("files/small", len(small), hashlib.sha256(small).hexdigest(), Download(url))
    return Lock("demo", "1", "0" * 64, (Item("files", "small", "1", (obj,)),))


# What others may have put into the folder


def test_planted_notes_prove_nothing(server: Upstream, tmp_path: Path) -> None:
    """What says that a bundle was proved does not lie where it is built."""
    lock = locked(server.put("/large", LARGE), lacking())
    store = tmp_path / "demo-1.lock.d"
    store.mkdir()
    manifest, _ = describe(lock)
    for name in (f"{manifest.id}.proved-{__version__}", "proved"):
        (store / name).write_text(f"{manifest.id} {__version__}")
    with pytest.raises(IncompleteError, match="absent"):
        make(lock, tmp_path)


def test_a_delta_proves_nothing_of_what_it_leaves_out(
    server: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locked(server.put("/large", LARGE))
    proved: list[bool] = []

    def counted(*_: object) -> tuple[str, ...]:
        proved.append(True)
        return ()

    monkeypatch.setattr("bundler.build.prove", counted)
    make(lock, tmp_path, since=Receipt("0" * 64, (), frozenset({lock.objects[0].sha256})))
    make(lock, tmp_path)
    assert len(proved) == 2
    make(lock, tmp_path)
    assert len(proved) == 2


@pytest.mark.parametrize("name", ["demo-1.lock.json", "demo-1.tar.part"])
def test_a_planted_link_is_not_followed(server: Upstream, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    lock = locked(server.put("/large", LARGE))
    (folder / name).symlink_to(victim)
    with pytest.raises(OSError, match="it is no regular file"):
        make(lock, folder)
    assert victim.read_bytes() == b"precious"
    (folder / name).unlink()
    assert make(lock, folder).is_file()


def test_planted_links_under_foreseeable_names_are_not_written_through(server: Upstream, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("demo-1.lock.json.new", "demo-1.fetched.json.new", "demo-1.tar", "demo-1.tar.part.journal"):
        (folder / name).symlink_to(victim)
    make(locked(server.put("/large", LARGE)), folder)
    assert victim.read_bytes() == b"precious"


def test_a_link_for_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lock.d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="it is a link, or somebody else's"):
        Store(tmp_path / "lock.d").add(b"x")
    assert not list((tmp_path / "elsewhere").iterdir())

"""The registry's image, found among others, whatever they say; its program, unpacked, tried and run."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import BundleError, IntegrityError, SiteError
from bundler.model.items import Item, Made, Object
from bundler.model.target import OCI_ARCHITECTURES
from bundler.site.folders import keep_folder
from bundler.site.services import registry_program
from bundler.site.services.registry_image import registry_image
from bundler.site.services.registry_program import UnpackedImage
from bundler.site.services.unprivileged import Launcher, identity
from tests.site.content import MemoryContent
from tests.site.images import OCI, image_item, program_with_libraries, tar_of

OURS = {"os": "linux", "architecture": OCI_ARCHITECTURES.get(platform.machine(), platform.machine())}


class Watched(MemoryContent):
    """Notes when all of it was to be verified, among what was read."""

    def verify_all(self) -> None:
        self.streamed.append("all of it")


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(identity(keep_folder(tmp_path, mode=0o755)), tmp_path)


def test_the_program_runs_from_the_image_alone(tmp_path: Path, launcher: Launcher) -> None:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry to make an image of")
    item, files = image_item(
        "docker.io/library/registry:2", "library/registry", [tar_of(program_with_libraries(Path(program)))]
    )
    image = UnpackedImage(tmp_path)
    assert image.command() == ()
    assert image.update([item], Watched(files), launcher)
    command = image.command()
    assert all(part.startswith((str(tmp_path), "--")) for part in command)
    said = subprocess.run(launcher.command((*command, "--version")), capture_output=True, text=True, check=True).stdout
    assert "docker/distribution" in said


def test_what_is_there_already_is_neither_read_nor_verified_again(tmp_path: Path, launcher: Launcher) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\n"})])
    layers = {path for path, data in files.items() if data[:2] == b"\x1f\x8b"}
    first, again = Watched(files), Watched(files)
    assert UnpackedImage(tmp_path).update([item], first, launcher)
    assert UnpackedImage(tmp_path).update([item], again, launcher)
    read = first.streamed
    assert all(read.index("all of it") < read.index(layer) for layer in layers)
    assert not layers & set(again.streamed)
    assert "all of it" not in again.streamed


def test_nothing_of_a_bundle_that_is_damaged_elsewhere_is_run(tmp_path: Path, launcher: Launcher) -> None:
    class Damaged(MemoryContent):
        def verify_all(self) -> None:
            raise IntegrityError("files/last is damaged", hint="carry it again")

    script = f"#!/bin/sh\n: >{tmp_path}/ran\n".encode()
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": script})])
    with pytest.raises(IntegrityError, match="files/last"):
        UnpackedImage(tmp_path).update([item], Damaged(files), launcher)
    assert UnpackedImage(tmp_path).command() == ()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("repository", ["library/registry", "vendor/model-registry", "registry"])
def test_a_name_makes_no_image_the_registry(tmp_path: Path, launcher: Launcher, repository: str) -> None:
    item, files = image_item(repository, repository, [tar_of({"bin/registry": b"#!/bin/sh\n"})], role=None)
    assert not UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)
    assert not UnpackedImage(tmp_path).update([], MemoryContent({}), launcher)
    other = replace(item, kind="files", attributes={**item.attributes, "role": "registry"})
    assert not UnpackedImage(tmp_path).update([other], MemoryContent(files), launcher)


def test_two_images_with_the_role_are_refused(tmp_path: Path, launcher: Launcher) -> None:
    one, files = image_item("one", "one", [tar_of({"bin/registry": b"#!/bin/sh\n"})])
    two, more = image_item("two", "two", [tar_of({"bin/registry": b"#!/bin/sh\nexit\n"})])
    with pytest.raises(BundleError, match="one and two both have the role registry"):
        UnpackedImage(tmp_path).update([one, two], MemoryContent(files | more), launcher)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lay down")
def test_the_trial_run_has_no_rights(tmp_path: Path, launcher: Launcher) -> None:
    script = b'#!/bin/sh\ngrep -E "^(Uid|Gid|Groups|Cap|NoNewPrivs)" /proc/self/status | tr "\\n\\t" ";_" >&2; exit 3\n'
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": script})])
    with pytest.raises(SiteError) as caught:
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)
    user = launcher.identity.user
    assert user >= 61184
    for said in (f"Uid:_{user}_{user}_{user}_{user};", "Groups:_ ;", "CapBnd:_0000000000000000;", "NoNewPrivs:_1;"):
        assert said in caught.value.message.replace("Groups:_;", "Groups:_ ;"), caught.value.message
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{kind}:_0000000000000000;" in caught.value.message


def test_a_static_program_runs_by_itself_and_a_new_image_replaces_the_old(tmp_path: Path, launcher: Launcher) -> None:
    image = UnpackedImage(tmp_path)
    for version in ("1", "2"):
        script = f"#!/bin/sh\necho registry {version}\n".encode()
        item, files = image_item(
            "registry", "registry", [tar_of({"bin/registry": b""}), tar_of({"./bin/registry": script})]
        )
        assert image.update([item], MemoryContent(files), launcher)
        said = subprocess.run([*image.command(), "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"registry {version}\n"
    assert len([path for path in tmp_path.glob("rootfs*") if not path.is_symlink()]) == 1


def test_an_image_without_a_registry_is_an_error(tmp_path: Path, launcher: Launcher) -> None:
    item, files = image_item("registry", "registry", [tar_of({"etc/passwd": b""})])
    with pytest.raises(SiteError, match="there is no registry in it"):
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)


def test_a_flipped_byte_is_told_as_what_it_is(tmp_path: Path, launcher: Launcher) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\n" + b"x" * 5000})])
    largest = max(item.objects, key=lambda obj: len(files[obj.path]) if files[obj.path][:2] == b"\x1f\x8b" else 0)
    damaged = bytearray(files[largest.path])
    for place in (12, len(damaged) // 2):
        damaged[place] ^= 0xFF
        with pytest.raises(IntegrityError, match=largest.path):
            UnpackedImage(tmp_path).update([item], MemoryContent(files | {largest.path: bytes(damaged)}), launcher)
        assert UnpackedImage(tmp_path).command() == ()


def test_a_program_that_does_not_run_is_an_error(tmp_path: Path, launcher: Launcher) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\necho no >&2; exit 3\n"})])
    with pytest.raises(SiteError, match="does not run here: no"):
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)
    assert UnpackedImage(tmp_path).command() == ()


@pytest.mark.parametrize("does", ["exec sleep 60", "while :; do echo words; done >&2"], ids=["sleeps", "talks"])
def test_a_program_that_never_ends_is_stopped(
    tmp_path: Path, launcher: Launcher, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    monkeypatch.setattr(registry_program, "_TRIED_FOR", 1.0)
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": f"#!/bin/sh\n{does}\n".encode()})])
    with pytest.raises(SiteError, match="does not run here"):
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)


def test_a_loader_outside_the_image_is_not_run(tmp_path: Path, launcher: Launcher) -> None:
    """An ELF program may name any file as what is to load it."""
    head = b"\x7fELF\x02\x01" + bytes(26) + (64).to_bytes(8, "little") + bytes(14) + (56).to_bytes(2, "little")
    loader = b"/../../../../../../../../../../bin/true\0"
    entry = (3).to_bytes(4, "little") + bytes(4) + (120).to_bytes(8, "little") + bytes(16)
    program = (head + (1).to_bytes(2, "little")).ljust(64, b"\0") + entry + len(loader).to_bytes(8, "little")
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": program.ljust(120, b"\0") + loader})])
    with pytest.raises(SiteError, match="there is no registry in it"):
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)


Documents = Callable[[Any, Any, Any], None]


def _with(path: str, value: Any) -> Documents:
    """Another `value` at the dotted place in one of the documents: `index`, `manifest` or `config`."""

    def change(index: Any, manifest: Any, config: Any) -> None:
        document, *way, last = path.split(".")
        at = {"index": index, "manifest": manifest, "config": config}[document]
        for step in way:
            at = at[int(step) if step.isdigit() else step]
        at[int(last) if last.isdigit() else last] = value

    return change


DIGEST = f"sha256:{'0' * 64}"
MALFORMED: dict[str, list[Any]] = {
    "manifest.config": [None, 5, "x", [], {}, {"digest": DIGEST}, {"digest": DIGEST, "size": 1}],
    "manifest.config.size": [-1, 10**9, "2", None, 1.5],
    "manifest.layers": [None, {}, "x", 5, [None], [5], [{}], [{"digest": 7, "size": 1}], [[]]],
    "manifest.layers.0": [{"digest": DIGEST, "size": 1}, {"digest": "../../etc/passwd", "size": 1}],
    "manifest.mediaType": [5, None, "no type\n", ["x"]],
    "index.manifests": ["x", 5, [None], [{"platform": OURS}], [{"digest": DIGEST}], {"a": 1}],
    "index.manifests.0.platform": [5, "linux", [], {"os": 5}],
    "config.config": [5, "x", [], {"Cmd": 5}, {"Entrypoint": [5]}],
    "config.os": [5, [], {}],
}


def forged(change: Documents) -> tuple[Item, MemoryContent]:
    """A registry's image whose documents are as `change` makes them, with all digests right."""
    files: dict[str, bytes] = {}

    def blob(document: Any) -> dict[str, Any]:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = hashlib.sha256(data).hexdigest()
        files[f"images/blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    config: dict[str, Any] = {**OURS, "config": {}}
    manifest: dict[str, Any] = {"mediaType": f"{OCI}manifest.v1+json", "layers": [blob(b"layer")], "config": None}
    index: dict[str, Any] = {"manifests": [{"platform": dict(OURS)}]}
    # From within: each document names what the next one has become.
    change(json.loads(json.dumps(index)), json.loads(json.dumps({**manifest, "config": {}})), config)
    manifest["config"] = blob(config)
    change(json.loads(json.dumps(index)), manifest, dict(config))
    index["manifests"][0] |= blob(manifest)
    change(index, json.loads(json.dumps(manifest)), dict(config))
    top = blob(index)
    objects = tuple(Object(path, len(data), hashlib.sha256(data).hexdigest(), Made()) for path, data in files.items())
    attributes: dict[str, Any] = {"repository": "registry", "digest": top["digest"], "role": "registry"}
    return Item("images", "registry", "1", objects, attributes), MemoryContent(files)


def test_a_well_formed_one_is_found() -> None:
    item, content = forged(lambda *documents: None)  # noqa: ARG005
    found = registry_image([item], content)
    assert found is not None
    assert len(found.layers) == 1


@pytest.mark.parametrize(
    ("place", "value"), [(place, value) for place, values in MALFORMED.items() for value in values]
)
def test_a_malformed_image_is_refused(place: str, value: Any) -> None:
    item, content = forged(_with(place, value))
    with pytest.raises(BundleError, match="images registry 1, the registry's image: "):
        registry_image([item], content)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000])
def test_a_document_of_another_form_is_refused(data: bytes) -> None:
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"images/blobs/sha256/{sha256}"
    attributes: dict[str, Any] = {"digest": f"sha256:{sha256}", "role": "registry"}
    item = Item("images", "registry", "1", (Object(path, len(data), sha256, Made()),), attributes)
    with pytest.raises(BundleError):
        registry_image([item], MemoryContent({path: data}))


@pytest.mark.parametrize("digest", [None, 5, "", "sha256:", "sha256:../../x", [], DIGEST])
def test_a_digest_that_leads_nowhere_is_refused(digest: Any) -> None:
    with pytest.raises(BundleError, match="is not among its objects"):
        registry_image([Item("images", "registry", "1", (), {"digest": digest, "role": "registry"})], MemoryContent({}))


def test_indexes_without_end_are_refused() -> None:
    """Each names the next one twice: followed to the end, that doubles with each."""
    files: dict[str, bytes] = {}
    digest, size = DIGEST, 1
    for number in range(100):
        entry = {"digest": digest, "size": size, "platform": OURS}
        data = json.dumps({"manifests": [entry, entry], "number": number}).encode()
        digest, size = f"sha256:{hashlib.sha256(data).hexdigest()}", len(data)
        files[f"images/blobs/sha256/{digest.removeprefix('sha256:')}"] = data
    objects = tuple(Object(path, len(data), path.rpartition("/")[2], Made()) for path, data in files.items())
    item = Item("images", "registry", "1", objects, {"digest": digest, "role": "registry"})
    with pytest.raises(BundleError, match="more than 64 manifests"):
        registry_image([item], MemoryContent(files))


def test_layers_of_no_registry_are_refused_before_they_are_read(tmp_path: Path, launcher: Launcher) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\n"})])
    large = 2 << 30
    manifest_path, manifest = next((p, json.loads(d)) for p, d in files.items() if b'"layers"' in d)
    layer = manifest["layers"][0]
    layer["size"] = large
    data = json.dumps(manifest).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    objects = [obj for obj in item.objects if obj.path != manifest_path]
    objects = [replace(obj, size=large) if layer["digest"].endswith(obj.sha256) else obj for obj in objects]
    objects.append(Object(f"images/blobs/sha256/{sha256}", len(data), sha256, Made()))
    forged_item = replace(item, objects=tuple(objects), attributes={**item.attributes, "digest": f"sha256:{sha256}"})
    content = MemoryContent(files | {f"images/blobs/sha256/{sha256}": data})
    with pytest.raises(BundleError, match="its layers have more than 1024 MiB"):
        UnpackedImage(tmp_path).update([forged_item], content, launcher)


def elf(loader: bytes) -> bytes:
    """The head of a program for `loader`."""
    header = bytearray(b"\x7fELF\x02\x01".ljust(64, b"\0"))
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, 1)
    return bytes(header) + struct.pack("<IIQQQQQQ", 3, 0, 120, 0, 0, len(loader) + 1, 0, 0) + loader + b"\0"


@pytest.mark.parametrize(
    "members",
    [
        {"loop": (tarfile.SYMTYPE, "loop"), "bin/registry": elf(b"/loop/ld.so")},
        {"a": (tarfile.SYMTYPE, "b"), "b": (tarfile.SYMTYPE, "a"), "bin/registry": elf(b"/a")},
        {"bin/registry": (tarfile.SYMTYPE, "registry")},
        {"bin/registry": elf(b"/" + b"a" * 300)},
        {"bin/registry": elf(b"/a" * 2000)},
        {"bin/registry": elf(b"/" + b"../" * 1000 + b"etc/passwd")},
        {"lib": (tarfile.SYMTYPE, "lib"), "ld.so": b"x", "bin/registry": elf(b"/ld.so")},
        {f"lib/{n:03}{'x' * 200}/a.so": b"" for n in range(800)} | {"ld.so": b"x", "bin/registry": elf(b"/ld.so")},
    ],
    ids=["loader in a loop", "two links", "program", "long name", "long path", "above", "libraries", "many libraries"],
)
def test_a_registry_that_leads_to_no_end_is_refused(
    tmp_path: Path, launcher: Launcher, members: dict[str, bytes | tuple[bytes, str]]
) -> None:
    item, files = image_item("registry", "registry", [tar_of(members)])
    with pytest.raises(SiteError):
        UnpackedImage(tmp_path).update([item], MemoryContent(files), launcher)
    assert UnpackedImage(tmp_path).command() == ()

"""The registry program out of an image: what Debian installs, packed up, unpacked and run."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import IntegrityError, SiteError
from bundler.site.services.registry_program import UnpackedImage
from bundler.site.services.rootfs import unpack
from tests.site.content import MemoryContent
from tests.site.images import image_item, program_with_libraries, tar_of


def layer(members: dict[str, bytes | tuple[bytes, str]]) -> Iterator[bytes]:
    yield tar_of(members)


def test_the_program_runs_from_the_image_alone(tmp_path: Path) -> None:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry to make an image of")
    other, files = image_item(
        "docker.io/library/nginx:1", "library/nginx", [tar_of({"bin/registry": b"#!/bin/false\n"})]
    )
    item, more = image_item(
        "docker.io/library/registry:2", "library/registry", [tar_of(program_with_libraries(Path(program)))]
    )
    content = MemoryContent(files | more)
    image = UnpackedImage(tmp_path)
    assert image.command() == ()
    assert image.update([other, item], content)
    command = image.command()
    assert all(part.startswith((str(tmp_path), "--")) for part in command)
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert "docker/distribution" in said
    streamed = len(content.streamed)
    layers = [path for path in content.streamed if len(content.files[path]) > 1 << 20]
    assert image.update([other, item], content)
    assert [path for path in content.streamed[streamed:] if path in layers] == []


def test_a_static_program_runs_by_itself_and_a_new_image_replaces_the_old(tmp_path: Path) -> None:
    image = UnpackedImage(tmp_path)
    for version in ("1", "2"):
        script = f"#!/bin/sh\necho registry {version}\n".encode()
        item, files = image_item(
            "registry", "registry", [tar_of({"bin/registry": b""}), tar_of({"./bin/registry": script})]
        )
        assert image.update([item], MemoryContent(files))
        said = subprocess.run([*image.command(), "--version"], capture_output=True, text=True, check=True).stdout
        assert said == f"registry {version}\n"
    assert len([path for path in tmp_path.iterdir() if not path.is_symlink()]) == 1


def test_no_registry_image(tmp_path: Path) -> None:
    item, files = image_item("registry", "registry", [tar_of({"etc/passwd": b""})])
    assert not UnpackedImage(tmp_path).update([item], MemoryContent(files))
    assert not UnpackedImage(tmp_path).update([], MemoryContent({}))


def test_a_flipped_byte_is_told_as_what_it_is(tmp_path: Path) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\n" + b"x" * 5000})])
    largest = max(item.objects, key=lambda obj: len(files[obj.path]) if files[obj.path][:2] == b"\x1f\x8b" else 0)
    damaged = bytearray(files[largest.path])
    for place in (12, len(damaged) // 2):
        damaged[place] ^= 0xFF
        with pytest.raises(IntegrityError, match=largest.path):
            UnpackedImage(tmp_path).update([item], MemoryContent(files | {largest.path: bytes(damaged)}))
        assert UnpackedImage(tmp_path).command() == ()


def test_a_program_that_does_not_run_is_an_error(tmp_path: Path) -> None:
    item, files = image_item("registry", "registry", [tar_of({"bin/registry": b"#!/bin/sh\necho no >&2; exit 3\n"})])
    with pytest.raises(SiteError, match="does not run here: no"):
        UnpackedImage(tmp_path).update([item], MemoryContent(files))


def test_links_stay_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    unpack(
        layer(
            {
                "etc/abs": (tarfile.SYMTYPE, "/outside"),
                "etc/up": (tarfile.SYMTYPE, "../../../../outside"),
                "deep/er": (tarfile.SYMTYPE, ".."),
                "etc/abs/one": b"1",
                "etc/up/two": b"2",
                "deep/er/three": b"3",
                "hard": (tarfile.LNKTYPE, "../../outside/one"),
            }
        ),
        root,
        what="test",
    )
    assert list((tmp_path / "outside").iterdir()) == []
    assert (root / "outside/one").read_bytes() == b"1"
    assert (root / "outside/two").read_bytes() == b"2"
    assert (root / "three").read_bytes() == b"3"
    assert (root / "hard").samefile(root / "outside/one")


@pytest.mark.parametrize(
    "members",
    [
        {"../evil": b"x"},
        {"a/../../evil": b"x"},
        {"hard": (tarfile.LNKTYPE, "/etc/passwd")},
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: dict[str, bytes | tuple[bytes, str]]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(SiteError, match="cannot unpack test"):
        unpack(layer(members), root, what="test")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_whiteouts(tmp_path: Path) -> None:
    unpack(layer({"a/one": b"1", "a/two": b"2", "b/three": b"3", "c": b""}), tmp_path, what="lower")
    unpack(layer({"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/four": b"4", "c/d": b"5"}), tmp_path, what="upper")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"a/two", "b/four", "c/d"}


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="cannot unpack test"):
        unpack(iter([b"\x28\xb5\x2f\xfd" + b"x" * 100]), tmp_path, what="test")

"""What the benchmark builds and installs: images, packages, wheels and files, made on the spot and kept.

At scale 1 it is about 3 GB: 40 images whose lower layers are shared, 2,000 RPMs, 300 wheels, 30 files of up to 200 MB.
Their content is random, so nothing on the way can shrink it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.demo import images
from scripts.demo.hosts import HERE, program
from scripts.demo.servers import free_port, server

_IMAGES, _PACKAGES, _WHEELS, _FILES = 40, 2000, 300, 30  # at scale 1
_BASES = 5  # lower layers, each shared by an eighth of the images and more
_LAYER = 26 << 20  # bytes of a layer
_PACKAGE = 250_000  # bytes of a package on average
_WHEEL = 1 << 20
_FILE = 34 << 20  # bytes of a file on average; of 30 the largest has 200 MB
_WHEEL_FILE = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
# One small thing for each service of a site, which is to run before the clock does.
FIRST_IMAGE, FIRST_WHEEL = "bench/first:1.0", "bench-first"
_PER_SPEC = 100  # packages that one run of rpmbuild makes

_SPEC = """\
Name: bench-{number}
Version: 1.0
Release: 1
Summary: Made for a benchmark
License: MIT
BuildArch: noarch
AutoReqProv: no
%define _binary_payload w0.gzdio
%define _build_id_links none
%description
Random bytes.
%install
mkdir -p %{{buildroot}}/opt/bench
cp {folder}/* %{{buildroot}}/opt/bench
"""
_SUBPACKAGE = """\
%package -n {name}
Summary: {name}
%description -n {name}
Random bytes.
%files -n {name}
/opt/bench/{name}
"""


@dataclass(frozen=True)
class Data:
    """`folder/www` is for nginx, `folder/registry` for docker-registry; the rest names what is in them."""

    folder: Path
    images: tuple[str, ...]  # repository:tag
    wheels: tuple[str, ...]  # requirements
    files: dict[str, str]  # path below /files/ → sha256

    @property
    def repository(self) -> Path:
        """The RPM repository."""
        return self.folder / "www" / "repository"


def make(folder: Path, scale: float) -> Data:
    """The data of `scale` in `folder`; what an earlier run made there is taken again."""
    folder = folder.absolute()
    listing = folder / "data.json"
    if not listing.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source = random.Random(scale)  # noqa: S311 - nothing is to be kept secret
        found = {
            "images": _make_images(folder, max(2, round(_IMAGES * scale)), source),
            "wheels": _make_wheels(folder / "www", max(2, round(_WHEELS * scale)), source),
            "files": _make_files(folder / "www" / "files", max(2, round(_FILES * scale)), source),
        }
        _make_packages(folder, max(2, round(_PACKAGES * scale)), source)
        listing.write_text(json.dumps(found))
    known = json.loads(listing.read_text())
    return Data(folder, tuple(known["images"]), tuple(known["wheels"]), known["files"])


def _make_images(folder: Path, count: int, source: random.Random) -> list[str]:
    """Each has a lower layer that others have too, and one of its own."""
    lower = [_layer(source, _LAYER) for _ in range(min(_BASES, count))]
    names = []
    with registry(folder) as url:
        _push(folder, url, FIRST_IMAGE, [_layer(source, 1024)])
        for number in range(count):
            names.append(f"bench/image-{number}:1.0")
            _push(folder, url, names[-1], [lower[number % len(lower)], _layer(source, _LAYER)])
    return names


def _push(folder: Path, registry: str, name: str, layers: list[tuple[bytes, str]]) -> None:
    layout = folder / "layout"
    images.make_layout_of_layers(layout, layers)
    images.push_layout(layout, registry, *name.split(":"))
    shutil.rmtree(layout)


def _layer(source: random.Random, size: int) -> tuple[bytes, str]:
    """A gzip of a tar with one file of random bytes, stored rather than compressed, and the tar's digest."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        member = tarfile.TarInfo(f"opt/{source.getrandbits(64):x}")
        member.size = size
        tar.addfile(member, io.BytesIO(source.randbytes(size)))
    return gzip.compress(plain.getvalue(), compresslevel=0, mtime=0), hashlib.sha256(plain.getvalue()).hexdigest()


def _make_wheels(www: Path, count: int, source: random.Random) -> list[str]:
    """An index of static pages, with the metadata beside each file (PEP 691, 700, 658), as PyPI has it."""
    (www / "wheels").mkdir(parents=True)
    names = [f"bench-wheel-{number}" for number in range(count)]
    for number, name in enumerate([*names, FIRST_WHEEL]):
        needs = names[number + 1 : number + 3] if number % 5 == 0 and name in names else []
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        metadata += "".join(f"Requires-Dist: {need}>=1\n" for need in needs)
        module = name.replace("-", "_")
        file_name = f"{module}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(www / "wheels" / file_name, "w") as archive:
            archive.writestr(f"{module}/data.bin", source.randbytes(round(_WHEEL * source.uniform(0.05, 1.95))))
            archive.writestr(f"{module}-1.0.dist-info/METADATA", metadata)
            archive.writestr(f"{module}-1.0.dist-info/WHEEL", _WHEEL_FILE)
            archive.writestr(f"{module}-1.0.dist-info/RECORD", "")
        (www / "wheels" / f"{file_name}.metadata").write_text(metadata)
        digest = hashlib.sha256((www / "wheels" / file_name).read_bytes()).hexdigest()
        of_metadata = hashlib.sha256(metadata.encode()).hexdigest()
        page = www / "simple" / name / "index.json"
        page.parent.mkdir(parents=True)
        file = {
            "filename": file_name,
            "url": f"/wheels/{file_name}",
            "hashes": {"sha256": digest},
            "core-metadata": {"sha256": of_metadata},
            "size": (www / "wheels" / file_name).stat().st_size,
        }
        document = {"meta": {"api-version": "1.1"}, "name": name, "versions": ["1.0"], "files": [file]}
        page.write_text(json.dumps(document))
    return [f"{name}==1.0" for name in names]


def _make_files(folder: Path, count: int, source: random.Random) -> dict[str, str]:
    """Sizes fall by a fifth each, and come to as many bytes as there are to be of `count` files."""
    folder.mkdir(parents=True)
    found = {}
    shares = [0.8**number for number in range(count)]
    for number, share in enumerate(shares):
        size = round(_FILE * count * share / sum(shares))
        digest = hashlib.sha256()
        with (folder / f"file-{number}.bin").open("wb") as file:
            for start in range(0, size, 1 << 20):
                block = source.randbytes(min(1 << 20, size - start))
                digest.update(block)
                file.write(block)
        found[f"file-{number}.bin"] = digest.hexdigest()
    return found


def _make_packages(folder: Path, count: int, source: random.Random) -> None:
    work, repository = folder / "rpmbuild", folder / "www" / "repository"
    (repository / "Packages").mkdir(parents=True)
    for first in range(0, count, _PER_SPEC):
        content = work / "content"
        content.mkdir(parents=True)
        names = [f"bench-package-{number}" for number in range(first, min(first + _PER_SPEC, count))]
        for name in names:
            (content / name).write_bytes(source.randbytes(round(_PACKAGE * source.uniform(0.1, 1.9))))
        spec = work / "bench.spec"
        text = _SPEC.format(number=first, folder=content)
        spec.write_text(text + "".join(_SUBPACKAGE.format(name=name) for name in names))
        HERE.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}", str(spec)])
        for rpm in (work / "RPMS").rglob("*.rpm"):
            rpm.rename(repository / "Packages" / rpm.name)
        shutil.rmtree(work)
    HERE.run(["createrepo_c", "--quiet", str(repository)])


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """docker-registry over `folder`/registry; gives its URL."""
    port = free_port()
    config = folder / "registry.yml"
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": os.urandom(8).hex()},
    }
    config.write_text(yaml.safe_dump(settings))
    with server([program("docker-registry"), "serve", str(config)], port=port, log=folder / "registry.log"):
        yield f"http://127.0.0.1:{port}"

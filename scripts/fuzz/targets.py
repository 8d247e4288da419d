"""What is fuzzed: a name, what takes the bytes, seeds to start from, and which errors are the right answer."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bundler.bundle.delta import Delta
from bundler.bundle.documents import describe
from bundler.bundle.keys import PublicKey, Trust, new_key, read_public
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import read_receipt
from bundler.bundle.signature import signature_file, vouched
from bundler.bundle.statement import PAYLOAD_TYPE, Statement
from bundler.bundle.storage import read_index
from bundler.bundle.writer import Writer
from bundler.errors import BundlerError, ProfileError
from bundler.inputs import profile_schema
from bundler.kinds import KINDS
from bundler.kinds.images.oci import parse_manifest
from bundler.kinds.images.reference import Reference
from bundler.kinds.rpms.comps import Comps
from bundler.kinds.rpms.keys import read_fingerprints
from bundler.kinds.rpms.metadata import RepoMetadata
from bundler.kinds.rpms.modulemd import read_modules
from bundler.kinds.rpms.openpgp import Keys, SignatureError
from bundler.kinds.rpms.primary import read_packages
from bundler.kinds.rpms.repodata import parse_metalink, parse_mirrorlist, parse_repomd
from bundler.kinds.rpms.signed import check_package
from bundler.model import written
from bundler.model.items import Item, Made, Object
from bundler.model.lock import Lock
from bundler.model.profile import profile_model
from bundler.model.site import SiteConfig
from bundler.recipes import RECIPES
from bundler.recipes.kubespray.tree import read_archive
from bundler.site.archive import members
from scripts.fuzz.closed_side import load, read_items, read_registry_image, read_statement, show_items

# On the memory's own file system: a file for each input.
_FOLDER = Path(tempfile.mkdtemp(prefix="bundler-fuzz-", dir="/dev/shm"))


@dataclass(frozen=True)
class Target:
    """`take` reads the bytes; whatever it raises that is not in `right` is a finding."""

    name: str
    take: Callable[[bytes], object]
    seeds: Iterable[bytes]
    right: tuple[type[Exception], ...] = (BundlerError,)


def _file(data: bytes, name: str = "input") -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


# Bundles


def _object(path: str, data: bytes) -> Object:
    return Object(path, len(data), hashlib.sha256(data).hexdigest(), Made())


_CONTENTS = {"files/a": b"a" * 700, "files/b": b"b"}
_LOCK = Lock(
    "demo",
    "1.0",
    "0" * 64,
    (Item("files", "sample", "1", tuple(_object(path, data) for path, data in _CONTENTS.items()), {"path": "x"}),),
)


def _bundle() -> bytes:
    manifest, documents = describe(_LOCK)
    target = _FOLDER / "seed.tar"
    with Writer(target, manifest, documents) as writer:
        for obj in writer.pending():
            with writer.slot(obj) as slot:
                slot.write(_CONTENTS[obj.path])
                slot.finish()
        return writer.commit().read_bytes()


def _read_bundle(data: bytes) -> None:
    with Bundle(_file(data)) as bundle:
        bundle.verify(jobs=1)


def _read_manifest(data: bytes) -> None:
    """The closed side, as far as the manifest alone decides; what is not in its one form is put into it."""
    with suppress(ValueError):
        data = json.dumps(json.loads(data), indent=1, ensure_ascii=True).encode() + b"\n"
    load(data)


def _read_beside(data: bytes) -> None:
    """What lies beside a bundle: receipts, indexes of volumes, signatures, deltas."""
    path = _file(data, "beside.tar")
    for read in (read_receipt, read_index):
        with suppress(BundlerError):
            read(path)
    with suppress(BundlerError):
        Delta.from_bytes(data, "fuzz")
    with suppress(BundlerError):
        Statement.from_bytes(data, PAYLOAD_TYPE, "fuzz")
    _file(data, signature_file(path).name)
    vouched(path, Trust((_trusted(),)))


_ENVELOPE = b'{"payload": "e30=", "payloadType": "text/plain", "signatures": [{"keyid": "%s", "sig": "eA=="}]}' % (
    b"0" * 64
)


@cache
def _trusted() -> PublicKey:
    """A key that is trusted, and has signed nothing."""
    return read_public(new_key(_FOLDER / "release.key"))


def _unpack(data: bytes) -> None:
    for member, content in members(_file(data)):
        assert not member.path.startswith("/")
        while content is not None and content.read(1 << 16):
            """Read on."""


def _read_tree(data: bytes) -> None:
    read_archive(_file(data), "fuzz")


def _archive() -> bytes:
    target = _FOLDER / "seed.tar.gz"
    source = _file(b"content", "content")
    with tarfile.open(target, "w:gz") as archive:
        archive.add(source, "top/file")
    return target.read_bytes()


# What people write


def _read_profile(data: bytes) -> None:
    sections = {kind.name: kind.spec for kind in KINDS} | {recipe.name: recipe.spec for recipe in RECIPES}
    written.parse(data.decode("utf-8", "replace"), profile_model(sections), "fuzz", ProfileError)


def _read_site(data: bytes) -> None:
    written.parse(data.decode("utf-8", "replace"), SiteConfig, "fuzz", ProfileError)


# What repositories and registries send

_PRIMARY = b"""<?xml version="1.0"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>a</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>
<checksum type="sha256" pkgid="YES">%s</checksum><summary>a</summary><description>a</description><packager/><url/>
<time file="1" build="1"/><size package="1" installed="1" archive="1"/><location href="a.rpm"/>
<format><rpm:license>MIT</rpm:license><rpm:sourcerpm>a.src.rpm</rpm:sourcerpm></format></package></metadata>
""" % (b"0" * 64)
_REPOMD = b"""<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>
<data type="primary"><checksum type="sha256">%s</checksum><location href="repodata/primary.xml.gz"/>
<timestamp>1</timestamp><size>1</size></data></repomd>
""" % (b"0" * 64)
_METALINK = b"""<?xml version="1.0"?><metalink version="3.0" xmlns="http://www.metalinker.org/"><files>
<file name="repomd.xml"><verification><hash type="sha256">%s</hash></verification>
<resources><url preference="100">https://a.example/repodata/repomd.xml</url></resources></file></files></metalink>
""" % (b"0" * 64)
_MODULES = b"""---
document: modulemd
version: 2
data: {name: a, stream: '1', version: 1, context: c, arch: x86_64, summary: a, description: a,
  license: {module: [MIT]}, artifacts: {rpms: [a-0:1-1.noarch]}, profiles: {common: {rpms: [a]}},
  dependencies: [{requires: {platform: [el8]}}]}
...
"""
_COMPS = b"<comps><group><id>a</id><name>a</name><packagelist><packagereq>a</packagereq></packagelist></group></comps>"


def _read_repository(data: bytes) -> None:
    """The first byte says which file it is."""
    kind, data = data[:1], data[1:]
    if kind == b"r":
        parse_repomd(data, "https://a.example/", "fuzz")
    elif kind == b"m":
        parse_metalink(data, "fuzz")
    elif kind == b"l":
        parse_mirrorlist(data, "fuzz")
    elif kind == b"p":
        read_packages(_file(data), "https://a.example/", "fuzz")
    elif kind == b"y":
        read_modules([RepoMetadata("fuzz", _file(b""), modules=_file(data, "modules"))])
    elif kind == b"c":
        Comps([RepoMetadata("fuzz", _file(b""), comps=_file(data, "comps"))])


_KEY = Path(__file__).with_name("key.asc")
_SIGNATURE = Path(__file__).with_name("signature.asc")


def _read_signature(data: bytes) -> None:
    keys = Keys([_KEY.read_bytes()], sha1=True)
    with suppress(SignatureError):
        keys.verify(data, [b"content"])
    with suppress(SignatureError):
        check_package(iter([data]), keys)
    Keys([data])
    read_fingerprints(data, "fuzz")


def _read_image(data: bytes) -> None:
    with suppress(ValueError):
        parse_manifest(data, "application/vnd.oci.image.manifest.v1+json")
    Reference.parse(data.decode("utf-8", "replace"))


_IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "a/b", "digest": f"sha256:{'0' * 64}", "size": 1},
        "layers": [],
    }
).encode()


def targets() -> tuple[Target, ...]:
    """All of them."""
    profile_schema()  # imports every kind before anything is counted
    manifest, _ = describe(_LOCK)
    profile = (
        b'name: a\nversion: "1"\ntargets: [{distro: rocky, release: "9"}]\nimages: [nginx]\nfiles: [https://a/b]\n'
    )
    return (
        Target("bundle", _read_bundle, [_bundle()]),
        Target("manifest", _read_manifest, [manifest.data]),
        Target("beside", _read_beside, [b"{}", b'{"format": 1}', Statement.of(manifest).data, _ENVELOPE]),
        Target("archive", _unpack, [_archive()]),
        Target("tree", _read_tree, [_archive()]),
        Target("items", read_items, [bytes(40)]),
        Target("shown", show_items, [bytes(40)]),
        Target("registry-image", read_registry_image, [bytes(40)]),
        Target("statement", read_statement, [bytes(40)]),
        Target("profile", _read_profile, [profile]),
        Target("site", _read_site, [b"address: a\ntls: self-signed\n"]),
        Target(
            "repository",
            _read_repository,
            [
                *(b"r" + _REPOMD, b"m" + _METALINK, b"l# a\nhttps://a/\n", b"p" + _PRIMARY, b"y" + _MODULES),
                *(b"c" + _COMPS, b"p" + gzip.compress(_PRIMARY), b"y" + gzip.compress(_MODULES)),
            ],
        ),
        Target("signature", _read_signature, [_SIGNATURE.read_bytes(), _KEY.read_bytes()]),
        Target(
            "image", _read_image, [_IMAGE, b"docker.io/library/nginx:1@sha256:" + b"0" * 64], (BundlerError, ValueError)
        ),
    )

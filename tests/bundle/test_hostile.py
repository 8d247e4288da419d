"""Files that somebody made to hurt whoever reads them: refused with the right error, soon, and in little memory.

Each is read as a user would, by `bundler verify` and `bundler inspect`, in a process that may not take more than a
gigabyte of memory or half a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.bundle.layout import BLOCK, header, layout
from bundler.bundle.manifest import MANIFEST, SUMS, Manifest
from bundler.bundle.reader import Bundle
from bundler.bundle.receipt import read_receipt
from bundler.errors import BundleError, ConfigError, IntegrityError
from bundler.model.items import Item
from bundler.model.lock import Lock

from .bundles import write_bundle

CONTENTS = {"files/a": b"a" * 700, "files/deep/b": b"b" * 5000, "files/empty": b""}
MEMORY, SECONDS = 1 << 30, 30
REFUSED = {7, 8}  # no bundle; damaged


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("good") / "demo-1.0.tar", CONTENTS)


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def read(file: Path, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "bundler", *(command or ("verify",)), str(file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limit, cwd=file.parent)


def assert_refused(file: Path, codes: set[int] = REFUSED) -> None:
    """By every command that reads it, with one message and no traceback, and nothing beside it was touched."""
    before = sorted(file.parent.rglob("*"))
    done = read(file)
    assert done.returncode in codes, (done.returncode, done.stderr[-800:])
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert sorted(file.parent.rglob("*")) == before


def with_manifest(good: Path, to: Path, manifest: bytes) -> Path:
    """The bundle with another manifest in place of its own, whose checksum is right."""
    folder = "demo-1.0"
    sums = f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()

    def member(name: str, data: bytes) -> bytes:
        head = header(f"{folder}/{name}", len(data), 0o644)
        return head + data + bytes(-len(data) % BLOCK)

    with Bundle(good) as bundle:
        rest = good.read_bytes()[bundle.layout.members[SUMS].end :]
        tail = bundle.layout.head[SUMS].partition(b"\n")[2]
    to.write_bytes(member(MANIFEST, manifest) + member(SUMS, sums + tail) + rest)
    return to


def repacked(
    good: Path, to: Path, change: Callable[[tarfile.TarInfo, int], list[tuple[tarfile.TarInfo, bytes]]]
) -> Path:
    """The bundle's members through tarfile, each as `change` has it."""
    with tarfile.open(good) as old, tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as new:
        for number, info in enumerate(old.getmembers()):
            stream = old.extractfile(info)
            data = stream.read() if stream else b""
            for changed, content in change(info, number) or [(info, data)]:
                new.addfile(changed, io.BytesIO(content or data) if changed.isreg() else None)
    return to


def changed_last(**fields: object) -> Callable[[tarfile.TarInfo, int], list[tuple[tarfile.TarInfo, bytes]]]:
    """Change these fields of the member files/a."""

    def change(info: tarfile.TarInfo, number: int) -> list[tuple[tarfile.TarInfo, bytes]]:
        del number
        if not info.name.endswith("files/a"):
            return []
        for name, value in fields.items():
            setattr(info, name, value)
        return [(info, b"")]

    return change


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "/etc/evil"},
        {"name": "../evil"},
        {"name": "demo-1.0/../../evil"},
        {"name": "demo-1.0/files/a\n"},
        {"name": "demo-1.0/files/\uff0e\uff0e/a"},  # full stops of another width
        {"name": "demo-1.0/files/\u0430"},  # a Cyrillic a
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0},
        {"type": tarfile.LNKTYPE, "linkname": "demo-1.0/manifest.json", "size": 0},
        {"type": tarfile.CHRTYPE, "size": 0},
        {"type": tarfile.BLKTYPE, "size": 0},
        {"type": tarfile.FIFOTYPE, "size": 0},
        {"type": tarfile.DIRTYPE, "size": 0},
        {"mode": 0o4755},
        {"uid": 1},
        {"uname": "root"},
        {"mtime": 12345},
        {"pax_headers": {"path": "../evil"}},
        {"pax_headers": {"size": "1"}},
        {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9999999999"}},
        {"pax_headers": {"comment": "x" * 100000}},
    ],
    ids=str,
)
def test_a_member_of_another_sort(good: Path, tmp_path: Path, fields: dict[str, object]) -> None:
    assert_refused(repacked(good, tmp_path / "evil.tar", changed_last(**fields)))


def test_a_member_twice_and_one_more(good: Path, tmp_path: Path) -> None:
    def twice(info: tarfile.TarInfo, number: int) -> list[tuple[tarfile.TarInfo, bytes]]:
        del number
        return [(info, b""), (info, b"")] if info.name.endswith("files/a") else []

    def another(info: tarfile.TarInfo, number: int) -> list[tuple[tarfile.TarInfo, bytes]]:
        if number != 2:
            return []
        evil = tarfile.TarInfo("demo-1.0/files/evil")
        evil.size = 4
        return [(info, b""), (evil, b"evil")]

    assert_refused(repacked(good, tmp_path / "twice.tar", twice))
    assert_refused(repacked(good, tmp_path / "another.tar", another))


def test_sizes_that_lie(good: Path, tmp_path: Path) -> None:
    """A header with another size, and its checksum made right."""
    data = good.read_bytes()
    with Bundle(good) as bundle:
        members = dict(bundle.layout.members)
    for number, (name, size) in enumerate(
        [("files/a", 0), ("files/a", 699), ("files/a", 1 << 33), ("manifest.json", 10), ("manifest.json", 1 << 32)]
    ):
        member = members[name]
        head = header(f"demo-1.0/{name}", size, 0o644)[:BLOCK]
        file = tmp_path / f"{number}.tar"
        file.write_bytes(data[: member.data - BLOCK] + head + data[member.data :])
        assert_refused(file)


def test_cut_off_at_every_interesting_offset(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    with Bundle(good) as bundle:
        edges = {0, len(data) - 1, len(data) - BLOCK}
        for member in bundle.layout.members.values():
            for edge in (member.start, member.data, member.data + member.size, member.end):
                edges |= {edge - 1, edge, edge + 1}
    for edge in sorted(edge for edge in edges if 0 <= edge < len(data)):
        file = tmp_path / "cut.tar"
        file.write_bytes(data[:edge])
        with pytest.raises((BundleError, IntegrityError)):
            Bundle(file)


def test_more_behind_its_end(good: Path, tmp_path: Path) -> None:
    data = good.read_bytes()
    for number, more in enumerate([b"\0", bytes(BLOCK), bytes(1 << 20), data, b"x" * BLOCK]):
        file = tmp_path / f"{number}.tar"
        file.write_bytes(data + more)
        assert_refused(file)


@pytest.mark.parametrize("size", [(1 << 30), (1 << 33) - 1])
def test_a_manifest_of_gigabytes(tmp_path: Path, size: int) -> None:
    """The header says so, and a sparse file has it."""
    file = tmp_path / "large.tar"
    with file.open("wb") as stream:
        stream.write(header(f"demo-1.0/{MANIFEST}", size, 0o644))
        stream.truncate(size + 10 * BLOCK)
    assert_refused(file)


def document(**changes: object) -> dict[str, object]:
    empty = hashlib.sha256(b"").hexdigest()
    return {
        "format": 1,
        "name": "demo",
        "version": "1.0",
        "targets": [],
        "profile_sha256": empty,
        "lock_sha256": empty,
        "objects": [],
        "items": [],
        **changes,
    }


def entry(path: str, size: int = 0) -> dict[str, object]:
    return {"path": path, "size": size, "sha256": hashlib.sha256(b"").hexdigest(), "source": "made:"}


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"


def test_as_many_objects_as_a_manifest_may_name(good: Path, tmp_path: Path) -> None:
    """Read or refused, within the memory and the time."""
    lines = ",".join(json.dumps(entry(f"files/{number}")) for number in range(300_000))
    text = json.dumps(document()).replace('"objects": []', f'"objects": [{lines}]')
    assert_refused(with_manifest(good, tmp_path / "many.tar", text.encode()))


@pytest.mark.parametrize("value", ["{}", "[]", '{"a":0}', "0", '""', "[[[[]]]]"])
def test_more_values_than_a_manifest_may_have(good: Path, tmp_path: Path, value: str) -> None:
    """A few bytes each would take hundreds in memory: they are counted before there are any."""
    attributes = f'{{"x":[{",".join([value] * 2_600_000)}]}}'
    item = f'{{"kind":"files","name":"a","version":"1","objects":[],"attributes":{attributes}}}'
    text = json.dumps(document()).replace('"items": []', f'"items": [{item}]')
    path = with_manifest(good, tmp_path / "values.tar", text.encode())
    done = read(path)
    assert done.returncode == BundleError.exit_code
    assert "exceeds the limit of 2500000 values" in done.stderr


def test_what_could_not_be_read_again_is_not_written() -> None:
    item = Item("files", "a", "1", (), {"x": [0] * 2_600_000})
    with pytest.raises(BundleError, match="demo 1: it exceeds the limit of 2500000 values"):
        Lock("demo", "1", "0" * 64, (item,)).to_bytes()


def test_a_receipt_of_nothing_but_values(tmp_path: Path) -> None:
    path = tmp_path / "receipt"
    path.write_text(f'{{"receipt_format":1,"releases":[],"objects":[{",".join("0" * 1_000_000)}]}}')
    with pytest.raises(ConfigError, match="exceeds the limit of 900000 entries"):
        read_receipt(path)


MANIFESTS = [
    b"",
    b"\0" * 1000,
    b"null\n",
    b"[" * 1_000_000,
    b'{"a":' * 500_000,
    b"1" * 5_000_000,
    b'"\\ud800"',
    b"\xff\xfe{}",
    as_json(document(format=2)),
    as_json(document(name="../evil")),
    as_json(document(name="demo\n")),
    as_json(document(name="d\u0435mo")),
    as_json(document(version="1.0/..")),
    as_json(document(version=1e400)),
    as_json(document(targets=None)),
    as_json(document(targets=[{"distro": "rocky", "release": "9"}])),  # not in its one form
    as_json(document(targets=[{"distro": "ro\x1b[2Jcky", "release": "9", "arch": "x86_64"}])),
    as_json(document(targets=[{"distro": "rocky", "release": "9/..", "arch": "x86_64"}])),
    as_json(document(targets=[{"distro": "rocky", "release": "9", "arch": "x" * 65}])),
    as_json(document(targets=[{"distro": "rocky", "release": "9", "arch": "x86_64"}] * 2)),
    as_json(document(targets=[{"distro": "rocky", "release": str(n), "arch": "x86_64"} for n in range(65)])),
    as_json({key: value for key, value in document().items() if key != "targets"}),
    as_json(document(objects=[entry("/etc/passwd")])),
    as_json(document(objects=[entry("../evil")])),
    as_json(document(objects=[entry("files/../../evil")])),
    as_json(document(objects=[entry("files//a")])),
    as_json(document(objects=[entry("files/a\0b")])),
    as_json(document(objects=[entry("files/a\nb")])),
    as_json(document(objects=[entry("files/\uff0e\uff0e/a")])),
    as_json(document(objects=[entry("files/a\\b")])),
    as_json(document(objects=[entry("files/" + "a/" * 600 + "b")])),
    as_json(document(objects=[entry("files/a", -1)])),
    as_json(document(objects=[entry("files/a", 1 << 62)])),
    as_json(document(objects=[entry("files/a"), entry("files/a")])),
    as_json(document(objects=[entry("files/a"), entry("files/a/b")])),
    as_json(document(objects=[entry("manifest.json")])),
    as_json(document(objects=[entry("SHA256SUMS")])),
    as_json(document(items=[{"kind": "files", "name": "x", "version": "1", "objects": ["files/none"]}])),
    as_json(document(items=[{"kind": "files", "name": "x\x1b[2J", "version": "1", "objects": []}])),
    as_json(document(items=[{"kind": "files", "name": "x\ny", "version": "1", "objects": []}])),
    as_json(document(items=[{"kind": "files", "name": "x\u202ey", "version": "1", "objects": []}])),
    as_json(document(items=[{"kind": "files", "name": "x", "version": "1", "objects": [], "licence": "a\r\nb"}])),
    json.dumps(document()).encode(),  # right, and not in its one form
]


def name_of(manifest: bytes) -> str:
    return repr(manifest[:40]) if len(manifest) < 400 else repr(manifest[-120:-40])


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_a_manifest_that_is_none(good: Path, tmp_path: Path, manifest: bytes) -> None:
    file = with_manifest(good, tmp_path / "evil.tar", manifest)
    assert_refused(file)
    done = read(file, "inspect", "--items")
    assert done.returncode in REFUSED
    assert "\x1b" not in done.stdout + done.stderr


def test_the_manifest_that_these_are_made_of_is_one() -> None:
    data = as_json(document(targets=[{"distro": "rocky", "release": "9", "arch": "x86_64"}]))
    assert layout(Manifest.from_bytes(data), None).folder == "demo-1.0"


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_it_is_the_manifest_that_is_refused(manifest: bytes) -> None:
    """Not what comes behind it, which does not go with it either."""
    with pytest.raises(BundleError):
        layout(Manifest.from_bytes(manifest), None)


@pytest.mark.parametrize("word", ["\x1b[2J", "\u202e", "a\rb", "\x9b2J", "x" * 5000])
def test_an_unknown_key_does_not_act_on_a_terminal(good: Path, tmp_path: Path, word: str) -> None:
    item = {"kind": "files", "name": "x", "version": "1", "objects": [], word: 1}
    for number, evil in enumerate([document(**{word: 1}), document(items=[item])]):
        file = with_manifest(good, tmp_path / f"{number}.tar", as_json(evil))
        with pytest.raises(BundleError) as refused:
            Bundle(file)
        assert refused.value.message.isprintable()
        assert len(refused.value.message) < 1000


def test_deep_attributes(good: Path, tmp_path: Path) -> None:
    """Nested as deep as no reader bears: refused, not a crash."""
    deep = "[" * 100_000 + "]" * 100_000
    text = as_json(
        document(items=[{"kind": "files", "name": "x", "version": "1", "objects": [], "attributes": {"a": 0}}])
    )
    assert_refused(with_manifest(good, tmp_path / "deep.tar", text.replace(b'"a": 0', f'"a": {deep}'.encode())))


def test_a_fifo_or_a_folder_in_place_of_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    assert read(tmp_path / "folder.tar").returncode in (4, 7)
    assert read(tmp_path / "missing.tar").returncode in (4, 7)

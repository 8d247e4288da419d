"""Archives that are made to cost memory and time, and the same archives as they should be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.limits import Limit, LimitExceeded
from bundler.tarball import BROKEN, open_tar
from tests.measured import measured

UNPACKED = Limit("an archive, decompressed", 2 << 30)
MEMBERS = Limit("the members of an archive", 1000, "members")


def header(kind: bytes, size: int | bytes, name: bytes = b"top/a") -> bytes:
    """A header whose checksum is right, whatever it says."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(
        name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0" + b" " * 8 + kind
    )
    block = block.ljust(257, b"\0") + b"ustar\00000"
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    """`LENGTH key=value`, as pax counts it."""
    length = len(key) + len(value) + 3
    while len(str(length)) + len(key) + len(value) + 3 != length:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %b=%b\n" % (length, key, value)


def pax(content: bytes, kind: bytes = b"x") -> bytes:
    return header(kind, len(content)) + padded(content)


FILE = header(b"0", 5) + padded(b"hello")
END = bytes(1024)


def names(data: bytes) -> list[str]:
    with open_tar(io.BytesIO(data), unpacked=UNPACKED, members=MEMBERS) as opened:
        return [member.name for member in opened]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_is_what_tarfile_says_it_is(compress: Callable[[bytes], bytes], format_: int) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format_) as archive:
        for name in ("top", "top/" + "long/" * (18 if format_ == tarfile.USTAR_FORMAT else 60) + "näme", "top/b"):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 700, 1_700_000_000
            archive.addfile(info, io.BytesIO(b"x" * 700))
    with tarfile.open(fileobj=io.BytesIO(made.getvalue())) as expected:
        assert names(compress(made.getvalue())) == expected.getnames()


def test_names_and_numbers_in_extended_headers_are_read() -> None:
    commit = pax(record(b"comment", b"1" * 40), b"g")
    assert names(commit + pax(record(b"path", b"top/other") + record(b"mtime", b"1.5")) + FILE + END) == ["top/other"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(header(b"x", 1 << 32) + bytes(1 << 20), "64.0 KiB for an extended header", id="pax of 4 GiB"),
        pytest.param(header(b"L", 1 << 30) + bytes(1 << 20), "64.0 KiB for an extended header", id="name of 1 GiB"),
        pytest.param(header(b"K", 1 << 30) + bytes(1 << 20), "64.0 KiB for an extended header", id="link of 1 GiB"),
        pytest.param(pax(record(b"comment", b"9" * 60_000)) + FILE, "number in an archive's", id="digits"),
        pytest.param(pax(b"9" * 60_000) + FILE, "malformed", id="a length of digits"),
        pytest.param(pax(b"5 a=b\n") + FILE, "malformed", id="a length that is wrong"),
        pytest.param(pax(record(b"size", b"1")) + FILE, "sets 'size'", id="another size"),
        pytest.param(pax(record(b"GNU.sparse.size", b"1")) + FILE, "sets 'GNU.sparse.size'", id="sparse pax"),
        pytest.param(pax(record(b"GNU.sparse.major", b"1"), b"g") + FILE, "sets 'GNU", id="sparse global"),
        pytest.param(header(b"S", 0) + FILE, "unknown type", id="old GNU sparse"),
        pytest.param(header(b"X", 0) + FILE, "unknown type", id="Solaris pax"),
        pytest.param(header(b"0", b"\xff" * 12) + FILE, "no number", id="negative size"),
        pytest.param(header(b"0", b"0x00000ffff ") + FILE, "no number", id="hexadecimal size"),
        pytest.param(header(b"\0", 512, b"top/") + FILE, "a folder that has content", id="folder with content"),
        pytest.param(pax(record(b"a", b"b")) * 9 + FILE, "8 headers", id="a chain of headers"),
        pytest.param(
            (pax(record(b"a" * 900, b"b" * 30_000), b"g") + FILE) * 3, "global extended headers", id="global headers"
        ),
        pytest.param(header(b"5", 0) * 1001, "1000 members", id="members"),
        pytest.param(header(b"0", b"\x80" + b"\xff" * 11) + bytes(2048), "2.0 GiB for an archive", id="beyond all"),
    ],
)
def test_what_costs_more_than_it_holds_is_refused(data: bytes, words: str) -> None:
    with pytest.raises((LimitExceeded, *BROKEN), match=words):
        names(data + END)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_much_out_of_little_is_refused(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(header(b"0", 80 << 20) + bytes(80 << 20))
    with pytest.raises(LimitExceeded, match="compressed bytes"):
        names(bomb)
    with pytest.raises(LimitExceeded, match="an archive, decompressed"):
        open_tar(io.BytesIO(compress(FILE)), unpacked=Limit("an archive, decompressed", 100), members=MEMBERS)


def test_xz_with_a_dictionary_of_a_gigabyte_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    with pytest.raises(LimitExceeded, match="memory that decompressing it takes"):
        names(lzma.compress(FILE + END, filters=filters))


@pytest.mark.parametrize("kind", ["x", "g", "L"])
def test_a_huge_extended_header_takes_neither_memory_nor_time(tmp_path: Path, kind: str) -> None:
    """128 MiB of digits in an eighth of a megabyte."""
    size = 128 << 20
    with gzip.open(tmp_path / "t", "wb", compresslevel=6) as file:
        file.write(header(kind.encode(), size))
        for _ in range(size >> 20):
            file.write(b"9" * (1 << 20))
        file.write(FILE + END)
    taken = measured(f"""
from pathlib import Path
from bundler.errors import BundleError
from bundler.site.archive import members
try:
    list(members(Path({str(tmp_path / "t")!r})))
except BundleError as error:
    print(error.message)
""")
    assert "limit of 64.0 KiB for an extended header" in taken.said
    assert taken.memory < 80 << 20
    assert taken.seconds < 5

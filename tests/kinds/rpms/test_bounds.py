"""Repositories whose metadata is far larger inside than outside, and other than they say."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest

from bundler.errors import ResolveError
from bundler.kinds.rpms.extras import updateinfo_for
from bundler.kinds.rpms.metadata import NEVRA, RepoMetadata, limit_of, opened
from bundler.kinds.rpms.modulemd import read_modules
from bundler.kinds.rpms.primary import read_packages
from bundler.limits import Limit

from .conftest import Bench, Serve
from .rpmmd import Rpm, write_repo, write_repomd

SECTION = "{{repos: [{{id: base, url: '{url}', mode: mirror}}]}}"
BOMB = 80 << 20


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


COMPRESSORS: list[Callable[[bytes], bytes]] = [gzip.compress, lzma.compress, bz2.compress, zstd]


def repository(folder: Path, **files: bytes) -> Path:
    """A repository of one package, with `files` by type in its metadata beside what it needs, or in place of it."""
    metadata = write_repo(folder / "made", "base", [Rpm("a-1-1.noarch")])
    assert metadata.filelists
    found = {"primary": metadata.primary, "filelists": metadata.filelists}
    for type_, content in files.items():
        found[type_] = folder / f"{type_}.packed"
        found[type_].write_bytes(content)
    write_repomd(folder / "repo", found)
    return folder / "repo"


def stating(repo: Path, type_: str, open_size: int) -> None:
    """Have its repomd.xml state another open-size of that type."""
    repomd = repo / "repodata" / "repomd.xml"
    pattern = rf'(<data type="{type_}">.*?)(?:<open-size>\d+</open-size>|(?=</data>))'
    text = re.sub(pattern, rf"\1<open-size>{open_size}</open-size>", repomd.read_text(), count=1, flags=re.DOTALL)
    repomd.write_text(text)


@pytest.mark.parametrize("type_", ["primary", "filelists", "modules", "group", "updateinfo", "other"])
@pytest.mark.parametrize("compress", COMPRESSORS)
def test_much_out_of_little_is_refused_by_its_url(
    tmp_path: Path, serve: Serve, bench: Bench, type_: str, compress: Callable[[bytes], bytes]
) -> None:
    bomb = compress(bytes(BOMB))
    repo = repository(tmp_path, **{type_: bomb})
    url = serve(repo)
    section = (
        SECTION
        if type_ in ("primary", "filelists", "modules", "group")
        else SECTION.replace("mode: mirror", "mode: mirror, newest_only: true")
    )
    with pytest.raises(ResolveError, match=r"it exceeds the limit of .* for ") as caught:
        bench.resolve(section.format(url=url))
    assert f"{url}/repodata/" in caught.value.message
    assert "damaged" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_more_than_the_stated_open_size_is_refused(
    tmp_path: Path, serve: Serve, bench: Bench, compress: Callable[[bytes], bytes]
) -> None:
    repo = repository(tmp_path, modules=compress(b"# comment\n" * 400))
    stating(repo, "modules", 3999)
    with pytest.raises(ResolveError, match="limit of 3999 bytes for modules, by the open-size"):
        bench.resolve(SECTION.format(url=serve(repo)))
    stating(repo, "modules", 4000)
    bench.resolve(SECTION.format(url=serve(repo)))


def test_what_real_repositories_have_is_within_the_limits() -> None:
    """Fedora's filelists have a gigabyte, its primary 200 MB, Enterprise Linux 8's modules 10 MB."""
    for type_, size in {"filelists": 1 << 30, "primary": 200 << 20, "modules": 10 << 20, "group": 8 << 20}.items():
        limit_of(type_).check(size)
        assert limit_of(type_, size).size == size


@pytest.mark.parametrize("compress", COMPRESSORS)
def test_reading_leaves_no_more_than_the_limit_on_the_disk(
    tmp_path: Path, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a bundle nothing is stated: the ceiling of the type holds, and nothing stays in TMPDIR."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    file = tmp_path / "modules.yaml.x"
    file.write_bytes(compress(bytes(BOMB)))
    repo = RepoMetadata("base", file, modules=file)
    words = r"repository base: modules\.yaml\.x: it exceeds the limit of 64\.0 MiB"
    with pytest.raises(ResolveError, match=words), ExitStack() as stack:
        stack.enter_context(opened(repo, file, "modules"))
    assert [path.name for path in tmp_path.iterdir()] == ["modules.yaml.x"]


def test_a_file_that_broke_off_is_damaged_and_no_limit(tmp_path: Path) -> None:
    for compress in COMPRESSORS[:3]:  # of zstd createrepo_c takes what there is
        file = tmp_path / "x"
        file.write_bytes(compress(hashlib.sha512(b"x").digest() * 10_000)[:-9])
        with pytest.raises(ResolveError, match="cannot be read"), ExitStack() as stack:
            stack.enter_context(opened(RepoMetadata("base", file), file, "primary"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[" * 100_000, "100 levels", id="brackets"),
        pytest.param("- " * 100_000, "100 levels", id="lists"),
        pytest.param(
            "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "2000000 nodes",
            id="aliases",
        ),
        pytest.param(
            "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
            "2000000 nodes",
            id="merges",
        ),
        pytest.param("data: &a [*a]\n", "within itself", id="a ring"),
    ],
)
def test_yaml_that_grows_is_refused(tmp_path: Path, text: str, words: str) -> None:
    repo = write_repo(tmp_path, "base", [Rpm("a-1-1.noarch")], modules=text)
    with pytest.raises(ResolveError, match=words):
        read_modules([repo])


def test_packages_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = write_repo(tmp_path, "base", [Rpm(f"a{n}-1-1.noarch") for n in range(20)])
    assert len(read_packages(repo.primary, "http://x/", "base")) == 20
    limit = Limit("the packages of one repository", 19, "packages")
    monkeypatch.setattr("bundler.kinds.rpms.primary._PACKAGES", limit)
    with pytest.raises(ResolveError, match="19 packages"):
        read_packages(repo.primary, "http://x/", "base")


def test_numbers_of_many_digits_are_none(tmp_path: Path, serve: Serve, bench: Bench) -> None:
    repo = repository(tmp_path, modules=b"# comment\n")
    stating(repo, "modules", int("9" * 4000))
    assert bench.resolve(SECTION.format(url=serve(repo)))
    assert NEVRA.parse("a-1-1.noarch").epoch == 0


def test_an_advisory_without_end_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.kinds.rpms.extras._ADVISORY", Limit("one advisory", 100, "elements"))
    small, large = (b"<update>" + b"<reference/>" * count + b"</update>" for count in (90, 110))
    assert list(updateinfo_for(BytesIO(b"<updates>" + small * 10 + b"</updates>"), (), "base")) == []
    with pytest.raises(ResolveError, match=r"base: updateinfo\.xml: it exceeds the limit of 100 elements"):
        list(updateinfo_for(BytesIO(b"<updates>" + large + b"</updates>"), (), "base"))

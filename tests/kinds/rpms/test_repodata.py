from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import FetchError, IntegrityError, ResolveError
from bundler.kinds.rpms.primary import read_packages
from bundler.kinds.rpms.records import fetch_record
from bundler.kinds.rpms.repodata import (
    Checksum,
    Record,
    file_path,
    href_url,
    open_repository,
    parse_metalink,
    parse_mirrorlist,
    parse_repomd,
)
from bundler.model.contents import check_path

from .conftest import Bench, Serve

ROOT = "https://example.org/os/"
SHA256 = "0" * 64


def repomd(data: str) -> bytes:
    return f'<repomd xmlns="http://linux.duke.edu/metadata/repo">{data}</repomd>'.encode()


def record(href: str = "repodata/p.xml.gz", base: str = "", checksum: str = SHA256, type_: str = "sha256") -> str:
    return (
        f'<data type="primary"><checksum type="{type_}">{checksum}</checksum><location {base} href="{href}"/>'
        "<timestamp>1696067394.5</timestamp><size>12</size></data>"
    )


def test_repomd_is_read() -> None:
    found = parse_repomd(repomd("<revision>17</revision>" + record()), ROOT, "test")
    primary = found.records["primary"]
    assert (found.revision, found.timestamp) == ("17", 1696067394)
    assert (primary.path, primary.url, primary.size) == ("repodata/p.xml.gz", ROOT + "repodata/p.xml.gz", 12)
    assert not primary.elsewhere


def test_xml_base_is_honoured() -> None:
    found = parse_repomd(repomd(record(base='xml:base="https://other.example/x"')), ROOT, "test").records["primary"]
    assert found.url == "https://other.example/x/repodata/p.xml.gz"
    assert found.elsewhere


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html><body>Log in</body></html>", "is no repomd.xml"),
        (b"<!doctype html><p>404", "is not XML"),
        (b"", "is not XML"),
        (repomd(""), "lists no primary"),
        (repomd(record(href="../../etc/passwd")), "cannot be a path"),
        (repomd(record(href="")), "no relative path"),
        (repomd(record(checksum="zz")), "is no sha256 checksum"),
        (repomd(record(type_="crc32")), "is not known"),
        (repomd(record(base='xml:base="file:///etc/"')), "no http or https"),
        (repomd('<data type="primary"/>'), "no relative path"),
    ],
)
def test_a_broken_repomd_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ResolveError, match="repository test: ") as caught:
        parse_repomd(data, ROOT, "repository test")
    assert words in caught.value.message
    assert caught.value.hint


def test_entities_cannot_fill_the_memory() -> None:
    bomb = '<!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + i)} "{("&" + chr(97 + i) + ";") * 10}">' for i in range(10)
    )
    with pytest.raises(ResolveError, match="is not XML"):
        parse_repomd((bomb + "]><r>&k;</r>").encode(), ROOT, "test")


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd.rpm",
        "../x.rpm",
        "a/../../x.rpm",
        "a/%2e%2e/%2E%2e/x.rpm",
        "%2fetc/x.rpm",
        "https://evil.example/x.rpm",
        "a\nb.rpm",
        "a%0ab.rpm",
        "a\\b.rpm",
        "ä.rpm",
        "",
        "a/" * 600 + "x.rpm",
    ],
)
def test_hostile_hrefs_are_refused(href: str) -> None:
    with pytest.raises(ValueError, match=r"path|decode"):
        file_path(href)


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("Packages/g/gcc-c++-1-1.el9.x86_64.rpm", "Packages/g/gcc-c++-1-1.el9.x86_64.rpm"),
        ("./Packages//a-1~rc1^2.rpm", "Packages/a-1~rc1^2.rpm"),
        ("Packages/gcc-c%2B%2B.rpm", "Packages/gcc-c++.rpm"),
    ],
)
def test_hrefs_lie_where_a_web_server_looks_for_them(href: str, path: str) -> None:
    assert file_path(href) == path


@given(st.text(max_size=60))
def test_no_href_leaves_the_repository(href: str) -> None:
    try:
        path = file_path(href)
    except ValueError:
        return
    assert check_path(path) == path


def test_urls_are_quoted_and_keep_what_servers_take_as_it_is() -> None:
    assert href_url(ROOT, None, "Packages/gcc-c++ 1#2?.rpm") == ROOT + "Packages/gcc-c++%201%232%3F.rpm"
    assert href_url(ROOT, "../debug", "a.rpm") == "https://example.org/debug/a.rpm"
    with pytest.raises(ValueError, match="no http or https"):
        href_url(ROOT, "file:///srv", "a.rpm")


def test_old_checksum_names() -> None:
    assert Checksum.read("sha", "A" * 40) == Checksum("sha1", "a" * 40)
    assert Checksum.read("sha512", "1" * 128).sha256 is None


# Packages

PACKAGE = """<package type="rpm"><name>{name}</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>
<checksum type="sha256" pkgid="YES">{checksum}</checksum><size package="10"/><location {base} href="{href}"/>
<format><rpm:license>MIT</rpm:license></format></package>"""


def primary(folder: Path, *packages: str) -> Path:
    file = folder / "primary.xml"
    file.write_text(
        '<?xml version="1.0"?><metadata xmlns="http://linux.duke.edu/metadata/common" '
        f'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{len(packages)}">{"".join(packages)}</metadata>'
    )
    return file


def package(name: str = "a", href: str = "a.rpm", checksum: str = SHA256, base: str = "") -> str:
    return PACKAGE.format(name=name, href=href, checksum=checksum, base=base)


def test_packages_are_read(tmp_path: Path) -> None:
    (found,) = read_packages(primary(tmp_path, package(base='xml:base="https://o.example/"')), ROOT, "test")
    assert (str(found.nevra), found.path, found.url) == ("a-1-1.noarch", "a.rpm", "https://o.example/a.rpm")
    assert (found.size, found.licence, found.elsewhere) == (10, "MIT", True)


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        ([package(href="../../../root/.ssh/authorized_keys")], "cannot be a path"),
        ([package(href="/a.rpm")], "no relative path"),
        ([package(href="repodata/repomd.xml")], "is not called .rpm"),
        ([package(href="a&#10;b.rpm")], "cannot be a path"),
        ([package(name="a&#10;b")], "its name"),
        ([package(checksum="12")], "is no sha256 checksum"),
        ([package(), package(name="b", checksum="1" * 64)], "listed twice"),
    ],
)
def test_hostile_packages_are_named(tmp_path: Path, packages: list[str], words: str) -> None:
    with pytest.raises(ResolveError, match=words):
        read_packages(primary(tmp_path, *packages), ROOT, "test")


def test_what_is_not_wanted_does_no_harm(tmp_path: Path) -> None:
    file = primary(tmp_path, package(href="/etc/x"), package(name="b", checksum="1" * 64))
    assert [each.nevra.name for each in read_packages(file, ROOT, "test", {"1" * 64})] == ["b"]


def test_a_damaged_primary_is_named(tmp_path: Path) -> None:
    file = tmp_path / "primary.xml.gz"
    file.write_bytes(gzip.compress(b"<metadata><package"))
    with pytest.raises(ResolveError, match=r"test: primary\.xml cannot be parsed"):
        read_packages(file, ROOT, "test")


# Mirrors


def metalink(*urls: str, digests: tuple[str, ...] = ()) -> bytes:
    hashes = "".join(f'<hash type="sha256">{digest}</hash>' for digest in digests)
    return (
        '<metalink xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">'
        f"<verification><hash type='md5'>00</hash>{hashes}</verification><resources>"
        + "".join(f'<url preference="{100 - i}">{url}</url>' for i, url in enumerate(urls))
        + "</resources></file></files></metalink>"
    ).encode()


def test_metalink_gives_http_mirrors_best_first() -> None:
    data = metalink(
        "rsync://a/repodata/repomd.xml", "https://b/os/repodata/repomd.xml", "http://c/repodata/repomd.xml",
        digests=("AB", "cd"),
    )  # fmt: skip
    assert parse_metalink(data, "test") == (("https://b/os/", "http://c/"), frozenset({"ab", "cd"}))
    with pytest.raises(ResolveError, match="not one of a repomd"):
        parse_metalink(b"<metalink/>", "test")


def test_mirrorlist() -> None:
    assert parse_mirrorlist(b"# repo\n\nftp://a/\nhttps://b/os\r\nhttp://c/os/\n", "test") == (
        "https://b/os/",
        "http://c/os/",
    )
    with pytest.raises(ResolveError, match="names no mirror"):
        parse_mirrorlist(b"# bad release\n", "test")


def test_the_first_mirror_that_delivers_is_taken(shared: Path, serve: Serve, bench: Bench, tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(shared / "rpm/node-base/repodata", site / "good/repodata")
    (site / "bad/repodata").mkdir(parents=True)
    (site / "bad/repodata/repomd.xml").write_text("<html/>")
    url = serve(site)
    digest = hashlib.sha256((site / "good/repodata/repomd.xml").read_bytes()).hexdigest()
    (site / "list").write_text(f"{url}/gone\n{url}/bad\n{url}/good\n")
    mirrors = [f"{url}/{name}/repodata/repomd.xml" for name in ("bad", "good")]
    (site / "metalink").write_bytes(metalink(*mirrors, digests=(digest,)))
    (site / "strict").write_bytes(metalink(*mirrors, digests=("1" * 64,)))

    def opened(*, metalink: str | None = None, mirrorlist: str | None = None) -> str:
        return open_repository(bench.upstream, "test", url=None, metalink=metalink, mirrorlist=mirrorlist).root

    assert opened(mirrorlist=f"{url}/list") == f"{url}/good/"
    assert opened(metalink=f"{url}/metalink") == f"{url}/good/"
    with pytest.raises(IntegrityError, match="metalink does not list"):
        opened(metalink=f"{url}/strict")
    with pytest.raises(FetchError, match="404"):
        open_repository(bench.upstream, "test", url=f"{url}/gone", metalink=None, mirrorlist=None)


@pytest.mark.parametrize(
    "line", ["http://127.0.0.1:{port}/secret?x=", "http://[::1]:{port}/", "http://[x/", "http://localhost:{port}/"]
)
def test_a_list_of_mirrors_leads_nowhere_inward(bench: Bench, serve: Serve, line: str) -> None:
    """A list out of another place than this machine, whose lines are chosen by whoever runs it."""
    port = serve(bench.folder).rpartition(":")[2]
    listed = line.format(port=port).encode()
    url = b"<url>%s/repodata/repomd.xml</url>"
    metalink = b'<metalink><file name="repomd.xml"><resources>' + url + b"</resources></file></metalink>"
    bench.upstream.read = lambda *_, **__: listed  # type: ignore[method-assign]
    with pytest.raises(FetchError, match=r"^http://mirrors\.example/list: it leads to"):
        open_repository(bench.upstream, "t", url=None, metalink=None, mirrorlist="http://mirrors.example/list")
    bench.upstream.read = lambda *_, **__: metalink % listed.rstrip(b"/")  # type: ignore[method-assign]
    with pytest.raises(FetchError, match=r"^http://mirrors\.example/list: it leads to"):
        open_repository(bench.upstream, "t", url=None, metalink="http://mirrors.example/list", mirrorlist=None)


def test_mirrors_that_are_not_encrypted_are_left_aside(bench: Bench) -> None:
    """Of a list that is; the next one is tried."""
    asked: list[str] = []

    def read(location: str, **_: object) -> bytes:
        asked.append(location)
        return b"http://a.example/\n" * 20 + b"https://b.example/\n"

    bench.upstream.read = read  # type: ignore[method-assign]
    with pytest.raises(ResolveError):
        open_repository(bench.upstream, "t", url=None, metalink=None, mirrorlist="https://mirrors.example/list")
    assert asked == ["https://mirrors.example/list", "https://b.example/repodata/repomd.xml"]


def test_metadata_elsewhere_leads_nowhere_inward(bench: Bench) -> None:
    record = Record(
        type="primary",
        path="repodata/primary.xml",
        url=href_url("http://mirror.example/", "http://127.0.0.1:8001/", "repodata/primary.xml"),
        checksum=Checksum("sha256", "0" * 64),
        size=1,
        open_size=1,
        timestamp=0,
        elsewhere=True,
    )
    with pytest.raises(FetchError, match=r"^http://mirror\.example/: it leads to http://127"):
        fetch_record(bench.upstream, "http://mirror.example/", record, bench.folder, "t")

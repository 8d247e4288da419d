"""What an index says to hurt whoever believes it: nothing of it runs, nothing local gets in, and all has an end."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import resource
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from bundler.errors import FetchError, ProfileError, ResolveError
from bundler.kinds.wheels import pip
from bundler.kinds.wheels.foreign import archives, bounds
from bundler.model.config import Config, Retries
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex, make_wheel, wheel_files

HTML = "text/html"
JSON = "application/vnd.pypi.simple.v1+json"
EVIL = "open({ran!r}, 'w').close()\n"


def sends(content_type: str, *chunks: bytes, **headers: str) -> Callable[[SimpleHTTPRequestHandler], None]:
    def answer(handler: SimpleHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", content_type)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(chunk)

    return answer


def never_ends(content_type: str, chunk: bytes, status: int = 200, **headers: str):  # type: ignore[no-untyped-def]
    def answer(handler: SimpleHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        while True:
            handler.wfile.write(chunk)

    return answer


def redirects(to: str) -> Callable[[SimpleHTTPRequestHandler], None]:
    def answer(handler: SimpleHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def page(*files: dict[str, object]) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "a", "files": files}).encode()


@pytest.fixture
def small_memory() -> Iterator[None]:
    """What bundler's children take together stays far below what they are sent."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    yield
    assert max(before, 1 << 20) >= resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB


class TestNothingRuns:
    """Each time a source distribution lies ready whose build leaves a mark."""

    @pytest.fixture(autouse=True)
    def ran(self, tmp_path: Path, index: LocalIndex) -> Iterator[Path]:
        ran = tmp_path / "ran"
        index.add_sdist("evil", "1.0", backend=EVIL.format(ran=str(ran)))
        yield ran
        assert not ran.exists()

    @pytest.mark.parametrize("sdist", ["refuse", "build", ["evil"]])
    @pytest.mark.parametrize("extra", ["", ' ; extra == "unasked"'])
    def test_a_wheel_that_needs_a_url(self, index: LocalIndex, resolved: Resolver, sdist: object, extra: str) -> None:
        url = f"{index.url.removesuffix('/simple')}/files/evil-1.0.tar.gz"
        index.add_wheel("app", "1.0", requires=[f"evil @ {url}{extra}"])
        with pytest.raises(ResolveError, match=r"app 1\.0 needs .*evil @ http.*a place to fetch from") as caught:
            resolved(python=["3.11"], requirements=["app"], sdist=sdist, index_url=index.url)
        assert "app" in caught.value.hint
        assert not [request for request in index.requests if "evil" in request]

    @pytest.mark.parametrize("url", ["file:///tmp/evil.tar.gz", "git+https://example.org/evil", "https://e.org/e.whl"])
    def test_a_wheel_that_needs_another_sort_of_place(self, index: LocalIndex, resolved: Resolver, url: str) -> None:
        index.add_wheel("app", "1.0", requires=["middle"])
        index.add_wheel("middle", "1.0", requires=[f"evil @ {url}"])
        with pytest.raises(ResolveError, match=r"middle 1\.0 needs"):
            resolved(python=["3.11"], requirements=["app"], sdist="build", index_url=index.url)

    def test_a_place_for_another_machine(self, index: LocalIndex, resolved: Resolver) -> None:
        """pip passes it over, since its marker does not hold; a bundle's readers would not."""
        index.add_wheel("app", "1.0", requires=['evil @ https://e.org/e.whl ; sys_platform == "win32"'])
        with pytest.raises(ResolveError, match=r"app 1\.0 says in its metadata: .*a place to fetch from"):
            resolved(python=["3.11"], requirements=["app"], index_url=index.url)

    @pytest.mark.parametrize("form", ["{url}", "evil @ {url}", "evil @ {url}#egg=x.whl", "evil[x]@{url}?a=b.whl"])
    @pytest.mark.parametrize("key", ["requirements", "constraints"])
    def test_a_source_that_the_profile_names_by_url(
        self, index: LocalIndex, resolved: Resolver, form: str, key: str
    ) -> None:
        line = form.format(url=f"{index.url.removesuffix('/simple')}/files/evil-1.0.tar.gz")
        section = {"requirements": ["app"], key: [line]}
        for sdist in ("refuse", ["other"]):
            with pytest.raises(ProfileError, match="is not a wheel, and building it is not allowed"):
                resolved(python=["3.11"], sdist=sdist, index_url=index.url, **section)
        assert index.requests == []

    def test_a_requirements_file_that_asks_for_sources(
        self, index: LocalIndex, resolved: Resolver, tmp_path: Path
    ) -> None:
        (tmp_path / "requirements.txt").write_text("--no-binary=:all:\nevil\n")
        with pytest.raises(ResolveError, match=r"only source, of evil|evil \(it has none\)"):
            resolved(python=["3.11"], requirements=["requirements.txt"], index_url=index.url)

    def test_only_what_the_list_names_is_built(self, index: LocalIndex, resolved: Resolver) -> None:
        index.add_sdist("allowed", "1.0", requires=["evil"])
        with pytest.raises(ResolveError, match="only source, of evil") as caught:
            resolved(python=["3.11"], requirements=["allowed"], sdist=["Allowed"], index_url=index.url)
        assert "sdist: [allowed, evil]" in caught.value.hint

    def test_what_a_build_adds_is_held_to_the_same(self, index: LocalIndex, resolved: Resolver) -> None:
        """PKG-INFO says nothing of it: it comes out in the wheel."""
        plain = wheel_files("sly", "1.0", "py3-none-any")["sly-1.0.dist-info/METADATA"]
        url = f"{index.url.removesuffix('/simple')}/files/evil-1.0.tar.gz"
        index.add_sdist("sly", "1.0", requires=[f"evil @ {url}"], static={"PKG-INFO": plain})
        with pytest.raises(ResolveError, match=r"sly 1\.0 .*a place to fetch from"):
            resolved(python=["3.11"], requirements=["sly"], sdist="build", index_url=index.url)

    def test_a_source_cannot_lead_to_one_that_is_not_allowed(self, index: LocalIndex, resolved: Resolver) -> None:
        plain = wheel_files("sly", "1.0", "py3-none-any")["sly-1.0.dist-info/METADATA"]
        index.add_sdist("sly", "1.0", requires=["evil"], static={"PKG-INFO": plain})
        with pytest.raises(ResolveError, match="evil"):
            resolved(python=["3.11"], requirements=["sly"], sdist=["sly"], index_url=index.url)


class TestLinks:
    @pytest.fixture
    def local(self, tmp_path: Path) -> Path:
        file = tmp_path / "a-9.0-py3-none-any.whl"
        file.write_bytes(make_wheel(wheel_files("a", "9.0", "py3-none-any")))
        return file

    @pytest.mark.parametrize("scheme", ["file://{}", "FILE://{}", "file:{}", "ftp://localhost{}", "file://localhost{}"])
    def test_links_that_are_not_of_the_web(
        self, index: LocalIndex, resolved: Resolver, local: Path, scheme: str
    ) -> None:
        index.add_wheel("a", "1.0")
        html = index.folder / "simple" / "a" / "index.html"
        text = html.read_text()
        link = scheme.format(local)
        html.write_text(text.replace("<body>", f'<body><a href="{link}">{local.name}</a>'))
        assert resolved(python=["3.12"], requirements=["a"], index_url=index.url)[0].version == "1.0"
        name = "a-1.0-py3-none-any.whl"
        good: dict[str, object] = {"filename": name, "url": f"../../files/{name}", "hashes": {}}
        index.answers["/simple/a/"] = sends(JSON, page({"filename": local.name, "url": link, "hashes": {}}, good))
        assert resolved(python=["3.12"], requirements=["a"], index_url=index.url)[0].version == "1.0"

    def test_a_file_name_that_leads_elsewhere(self, index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
        """Escaped slashes: what is fetched stays below its folder, and so does what goes into the bundle."""
        index.add_sdist("a", "1.0")
        place = f"{str(tmp_path).replace('/', '%2F')}%2Fa-1.0.tar.gz"
        data = (index.folder / "files" / "a-1.0.tar.gz").read_bytes()
        index.answers[f"/files/{place}"] = sends("application/gzip", data)
        link = f'<a href="/files/{place}#sha256={hashlib.sha256(data).hexdigest()}">a-1.0.tar.gz</a>'
        index.answers["/simple/a/"] = sends(HTML, link.encode())
        with suppress(ResolveError, FetchError):
            resolved(python=["3.11"], requirements=["a"], sdist="build", index_url=index.url)
        assert not (tmp_path / "a-1.0.tar.gz").exists()

    def test_a_base_that_is_not_of_the_web(self, index: LocalIndex, resolved: Resolver, local: Path) -> None:
        text = (
            f'<html><head><base href="file://{local.parent}/"></head><body><a href="{local.name}">a</a></body></html>'
        )
        index.answers["/simple/a/"] = sends(HTML, text.encode())
        with pytest.raises(ResolveError):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    def test_a_page_that_redirects_to_a_file(self, index: LocalIndex, resolved: Resolver, local: Path) -> None:
        (local.parent / "index.html").write_text(f'<a href="http://e.org/{local.name}">{local.name}</a>')
        index.answers["/simple/a/"] = redirects(f"file://{local.parent}/index.html")
        with pytest.raises(FetchError, match=r"/simple/a/: it leads to file://"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    def test_a_wheel_that_redirects_to_a_file(self, index: LocalIndex, resolved: Resolver, local: Path) -> None:
        index.add_wheel("a", "9.0")
        index.answers["/files/a-9.0-py3-none-any.whl"] = redirects(f"file://{local}")
        with pytest.raises(FetchError, match="it leads to file://"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)


class TestBelieved:
    """Metadata beside a wheel counts where the index vouches for it by a digest; else the wheel itself is read."""

    def wheel(self, index: LocalIndex, told: bytes, core: object) -> None:
        data = index.add_wheel("a", "1.0", requires=["b"])
        index.add_wheel("b", "1.0")
        (index.folder / "files" / "a-1.0-py3-none-any.whl.metadata").write_bytes(told)
        name = "a-1.0-py3-none-any.whl"
        entry = {"filename": name, "url": f"../../files/{name}", "core-metadata": core}
        sha256 = hashlib.sha256(data).hexdigest()
        index.answers["/simple/a/"] = sends(JSON, page({**entry, "hashes": {"sha256": sha256}, "size": len(data)}))

    @pytest.mark.parametrize("core", [True, {}, {"md5": "0" * 32}])
    def test_without_a_digest_it_is_not(self, index: LocalIndex, resolved: Resolver, core: object) -> None:
        self.wheel(index, b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\n", core)
        items = resolved(python=["3.12"], requirements=["a"], index_url=index.url)
        assert [item.name for item in items] == ["a", "b", "requirements-3.12.txt"]

    def test_with_a_digest_it_is(self, index: LocalIndex, resolved: Resolver) -> None:
        told = b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\nRequires-Dist: b\n"
        self.wheel(index, told, {"sha256": hashlib.sha256(told).hexdigest()})
        resolved(python=["3.12"], requirements=["a"], index_url=index.url)
        assert "GET /files/a-1.0-py3-none-any.whl" not in index.requests

    def test_with_another_digest_it_is_an_error(self, index: LocalIndex, resolved: Resolver) -> None:
        self.wheel(index, b"Metadata-Version: 2.1\nName: a\nVersion: 1.0\n", {"sha256": "0" * 64})
        with pytest.raises((FetchError, ResolveError)):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)


QUICK = Config(retries=Retries(attempts=1, backoff=0.01, timeout=1.0))


@pytest.mark.usefixtures("small_memory")
class TestBounds:
    def refused(self, index: LocalIndex, resolved: Resolver, place: str, limit: int) -> None:
        begun = time.monotonic()
        with pytest.raises(FetchError) as caught:
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)
        assert f"{index.url.removesuffix('/simple')}{place}" in caught.value.message
        assert f"{limit} bytes" in caught.value.message
        assert "loosen" not in caught.value.hint
        assert time.monotonic() - begun < 120

    def test_a_page_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        index.answers["/simple/a/"] = never_ends(HTML, b"<a>" * 10_000)
        self.refused(index, resolved, "/simple/a/", bounds.PAGE_LIMIT)

    def test_a_page_that_unpacks_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        packed = gzip.compress(bytes(512 << 20))
        index.answers["/simple/a/"] = sends(HTML, packed, Content_Encoding="gzip")
        self.refused(index, resolved, "/simple/a/", bounds.PAGE_LIMIT)

    def test_a_page_that_is_packed_twice(self, index: LocalIndex, resolved: Resolver) -> None:
        packed = gzip.compress(zlib.compress(bytes(1 << 20)))
        index.answers["/simple/a/"] = sends(HTML, packed, Content_Encoding="deflate, gzip")
        with pytest.raises(FetchError, match=r"/simple/a/: packed more than once"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    def test_a_redirect_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        index.answers["/simple/a/"] = never_ends(HTML, bytes(30_000), 302, Location="/simple/b/")
        self.refused(index, resolved, "/simple/a/", bounds.PAGE_LIMIT)

    def test_metadata_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        name = "a-1.0-py3-none-any.whl"
        entry = {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": "0" * 64}}
        index.answers["/simple/a/"] = sends(JSON, page({**entry, "core-metadata": {"sha256": "0" * 64}}))
        index.answers[f"/files/{name}.metadata"] = never_ends("text/plain", b"Classifier: x\n" * 1000)
        self.refused(index, resolved, f"/files/{name}.metadata", bounds.METADATA_LIMIT)

    def test_metadata_that_unpacks_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        files = wheel_files("a", "1.0", "py3-none-any")
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, text in files.items():
                archive.writestr(path, text + "\n" * (200 << 20 if path.endswith("METADATA") else 0))
        index.add_wheel("a", "1.0")
        (index.folder / "files" / "a-1.0-py3-none-any.whl").write_bytes(data.getvalue())
        index.answers["/simple/a/"] = sends(HTML, b'<a href="/files/a-1.0-py3-none-any.whl">a</a>')
        with pytest.raises(FetchError, match=rf"METADATA: larger than the {bounds.METADATA_LIMIT} bytes"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    @pytest.mark.parametrize("length", [{}, {"Content_Length": "1000000"}], ids=["chunks", "length"])
    def test_a_page_that_trickles(self, index: LocalIndex, resolved: Resolver, length: dict[str, str]) -> None:
        def answer(handler: SimpleHTTPRequestHandler) -> None:
            sends(HTML, **length)(handler)
            while True:
                handler.wfile.write(b" ")
                time.sleep(0.2)

        index.answers["/simple/a/"] = answer
        begun = time.monotonic()
        with pytest.raises(FetchError, match=r"/simple/a/: only \d+ bytes came in \d+ seconds"):
            resolved(config=QUICK, python=["3.12"], requirements=["a"], index_url=index.url)
        assert time.monotonic() - begun < 60

    @pytest.mark.parametrize("text", [b'{"files": 7}', b'{"files": [7]}', b"[" * 100_000, b"\xff", b"null", b""])
    def test_a_page_that_is_none(self, index: LocalIndex, resolved: Resolver, text: bytes) -> None:
        index.answers["/simple/a/"] = sends(JSON, text)
        with pytest.raises(FetchError, match="/simple/a/: not a page of an index"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    def test_a_log_without_an_end(self, index: LocalIndex, resolved: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pip, "_LOG_LIMIT", 100_000)
        links = b"".join(b'<a href="/files/a-%d.0-py3-none-any.whl">a</a>' % number for number in range(100_000))
        index.answers["/simple/a/"] = sends(HTML, links)
        with pytest.raises(FetchError, match=r"/simple: pip has more than 100000 bytes to say"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)

    @pytest.mark.slow
    def test_projects_without_an_end(self, index: LocalIndex, resolved: Resolver) -> None:
        names = [f"p{number}" for number in range(bounds.PROJECTS_LIMIT + 10)]
        index.add_wheel("a", "1.0", requires=names)
        for name in names:
            file = f"/files/{name}-1.0-py3-none-any.whl"
            index.answers[f"/simple/{name}/"] = sends(HTML, f'<a href="{file}">{name}</a>'.encode())
            index.answers[file] = sends("application/zip", make_wheel(wheel_files(name, "1.0", "py3-none-any")))
        with pytest.raises(FetchError, match=f"than the {bounds.PROJECTS_LIMIT} that a lock may lead to"):
            resolved(python=["3.12"], requirements=["a"], index_url=index.url)


class TestArchives:
    """What is read of a source distribution without unpacking it."""

    def tar(self, folder: Path, data: bytes) -> Path:
        file = folder / "a-1.0.tar.gz"
        file.write_bytes(gzip.compress(data))
        return file

    def test_a_header_that_unpacks_without_an_end(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("././@PaxHeader")
        info.type, info.size = tarfile.XHDTYPE, 512 << 20
        file = self.tar(tmp_path, info.tobuf() + bytes(512 << 20))
        assert file.stat().st_size < 1 << 20
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        assert archives.pkg_info(file) is None
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + (100 << 10)
        assert time.monotonic() - begun < 20

    @pytest.mark.parametrize("data", [b"", b"x", bytes(10240), b"\xff" * 1024])
    def test_what_is_no_archive(self, tmp_path: Path, data: bytes) -> None:
        assert archives.pkg_info(self.tar(tmp_path, data)) is None
        (tmp_path / "a-1.0.zip").write_bytes(data)
        assert archives.pkg_info(tmp_path / "a-1.0.zip") is None
        assert archives.pkg_info(tmp_path / "a-1.0.rar") is None

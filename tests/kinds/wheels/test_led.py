"""Where an index and a fetched requirements file may lead pip: not inside, unless they are there themselves."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bundler.errors import FetchError, ProfileError
from bundler.kinds.wheels import pip as pips
from bundler.model.config import Config, HostCredentials, Retries
from tests.kinds.wheels.conftest import Resolver
from tests.kinds.wheels.indexes import LocalIndex, make_wheel, serve, wheel_files
from tests.kinds.wheels.test_hostile_index import HTML, redirects, sends

FOREIGN = Path(pips.__file__).with_name("foreign")
INSIDE = ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0")
NAME = "a-1.0-py3-none-any.whl"
FILES = wheel_files("a", "1.0", "py3-none-any")
METADATA = FILES["a-1.0.dist-info/METADATA"].encode()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[LocalIndex]:
    """An index at an address of this machine's that others could reach, as an upstream's is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = asked.getsockname()[0]
    folder = tmp_path / "outside"
    folder.mkdir()
    with serve(LocalIndex(folder), address) as served:
        yield served


def inside(index: LocalIndex, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{urlsplit(index.url).port}/files/{NAME}"


class TestPages:
    @pytest.mark.parametrize("host", INSIDE)
    @pytest.mark.parametrize("vouched", [True, False])
    def test_a_link_to_the_inside(
        self, index: LocalIndex, outside: LocalIndex, resolved: Resolver, host: str, vouched: bool
    ) -> None:
        index.add_wheel("a", "1.0")
        index.answers[f"/files/{NAME}.metadata"] = sends("text/plain", METADATA)
        core = f' data-core-metadata="sha256={hashlib.sha256(METADATA).hexdigest()}"' if vouched else ""
        outside.answers["/simple/a/"] = sends(HTML, f'<a href="{inside(index, host)}"{core}>{NAME}</a>'.encode())
        with pytest.raises(FetchError, match="it leads to"):
            resolved(python=["3.11"], requirements=["a"], index_url=outside.url)
        assert index.requests == []

    def test_a_base_on_the_inside(self, index: LocalIndex, outside: LocalIndex, resolved: Resolver) -> None:
        index.add_wheel("a", "1.0")
        text = f'<html><head><base href="{inside(index).removesuffix(NAME)}"></head><body><a href="{NAME}">a</a>'
        outside.answers["/simple/a/"] = sends(HTML, text.encode())
        with pytest.raises(FetchError, match="it leads to"):
            resolved(python=["3.11"], requirements=["a"], index_url=outside.url)
        assert index.requests == []

    @pytest.mark.parametrize("host", ["127.1", "[::ffff:127.0.0.1]"])
    def test_a_redirect_to_the_inside(
        self, index: LocalIndex, outside: LocalIndex, resolved: Resolver, host: str
    ) -> None:
        index.add_wheel("a", "1.0")
        outside.answers["/simple/a/"] = redirects(inside(index, host))
        with pytest.raises(FetchError, match="it leads to"):
            resolved(python=["3.11"], requirements=["a"], index_url=outside.url)
        assert index.requests == []

    @pytest.mark.parametrize("location", ["http://[::1", "http://[x/", "//[", "http://e.org:x/", "http://u:p@e.org/"])
    def test_a_redirect_to_no_url(self, index: LocalIndex, resolved: Resolver, location: str) -> None:
        index.answers["/simple/a/"] = redirects(location)
        with pytest.raises(FetchError, match=r"it leads to|/simple/a/"):
            resolved(python=["3.11"], requirements=["a"], index_url=index.url)

    def test_who_is_outside_may_serve_itself(self, outside: LocalIndex, resolved: Resolver) -> None:
        outside.add_wheel("a", "1.0")
        assert resolved(python=["3.11"], requirements=["a"], index_url=outside.url)[0].version == "1.0"


# In a process of its own, as pip runs: a name that leads where its owner likes.
ASK = """
import socket, sys
import bounds, web
from pip._internal.network.session import PipSession
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: lookup({"e.org": "127.0.0.1"}.get(host, host), *more, **named)
index, target, first = sys.argv[1:]
web.stay_on_the_web(web.Home(index, inward=False), {first: web.Home(first, inward=True)} if first else {})
session = PipSession()
try:
    if first:
        session.get(first)
    session.get(target)
except bounds.RefusedError as error:
    print(error.message)
"""


def ask(index: str, target: str, first: str = "") -> str:
    command = [sys.executable, "-c", ASK, index, target, first]
    return subprocess.run(command, capture_output=True, text=True, cwd=FOREIGN, timeout=60).stdout


class TestConnections:
    def test_a_name_that_leads_inside(self, index: LocalIndex) -> None:
        assert "this machine" in ask("https://pypi.org/simple", inside(index, "e.org").replace("http:", "https:"))
        assert "this machine" in ask("http://pypi.org/simple", inside(index, "e.org"))
        assert index.requests == []

    def test_the_indexs_own_name_that_leads_inside_later(self, index: LocalIndex) -> None:
        assert "this machine" in ask("http://e.org/simple", inside(index, "e.org"))
        assert index.requests == []

    def test_a_connection_that_is_kept(self, index: LocalIndex) -> None:
        """The profile names a file inside; a page may not use the way there for another one."""
        (index.folder / "first").write_text("")
        first = f"{index.url.removesuffix('/simple')}/first".replace("127.0.0.1", "e.org")
        assert "this machine" in ask("http://pypi.org/simple", inside(index, "e.org"), first)
        assert [request for request in index.requests if "first" not in request] == []

    @pytest.mark.parametrize(
        ("target", "why"),
        [
            ("http://pypi.org/a.whl", "not encrypted"),
            ("https://127.1/a.whl", "this machine"),
            ("https://169.254.169.254/", "link-local"),
        ],
    )
    def test_what_the_url_alone_tells(self, target: str, why: str) -> None:
        assert why in ask("https://pypi.org/simple", target)


class TestRequirements:
    def test_a_fetched_file_that_names_the_inside(
        self, index: LocalIndex, outside: LocalIndex, resolved: Resolver
    ) -> None:
        index.add_wheel("a", "1.0")
        outside.answers["/requirements"] = sends("text/plain", f"a @ {inside(index)}\n".encode())
        with pytest.raises(FetchError, match="it leads to"):
            resolved(
                python=["3.11"],
                requirements=[f"{outside.url.removesuffix('/simple')}/requirements"],
                index_url=outside.url,
            )
        assert index.requests == []

    def test_a_fetched_file_that_names_a_file(self, index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
        file = tmp_path / NAME
        file.write_bytes(make_wheel(FILES))
        index.answers["/requirements"] = sends("text/plain", f"a @ file://{file}\n".encode())
        url = f"{index.url.removesuffix('/simple')}/requirements"
        with pytest.raises(ProfileError, match="may take packages from http and https alone"):
            resolved(python=["3.11"], requirements=[url], index_url=index.url)

    def test_the_profile_may_name_a_file(self, index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
        file = tmp_path / NAME
        file.write_bytes(make_wheel(FILES))
        items = resolved(python=["3.11"], requirements=[f"a @ file://{file}"], index_url=index.url)
        assert items[0].name == "a"


class TestLogin:
    def test_it_is_for_the_indexs_own_port(self, index: LocalIndex, resolved: Resolver, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("s3cret\n")
        other = LocalIndex(tmp_path / "other")
        other.folder.mkdir()
        shown: list[str | None] = []
        config = Config(
            credentials={
                urlsplit(index.url).netloc: HostCredentials(username="user", password_file=str(tmp_path / "password"))
            },
            retries=Retries(attempts=2, backoff=0.01),
        )
        index.password = "s3cret"
        with serve(other):

            def listen(handler) -> None:  # type: ignore[no-untyped-def]
                shown.append(handler.headers.get("Authorization"))
                sends("application/zip", make_wheel(FILES))(handler)

            other.answers[f"/files/{NAME}"] = listen
            page = index.folder / "simple" / "a" / "index.html"
            page.parent.mkdir(parents=True)
            page.write_text(f'<a href="{inside(other)}">{NAME}</a>')
            resolved(config=config, python=["3.11"], requirements=["a"], index_url=index.url)
        assert set(shown) == {None}

    @pytest.mark.parametrize("name", [".netrc", "netrc"])
    def test_this_users_netrc_is_not_read(
        self, index: LocalIndex, resolved: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        file = tmp_path / name
        file.write_text("machine 127.0.0.1\nlogin user\npassword s3cret\n")
        file.chmod(0o600)
        monkeypatch.setenv("HOME", str(tmp_path))
        if name == "netrc":
            monkeypatch.setenv("NETRC", str(file))
        index.add_wheel("a", "1.0")
        index.password = "s3cret"
        with pytest.raises(FetchError, match="401"):
            resolved(python=["3.11"], requirements=["a"], index_url=index.url)

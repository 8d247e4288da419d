"""WheelIndex against a real devpi-server, with a real pip on the other side, and against an index of the site's own."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import BundleError, ConfigError, IntegrityError, SiteError
from bundler.model.items import Json, Object
from bundler.model.site import Credentials, ExternalIndex, Ports, SiteConfig
from bundler.site.index import WheelIndex, index_name, initialise
from bundler.site.index_client import IndexClient
from bundler.site.releases import Release
from bundler.site.services import devpi
from bundler.site.services.unprivileged import Identity
from bundler.site.session import LOCAL, new_session
from bundler.site.sockets import guard, socket_of
from tests.kinds.wheels.indexes import make_wheel, wheel_files
from tests.site.content import MemoryContent, make_object
from tests.site.tunnel import tunnel

ZEROS = "0" * 12  # of every id here
FILE = "wheels/tiny-1.0-py3-none-any.whl"
TINY = make_wheel(wheel_files("tiny", "1.0", "py3-none-any") | {"tiny/data.txt": "x" * 300_000})
METADATA: Mapping[str, Json] = {
    "metadata_version": "2.4",
    "name": "tiny",
    "version": "1.0",
    "summary": "made for a test",
}


def release(name: str, version: str, digit: str = "0") -> Release:
    return Release(name, version, digit * 64)


def newer(version: str) -> tuple[Object, Mapping[str, Json], MemoryContent]:
    """Another version of the package: its object, metadata and content."""
    data = make_wheel(wheel_files("tiny", version, "py3-none-any"))
    path = f"wheels/tiny-{version}-py3-none-any.whl"
    return make_object(path, data), {**METADATA, "version": version}, MemoryContent({path: data})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[SiteConfig]:
    """A site's devpi on loopback."""
    root = tmp_path_factory.mktemp("site")
    config = SiteConfig(
        address="127.0.0.1",
        services="process",
        root=str(root),
        ports=Ports(web=free_port(), registry=free_port(), index=free_port()),
    )
    initialise(root / "devpi")
    socket = socket_of(config, "devpi")
    guard(socket, os.geteuid(), os.getegid())
    program = devpi.program(socket, root / "services", root / "devpi", Identity(os.geteuid(), os.getegid()))
    environment = os.environ | dict(program.environment)
    process = subprocess.Popen(program.argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            if program.probes[0].answers():
                break
            assert process.poll() is None, "devpi-server ended"
            time.sleep(0.1)
        yield config
    finally:
        process.terminate()
        process.wait(20)


def get(config: SiteConfig, path: str) -> Any:
    with new_session(socket=socket_of(config, "devpi")) as session:
        answer = session.get(f"{LOCAL}{path}", headers={"Accept": "application/json"}, timeout=10)
    answer.raise_for_status()
    return answer.json()


def bases(config: SiteConfig) -> list[str]:
    found: list[str] = get(config, "/root/prod?no_projects=")["result"]["bases"]
    return found


def test_the_password_is_random_and_for_nobody_else(server: SiteConfig, tmp_path: Path) -> None:
    data = Path(server.root) / "devpi"
    file = data / ".root-password"
    assert (file.stat().st_mode & 0o777, data.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(file.read_text().strip()) >= 32
    before = file.read_text()
    initialise(data)
    assert file.read_text() == before
    assert "pypi" not in get(server, "/root")["result"]["indexes"]
    initialise(tmp_path / "another")
    assert (tmp_path / "another" / ".root-password").read_text() != before


def test_a_release_is_seen_when_it_is_committed(server: SiteConfig, tmp_path: Path) -> None:
    index = WheelIndex(server)
    index.open(release("demo", "1.0+a"))
    index.stage(make_object(FILE, TINY), METADATA, MemoryContent({FILE: TINY}))
    assert (index.objects_written, index.bytes_written) == (1, len(TINY))
    assert "prod" not in get(server, "/root")["result"]["indexes"]
    index.commit()
    assert bases(server) == ["root/demo-1.0@a-000000000000"]

    # The same again adds nothing.
    again = WheelIndex(server)
    content = MemoryContent({FILE: TINY})
    again.open(release("demo", "1.0+a"))
    again.stage(make_object(FILE, TINY), METADATA, content)
    serial = get(server, "/+status")["result"]["serial"]
    again.commit()
    assert (again.objects_written, content.streamed) == (0, [])
    assert get(server, "/+status")["result"]["serial"] == serial

    # A real pip, as a node: into an environment of its own, from root/prod alone.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "node")], check=True)
    pip = [str(tmp_path / "node" / "bin" / "pip"), "install", "--quiet", "--no-cache-dir", "tiny", "--index-url"]
    with tunnel(socket_of(server, "devpi")) as port:
        simple = f"http://127.0.0.1:{port}/root/prod/+simple/"
        subprocess.run([*pip, simple], env=environment | {"PIP_CONFIG_FILE": os.devnull}, check=True)
    code = "import tiny; assert tiny.VERSION == '1.0'"
    subprocess.run([str(tmp_path / "node" / "bin" / "python"), "-c", code], check=True)


def test_an_upgrade_takes_the_place_of_its_release_only(server: SiteConfig) -> None:
    for name, version, wheel in (("up", "1", "1.1"), ("other", "1", "1.2"), ("up", "2", "1.3")):
        index = WheelIndex(server)
        index.open(release(name, version))
        index.stage(*newer(wheel))
        index.commit()
    assert {f"root/up-2-{ZEROS}", f"root/other-1-{ZEROS}"} <= set(bases(server))
    assert f"root/up-1-{ZEROS}" not in bases(server)

    without = WheelIndex(server)  # the next version brings no wheels: the earlier ones go
    without.open(release("up", "3"))
    without.commit()
    assert not [base for base in bases(server) if base.startswith("root/up-")]

    index = WheelIndex(server)
    index.remove(release("other", "1"), purge=False)
    assert f"root/other-1-{ZEROS}" not in bases(server)
    assert f"other-1-{ZEROS}" in get(server, "/root")["result"]["indexes"]
    index.remove(release("other", "1"), purge=True)
    index.remove(release("other", "1"), purge=True)
    assert f"other-1-{ZEROS}" not in get(server, "/root")["result"]["indexes"]


def test_two_releases_never_share_an_index(server: SiteConfig) -> None:
    first = WheelIndex(server)
    first.open(release("a-1", "2"))
    first.stage(*newer("2.1"))
    second = WheelIndex(server)
    second.open(release("a", "1-2"))
    with pytest.raises(SiteError, match=r"belongs to a-1 2 0{64}"):
        second.stage(*newer("2.1"))


def test_damaged_bytes_are_never_stored(server: SiteConfig) -> None:
    index = WheelIndex(server)
    index.open(release("damaged", "1"))
    flipped = TINY[:-1] + bytes([TINY[-1] ^ 1])
    with pytest.raises(IntegrityError):
        index.stage(make_object(FILE, TINY), METADATA, MemoryContent({FILE: flipped}))
    assert index.objects_written == 0
    assert get(server, "/root/damaged-1-000000000000")["result"]["projects"] == []


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    initialise(tmp_path / "devpi")
    index = WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path)))
    index.open(release("demo", "1"))
    with pytest.raises(SiteError, match="does not answer"):
        index.stage(make_object(FILE, TINY), METADATA, MemoryContent({FILE: TINY}))


@pytest.mark.parametrize("planted", ["link", "hard link", "pipe", "theirs"])
def test_a_password_that_devpis_user_planted_is_not_read(tmp_path: Path, planted: str) -> None:
    """The file lies in devpi's own folder: nothing of root's may be read by way of it."""
    data, secret = tmp_path / "devpi", tmp_path / "shadow"
    data.mkdir()
    secret.write_text("root:$6$secret\n")
    file = data / ".root-password"
    if planted == "link":
        file.symlink_to(secret)
    elif planted == "hard link":
        file.hardlink_to(secret)
    elif planted == "pipe":
        os.mkfifo(file)
    else:
        file.write_text("theirs")
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(file, 12345, 12345)
    index = WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path)))
    index.open(release("demo", "1"))
    with pytest.raises(ConfigError, match="cannot read the password of root") as caught:
        index.stage(make_object(FILE, TINY), METADATA, MemoryContent({FILE: TINY}))
    assert "secret" not in caught.value.message


def test_a_site_that_never_had_wheels_needs_no_index(tmp_path: Path) -> None:
    index = WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path)))
    index.open(release("demo", "1"))
    index.commit()


@pytest.mark.parametrize("project", ["..", "../root/prod", "a/b", "a?b", "a#", "", "-", "a\n"])
def test_nothing_is_asked_beyond_a_project(tmp_path: Path, project: str) -> None:
    client = IndexClient("hint", socket=tmp_path / "nobody")
    with pytest.raises(BundleError, match="is no project's name"):
        client.stated(f"{LOCAL}/root/prod/+simple/", project, make_object(FILE, TINY))


@pytest.mark.parametrize("base", ["root/../+login", "../x", "root", "root/x?y", "root/x/y", "root/", "/x", "root/x\n"])
def test_what_devpi_does_not_call_an_index_is_not_asked_for(tmp_path: Path, base: str) -> None:
    (tmp_path / "devpi").mkdir()
    with pytest.raises(SiteError, match="is no index of devpi's"):
        WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path))).restore((base,))


def test_every_version_has_an_index_name_that_devpi_takes() -> None:
    assert index_name(release("demo", "1.0+build.2")) == "demo-1.0@build.2-000000000000"


class Warehouse:
    """An index that takes the legacy upload API and shows PEP 503 pages, as pypiserver and others do."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fields: dict[str, str] = {}
        self.authorization: str | None = None
        self.shows_pages = True


@contextmanager
def serving(warehouse: Warehouse) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            links = [
                f'<a href="../{name}#sha256={hashlib.sha256(data).hexdigest()}">{name}</a>' for name, data in shown()
            ]
            self._answer(200 if links else 404, "".join(links))

        def do_POST(self) -> None:
            warehouse.authorization = self.headers["Authorization"]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
            for part in form.iter_parts():
                name = part.get_param("name", header="content-disposition")
                if (file_name := part.get_filename()) is None:
                    warehouse.fields[str(name)] = part.get_content()
                elif file_name in warehouse.files:
                    return self._answer(400, "File already exists")
                else:
                    warehouse.files[file_name] = part.get_content()
            return self._answer(200, "")

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    def shown() -> list[tuple[str, bytes]]:
        return list(warehouse.files.items()) if warehouse.shows_pages else []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def test_an_index_of_the_sites_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    login = Credentials(username="me", password_file=str(tmp_path / "password"))
    warehouse = Warehouse()
    with serving(warehouse) as url:
        external = ExternalIndex(upload_url=f"{url}/legacy/", simple_url=f"{url}/simple", credentials=login)
        config = SiteConfig(address="127.0.0.1", root=str(tmp_path), index=external)

        def load(content: MemoryContent, obj: Object) -> WheelIndex:
            index = WheelIndex(config)
            index.open(release("demo", "1"))
            index.stage(obj, METADATA, content)
            index.commit()
            return index

        assert load(MemoryContent({FILE: TINY}), make_object(FILE, TINY)).objects_written == 1
        assert warehouse.files == {"tiny-1.0-py3-none-any.whl": TINY}
        assert warehouse.authorization == "Basic bWU6c2VjcmV0"
        assert warehouse.fields["sha256_digest"] == hashlib.sha256(TINY).hexdigest()
        assert (warehouse.fields[":action"], warehouse.fields["pyversion"]) == ("file_upload", "py3")

        assert load(MemoryContent({FILE: TINY}), make_object(FILE, TINY)).objects_written == 0
        with pytest.raises(SiteError, match="another tiny-1"):
            load(MemoryContent({FILE: b"x"}), make_object(FILE, b"x"))
        warehouse.shows_pages = False  # an index whose pages lag behind: its refusal says that the file is there
        load(MemoryContent({FILE: TINY}), make_object(FILE, TINY))


EVIL_FORMS: list[Mapping[str, Json]] = [
    {":action": "remove_pkg", "filetype": "sdist", "sha256_digest": "0" * 64},
    {"content": "x", "gpg_signature": "x"},
    {'x"\r\nContent-Type: text/html\r\n\r\n': "y"},
    {"summary": 'a"; filename="b'},
    {"summary": "--boundary"},
]


@pytest.mark.parametrize("more", EVIL_FORMS, ids=str)
def test_the_form_has_the_fields_that_bundler_names(tmp_path: Path, more: Mapping[str, Json]) -> None:
    warehouse = Warehouse()
    with serving(warehouse) as url:
        external = ExternalIndex(upload_url=f"{url}/legacy/", simple_url=f"{url}/simple")
        index = WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path), index=external))
        index.stage(make_object(FILE, TINY), {**METADATA, **more}, MemoryContent({FILE: TINY}))
    known = {":action", "protocol_version", "filetype", "pyversion", "sha256_digest"}
    assert set(warehouse.fields) == known | set(METADATA)
    assert warehouse.fields[":action"] == "file_upload"
    assert warehouse.fields["filetype"] == "bdist_wheel"
    assert warehouse.fields["sha256_digest"] == hashlib.sha256(TINY).hexdigest()
    assert warehouse.fields["summary"] == more.get("summary", METADATA["summary"])
    assert warehouse.files == {FILE.removeprefix("wheels/"): TINY}


@pytest.mark.parametrize("text", ["two\r\nlines", "a\nb", "a\0b", "a\x85b", "a\u2028b", "a\x1b[2Jb"])
def test_a_field_of_several_lines_is_not_sent(tmp_path: Path, text: str) -> None:
    warehouse = Warehouse()
    with serving(warehouse) as url:
        external = ExternalIndex(upload_url=f"{url}/legacy/", simple_url=f"{url}/simple")
        index = WheelIndex(SiteConfig(address="127.0.0.1", root=str(tmp_path), index=external))
        with pytest.raises(BundleError, match="not one line of text for each field"):
            index.stage(make_object(FILE, TINY), {**METADATA, "summary": text}, MemoryContent({FILE: TINY}))
        quoted = 'wheels/tiny-1.0-py3-none-any".whl'
        with pytest.raises(BundleError, match="not one line of text for each field"):
            index.stage(make_object(quoted, TINY), METADATA, MemoryContent({quoted: TINY}))
    assert not warehouse.fields
    assert not warehouse.files

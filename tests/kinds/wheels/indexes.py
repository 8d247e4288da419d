"""Packages made on the spot, and an index of them on loopback (PEP 503, static files over http.server)."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

# A build backend that needs nothing from the index: the wheel's name and contents are spelled out in the source.
_BACKEND = """\
import pathlib, zipfile

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(pathlib.Path(wheel_directory, WHEEL), "w") as archive:
        for name, data in sorted(FILES.items()):
            archive.writestr(zipfile.ZipInfo(name, (2020, 2, 2, 0, 0, 0)), data)
    return WHEEL
"""
_PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def wheel_files(name: str, version: str, tag: str, requires: Sequence[str] = (), python: str = "") -> dict[str, str]:
    """What a wheel holds, by path."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nSummary: {name}, made for a test\n"
    metadata += "License-Expression: Apache-2.0\n" + (f"Requires-Python: {python}\n" if python else "")
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    extras = sorted(set(re.findall(r'extra == "(.*?)"', metadata)))
    metadata += "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    pure = str(tag.endswith("-any")).lower()
    return {
        f"{name}/__init__.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
        f"{info}/RECORD": "",
    }


def make_wheel(files: dict[str, str]) -> bytes:
    """The same files give the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(path, (2020, 2, 2, 0, 0, 0)), text)
    return data.getvalue()


class LocalIndex:
    """An index's files below `folder`; `url` is its simple API, once it is served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.requests: list[str] = []
        self.password: str | None = None
        self.broken: set[str] = set()
        self.answers: dict[str, Callable[[SimpleHTTPRequestHandler], None]] = {}  # by path, in place of a file
        self._links: dict[str, list[str]] = {}

    def add_wheel(
        self, name: str, version: str, tag: str = "py3-none-any", requires: Sequence[str] = (), python: str = ""
    ) -> bytes:
        data = make_wheel(wheel_files(name, version, tag, requires, python))
        self._add(name.replace("_", "-"), f"{name}-{version}-{tag}.whl", data, python)  # pages have normalized names
        return data

    def add_sdist(
        self,
        name: str,
        version: str,
        tag: str = "py3-none-any",
        requires: Sequence[str] = (),
        backend: str = "",
        *,
        after: str = "",
        build_requires: Sequence[str] = (),
        static: Mapping[str, str] = MappingProxyType({}),
    ) -> bytes:
        """A source distribution that builds a wheel with that tag and what it `requires`.

        `backend` is code that its build runs first, `after` once the backend is defined; `static` has files of the
        source that say something else than the build will.
        """
        files = wheel_files(name, version, tag, requires)
        backend += f"WHEEL = {f'{name}-{version}-{tag}.whl'!r}\nFILES = {files!r}\n{_BACKEND}{after}"
        project = _PYPROJECT.replace("requires = []", f"requires = {[*build_requires]!r}")
        contents = {"PKG-INFO": files[f"{name}-{version}.dist-info/METADATA"], "pyproject.toml": project, **static}
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for path, text in {**contents, "backend.py": backend}.items():
                member = tarfile.TarInfo(f"{name}-{version}/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        self._add(name.replace("_", "-"), f"{name}-{version}.tar.gz", data.getvalue(), "")
        return data.getvalue()

    def _add(self, name: str, file_name: str, data: bytes, python: str) -> None:
        files = self.folder / "files"
        files.mkdir(exist_ok=True)
        (files / file_name).write_bytes(data)
        requires = f' data-requires-python="{html.escape(python)}"' if python else ""
        sha256 = hashlib.sha256(data).hexdigest()
        links = self._links.setdefault(name, [])
        links.append(f'<a href="../../files/{file_name}#sha256={sha256}"{requires}>{file_name}</a><br>\n')
        page = self.folder / "simple" / name
        page.mkdir(parents=True, exist_ok=True)
        (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *given: object, index: LocalIndex, **named: object) -> None:
        self.index = index
        super().__init__(*given, directory=str(index.folder), **named)  # type: ignore[arg-type]

    def send_head(self):  # type: ignore[no-untyped-def]
        self.index.requests.append(f"{self.command} {self.path}")
        if self.index.password is not None:
            pair = base64.b64encode(f"user:{self.index.password}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {pair}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.end_headers()
                return None
        if self.path in self.index.broken:
            self.send_error(503)
            return None
        if (answer := self.index.answers.get(self.path)) is not None:
            with suppress(OSError):  # whoever asked has had enough
                answer(self)
            self.close_connection = True
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def serve(index: LocalIndex, address: str = "127.0.0.1") -> Iterator[LocalIndex]:
    with ThreadingHTTPServer((address, 0), partial(_Handler, index=index)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        index.url = f"http://{address}:{server.server_port}/simple"
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()

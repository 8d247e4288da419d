"""Requests to an index of wheels: uploads as PyPI takes them, and what its simple pages say.

Protocols: https://docs.pypi.org/api/upload/ (uploads, which devpi takes too), PEP 503 and PEP 691 (what is there).
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import requests

from bundler.bundle.content import Content
from bundler.errors import BundleError, SiteError
from bundler.model.items import Json, Object
from bundler.model.site import Credentials
from bundler.model.store_names import PROJECT
from bundler.site.session import new_session

_TIMEOUT = (10, 600)  # seconds to connect, and without an answer: the index hashes a large wheel before it says yes
_SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
_PROJECT = re.compile(PROJECT)
_SIMPLE_LINK = re.compile(r"""([^"'<>\s]+)#sha256=([0-9a-f]{64})""")


class IndexClient:
    """Requests to one index, trusted by the file `ca` beside what the machine trusts, or behind `socket`."""

    def __init__(
        self,
        hint: str,
        credentials: Credentials | None = None,
        ca: str | None = None,
        socket: Path | None = None,
    ) -> None:
        self._ca, self._credentials, self._socket = ca, credentials, socket
        self._hint = hint
        self._local = threading.local()

    def call(self, method: str, url: str, *, expect: tuple[int, ...], **given: Any) -> requests.Response:
        """One request; raises SiteError when there is no answer, or one whose status is not in `expect`."""
        data = given.get("data")
        if isinstance(data, Upload):
            given["headers"] = {**given.get("headers", {}), "Content-Type": data.content_type}
        try:
            answer = self._session().request(method, url, timeout=_TIMEOUT, **given)
        except requests.RequestException as error:
            raise SiteError(f"the index does not answer: {method} {url}: {error}", hint=self._hint) from None
        if answer.status_code not in expect:
            raise self.refused(method, url, answer)
        return answer

    def refused(self, method: str, url: str, answer: requests.Response) -> SiteError:
        """The error for an answer that is no success."""
        said = " ".join(answer.text.split())[:200]
        return SiteError(
            f"the index refused {method} {url}: {answer.status_code} {answer.reason} {said}", hint=self._hint
        )

    def stated(self, simple: str, project: str, obj: Object) -> str | None:
        """The sha256 that the simple API at `simple` states for the file of `obj`; None when it has no such file."""
        found = self._files(simple, project).get(file_name(obj))
        return found[1] if found else None

    def fetch(self, simple: str, project: str, obj: Object) -> Iterator[bytes]:
        """The bytes of the file of `obj`, from where the simple API at `simple` says it is. Raises SiteError."""
        found = self._files(simple, project).get(file_name(obj))
        if found is None:
            raise SiteError(f"{simple}{project}/ has no {file_name(obj)}", hint=self._hint)
        with self.call("GET", found[0], expect=(200,), stream=True) as answer:
            yield from answer.iter_content(1 << 20)

    def _files(self, simple: str, project: str) -> dict[str, tuple[str, str | None]]:
        """URL and sha256 of each file that the simple API at `simple` has of `project`, by its name."""
        if not _PROJECT.fullmatch(project):
            raise BundleError(
                f"{project[:80]!r} is no project's name",
                hint="the bundle was made by something else than this bundler: build it again",
            )
        normalised = re.sub(r"[-_.]+", "-", project).lower()
        page = f"{simple}{normalised}/"
        accept = {"Accept": f"{_SIMPLE_JSON}, text/html;q=0.1"}
        answer = self.call("GET", page, expect=(200, 404), headers=accept)
        if answer.status_code == 404:
            return {}
        if answer.headers.get("Content-Type", "").startswith(_SIMPLE_JSON):
            files = answer.json()["files"]
            return {
                file["filename"]: (urljoin(page, file["url"].partition("#")[0]), file["hashes"].get("sha256"))
                for file in files
            }
        return {
            unquote(href.rpartition("/")[2]): (urljoin(page, href), sha256)
            for href, sha256 in _SIMPLE_LINK.findall(answer.text)
        }

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = new_session(self._ca, self._credentials, self._socket)
        found: requests.Session = self._local.session
        return found


class Upload:
    """The body of an upload (multipart/form-data, RFC 7578), its wheel read from the bundle while it is sent.

    The bundle hands the last chunk over only after the digest was right; before that the body is shorter than its
    announced length, so an index that gets no more of it has nothing to store.

    The form has the fields that are named here and no others, each a single line. Raises BundleError for words of the
    bundle that are more than that.
    """

    _METADATA = ("metadata_version", "name", "version", "requires_python", "summary", "license")

    def __init__(self, obj: Object, metadata: Mapping[str, Json], content: Content) -> None:
        self._boundary = secrets.token_hex(16)
        self._obj, self._content = obj, content
        name = file_name(obj)
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "pyversion": name.split("-")[-3:][0],
            "sha256_digest": obj.sha256,
            **{key: str(metadata[key]) for key in self._METADATA if key in metadata},
        }
        if not all(text.isprintable() for text in fields.values()) or '"' in name:
            raise BundleError(
                f"{obj.path}: what an index would be told of it is not one line of text for each field",
                hint="the bundle was made by something else than this bundler: build it again",
            )
        head = "".join(self._part(f'name="{key}"') + f"{value}\r\n" for key, value in fields.items())
        head += self._part(f'name="content"; filename="{name}"', "Content-Type: application/octet-stream\r\n")
        self._head = head.encode()
        self._tail = f"\r\n--{self._boundary}--\r\n".encode()
        self._size = len(self._head) + obj.size + len(self._tail)

    @property
    def content_type(self) -> str:
        """The header that goes with it."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from self._content.stream(self._obj)
        yield self._tail

    def _part(self, disposition: str, header: str = "") -> str:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{header}\r\n"


def file_name(obj: Object) -> str:
    """What the index calls the wheel."""
    return obj.path.rpartition("/")[2]

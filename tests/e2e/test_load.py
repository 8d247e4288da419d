"""Fifty nodes that never stop pulling, while the site is upgraded, rolled back and upgraded again.

BUNDLER_LOAD_SECONDS says for how long; `make soak` takes a minute.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import threading
import time
from collections import Counter
from urllib.parse import urljoin

import pytest
import requests
import yaml

from scripts.demo.journey import Site
from tests.e2e.story import Months, manifest_of, run

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CLIENTS = 50
SECONDS = float(os.environ.get("BUNDLER_LOAD_SECONDS", "8"))
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Client(threading.Thread):
    """One node: its dnf, its container engine and its pip in turn, each of which checks what it gets."""

    def __init__(self, where: Site, index: str, stop: threading.Event) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.rounds: Counter[str] = Counter()
        self.versions: set[tuple[str, str]] = set()
        self._where, self._index, self._stopped = where, index, stop
        self._session = requests.Session()
        self._session.trust_env = False

    def run(self) -> None:
        while not self._stopped.is_set():
            for what in (self._dnf, self._engine, self._pip, self._curl):
                try:
                    what()
                    self.rounds[what.__name__] += 1
                except (requests.RequestException, AssertionError, KeyError, OSError) as error:
                    self.errors.append(f"{what.__name__}: {error}"[:300])

    def _get(self, url: str, accept: str = "*/*") -> bytes:
        answer = self._session.get(url, timeout=60, headers={"Accept": accept})
        assert answer.status_code == 200, f"{url} is answered {answer.status_code}"
        return answer.content

    def _dnf(self) -> None:
        """repomd.xml, the primary.xml that it names, and every package in that, held to its checksum."""
        base = f"{self._where.web}/story/rpms/rocky/9/own"
        repomd = self._get(f"{base}/repodata/repomd.xml").decode()
        path = next(path for path in re.findall(r'href="(repodata/[^"]+)"', repomd) if "primary" in path)
        data = self._get(f"{base}/{path}")
        assert hashlib.sha256(data).hexdigest() in path, "primary.xml is not the one that repomd.xml names"
        primary = gzip.decompress(data).decode()
        for package in primary.split("<package ")[1:]:
            href, digest = re.search(r'href="([^"]+)"', package), re.search(r"<checksum[^>]*>(\w+)<", package)
            assert href is not None
            assert digest is not None
            assert hashlib.sha256(self._get(f"{base}/{href[1]}")).hexdigest() == digest[1], f"{href[1]} is another"
            if "story-tool" in href[1]:
                self.versions.add(("rpms", href[1].split("story-tool-")[1].split("-")[0]))

    def _engine(self) -> None:
        """The manifest that the tag leads to, and all that it names."""
        base = f"http://{self._where.registry}/v2/team/app"
        answer = manifest_of(f"{base}/manifests/stable", {"Accept": _MANIFEST})
        assert answer.status_code == 200, f"{answer.url} is answered {answer.status_code}"
        manifest = answer.content
        digest = hashlib.sha256(manifest).hexdigest()
        document = json.loads(manifest)
        for blob in (document["config"], *document["layers"]):
            data = self._get(f"{base}/blobs/{blob['digest']}")
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == blob["digest"], "a blob is another"
        self.versions.add(("images", f"sha256:{digest}"))

    def _pip(self) -> None:
        page = self._get(f"{self._index}/root/prod/+simple/thing/").decode()
        links = re.findall(r'href="([^"#]+)#sha256=(\w+)"', page)
        assert links, "the index knows no thing"
        for href, digest in links:
            url = urljoin(f"{self._index}/root/prod/+simple/thing/", href)
            assert hashlib.sha256(self._get(url)).hexdigest() == digest, f"{href} is another"
            self.versions.add(("wheels", href.rsplit("/", 1)[1].split("-")[1]))

    def _curl(self) -> None:
        base = f"{self._where.web}/story/files/files.example"
        self.versions.add(("files", self._get(f"{base}/version.txt").decode()))


@pytest.mark.timeout(600)
def test_fifty_clients_during_an_upgrade(months: Months, there: Site) -> None:
    """No request fails, no byte is wrong, and what they got is of one release or the other."""
    there.install(months.bundles["1"])
    config = yaml.safe_load((there.root / "site.yaml").read_text())
    stop = threading.Event()
    clients = [Client(there, f"http://127.0.0.1:{config['ports']['index']}", stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + SECONDS
        time.sleep(SECONDS / 4)
        there.install(months.bundles["2"])
        time.sleep(SECONDS / 4)
        run(there, "rollback", "story", "1")
        run(there, "rollback", "story", "2")
        while time.monotonic() < end:
            time.sleep(0.2)
    finally:
        stop.set()
        for client in clients:
            client.join()
    errors = Counter(error for client in clients for error in client.errors)
    assert not errors, errors.most_common(10)
    rounds = sum((client.rounds for client in clients), Counter())
    print(dict(rounds))
    assert min(rounds.values()) >= CLIENTS
    got = set().union(*(client.versions for client in clients))
    allowed = {("files", "1"), ("files", "2"), ("rpms", "1"), ("rpms", "2"), ("wheels", "1.0"), ("wheels", "2.0")}
    allowed |= {("images", months.digest(version)) for version in ("1", "2")}
    assert got <= allowed
    assert {("files", "2"), ("rpms", "2"), ("wheels", "2.0"), ("images", months.digest("2"))} <= got

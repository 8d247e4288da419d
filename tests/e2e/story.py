"""A bundle for each of three months, with something of its own in every store, and what a node gets of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from scripts.demo import images
from scripts.demo.hosts import HERE
from scripts.demo.internet import Internet
from scripts.demo.journey import Site, bundler
from tests.kinds.wheels.indexes import LocalIndex, serve

SIZE = 6 << 20  # of what a release has alone, in each store
_APP = "docker.io/team/app:stable"
_INTERVAL = 0.01  # seconds between two rounds of the client


def _filler(version: str, what: str) -> bytes:
    return random.Random(f"{version} {what}").randbytes(SIZE)


def _publish(version: str, upstream: Internet, index: LocalIndex, work: Path) -> None:
    """What the world has in the month of `version`."""
    www = upstream.folder / "www" / "files.example"
    www.mkdir(exist_ok=True)
    (www / "app.bin").write_bytes(_filler(version, "file"))
    (www / "version.txt").write_text(version)
    layout = work / f"image-{version}"
    files = {"/version": version.encode(), "/filler": _filler(version, "image")}
    images.make_layout(layout, files, entrypoint=["/app"], cmd=[])
    images.push_layout(layout, upstream.registry, "team/app", "stable")
    index.add_wheel("thing", f"{version}.0")
    repository = www / "repository"
    if version == "1":
        repository.mkdir()
        _package("story-lib", "1", "", repository, work)
    _package("story-tool", version, "Requires: story-lib", repository, work)


_SPEC = """\
Name: {name}
Version: {version}
Release: 1
Summary: Of a month
License: MIT
BuildArch: noarch
{requires}
%description
Of a month.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
cp {filler} %{{buildroot}}/usr/share/{name}/filler
%files
/usr/share/{name}
"""


def _package(name: str, version: str, requires: str, repository: Path, work: Path) -> None:
    """A package of its own, built by rpmbuild, in `repository`."""
    (work / "filler").write_bytes(_filler(version, name)[: SIZE // 2])
    spec = work / f"{name}.spec"
    spec.write_text(_SPEC.format(name=name, version=version, requires=requires, filler=work / "filler"))
    HERE.run(["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {work}/rpmbuild", str(spec)])
    for rpm in (work / "rpmbuild" / "RPMS").rglob("*.rpm"):
        shutil.move(rpm, repository / rpm.name)
    HERE.run(["createrepo_c", "--quiet", str(repository)])


def _profile(version: str) -> dict[str, Any]:
    return {
        "name": "story",
        "version": version,
        "targets": [{"distro": "rocky", "release": "9"}],
        "images": [{"ref": "docker.io/library/registry:3", "role": "registry"}, _APP],
        "wheels": {"python": ["3.12"], "requirements": [f"thing=={version}.0"]},
        # Nothing here signs: what is tried is how packages come and go.
        "rpms": {
            "repos": [{"id": "own", "url": "https://files.example/repository/", "gpgcheck": False}],
            "packages": ["story-tool"],
        },
        "files": ["https://files.example/app.bin", "https://files.example/version.txt"],
    }


@dataclass(frozen=True)
class Months:
    """The bundles, by version."""

    bundles: dict[str, Path]
    config: Path

    def delta(self, version: str, receipt: Path, folder: Path, *options: str) -> Path:
        """The bundle of `version` again, without what the receipt names."""
        whole = self.bundles[version]
        profile, lock = whole.parent / f"{version}.yaml", whole.with_suffix(".lock.json")
        arguments: list[str | Path] = ["--lock", lock, "--reuse", whole, "--since", receipt, "--config", self.config]
        built = bundler(HERE, "build", profile, "--output", folder, *arguments, *options)
        return Path(built.stdout.splitlines()[-1])

    def digest(self, version: str) -> str:
        """Digest of the app's image."""
        document = json.loads(bundler(HERE, "inspect", self.bundles[version], "--items", "--json").stdout)
        (item,) = [item for item in document["items"] if item["name"].endswith("team/app")]
        return str(item["attributes"]["digest"])


def build_months(upstream: Internet, work: Path) -> Months:
    """Three releases of a month each, with something in every store."""
    (work / "index").mkdir()
    index = LocalIndex(work / "index")
    found = {}
    with serve(index) as served:
        for version in ("1", "2", "3"):
            _publish(version, upstream, index, work)
            config = work / "config.yaml"
            mirrors = {**upstream.mirrors, "https://pypi.org/simple": served.url.rstrip("/")}
            config.write_text(yaml.safe_dump({"mirrors": mirrors}))
            profile = work / f"{version}.yaml"
            profile.write_text(yaml.safe_dump(_profile(version)))
            built = bundler(HERE, "build", profile, "--output", work, "--config", config)
            found[version] = Path(built.stdout.splitlines()[-1])
    return Months(found, config)


Seen = tuple[str, str, str, str]


def manifest_of(url: str, accept: dict[str, str]) -> requests.Response:
    """As container engines ask: again where the registry answers 500.

    Debian's distribution 2.8 empties a tag's file before it writes it; 3 puts a new one in its place.
    """
    for _ in range(20):
        answer = requests.get(url, headers=accept, timeout=10)
        if answer.status_code != 500:
            break
        time.sleep(0.1)
    return answer


def seen(where: Site) -> Seen:
    """What a node gets: the file's version, the tag's digest, the wheels' page, and the version of the RPM."""
    config = yaml.safe_load((where.root / "site.yaml").read_text())
    index = f"http://127.0.0.1:{config['ports']['index']}/root/prod/+simple/thing/"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    file = requests.get(f"{where.web}/story/files/files.example/version.txt", timeout=10)
    image = manifest_of(f"http://{where.registry}/v2/team/app/manifests/stable", accept)
    wheels = requests.get(index, headers={"Accept": "application/vnd.pypi.simple.v1+json"}, timeout=10)
    for answer in (file, image, wheels):
        answer.raise_for_status()
    digest = f"sha256:{hashlib.sha256(image.content).hexdigest()}"
    versions = sorted(entry["filename"].split("-")[1] for entry in wheels.json()["files"])
    tool = [path for path in repository(f"{where.web}/story/rpms/rocky/9/own") if "story-tool" in path]
    return file.text, digest, " ".join(versions), " ".join(path.split("-")[2] for path in tool)


def repository(base: str) -> list[str]:
    """Its metadata and packages, as dnf comes to them; each is fetched."""

    def get(path: str) -> bytes:
        answer = requests.get(f"{base}/{path}", timeout=10)
        answer.raise_for_status()
        return answer.content

    listed = re.findall(r'href="(repodata/[^"]+)"', get("repodata/repomd.xml").decode())
    primary = gzip.decompress(get(next(path for path in listed if "primary" in path)))
    packages = re.findall(r'href="(Packages/[^"]+)"', primary.decode())
    for path in packages:
        get(path)
    return [*listed, *packages]


@dataclass
class Client:
    """What a node that never stops asking has got, each different thing once."""

    answers: list[Seen] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    rounds: int = 0


@contextmanager
def a_client(where: Site) -> Iterator[Client]:
    client, stop = Client(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = seen(where)
                if not client.answers or client.answers[-1] != answer:
                    client.answers.append(answer)
            except (requests.RequestException, KeyError) as error:
                client.errors.append(str(error))
            client.rounds += 1
            time.sleep(_INTERVAL)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield client
    finally:
        stop.set()
        thread.join()


def run(where: Site, *arguments: str | Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bundler(HERE, *arguments, "--json", "--root", where.root).stdout)
    return document


def size_of(where: Site) -> int:
    """Bytes on the disk of what is served, each file once however many names it has; devpi's own database is none."""
    files = {}
    for store in ("repos", "registry", "devpi/+files"):
        for path in (where.root / store).rglob("*"):
            if path.is_file() and not path.is_symlink():
                files[path.stat().st_ino] = path.stat().st_size
    return sum(files.values())

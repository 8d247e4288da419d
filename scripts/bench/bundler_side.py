"""bundler's side of each comparison: the profile of the data, and the commands."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from scripts.bench.data import FIRST_IMAGE, FIRST_WHEEL, Data
from scripts.bench.measure import descendants, run
from scripts.bench.upstream import Upstream
from scripts.demo.servers import free_port

_HOST = "https://bench.example/"
COMMAND = (sys.executable, "-m", "bundler")


class Bundler:
    """Its working folder; `bundle` is what a build writes."""

    def __init__(self, data: Data, folder: Path) -> None:
        self._data = data
        self.folder = folder
        self.bundle = folder / "out" / "bench-1.tar"

    def build(self, upstream: Upstream) -> None:
        """Into the same folder as ever: what stands there is taken again."""
        sections = {
            "images": [f"docker.io/{image}" for image in self._data.images],
            # What is measured is moving bytes: the packages are signed by nobody.
            "rpms": {"repos": [{"id": "bench", "url": f"{_HOST}repository/", "mode": "mirror", "gpgcheck": False}]},
            "wheels": {"python": ["3.12"], "requirements": list(self._data.wheels)},
            "files": [{"url": f"{_HOST}files/{file}", "sha256": digest} for file, digest in self._data.files.items()],
        }
        _build(self.folder, "bench", sections, upstream)

    def install(self, root: Path) -> None:
        run([*COMMAND, "install", self.bundle, "--root", root, "--quiet"])

    def verify(self) -> None:
        run([*COMMAND, "verify", "--quiet", self.bundle])

    def inspect(self) -> None:
        run([*COMMAND, "inspect", self.bundle])

    def forget(self) -> None:
        """Everything anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


@contextmanager
def site(folder: Path, upstream: Upstream) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """A site with next to nothing, whose services run: its root, and their process ids."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    root, settings = folder / "root", folder / "site.yaml"
    ports = {name: free_port() for name in ("web", "registry", "index")}
    document = {"address": "127.0.0.1", "root": str(root), "services": "process", "ports": ports}
    settings.write_text(yaml.safe_dump(document))
    sections = {
        "images": [f"docker.io/{FIRST_IMAGE}"],
        "wheels": {"python": ["3.12"], "requirements": [FIRST_WHEEL]},
    }
    try:
        run([*COMMAND, "install", _build(folder, "first", sections, upstream), "--site", settings, "--quiet"])
        pids = [int(file.read_text()) for file in root.glob("services/*/pid")]
        yield root, tuple(each for pid in pids for each in (pid, *descendants(pid)))
    finally:
        run([*COMMAND, "services", "stop", "--root", root, "--quiet"])


def _build(folder: Path, name: str, sections: dict[str, Any], upstream: Upstream) -> Path:
    profile, config = folder / f"{name}.yaml", folder / "config.yaml"
    document = {"name": name, "version": "1", "targets": [{"distro": "rocky", "release": "9"}], **sections}
    profile.write_text(yaml.safe_dump(document))
    mirrors = {
        "docker.io": f"http://{upstream.registry}",
        _HOST: f"{upstream.url}/",
        "https://pypi.org/simple": f"{upstream.url}/simple",
    }
    config.write_text(yaml.safe_dump({"mirrors": mirrors}))
    run([*COMMAND, "build", profile, "-o", folder / "out", "--config", config, "--quiet"])
    return folder / "out" / f"{name}-1.tar"

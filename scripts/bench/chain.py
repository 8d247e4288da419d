"""The chain that people use in bundler's place, step by step, with the tools' own defaults."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.bench.data import Data
from scripts.bench.measure import run
from scripts.demo.hosts import program

_DNF = """\
[main]
gpgcheck=1
keepcache=1
cachedir={cache}
reposdir=/var/empty
[bench]
name=bench
baseurl={url}/repository/
enabled=1
"""


class Chain:
    """Its working folder: `bundle` is what gets packed, `bundle.tar` and `SHA256SUMS` what comes of it."""

    def __init__(self, data: Data, folder: Path) -> None:
        self._data = data
        self.folder = folder
        self.bundle = folder / "bundle"

    def build(self, netloc: str, registry: str) -> None:
        """skopeo copy per image into one OCI layout, dnf reposync, pip download, curl, sha256sum, tar.

        Done again in the same folder, each tool takes what it has of the last time.
        """
        for name in ("images", "files", "wheels", "rpms"):
            (self.bundle / name).mkdir(parents=True, exist_ok=True)
        for image in self._data.images:
            layout = f"oci:{self.bundle / 'images'}:{image}"
            run(["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{registry}/{image}", layout])
        config = self.folder / "dnf.conf"
        config.write_text(_DNF.format(cache=self.folder / "dnf-cache", url=f"http://{netloc}"))
        target = f"--download-path={self.bundle / 'rpms'}"
        reposync = ["reposync", "--download-metadata", "--repoid=bench", target]
        run(["dnf", "-q", "-c", config, "--releasever=9", *reposync])
        requirements = self.folder / "requirements.txt"
        requirements.write_text("".join(f"{wheel}\n" for wheel in self._data.wheels))
        cache = self.folder / "pip-cache"
        pip: list[str | Path] = [sys.executable, "-m", "pip", "download", "--quiet", "--cache-dir", cache]
        index: list[str | Path] = ["--index-url", f"http://{netloc}/simple", "--trusted-host", netloc.split(":")[0]]
        run([*pip, *index, "-r", requirements, "-d", self.bundle / "wheels"], env={"PIP_CONFIG_FILE": "/dev/null"})
        for file in self._data.files:
            place = self.bundle / "files" / file
            known: list[str | Path] = ["--time-cond", place] if place.exists() else []
            run(["curl", "-fsS", "--remote-time", *known, "-o", place, f"http://{netloc}/files/{file}"])
        self.sums()
        run(["tar", "-cf", self.folder / "bundle.tar", "-C", self.bundle, "."])

    def sums(self) -> None:
        """SHA256SUMS of all that is in the bundle, as `find | xargs sha256sum` makes it."""
        command = "find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS"
        run(["sh", "-c", command], cwd=self.bundle)

    def install(self, to: Path, registry: str, index: str, client: Path) -> None:
        """tar x, sha256sum -c, skopeo copy per image, cp and createrepo_c, devpi upload; services run already."""
        unpacked = to / "unpacked"
        unpacked.mkdir(parents=True)
        run(["tar", "-xf", self.folder / "bundle.tar", "-C", unpacked])
        run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=unpacked)
        for image in self._data.images:
            layout = f"oci:{unpacked / 'images'}:{image}"
            run(["skopeo", "copy", "--quiet", "--dest-tls-verify=false", layout, f"docker://{registry}/{image}"])
        www = to / "www"
        www.mkdir()
        run(["cp", "-r", unpacked / "rpms", unpacked / "files", www])
        run([program("createrepo_c"), "--quiet", www / "rpms" / "bench"])
        run([client, "upload", "--clientdir", to / "devpi-client", "--index", index, "--from-dir", unpacked / "wheels"])

    def forget(self) -> None:
        """Everything anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

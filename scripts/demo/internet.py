"""The "internet" of the demo and the tests: real servers on loopback that stand for the upstreams, by their own names.

One nginx serves files under `/<upstream host>/…` and, for registries, passes `/v2/` on to a docker-registry behind it.
All that leaves goes through nginx, so its log says what was fetched and how many bytes of it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.demo import images, packages
from scripts.demo.hosts import HERE, program
from scripts.demo.servers import free_port, nginx, server

ROCKY = "download.rockylinux.org/pub/rocky"
_KUBERNETES = "dl.k8s.io/release/v1.35.4/bin/linux/amd64"
_KUBEADM_SIZE = 24 << 20
_NODE_BASE = "node-base.invalid"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_HTTP = """\
    log_format fetches '$status $body_bytes_sent $request_method $uri';
    access_log {folder}/fetches.log fetches;
    client_max_body_size 0;
    {rate}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location /v2/ {{
            proxy_pass http://127.0.0.1:{registry};
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
"""


@dataclass(frozen=True)
class Fetch:
    """One answered request: how it ended, how many bytes of body were sent, for what."""

    status: int
    size: int
    method: str
    path: str


@dataclass(frozen=True)
class Internet:
    """A running internet. `folder/www` is what nginx serves: a test may add to it, or change it, at any time."""

    folder: Path
    url: str
    registry: str  # the URL behind, that takes images

    @property
    def mirrors(self) -> dict[str, str]:
        """bundler's mirror map: every upstream but PyPI, to here."""
        hosts = sorted(path.name for path in (self.folder / "www").iterdir())
        registries = dict.fromkeys(("docker.io", "ghcr.io", "quay.io", "registry.k8s.io"), self.url)
        return registries | {f"https://{host}/": f"{self.url}/{host}/" for host in hosts}

    @property
    def node_base(self) -> Path | None:
        """The RPM that stands for what a minimal node has already, where there is one."""
        return next((self.folder / "www" / _NODE_BASE).glob("*.rpm"), None)

    def write_config(self, path: Path) -> Path:
        """Write a config for bundler that finds everything here."""
        path.write_text(yaml.safe_dump({"mirrors": self.mirrors}))
        return path

    def fetches(self) -> list[Fetch]:
        """Everything asked for so far, in the order it was answered."""
        lines = (self.folder / "fetches.log").read_text().splitlines()
        return [Fetch(int(a), int(b), c, d) for a, b, c, d in (line.split(" ", 3) for line in lines)]

    def forget(self) -> None:
        """Start the list of fetches anew."""
        os.truncate(self.folder / "fetches.log", 0)


@contextmanager
def internet(folder: Path, shared: Path | None, *, bytes_per_second: int | None = None) -> Iterator[Internet]:
    """Bring up an internet with all that profile `demo` wants; `bytes_per_second` slows each connection down.

    `shared` is the folder of test data with packages and images of real distributions; None: they are made on the spot.
    """
    port, registry = free_port(), free_port()
    www = folder / "www"
    www.mkdir(parents=True)
    _rocky(folder, www, shared)
    _kubernetes(www / _KUBERNETES)
    found = Internet(folder, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{registry}")
    with ExitStack() as stack:
        config = folder / "registry.yml"
        config.write_text(yaml.safe_dump(_registry_config(folder / "registry", registry)))
        argv = [program("docker-registry"), "serve", str(config)]
        stack.enter_context(server(argv, port=registry, log=folder / "registry.log"))
        _images(folder, found.registry, shared)

        rate = f"limit_rate {bytes_per_second};" if bytes_per_second else ""
        http = _HTTP.format(folder=folder, port=port, registry=registry, rate=rate)
        stack.enter_context(nginx(folder, http, port=port))
        yield found


def _registry_config(folder: Path, port: int) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }


def _rocky(folder: Path, www: Path, shared: Path | None) -> None:
    work, tree = folder / "packages", www / ROCKY
    work.mkdir()
    if shared is None:
        packages.built_repositories(work, tree)
        return
    key = shared / "rpm" / "keys" / "RPM-GPG-KEY-Rocky-8"
    packages.rocky_repositories(shared / "rpm" / "rocky8", key, work, tree)
    # What a minimal node has already stands in a repository of its own, so that these few packages have a closure.
    (www / _NODE_BASE).mkdir()
    for rpm in (shared / "rpm" / "node-base").glob("*el8*.rpm"):
        shutil.copyfile(rpm, www / _NODE_BASE / rpm.name)
    HERE.run(["createrepo_c", "--quiet", str(www / _NODE_BASE)])
    shutil.copytree(shared / "rpm" / "rocky8", www / "mirror.invalid" / "rocky8")


def _kubernetes(folder: Path) -> None:
    """A stand-in of kubeadm's size class: the same bytes at every run, and none of them compressible."""
    folder.mkdir(parents=True)
    content = random.Random("kubeadm").randbytes(_KUBEADM_SIZE)  # noqa: S311  # not a secret: filler
    (folder / "kubeadm").write_bytes(content)
    (folder / "kubeadm.sha256").write_text(hashlib.sha256(content).hexdigest())


def _images(folder: Path, registry: str, shared: Path | None) -> None:
    layouts = folder / "layouts"
    daemon = Path(program("docker-registry"))
    files: dict[str, Path | bytes] = dict(images.with_libraries(daemon))
    config = _registry_config(Path("/var/lib/registry"), 5000) | {"http": {"addr": ":5000"}}
    files |= {"/bin/registry": daemon, "/etc/distribution/config.yml": yaml.safe_dump(config).encode()}
    files[str(_CERTIFICATES)] = _CERTIFICATES
    cmd = ["serve", "/etc/distribution/config.yml"]
    images.make_layout(layouts / "registry", files, entrypoint=["/bin/registry"], cmd=cmd)
    images.push_layout(layouts / "registry", registry, "library/registry", "3")

    if shared is None:
        shell = Path("/bin/sh").resolve()
        files = {**images.with_libraries(shell), "/bin/sh": shell}
        images.make_layout(layouts / "shell", files, entrypoint=["/bin/sh"], cmd=[])
        for name in ("library/alpine:3.11", "library/hello-world:latest", "prometheus/busybox:latest"):
            repository, tag = name.split(":")
            images.push_layout(layouts / "shell", registry, repository, tag)
        return
    oci = shared / "oci"
    images.push_layout(oci / "multi-platform-container-latest", registry, "prometheus/busybox", "latest")
    images.push_layout(oci / "docker-manifest-list-hello", registry, "library/hello-world", "latest")
    archive = layouts / "alpine.tar"  # older skopeo refuses a docker-archive that is gzipped
    with gzip.open(oci / "alpine-311.tar.gz") as packed, archive.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    skopeo = ["skopeo", "--insecure-policy", "--tmpdir", str(folder), "copy", "--quiet", "--dest-tls-verify=false"]
    target = registry.replace("http://", "docker://") + "/library/alpine:3.11"
    HERE.run([*skopeo, f"docker-archive:{archive}", target])

"""Releases with something in every store, small enough to be installed in a moment."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.manifest import Manifest
from bundler.model.items import Item, Json
from bundler.model.node_files import NodeFile, NodeFiles
from bundler.model.site import SiteConfig
from bundler.site.site import Site
from tests.kinds.wheels.indexes import make_wheel, wheel_files
from tests.site.content import MemoryContent, make_object

OCI = "application/vnd.oci.image."


@dataclass(frozen=True)
class SmallRelease:
    """One file, one image under `tags` of `repository`, and one wheel, of whose content `word` is a part."""

    name: str
    version: str
    word: str
    repository: str = "team/app"
    tags: tuple[str, ...] = ("1",)
    wheel: str = "1.0"
    project: str = ""  # one of the release's name, if it is not to be shared

    @property
    def wheel_project(self) -> str:
        return self.project or f"thing-{self.name}"

    @property
    def wheel_path(self) -> str:
        return f"wheels/{self.wheel_project.replace('-', '_')}-{self.wheel}-py3-none-any.whl"

    @property
    def files(self) -> dict[str, bytes]:
        """What the bundle holds, by path."""
        wheel = wheel_files(self.wheel_project, self.wheel, "py3-none-any") | {"word.txt": self.word}
        blobs = {f"images/{_digest(data)}": data for data in (self._layer, self._config, self.document)}
        return {"files/word": self.word.encode(), self.wheel_path: make_wheel(wheel), **blobs}

    @property
    def document(self) -> bytes:
        """The image's manifest."""
        config = {"mediaType": f"{OCI}config.v1+json", "digest": _digest(self._config), "size": len(self._config)}
        layer = {"mediaType": f"{OCI}layer.v1.tar", "digest": _digest(self._layer), "size": len(self._layer)}
        media_type = f"{OCI}manifest.v1+json"
        return json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}).encode()

    @property
    def digest(self) -> str:
        return _digest(self.document)

    @property
    def _layer(self) -> bytes:
        return f"layer {self.word}".encode()

    @property
    def _config(self) -> bytes:
        return json.dumps({"os": "linux", "architecture": "amd64", "word": self.word}).encode()

    @property
    def manifest(self) -> Manifest:
        files = self.files
        images = tuple(make_object(path, data) for path, data in files.items() if path.startswith("images/"))
        entry: Json = {"digest": self.digest, "media_type": f"{OCI}manifest.v1+json"}
        tags: list[Json] = [*self.tags]
        image: dict[str, Json] = {
            "repository": self.repository,
            "tags": tags,
            "digest": self.digest,
            "manifests": [entry],
        }
        path, project = self.wheel_path, self.wheel_project
        items = (
            Item("files", "word", "1", (make_object("files/word", files["files/word"]),)),
            Item("images", self.repository, self.version, images, image),
            Item("wheels", project, self.wheel, (make_object(path, files[path]),), {"metadata": {"name": project}}),
        )
        return Manifest(self.name, self.version, "1" * 64, "2" * 64, items, ())

    @property
    def index(self) -> str:
        """Its index on devpi."""
        return f"{self.name}-{self.version}-{self.manifest.id[:12]}"

    @contextmanager
    def opened(self, config: SiteConfig, *, replace: bool = False) -> Iterator[Site]:
        """The site with all of the release staged."""
        content, files = MemoryContent(self.files), self.files
        with Site(config).opened(self.manifest, content, replace=replace) as site:
            for path, data in files.items():
                obj = make_object(path, data)
                if path.startswith("files/"):
                    site.web.stage(obj, content)
                elif path.startswith("wheels/"):
                    metadata: dict[str, Json] = {
                        "metadata_version": "2.1",
                        "name": self.wheel_project,
                        "version": self.wheel,
                    }
                    site.index.stage(obj, metadata, content)
                elif data == self.document:
                    site.registry.stage_manifest(self.repository, self.tags, f"{OCI}manifest.v1+json", 0, obj, content)
                else:
                    site.registry.stage_blob(self.repository, _digest(data), obj, content)
            yield site

    def install(self, config: SiteConfig, *, replace: bool = False) -> None:
        with self.opened(config, replace=replace) as site:
            site.commit(self.nodes)

    @property
    def nodes(self) -> NodeFiles:
        return NodeFiles((NodeFile("word.conf", f"{self.word}\n"),))

    def urls(self, config: SiteConfig) -> dict[str, str]:
        """Where nodes would find each thing of it."""
        web, registry, index = config.web_url, f"{config.registry_url}/v2", f"{config.index_url}/root"
        image = f"{registry}/{self.repository}/manifests"
        return {
            "current": f"{web}/{self.name}/files/word",
            "node file": f"{web}/{self.name}/nodes/word.conf",
            "versioned": f"{web}/{self.name}@{self.version}/files/word",
            **{f"tag {tag}": f"{image}/{tag}" for tag in self.tags},
            "digest": f"{image}/{self.digest}",
            "tags": f"{registry}/{self.repository}/tags/list",
            "catalog": f"{registry}/_catalog",
            "wheels": f"{index}/prod/+simple/{self.wheel_project}/",
            "own wheels": f"{index}/{self.index}/+simple/{self.wheel_project}/",
        }


def seen(config: SiteConfig, *releases: SmallRelease) -> dict[str, str]:
    """What a node gets at each address of `releases`: a digest of the answer, or the status."""
    urls = {url for release in releases for url in release.urls(config).values()}
    return {url: fetched(url) for url in sorted(urls)}


def fetched(url: str) -> str:
    """The answer's digest, or its status when that is no 200."""
    request = urllib.request.Request(url, headers={"Accept": f"{OCI}manifest.v1+json, text/html, */*"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            data: bytes = answer.read()
    except urllib.error.HTTPError as error:
        return str(error.code)
    if url.endswith("/tags/list"):  # of a repository that is empty, or that never was
        return " ".join(sorted(json.loads(data)["tags"] or [])) or "404"
    return _digest(data)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pid_of(config: SiteConfig, service: str) -> int:
    return int((Path(config.root) / "services" / service / "pid").read_text())

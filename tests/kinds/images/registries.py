"""Real registries for tests: Debian's docker-registry on loopback, filled over its API or by skopeo."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
ACCEPT = (
    f"{OCI_INDEX}, {OCI_MANIFEST}, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)

USER, PASSWORD = "carrier", "open sesame"
_BCRYPT = "$2y$05$nQZ1U1u9sYHsvWAiCIz4oe5hlh.YTylsUDpkO2IdYwYYrrPFdNMjS"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class RunningRegistry:
    """A registry at `host` whose files are under `folder`."""

    host: str
    folder: Path
    auth: tuple[str, str] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}/v2/{path}", headers={"Accept": ACCEPT}, auth=self.auth, timeout=10)

    def tags(self, repository: str) -> list[str]:
        return sorted(self.get(f"{repository}/tags/list").json().get("tags") or [])

    def digest(self, repository: str, reference: str) -> str | None:
        """Of the manifest as served: recomputed from its bytes."""
        answer = self.get(f"{repository}/manifests/{reference}")
        return digest_of(answer.content) if answer.ok else None

    def has_blob(self, repository: str, digest: str) -> bool:
        return self.get(f"{repository}/blobs/{digest}").ok

    def unfinished_uploads(self) -> list[Path]:
        return list(self.folder.glob("docker/registry/v2/repositories/**/_uploads/*"))

    def push_blob(self, repository: str, data: bytes, media_type: str = OCI_LAYER) -> dict[str, object]:
        """Push a blob; gives its descriptor."""
        session = requests.post(f"{self.url}/v2/{repository}/blobs/uploads/", timeout=10)
        done = requests.put(session.headers["Location"], params={"digest": digest_of(data)}, data=data, timeout=10)
        done.raise_for_status()
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def push_manifest(
        self, repository: str, document: dict[str, object], tag: str | None = None, media_type: str | None = None
    ) -> dict[str, object]:
        """Push a manifest or index; gives its descriptor."""
        data = json.dumps(document).encode()
        media_type = media_type or str(document["mediaType"])
        done = requests.put(
            f"{self.url}/v2/{repository}/manifests/{tag or digest_of(data)}",
            data=data,
            headers={"Content-Type": media_type},
            timeout=10,
        )
        assert done.status_code == 201, done.text
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def push_image(
        self, repository: str, tag: str | None = None, *, arch: str = "amd64", variant: str = "", **more: object
    ) -> dict[str, object]:
        """Push a small image made on the spot; gives its descriptor with a platform, as an index takes it."""
        config: dict[str, object] = {"os": "linux", "architecture": arch, "variant": variant, **more}
        document: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.push_blob(repository, json.dumps(config).encode(), OCI_CONFIG),
            "layers": [self.push_blob(repository, f"layer of {repository} for {arch} {variant}".encode())],
        }
        platform = {"os": "linux", "architecture": arch, **({"variant": variant} if variant else {})}
        return {**self.push_manifest(repository, document, tag), "platform": platform}

    def push_index(self, repository: str, tag: str, entries: list[dict[str, object]]) -> dict[str, object]:
        document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
        return self.push_manifest(repository, document, tag)

    def copy_layout(self, layout: Path, name: str) -> None:
        """Copy a whole OCI layout in under `name` (`repository:tag`)."""
        self.skopeo_copy(f"oci:{layout}", name)

    def skopeo_copy(self, source: str, name: str) -> None:
        run("skopeo", "copy", "--quiet", "--all", "--dest-tls-verify=false", source, f"docker://{self.host}/{name}")


def run(*argv: str, timeout: float = 60) -> str:
    """Run a program that must succeed; gives its standard output."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}"
    return done.stdout


def needs(*programs: str) -> None:
    """Skip the test where one of `programs` is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")


@contextmanager
def running_registry(
    folder: Path, port: int, *, auth: dict[str, object] | None = None, credentials: tuple[str, str] | None = None
) -> Iterator[RunningRegistry]:
    """docker-registry over `folder`, until the block is left."""
    needs("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{port}"
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder)}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "only for tests"},
        **({"auth": auth} if auth else {}),
    }
    file = folder.with_name(f"{folder.name}-{port}.yml")
    file.write_text(yaml.safe_dump(config))
    with folder.with_name(f"{folder.name}-{port}.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(file)], stdout=log, stderr=log)
    try:
        _wait_for(f"http://{host}/v2/", process)
        yield RunningRegistry(host, folder, credentials)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        try:
            requests.get(url, timeout=5)
        except requests.ConnectionError:
            assert process.poll() is None, "docker-registry ended at once"
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{url} does not answer")


def basic_auth(folder: Path) -> dict[str, object]:
    """The `auth` section for USER with PASSWORD; htpasswd goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "htpasswd"
    file.write_text(f"{USER}:{_BCRYPT}\n")
    return {"htpasswd": {"realm": "tests", "path": str(file)}}


@contextmanager
def token_auth(folder: Path, port: int) -> Iterator[dict[str, object]]:
    """The `auth` section for tokens of a server that runs at `port`: it gives USER with PASSWORD what is asked for.

    Tokens are as https://distribution.github.io/distribution/spec/auth/jwt/ says, signed with a key made here.
    """
    needs("openssl")
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    run("openssl", *made, "-keyout", str(key), "-out", str(certificate))

    def b64(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    def token(scopes: list[str]) -> str:
        der = "".join(certificate.read_text().splitlines()[1:-1])
        now = int(time.time())
        access = [
            {"type": kind, "name": name, "actions": actions.split(",")}
            for kind, name, actions in (scope.split(":", 2) for scope in scopes)
        ]
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        claims = {"iss": "tests", "sub": USER, "aud": "registry", "exp": now + 300, "nbf": now - 10, "access": access}
        text = b".".join(b64(json.dumps(part).encode()) for part in (head, {**claims, "iat": now, "jti": str(now)}))
        signing = ["openssl", "dgst", "-sha256", "-sign", str(key)]
        signature = subprocess.run(signing, input=text, capture_output=True, check=True).stdout
        return b".".join([text, b64(signature)]).decode()

    class TokenServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            expected = b"Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode())
            allowed = self.headers.get("Authorization", "").encode() == expected
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            body = json.dumps({"token": token(scopes)} if allowed else {"errors": [{"code": "DENIED"}]}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), TokenServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            "token": {
                "realm": f"http://127.0.0.1:{port}/token",
                "service": "registry",
                "issuer": "tests",
                "rootcertbundle": str(certificate),
            }
        }
    finally:
        server.shutdown()
        server.server_close()

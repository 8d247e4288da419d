"""Who bundler is to an upstream. Secrets come from files and helpers, and go into headers only."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bundler.errors import ConfigError
from bundler.limits import Limit, LimitExceeded
from bundler.model.config import Config
from bundler.transfer.addresses import literally_inward

logger = logging.getLogger(__name__)

_DOCKER_HUB = "https://index.docker.io/v1/"  # the key under which `docker login` keeps docker.io
_DOCKER_HUB_HOST = "registry-1.docker.io"  # where docker.io really answers
_PORTS = {"http": 80, "https": 443}
_HELPER_TIMEOUT = 30
_HELPER_LIMIT = Limit("what a credential helper says", 1 << 20)
_SECRET_LIMIT = 64 << 10  # characters of a file's first line


@dataclass(frozen=True, slots=True)
class Login:
    """A user and password, or a bearer token; neither shows in a repr."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        if self.token:
            return f"Bearer {self.token}"
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return f"Basic {pair}"


def configured(config: Config, url: str) -> Login | None:
    """What bundler's config says for the scheme, host and port of `url`. Raises ConfigError when a file is missing.

    An entry without a port is for a scheme's own one. In clear it goes nowhere, but where the entry says `http://`, a
    mirror of the config does, or the host is this machine: an index, or a list of mirrors, could name any URL.
    """
    scheme, host, port = _origin(url)
    name = f"[{host}]" if ":" in host else host
    places = [f"{name}:{port}", *([name] if port == _PORTS[scheme] else [])]
    keys = [f"{scheme}://{place}" for place in places]
    if scheme == "https" or _said_plain(config, (scheme, host, port)) or literally_inward(host):
        keys += places
    entries = {key.lower().rstrip("/"): (key, entry) for key, entry in config.credentials.items()}
    known, entry = next((entries[key] for key in keys if key in entries), ("", None))
    if entry is None:
        return None
    if entry.token_file:
        return Login(token=_secret(entry.token_file, known))
    if entry.username is None or entry.password_file is None:
        raise ConfigError(
            f"credentials.{known}: neither a token nor a whole user",
            hint="give `token_file`, or `username` and `password_file`",
        )
    return Login(entry.username, _secret(entry.password_file, known))


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for what is no http or https URL."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no http or https URL")
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def _said_plain(config: Config, origin: tuple[str, str, int]) -> bool:
    return any(_origin(mirror) == origin for mirror in config.mirrors.values())


def for_registry(config: Config, registry: str, root: str, repository: str, *, files: bool = True) -> Login | None:
    """The log-in for `repository` of `registry`, which is reached below the URL `root`.

    From bundler's config, else, with `files`, from those that `docker login` and `podman login` write (docker's
    config.json, and containers-auth.json(5), where an entry may be for a part of a registry), their credential helpers
    included. A mirror is another host: it is never shown what is for the registry it stands for.
    """
    urls, hosts = [root], [urlsplit(root).netloc]
    if registry == "docker.io" and hosts == [_DOCKER_HUB_HOST]:
        hosts = ["docker.io", "index.docker.io", _DOCKER_HUB_HOST]
        urls = [f"https://{host}/" for host in hosts]
    for url in urls:
        if found := configured(config, url):
            return found
    names = [name for host in hosts for name in _parts(host, repository)]
    if "docker.io" in hosts:
        names.append(_DOCKER_HUB)
    for path in _auth_files() if files else ():
        if path.is_file() and (found := _from_file(path, names)):
            return found
    return None


def _parts(host: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`: the closest first."""
    segments = [host, *repository.split("/")]
    for count in range(len(segments), 0, -1):
        yield "/".join(segments[:count])


def _auth_files() -> Iterator[Path]:
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path.home() / ".config" / "containers" / "auth.json"
    yield Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _from_file(path: Path, names: list[str]) -> Login | None:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        auths = {_host(key): value for key, value in document.get("auths", {}).items()}
        for name in names:
            if pair := auths.get(_host(name), {}).get("auth"):
                username, _, password = base64.b64decode(pair, validate=True).decode().partition(":")
                return Login(username, password)
            helper = document.get("credHelpers", {}).get(name)
            if helper is None and _host(name) in auths:
                helper = document.get("credsStore")
            if helper and (found := _from_helper(str(helper), name)):
                return found
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, binascii.Error):
        logger.warning("%s cannot be read as a file of registry log-ins; going on without it", path)
    return None


def _host(key: str) -> str:
    return key if key == _DOCKER_HUB else key.removeprefix("https://").removeprefix("http://").rstrip("/")


def _from_helper(helper: str, name: str) -> Login | None:
    """The protocol of docker-credential-helpers: the name on stdin, JSON on stdout."""
    if "/" in helper:
        return None
    try:
        found = json.loads(_asked([f"docker-credential-{helper}", "get"], name.encode()))
        return Login(str(found["Username"]), str(found["Secret"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError, LimitExceeded):
        logger.warning("docker-credential-%s gave no log-in for %s; going on without it", helper, name)
        return None


def _asked(command: list[str], name: bytes) -> bytes:
    """What a helper says within its time. Raises OSError when it fails, LimitExceeded when it says too much."""
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running,
        _ended_by(running, _HELPER_TIMEOUT),
    ):
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(name)
        running.stdin.close()
        said = running.stdout.read(_HELPER_LIMIT.size + 1)
        _HELPER_LIMIT.check(len(said))
        if running.wait():
            raise OSError(f"{command[0]} ended with {running.returncode}")
        return said


@contextmanager
def _ended_by(running: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """Kill the process when the block ends, or before that when its time is over."""
    over = threading.Timer(seconds, running.kill)
    over.start()
    try:
        yield
    finally:
        over.cancel()
        running.kill()


def _secret(file: str, host: str) -> str:
    try:
        with Path(file).expanduser().open() as secret:
            return secret.read(_SECRET_LIMIT).splitlines()[0].strip()
    except (OSError, IndexError, UnicodeDecodeError):
        raise ConfigError(
            f"credentials.{host}: cannot read a secret from {file}",
            hint="name a text file whose first line is the password or token",
        ) from None

"""bundler's own config, `--config FILE` or BUNDLER_CONFIG: how the build machine reaches its upstreams."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from bundler.model.target import StrictModel

MirrorUrl = Annotated[str, StringConstraints(pattern=r"^https?://\S+$")]


class HostCredentials(StrictModel):
    """What to show one host: user and password (basic), or a token (bearer). Secrets lie in files of their own."""

    username: str | None = None
    password_file: str | None = None
    token_file: str | None = None


class Retries(StrictModel):
    """How often, and how patiently, a failed request is tried again."""

    attempts: int = Field(default=5, ge=1, le=100, description="tries in all, the first included")
    backoff: float = Field(default=1.0, ge=0, description="seconds before the second try; then twice as long")
    ceiling: float = Field(default=60.0, ge=0, description="the longest wait, in seconds, also for a Retry-After")
    timeout: float = Field(default=60.0, gt=0, description="seconds without a byte until it is given up")
    slowest: int = Field(
        default=1024, ge=0, description="bytes a second, over `timeout` seconds, below which it is given up, too"
    )


class Config(StrictModel):
    """The build machine's way to the world.

    `mirrors` sends an upstream elsewhere: a registry host (`docker.io: http://127.0.0.1:5001`) or the head of a URL
    (`https://dl.k8s.io/: http://mirror/k8s/`); the longest head that fits wins. Locks keep the original names.
    """

    mirrors: dict[str, MirrorUrl] = Field(default={})
    ca_files: tuple[str, ...] = Field(default=(), description="PEM files of further certificate authorities to trust")
    proxies: dict[str, str] = Field(
        default={}, description="scheme or scheme://host to proxy URL, as requests takes it"
    )
    credentials: dict[str, HostCredentials] = Field(
        {}, description="by host, host:port, or http://host[:port] where a log-in may go in clear"
    )
    jobs: int = Field(default=8, ge=1, le=64, description="large transfers at once, and small ones beside them")
    largest_file: int = Field(
        default=256 << 30, ge=0, description="bytes that a file may have whose size nobody states beforehand"
    )
    retries: Retries = Retries()

"""The closed side as plain data: site.yaml, and the addresses that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from bundler.model.target import StrictModel

SITE_FILE = "site.yaml"  # in the site's root: what its first install was told

Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, StringConstraints(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)$")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]


class Ports(StrictModel):
    """Where nginx, the one front door, listens on the address."""

    web: Port | None = Field(default=None, description="80, or 443 with TLS")
    registry: Port = 5000
    index: Port = 3141


class OwnTls(StrictModel):
    """Certificates that are there already: files in PEM, on the admin host."""

    certificate: str = Field(description="the server's, for the site's address, with what leads from it to the CA")
    key: str = Field(description="the key of the certificate")
    ca: str = Field(description="what nodes trust it by")


class Login(StrictModel):
    """What nodes have to show before they may read: one user, whom all of them log in as."""

    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    password_file: str | None = Field(
        default=None, description="a file whose first line is the password; if not given, install makes one"
    )


class Credentials(StrictModel):
    """A user whose password lies in a file, so that it stands in no argument, log or manifest."""

    username: str
    password_file: str = Field(description="path of a file whose first line is the password")


class ExternalWeb(StrictModel):
    """A web root that something else serves: bundler writes into `directory`, nodes read from `url`."""

    url: Url
    directory: str


class ExternalRegistry(StrictModel):
    """A registry that bundler pushes to and nodes pull from, in place of its own."""

    url: Url
    ca: str | None = Field(default=None, description="a CA's file in PEM that it is trusted by, beside the machine's")
    credentials: Credentials | None = None
    pull_credentials: Credentials | None = Field(
        default=None, description="what a cluster shows to pull; the password's file lies where Ansible runs"
    )


class ExternalIndex(StrictModel):
    """A PyPI index that bundler uploads to and nodes install from, in place of devpi.

    `upload_url` takes the legacy upload API (https://docs.pypi.org/api/upload/); `simple_url` the simple API (PEP 503).
    """

    upload_url: Url
    simple_url: Url
    ca: str | None = Field(default=None, description="a CA's file in PEM that it is trusted by, beside the machine's")
    credentials: Credentials | None = None


class TrustedKeys(StrictModel):
    """Whose bundles a site takes, beside those of the keys that the machine trusts."""

    keys: tuple[str, ...] = Field(default=(), description="files of public keys in PEM, on the admin host")
    threshold: Annotated[int, Field(ge=1, le=64, description="how many different keys have to have signed")] = 1
    refuse_older: bool = Field(
        default=False, description="refuse a bundle that is older than one of its name on the site; else warn of it"
    )
    require_expiry: bool = Field(default=False, description="take signatures only that have an end")


def _keys_alone(value: object) -> object:
    """A list stands for its keys."""
    if value is None:
        raise ValueError("it names nobody: name keys, or leave the line out")
    return {"keys": value} if isinstance(value, list | tuple) else value


class SiteConfig(StrictModel):
    """site.yaml. All a site needs is its address; the rest has defaults."""

    address: Address = Field(description="the admin host's address or name, as the nodes reach it")
    root: str = Field(default="/data", description="folder of the whole site: repos, registry, devpi, services")
    services: Literal["auto", "systemd", "process"] = Field(
        default="auto",
        description="who runs nginx, the registry and devpi: the machine's systemd, or bundler itself; auto: systemd "
        "where it runs and root installs",
    )
    engine: Literal["auto", "podman", "none"] = Field(
        default="auto", description="what runs the registry under systemd; none: its program, out of the image"
    )
    ports: Ports = Ports()
    tls: Literal["self-signed"] | OwnTls | None = Field(
        default=None, description="serve over https: with a CA of the site's own, made once, or with certificates"
    )
    login: Login | None = Field(
        default=None,
        description="ask for a log-in before anything is read from the site's own services; over TLS alone",
    )
    trusted_keys: Annotated[TrustedKeys | None, BeforeValidator(_keys_alone)] = Field(
        default=None,
        description="public keys: only bundles that one of them signed are taken; beside /etc/bundler/trusted.d. A "
        "list of files, or a mapping with more to ask for",
    )
    web: ExternalWeb | None = None
    registry: ExternalRegistry | None = None
    index: ExternalIndex | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_backends(cls, value: Any) -> Any:
        """An earlier bundler's site.yaml may name ports for what listens on sockets now: they say nothing any more."""
        return {key: value[key] for key in value if key != "backends"} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _ports_differ(self) -> SiteConfig:
        used = [self.web_port, self.ports.registry, self.ports.index]
        if len(set(used)) != len(used):
            raise ValueError(f"ports must all differ, got {used}")
        return self

    @model_validator(mode="after")
    def _login_is_sealed(self) -> SiteConfig:
        if self.login and not self.tls:
            raise ValueError("login: over plain HTTP everybody on the way could read the password; set tls too")
        return self

    @property
    def scheme(self) -> Literal["http", "https"]:
        """Of the site's own services."""
        return "https" if self.tls else "http"

    @property
    def ca_path(self) -> str | None:
        """On the admin host, the CA that nodes trust the site's own services by."""
        if self.tls is None:
            return None
        return self.tls.ca if isinstance(self.tls, OwnTls) else f"{self.root}/tls/ca.pem"

    @property
    def reader(self) -> Credentials | None:
        """Whom the site's own services let read, where they ask; the file is on the admin host."""
        if self.login is None:
            return None
        return Credentials(
            username=self.login.username, password_file=self.login.password_file or f"{self.root}/login/password"
        )

    @property
    def machine(self) -> str:
        """The address as netrc(5) and certificates have it."""
        return self.address.strip("[]")

    @property
    def netrc_path(self) -> str | None:
        """On the admin host, the log-in as nodes are given it (netrc(5))."""
        return f"{self.root}/login/netrc" if self.login else None

    def curl(self, ca: str = "ca.pem", netrc: str = "netrc") -> str:
        """curl to the web root, for a machine that is not set up yet but was given the files `ca` and `netrc`."""
        options = [f" --cacert {ca}"] if self.tls else []
        options += [f" --netrc-file {netrc}"] if self.login else []
        return f"curl -fsS{''.join(options) if self.web is None else ''}"

    def set_up(self, url: str) -> str:
        """What sets a machine up for the release at `url`, typed there; with the files as for `curl`."""
        return f"{self.curl()} {url}/nodes/setup.sh | {'BUNDLER_NETRC=netrc ' if self.login else ''}sh"

    @property
    def web_port(self) -> int:
        return self.ports.web or (443 if self.tls else 80)

    @property
    def web_url(self) -> str:
        """Root URL of RPMs, files and node files, without a trailing slash."""
        if self.web:
            return self.web.url.rstrip("/")
        usual = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{self.address}" + ("" if self.web_port == usual else f":{self.web_port}")

    @property
    def registry_url(self) -> str:
        """Root URL of the registry as nodes reach it, without a trailing slash."""
        return (
            self.registry.url.rstrip("/") if self.registry else f"{self.scheme}://{self.address}:{self.ports.registry}"
        )

    @property
    def registry_host(self) -> str:
        """`host:port[/prefix]` as it stands at the head of an image's name."""
        return self.registry_url.split("://", 1)[1]

    @property
    def index_url(self) -> str:
        """Root URL of the site's own index, as nodes reach it."""
        return f"{self.scheme}://{self.address}:{self.ports.index}"

    @property
    def simple_url(self) -> str:
        """The PEP 503 index that nodes install from, with a trailing slash."""
        if self.index:
            return self.index.simple_url.rstrip("/") + "/"
        return f"{self.index_url}/root/prod/+simple/"


def ca_on_nodes(name: str) -> str:
    """Where nodes have the CA of the site that serves the release `name`."""
    return f"/etc/bundler/{name}.ca.pem"


def netrc_on_nodes(name: str) -> str:
    """Where nodes have the log-in to the site that serves the release `name`."""
    return f"/etc/bundler/{name}.netrc"


@dataclass(frozen=True, slots=True)
class Served:
    """A release as its nodes see it: what `emit` is given.

    `ca` are the certificates, in PEM, that nodes trust the site's own services by; None where they speak plain HTTP.
    """

    site: SiteConfig
    name: str
    version: str
    ca: str | None = None

    @property
    def url(self) -> str:
        """Root URL of the release's tree, without a trailing slash: `<url>/rpms/…`, `<url>/files/…`, …"""
        return f"{self.site.web_url}/{self.name}"

    def ca_file(self, external: StrictModel | None) -> str | None:
        """Where nodes have `ca`, for a service of the site's own; None for one that is `external`, or without TLS."""
        return ca_on_nodes(self.name) if self.ca and external is None else None

    def login(self, external: StrictModel | None) -> str | None:
        """Whom nodes log in as, at a service of the site's own; None for one that is `external`, or does not ask."""
        return self.site.login.username if self.site.login and external is None else None

    def curl(self, external: StrictModel | None) -> str:
        """curl to a service, for a node's shell: it fails where the server refuses."""
        ca = self.ca_file(external)
        netrc = f" --netrc-file {netrc_on_nodes(self.name)}" if self.login(external) else ""
        return f"curl -fsS{f' --cacert {ca}' if ca else ''}{netrc}"

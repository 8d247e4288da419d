"""Which log-in a registry is shown, and which it never is."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from bundler.errors import ConfigError
from bundler.model.config import Config, HostCredentials
from bundler.transfer.credentials import Login, configured, for_registry


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, where no log-in of the machine's user is found."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def log_in(file: Path, **logins: str) -> None:
    """Write `file` as docker and podman do: `host="user:password"`, `_` in place of `.` and `__` of `/`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    auths = {
        name.replace("__", "/").replace("_", "."): {"auth": base64.b64encode(pair.encode()).decode()}
        for name, pair in logins.items()
    }
    file.write_text(json.dumps({"auths": auths}))


def found(registry: str, place: str, repository: str = "org/app", config: Config | None = None) -> str | None:
    login = for_registry(config or Config(), registry, f"https://{place}/v2/", repository)
    return f"{login.username}:{login.password}" if login else None


def test_dockers_and_podmans_files_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(home / ".docker" / "config.json", quay_io="docker:1")
    assert found("quay.io", "quay.io") == "docker:1"
    log_in(home / "run" / "containers" / "auth.json", quay_io="podman:2")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    assert found("quay.io", "quay.io") == "podman:2"
    log_in(home / "named.json", quay_io="named:3")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "named.json"))
    assert found("quay.io", "quay.io") == "named:3"
    assert found("ghcr.io", "ghcr.io") is None


def test_the_closest_entry_of_a_registry_is_taken(home: Path) -> None:
    log_in(home / ".config" / "containers" / "auth.json", quay_io="all:1", quay_io__org="org:2")
    assert found("quay.io", "quay.io", "org/app") == "org:2"
    assert found("quay.io", "quay.io", "organisation/app") == "all:1"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_goes_by_several_names(home: Path, key: str) -> None:
    pair = base64.b64encode(b"me:1").decode()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {key: {"auth": pair}}}))
    assert found("docker.io", "registry-1.docker.io", "library/nginx") == "me:1"


def test_a_mirror_is_not_shown_what_is_for_the_registry_it_stands_for(home: Path) -> None:
    log_in(home / ".docker" / "config.json", docker_io="me:1")
    (home / "secret").write_text("hunter2\n")
    config = Config(credentials={"docker.io": HostCredentials(username="me", password_file=str(home / "secret"))})
    assert found("docker.io", "mirror.example", config=config) is None
    assert found("docker.io", "registry-1.docker.io", config=config) == "me:hunter2"


def test_bundlers_config_comes_first(home: Path) -> None:
    log_in(home / ".docker" / "config.json", quay_io="docker:1")
    (home / "secret").write_text("mine\nsecond line\n")
    config = Config(credentials={"quay.io": HostCredentials(username="bundler", password_file=str(home / "secret"))})
    assert found("quay.io", "quay.io", config=config) == "bundler:mine"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"quay.io": {"auth": "*"}}}', '{"auths": []}', "\xff"])
def test_a_file_that_cannot_be_read_is_passed_over(home: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_bytes(text.encode("latin-1"))
    assert found("quay.io", "quay.io") is None
    assert "cannot be read" in caplog.text


def test_a_helper_is_asked_on_its_standard_input(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = home / "docker-credential-test"
    helper.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "%s", "Secret": "s"}\' "$host"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {"quay.io": "test"}}))
    assert found("quay.io", "quay.io") == "quay.io:s"


@pytest.mark.parametrize(
    ("script", "seconds"),
    [("exec cat /dev/zero", 5), ("exec sleep 60", 0.5), ("cat; exit 1", 5), ("echo '[['", 5), ("echo '[]'", 5)],
)
def test_a_helper_that_says_too_much_or_nothing_is_passed_over(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, script: str, seconds: float
) -> None:
    helper = home / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")
    monkeypatch.setattr("bundler.transfer.credentials._HELPER_TIMEOUT", seconds)
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"credHelpers": {"quay.io": "test"}}))
    assert found("quay.io", "quay.io") is None
    assert "docker-credential-test gave no log-in for quay.io" in caplog.text


def test_half_a_user_is_an_error() -> None:
    config = Config(credentials={"quay.io": HostCredentials(username="me")})
    with pytest.raises(ConfigError, match=r"credentials\.quay\.io"):
        configured(config, "https://quay.io:443/x")


@pytest.mark.parametrize(
    ("entry", "shown", "hidden"),
    [
        (
            "a.example",
            ["https://a.example/x", "https://A.example:443/x"],
            ["http://a.example/", "https://a.example:8443/", "http://a.example:8080/", "https://b.a.example/"],
        ),
        (
            "a.example:8443",
            ["https://a.example:8443/"],
            ["http://a.example:8443/", "https://a.example/", "https://a.example:443/"],
        ),
        (
            "http://a.example",
            ["http://a.example/", "http://a.example:80/"],
            ["https://a.example/", "http://a.example:81/"],
        ),
        ("http://a.example:81", ["http://a.example:81/"], ["http://a.example/", "https://a.example:81/"]),
        ("https://a.example/", ["https://a.example/"], ["http://a.example/"]),
        ("mirror.example:8081", ["http://mirror.example:8081/x"], ["http://mirror.example/"]),
        ("127.0.0.1:5000", ["http://127.0.0.1:5000/"], ["http://127.0.0.1:5001/"]),
        ("[::1]:5000", ["http://[::1]:5000/"], ["http://[::1]/"]),
    ],
)
def test_a_log_in_is_for_one_scheme_host_and_port(home: Path, entry: str, shown: list[str], hidden: list[str]) -> None:
    (home / "secret").write_text("hunter2\n")
    config = Config(
        credentials={entry: HostCredentials(username="me", password_file=str(home / "secret"))},
        mirrors={"https://dl.example": "http://mirror.example:8081/dl"},
    )
    assert [url for url in shown if configured(config, url) is None] == []
    assert [url for url in hidden if configured(config, url) is not None] == []


def test_an_anonymous_registry_is_shown_what_the_config_says_and_no_more(home: Path) -> None:
    log_in(home / ".docker" / "config.json", quay_io="docker:1", ghcr_io="docker:1")
    (home / "secret").write_text("mine\n")
    config = Config(credentials={"quay.io": HostCredentials(username="bundler", password_file=str(home / "secret"))})
    assert for_registry(config, "ghcr.io", "https://ghcr.io/v2/", "org/app", files=False) is None
    assert for_registry(config, "quay.io", "https://quay.io/v2/", "org/app", files=False) == Login("bundler", "mine")


def test_a_secret_does_not_show() -> None:
    shown = repr(Login("me", "hunter2", "token"))
    assert "hunter2" not in shown
    assert "token" not in shown

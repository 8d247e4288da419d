"""Whose bundles a site takes, and that it does not go back to an older one unasked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from bundler.bundle import keys
from bundler.cli import cli
from bundler.errors import ConfigError, TrustError
from bundler.install import Terms, install, outlook, rollback
from bundler.model.site import Ports, SiteConfig, TrustedKeys
from bundler.progress import Silent
from bundler.site.site import Site
from tests.bundle.bundles import write_bundle
from tests.bundle.signing import make_key, public, sign


@pytest.fixture
def config(tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> Iterator[SiteConfig]:
    """A site on free ports, on a machine that trusts no key of its own."""
    monkeypatch.setattr(keys, "TRUSTED", tmp_path / "trusted.d")
    found = SiteConfig(
        address="127.0.0.1",
        services="process",
        root=str(tmp_path / "site"),
        ports=Ports(web=free_port(), registry=free_port(), index=free_port()),
    )
    yield found
    Site(found).services.stop()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path)


def asking(
    config: SiteConfig, *trusted: Path, threshold: int = 1, older: bool = False, end: bool = False
) -> SiteConfig:
    """The site with a policy."""
    policy = TrustedKeys(
        keys=tuple(str(public(key)) for key in trusted), threshold=threshold, refuse_older=older, require_expiry=end
    )
    return config.model_copy(update={"trusted_keys": policy})


def release(tmp_path: Path, version: str) -> Path:
    return write_bundle(tmp_path / f"demo-{version}.tar", {"files/a": version.encode()}, version)


def put(bundle: Path, config: SiteConfig, *, allow_older: bool = False) -> bool:
    return install(bundle, config, progress=Silent(), terms=Terms(allow_older=allow_older)).changed


def current(config: SiteConfig) -> list[str]:
    return [release.version for release in Site(config).releases() if release.current]


def test_an_older_bundle_is_refused_where_the_site_says_so(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    site = asking(config, key, older=True)
    old, new = release(tmp_path, "1.9"), release(tmp_path, "1.10")
    for bundle in (old, new):
        sign(bundle, key)
    assert put(old, site)
    assert put(new, site)
    for refused in (lambda: put(old, site), lambda: outlook(old, site)):
        with pytest.raises(TrustError, match=r"demo 1\.9 is older than 1\.10, which is installed"):
            refused()
    assert current(site) == ["1.10"]
    assert not put(new, site)  # the same again
    assert outlook(old, site, Terms(allow_older=True)).version == "1.9"
    rollback("demo", None, site)  # on purpose
    assert current(site) == ["1.9"]
    put(new, site)
    put(old, site, allow_older=True)  # on purpose, too
    assert current(site) == ["1.9"]


def test_the_command_refuses_an_older_bundle_and_takes_it_when_told(
    config: SiteConfig, key: Path, tmp_path: Path
) -> None:
    site = asking(config, key, older=True)
    for bundle in (release(tmp_path, "1"), release(tmp_path, "2")):
        sign(bundle, key)
    put(release(tmp_path, "2"), site)  # leaves site.yaml in its root
    command = ["install", str(release(tmp_path, "1")), "--root", site.root]
    for options in ([], ["--dry-run"]):
        refused = CliRunner().invoke(cli, [*command, *options])
        assert (refused.exit_code, "demo 1 is older than 2" in refused.stderr) == (TrustError.exit_code, True)
    taken = CliRunner().invoke(cli, [*command, "--allow-older"])
    assert taken.exit_code == 0, taken.output
    assert current(site) == ["1"]


def test_it_says_for_which_machines_a_bundle_is(
    config: SiteConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    put(release(tmp_path, "1"), config)
    assert "demo 1 is for rocky-9-x86_64, debian-12-aarch64" in caplog.text


def test_an_older_bundle_is_warned_of_elsewhere(
    config: SiteConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    put(release(tmp_path, "2"), config)
    assert not [record for record in caplog.records if "older" in record.getMessage()]
    put(release(tmp_path, "1"), config)
    assert "demo 1 is older than 2, which is installed" in caplog.text
    assert current(config) == ["1"]


@pytest.mark.parametrize("older", [True, False])
def test_taking_the_last_key_out_does_not_open_the_site(config: SiteConfig, tmp_path: Path, older: bool) -> None:
    with pytest.raises(ConfigError, match="no key is trusted that could sign"):
        put(release(tmp_path, "1"), asking(config, older=older))
    keys.TRUSTED.mkdir()
    public(make_key(tmp_path, "other.key")).rename(keys.TRUSTED / "other.pub")
    with pytest.raises(TrustError, match="is not signed"):
        put(release(tmp_path, "1"), asking(config, older=older))


def test_what_is_kept_counts_as_installed(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    site = asking(config, key, older=True)
    bundles = {version: release(tmp_path, version) for version in ("1", "2", "3")}
    for bundle in bundles.values():
        sign(bundle, key)
    for version in ("1", "3"):
        assert put(bundles[version], site)
    rollback("demo", None, site)
    with pytest.raises(TrustError, match="demo 2 is older than 3"):
        put(bundles["2"], site)
    assert not put(bundles["1"], site)  # what is served, again
    assert put(bundles["3"], site)  # and what was kept: nodes get it again, though nothing is written
    assert current(site) == ["3"]


def test_as_many_have_to_sign_as_the_site_says(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    bundle, other = release(tmp_path, "1"), make_key(tmp_path, "other.key")
    sign(bundle, key)
    with pytest.raises(TrustError, match="2 of the keys trusted here have to sign, and 1 did"):
        outlook(bundle, asking(config, key, other, threshold=2))
    sign(bundle, other)
    outlook(bundle, asking(config, key, other, threshold=2))
    with pytest.raises(ConfigError, match="2 different keys have to sign"):
        outlook(bundle, asking(config, key, threshold=2))


def test_keys_of_the_site_and_of_the_machine_add_up(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    keys.TRUSTED.mkdir()
    other = make_key(tmp_path, "other.key")
    public(other).rename(keys.TRUSTED / "other.pub")
    bundle = release(tmp_path, "1")
    with pytest.raises(TrustError, match="is not signed"):
        outlook(bundle, config)
    sign(bundle, key)
    with pytest.raises(TrustError, match="signed by nobody who is trusted here"):
        outlook(bundle, config)
    sign(bundle, other)
    outlook(bundle, config)
    outlook(bundle, asking(config, key, threshold=2))


def test_a_bundle_that_has_expired_is_not_installed(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    bundle = release(tmp_path, "1")
    sign(bundle, key, expires=datetime.now(UTC) - timedelta(days=1))
    for refused in (lambda: put(bundle, asking(config, key)), lambda: outlook(bundle, asking(config, key))):
        with pytest.raises(TrustError, match="what was signed expired at"):
            refused()
    assert not Path(config.root).exists()


def test_a_site_may_take_what_expires_only(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    bundle = release(tmp_path, "1")
    made = sign(bundle, key)
    with pytest.raises(TrustError, match="never expires"):
        outlook(bundle, asking(config, key, end=True))
    made.unlink()
    sign(bundle, key, expires=datetime.now(UTC) + timedelta(days=1))
    outlook(bundle, asking(config, key, end=True))


@pytest.mark.parametrize("sort", ["empty", "file", "release.pem"])
def test_a_machine_whose_keys_cannot_be_told_takes_nothing(config: SiteConfig, tmp_path: Path, sort: str) -> None:
    if sort == "file":
        keys.TRUSTED.write_bytes(b"")
    else:
        keys.TRUSTED.mkdir()
    if sort == "release.pem":
        public(make_key(tmp_path, "pem")).rename(keys.TRUSTED / "release.pem")
    bundle = release(tmp_path, "1")
    for refused in (lambda: put(bundle, config), lambda: outlook(bundle, config)):
        with pytest.raises(ConfigError, match=r"trusted\.d"):
            refused()
    assert not Path(config.root).exists()


def test_a_key_of_the_site_that_is_gone_is_missed(config: SiteConfig, key: Path, tmp_path: Path) -> None:
    bundle = release(tmp_path, "1")
    public(key).unlink()
    with pytest.raises(ConfigError, match=r"release\.key\.pub is no public key"):
        put(bundle, asking(config, key))

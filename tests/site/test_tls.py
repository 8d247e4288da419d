"""A site's certificates: its own, and those that it is given."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from bundler.errors import ConfigError
from bundler.model.site import OwnTls, SiteConfig
from bundler.site import tls
from bundler.site.tls import Certificates, certificates, ensure


def own(root: Path, address: str = "192.168.10.10") -> SiteConfig:
    return SiteConfig(address=address, root=str(root), tls="self-signed")


def made(config: SiteConfig) -> Certificates:
    found = ensure(config)
    assert found is not None
    return found


def given(found: Certificates, address: str = "192.168.10.10") -> SiteConfig:
    files = OwnTls(certificate=str(found.certificate), key=str(found.key), ca=str(found.ca))
    return SiteConfig(address=address, tls=files)


def test_a_site_without(tmp_path: Path) -> None:
    config = SiteConfig(address="192.168.10.10", root=str(tmp_path))
    assert certificates(config) is None
    assert ensure(config) is None
    assert config.web_url == "http://192.168.10.10"


@pytest.mark.parametrize("address", ["192.168.10.10", "admin.example.org", "[fd00::10]", "admin"])
def test_it_is_for_the_address(tmp_path: Path, address: str) -> None:
    found = made(own(tmp_path, address))
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", found.ca, found.certificate],
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stderr
    found.check(address.strip("[]"))
    found.check("127.0.0.1")
    with pytest.raises(ConfigError, match=r"will not do for other\.example\.org"):
        found.check("other.example.org")


def test_urls(tmp_path: Path) -> None:
    config = own(tmp_path)
    assert config.web_url == "https://192.168.10.10"
    assert config.registry_url == "https://192.168.10.10:5000"
    assert config.simple_url == "https://192.168.10.10:3141/root/prod/+simple/"


def test_the_ca_stays_and_the_certificate_follows_the_address(tmp_path: Path) -> None:
    first = made(own(tmp_path))
    ca, leaf = first.ca.read_bytes(), first.certificate.read_bytes()
    assert made(own(tmp_path)).certificate.read_bytes() == leaf
    second = made(own(tmp_path, "admin.example.org"))
    assert second.ca.read_bytes() == ca
    assert second.certificate.read_bytes() != leaf


def test_it_is_renewed_before_it_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_SERVER_LIFE", dt.timedelta(days=89))
    old = made(own(tmp_path)).leaf()
    monkeypatch.undo()
    new = made(own(tmp_path)).leaf()
    assert new.not_valid_after_utc - old.not_valid_after_utc > dt.timedelta(days=700)


def test_a_crash_between_key_and_certificate_is_mended(tmp_path: Path) -> None:
    found = made(own(tmp_path))
    found.certificate.unlink()
    made(own(tmp_path))
    shutil.copy(made(own(tmp_path / "other")).key, found.key)
    made(own(tmp_path))
    shutil.rmtree(tmp_path / "tls")
    made(own(tmp_path))


def test_the_ca_signs_nothing_below_it(tmp_path: Path) -> None:
    ca = x509.load_pem_x509_certificate(made(own(tmp_path)).ca.read_bytes())
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_certificates_that_are_given(tmp_path: Path) -> None:
    found = made(own(tmp_path))
    assert made(given(found)) == found
    other = made(own(tmp_path / "other"))
    cases = {
        "will not do for elsewhere.example": given(found, "elsewhere.example"),
        "key values mismatch|KEY_VALUES_MISMATCH": given(Certificates(found.certificate, other.key, found.ca)),
        "unable to get local issuer|self.signed|certificate signature failure": given(
            Certificates(found.certificate, found.key, other.ca)
        ),
        "No such file": given(Certificates(tmp_path / "missing.pem", found.key, found.ca)),
    }
    for words, config in cases.items():
        with pytest.raises(ConfigError, match=words):
            ensure(config)


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_SERVER_LIFE", dt.timedelta(hours=-2))
    with pytest.raises(ConfigError, match="expired"):
        ensure(own(tmp_path))

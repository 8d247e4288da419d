"""The certificates that a site's own services show: a CA of its own and what that issued, or what site.yaml names.

    <root>/tls/ca.pem       what nodes trust
    <root>/tls/ca.key       only its owner reads this one and the next
    <root>/tls/server.key
    <root>/tls/server.pem   for the site's address, issued anew before it expires or when the address is another

The CA is made once and kept: nodes that trust it trust every later release.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bundler.errors import ConfigError
from bundler.model.site import OwnTls, SiteConfig
from bundler.site.folders import make_folder, write_whole

_CA_LIFE = dt.timedelta(days=3650)
# Clients of Apple's refuse longer ones, and others may follow.
_SERVER_LIFE = dt.timedelta(days=825)
_RENEWED_BEFORE = dt.timedelta(days=90)
_SKEW = dt.timedelta(days=1)  # nodes behind the gap may have no clock to go by
_HINT = (
    "name a certificate, chain included, that is for the address, its key, and the CA that issued it; of a site's "
    "own CA, delete the folder `tls` in its root: install then makes a new one, which nodes have to be told"
)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM: the server's chain and key, and the CA that clients trust it by."""

    certificate: Path
    key: Path
    ca: Path

    def trusted(self) -> str:
        """The CA, as nodes get it."""
        return self.ca.read_text()

    def leaf(self) -> x509.Certificate:
        """What the server shows."""
        return x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]

    def check(self, address: str) -> None:
        """See that a client which trusts `ca` would take the server for `address`: in a handshake, as it does.

        Raises ConfigError.
        """
        try:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(self.certificate, self.key)
            client = ssl.create_default_context(cafile=str(self.ca))
            _shake_hands(client, server, address)
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors
            reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
            raise ConfigError(f"tls: {self.certificate} will not do for {address}: {reason}", hint=_HINT) from None


def certificates(config: SiteConfig) -> Certificates | None:
    """Where the certificates of the site are, or will be; None where it goes without TLS."""
    if config.tls is None:
        return None
    if isinstance(config.tls, OwnTls):
        return Certificates(Path(config.tls.certificate), Path(config.tls.key), Path(config.tls.ca))
    ca = Path(str(config.ca_path)).absolute()
    return Certificates(ca.with_name("server.pem"), ca.with_name("server.key"), ca)


def ensure(config: SiteConfig) -> Certificates | None:
    """The certificates of the site, made or renewed where they are its own to make. Raises ConfigError."""
    found = certificates(config)
    if found is not None and config.tls == "self-signed":
        make_folder(found.ca.parent)
        if not found.ca.exists():
            _make_ca(found.ca, config.address)
        if not _serves(found, config.address):
            _issue(found, config.address)
    if found is not None:
        found.check(config.machine)
    return found


def caveat(config: SiteConfig) -> str | None:
    """What an operator has to know of a site with TLS at an IP address: https://github.com/pypa/pip/issues/12906."""
    if config.tls is None or config.index is not None or isinstance(_general(config.machine), x509.DNSName):
        return None
    return (
        f"pip 24.2 and later cannot check a certificate for {config.address}, an IP address: where nodes have such a "
        "pip, give the site a name that they know (--address NAME)"
    )


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, address: str) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=address),
    ]
    waiting = list(sides)
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue


def _make_ca(path: Path, address: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"bundler site {address}"[:64])])
    builder = _builder(name, name, key.public_key(), _CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs=True), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    _write_key(path.with_suffix(".key"), key)
    write_whole(path, builder.sign(key, SHA256()).public_bytes(Encoding.PEM), 0o644)


def _issue(to: Certificates, address: str) -> None:
    ca = x509.load_pem_x509_certificate(to.ca.read_bytes())
    ca_key = load_pem_private_key(to.ca.with_suffix(".key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "_make_ca made it"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address[:64])])
    life = min(_SERVER_LIFE, ca.not_valid_after_utc - _now())
    builder = _builder(name, ca.subject, key.public_key(), life)
    names = [_general(each) for each in dict.fromkeys((address.strip("[]"), *_LOOPBACK))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    _write_key(to.key, key)
    write_whole(to.certificate, builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _SKEW)
        .not_valid_after(_now() + life)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _serves(found: Certificates, address: str) -> bool:
    """Whether the certificate that is there will do for a while yet."""
    if not (found.certificate.exists() and found.key.exists()):
        return False
    leaf = found.leaf()
    # A crash may have come between the two files.
    ours = load_pem_private_key(found.key.read_bytes(), None).public_key() == leaf.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return ours and _general(address.strip("[]")) in list(names) and leaf.not_valid_after_utc > _now() + _RENEWED_BEFORE


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)

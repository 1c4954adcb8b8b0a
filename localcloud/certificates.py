"""
A certificate authority of this laptop, and one server certificate for `localhost` that it signed.

Clients trust it through `ca-bundle.pem` (the public authorities and ours), never by switching verification off. What
exists is used again while it is valid, so a restart does not break clients that run. Keys are readable by their owner only.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

VALID_FOR = timedelta(days=397)  # the longest that browsers accept for a server certificate
RENEWED_BEFORE_END = timedelta(days=30)  # a guess: no demo runs longer than that
CLOCK_SKEW = timedelta(days=1)  # a container's clock may be behind the laptop's
NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1",)
AUTHORITY = "Tuneloop local cloud CA"
TRUST_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")  # requests reads the first two, OpenSSL's clients the third
_BEGIN = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(rf"({_BEGIN}.*?-----END CERTIFICATE-----)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Where the files are that a server and its clients need."""

    ca: Path
    bundle: Path
    certificate: Path
    key: Path


def ensure(folder: Path, now: datetime | None = None, before: Mapping[str, str] = os.environ) -> Certificates:
    """
    Return the certificates in `folder`; make those that are missing, broken or about to end.

    `before` is the environment whose trust is merged into the bundle. It may be steered here already: the bundle then keeps what it has.
    """
    now = now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificates(
        ca=folder / "ca.pem", bundle=folder / "ca-bundle.pem", certificate=folder / "server.pem", key=folder / "server.key"
    )
    if not _usable(files, now):
        _make(files, now)
    _write_bundle(files, before)
    return files


def _usable(files: Certificates, now: datetime) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    try:
        authority = x509.load_pem_x509_certificate(files.ca.read_bytes())
        server = x509.load_pem_x509_certificate(files.certificate.read_bytes())
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        server.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with old files, new ones are the answer
        return False
    ends = min(authority.not_valid_after_utc, server.not_valid_after_utc)
    return key.public_key() == server.public_key() and ends - now > RENEWED_BEFORE_END


def _make(files: Certificates, now: datetime) -> None:
    """Make both; the authority's key is thrown away at once, so nobody can sign anything else with it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, now)
    server = _server(key, authority, authority_key, now)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(files.key, private, mode=0o600)
    _replace(files.certificate, server.public_bytes(pem), mode=0o644)
    _replace(files.ca, authority.public_bytes(pem), mode=0o644)


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name(AUTHORITY)
    return (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _server(
    key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    """Python 3.13 checks strictly (RFC 5280): key usage and both key identifiers must be there."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ADDRESSES]
    return (
        _builder(_name("localhost"), authority.subject, key.public_key(), now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + VALID_FOR)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])


def _write_bundle(files: Certificates, before: Mapping[str, str]) -> None:
    """Public authorities, those the person already trusts (a company proxy, say), and ours; each once."""
    import certifi

    ours = files.ca.read_text(encoding="utf-8").strip()
    parts = [Path(certifi.where()).read_text(encoding="utf-8"), *(_trusted(path, files) for path in _trusted_before(before))]
    kept: dict[str, None] = {}
    for part in parts:
        kept.update(dict.fromkeys(_pieces(part)))
    kept.pop(ours, None)
    content = ("\n".join([*kept, ours]) + "\n").encode()
    if not files.bundle.exists() or files.bundle.read_bytes() != content:
        _replace(files.bundle, content, mode=0o644)


def _trusted_before(before: Mapping[str, str]) -> list[Path]:
    """Return the files that those variables name; one of them may be a folder of certificates, as OpenSSL's c_rehash makes it."""
    found: dict[Path, None] = {}
    for name in TRUST_VARIABLES:
        path = Path(before.get(name) or os.devnull)
        if path.is_dir():
            inside = sorted(one.resolve() for one in path.iterdir() if one.is_file())
            found.update(dict.fromkeys(one for one in inside if _BEGIN.encode() in one.read_bytes()))
        elif path.is_file():
            found[path.resolve()] = None
    return list(found)


def _trusted(path: Path, files: Certificates) -> str:
    """Return what the file holds; an authority that an earlier start of ours wrote into our own bundle has ended."""
    content = path.read_text(encoding="utf-8", errors="replace")
    if path != files.bundle.resolve():
        return content
    return "\n".join(piece for piece in _pieces(content) if not _made_here(piece))


def _made_here(piece: str) -> bool:
    if not piece.startswith(_BEGIN):
        return False
    try:
        return AUTHORITY.encode() in ssl.PEM_cert_to_DER_cert(piece)
    except ValueError:
        return False


def _pieces(content: str) -> list[str]:
    """Return the certificates and what stands between them."""
    return [piece for piece in map(str.strip, _CERTIFICATE.split(content)) if piece]


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Write whole or not at all, and never readable by others in between."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    fresh.replace(path)

"""Certificates in memory; the only module that needs the ``cryptography`` package.

ed25519 throughout, X.509 v3 with every extension that OpenSSL's VERIFY_X509_STRICT asks for
(RFC 5280, §4.2). The daemon itself verifies with the standard library's ``ssl``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vppd.net.tls import fingerprint

CLOCK_SLACK = timedelta(hours=1)
"""Certificates begin that long ago: a gateway's clock may be behind."""


class Issued(NamedTuple):
    """A certificate and its secret key, both PEM."""

    certificate: bytes
    key: bytes


def make_ca(plant: str, days: int, now: datetime | None = None) -> Issued:
    """A self-signed authority for ``plant``, valid for so many days.

    Raises:
        ValueError: ``plant`` is no common name (1 to 64 characters).
    """
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    subject = _name(plant, plant, "certificate authority")
    builder = (
        _builder(subject, subject, public, now or datetime.now(UTC), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return _pem(builder.sign(key, None), key)


def make_leaf(
    ca: Issued, name: str, days: int, hosts: Sequence[str] = (), now: datetime | None = None
) -> Issued:
    """A node's certificate for TLS in both roles; it ends with the authority's at the latest.

    Args:
        ca: who signs.
        name: the node's, as common name.
        days: validity.
        hosts: addresses and host names, for people; nodes do not check them.
        now: when it begins, but for :data:`CLOCK_SLACK`.

    Raises:
        ValueError: a name or host that cannot stand in a certificate, or ``ca`` is not PEM of an
            ed25519 authority.
    """
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    issuer_key = _issuer_key(ca, issuer)
    key = Ed25519PrivateKey.generate()
    plant = str(issuer.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)
    begin = now or datetime.now(UTC)
    left = (issuer.not_valid_after_utc - begin).days
    builder = (
        _builder(_name(plant, name), issuer.subject, key.public_key(), begin, min(days, left))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    names = [_general_name(host) for host in hosts if host]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pem(builder.sign(issuer_key, None), key)


def make_crl(
    ca: Issued,
    before: bytes | None,
    revoked: Sequence[bytes],
    days: int,
    now: datetime | None = None,
) -> bytes:
    """The plant's list of revoked certificates (CRL), PEM: the one before, and some more.

    Args:
        ca: who signs.
        before: the list that this one replaces.
        revoked: certificates to add, PEM; one that is on the list already stays once.
        days: until a newer list must have replaced it.
        now: when it is made.

    Raises:
        ValueError: not PEM of that kind, or not of this authority.
    """
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    key = _issuer_key(ca, issuer)
    at = now or datetime.now(UTC)
    entries: dict[int, x509.RevokedCertificate] = {}
    number = 1
    if before is not None:
        old = x509.load_pem_x509_crl(before)
        if not old.is_signature_valid(key.public_key()):
            raise ValueError("the list there is was not signed by this authority")
        entries = {entry.serial_number: entry for entry in old}
        number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    for pem in revoked:
        certificate = x509.load_pem_x509_certificate(pem)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, TypeError, ValueError) as err:
            raise ValueError("the certificate is not of this authority") from err
        builder = x509.RevokedCertificateBuilder().revocation_date(at)
        serial = certificate.serial_number
        entries.setdefault(serial, builder.serial_number(serial).build())
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(at - CLOCK_SLACK)
        .next_update(at + timedelta(days=days))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    for entry in entries.values():
        crl = crl.add_revoked_certificate(entry)
    return crl.sign(key, None).public_bytes(Encoding.PEM)


def crl_dates(pem: bytes) -> tuple[datetime, datetime | None]:
    """When a list of revoked certificates was made, and when it ends, if it does.

    Raises:
        ValueError: not a PEM list.
    """
    crl = x509.load_pem_x509_crl(pem)
    return crl.last_update_utc, crl.next_update_utc


def describe(pem: bytes) -> dict[str, str]:
    """A certificate's facts for people, in order.

    Raises:
        ValueError: not a PEM certificate.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        hosts = ", ".join(str(name.value) for name in extension.value)
    except x509.ExtensionNotFound:
        hosts = ""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "from": certificate.not_valid_before_utc.isoformat(),
        "until": certificate.not_valid_after_utc.isoformat(),
        "hosts": hosts,
        "serial": f"{certificate.serial_number:x}",
        "fingerprint": fingerprint(certificate.public_bytes(Encoding.DER)).hex(),
    }


def _issuer_key(ca: Issued, issuer: x509.Certificate) -> Ed25519PrivateKey:
    key = load_pem_private_key(ca.key, None)
    if not isinstance(key, Ed25519PrivateKey) or key.public_key() != issuer.public_key():
        raise ValueError("the authority's key is not the ed25519 key of its certificate")
    return key


def _name(plant: str, common: str, unit: str | None = None) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, plant), (NameOID.COMMON_NAME, common)]
    if unit is not None:  # keeps the authority's subject apart from that of a node of this name
        parts.insert(1, (NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: Ed25519PublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate, key: Ed25519PrivateKey) -> Issued:
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM), secret)

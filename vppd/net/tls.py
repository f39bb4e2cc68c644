"""TLS 1.3 both ways between the plant's nodes, with the plant's CA and no other.

The settings are those of reliability.md, Part 3. Contexts are built by hand rather than with
``ssl.create_default_context``, which honours SSLKEYLOGFILE and the system's authorities. Names in
certificates are not checked: the signed hello binds the consensus key to both certificates'
fingerprints, so an address or host name proves nothing and may change.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import stat
from pathlib import Path
from typing import NamedTuple

from vppd.errors import ConfigError
from vppd.types import Digest

_OTHER_CA = frozenset({7, 18, 19, 20, 21})
"""OpenSSL verify codes: bad signature, self-signed, or no issuer among ours."""
_VERIFY_REASONS = {
    3: "our list of revoked certificates (CRL) is not from the plant's CA",
    9: "certificate not valid yet; compare the clocks",
    10: "certificate has expired",
    12: "our list of revoked certificates (CRL) has expired",
    23: "certificate is revoked",
}
_BROKEN_OFF = "broke off the TLS handshake; it may have refused our certificate"


class Tls(NamedTuple):
    """One node's side of every TLS connection."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    fingerprint: Digest
    """Of this node's own certificate."""


def fingerprint(der: bytes) -> Digest:
    """SHA-256 of a certificate's DER encoding."""
    return hashlib.sha256(der).digest()


def load_tls(ca: Path, cert: Path, key: Path, crl: Path | None = None) -> Tls:
    """Read this node's certificate files and try them on itself.

    A certificate that this node's own plant would refuse (expired, of another CA, revoked) is
    found here, where the person who can renew it is looking.

    Args:
        ca: the plant's authority, PEM.
        cert: this node's certificate, PEM.
        key: its secret key, PEM, readable by its owner only.
        crl: revoked certificates, PEM; ``None``: none are checked.

    Raises:
        ConfigError: E302, a file is missing or not what it should be; E305, others may read the
            key; E306, the plant's own nodes would refuse this certificate.
    """
    mode = _mode(key)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            "E305",
            "others may read this node's TLS key",
            facts={"file": str(key), "mode": f"{mode:04o}, must be 0600 or less"},
            hint=f"chmod 600 {key}",
        )
    server = _context(ssl.PROTOCOL_TLS_SERVER, ca, cert, key, crl)
    server.num_tickets = 0  # no resumption: it would outlive a revocation
    client = _context(ssl.PROTOCOL_TLS_CLIENT, ca, cert, key, crl)
    _try_on_itself(server, client, cert)
    pem = cert.read_text(encoding="ascii")
    first = pem[pem.index(ssl.PEM_HEADER) : pem.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
    return Tls(server, client, fingerprint(ssl.PEM_cert_to_DER_cert(first)))


def peer_fingerprint(connection: ssl.SSLObject) -> Digest:
    """Fingerprint of the certificate the other side has shown on this connection."""
    der = connection.getpeercert(binary_form=True)
    if der is None:  # pragma: no cover - CERT_REQUIRED on both sides
        raise ssl.SSLError("the other side has shown no certificate")
    return fingerprint(der)


def explain(err: BaseException) -> str:
    """Why a connection failed, in words for the person who reads status or logs."""
    if isinstance(err, ssl.SSLCertVerificationError):
        if err.verify_code in _OTHER_CA:
            return "certificate signed by another plant's CA"
        return _VERIFY_REASONS.get(err.verify_code, err.verify_message)
    if isinstance(err, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _BROKEN_OFF
    if isinstance(err, ssl.SSLError):
        if err.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
            return 'speaks no TLS; is one side set to transport = "plain"?'
        return f"TLS: {(err.reason or str(err)).lower().replace('_', ' ')}"
    if isinstance(err, ConnectionRefusedError):
        return "connection refused"
    if isinstance(err, TimeoutError):
        return "no answer"
    if isinstance(err, ConnectionAbortedError) and "handshake" in str(err):
        return "too slow: the TLS handshake is not over in time"  # both event loops say it so
    if isinstance(err, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return "connection reset"
    if isinstance(err, socket.gaierror):
        return f"host name not found ({err.strerror})"
    if isinstance(err, OSError):
        return (err.strerror or str(err)).lower()
    return str(err)


def explain_handshake(err: BaseException) -> str:
    """The same for a connection that failed before TLS was up.

    Neither event loop sends the alert in which TLS would name the reason for a refusal; the
    refused side only sees the connection end.
    """
    why = explain(err)
    return _BROKEN_OFF if why == "connection reset" else why


def _mode(key: Path) -> int:
    try:
        return stat.S_IMODE(key.stat().st_mode)
    except OSError as err:
        raise _unreadable(key, err) from err


def _context(
    protocol: ssl._SSLMethod, ca: Path, cert: Path, key: Path, crl: Path | None
) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    authorities = [ca]
    if crl is not None:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        authorities.append(crl)
    for file in authorities:
        try:
            context.load_verify_locations(cafile=str(file))
        except (OSError, ssl.SSLError) as err:
            raise _unreadable(file, err) from err
    try:
        context.load_cert_chain(str(cert), str(key))
    except ssl.SSLError as err:
        if err.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                "E302",
                "this node's certificate and TLS key do not belong together",
                facts={"certificate": str(cert), "key": str(key)},
                hint="copy both from the folder that vppd pki issue wrote",
            ) from err
        raise _unreadable(cert, err) from err
    except OSError as err:
        raise _unreadable(cert, err) from err
    return context


def _unreadable(file: Path, err: OSError) -> ConfigError:
    why = err.strerror or str(err)
    if isinstance(err, ssl.SSLError):
        why = "not a PEM file of that kind"
    return ConfigError(
        "E302",
        "a certificate file cannot be read",
        facts={"file": str(file), "why": why},
        hint="vppd pki issue writes ca.pem, node.pem and node-tls.key;"
        "\n[net] in node.toml names them",
    )


def _try_on_itself(server: ssl.SSLContext, client: ssl.SSLContext, cert: Path) -> None:
    """One handshake in memory between both contexts."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(down, up, server_side=False),
        server.wrap_bio(up, down, server_side=True),
    ]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)
        except ssl.SSLError as err:
            raise ConfigError(
                "E306",
                "the plant's nodes would refuse this node's certificate",
                facts={"file": str(cert), "why": explain(err)},
                hint="vppd pki issue with the plant's CA writes a new one",
            ) from err

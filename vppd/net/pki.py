"""``vppd pki``: the plant's certificate authority and its nodes' certificates, as files.

Runs where a person issues certificates; a node never needs the ``cryptography`` package, which
is imported only here and only when something is to be issued or shown.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vppd.errors import UserError

if TYPE_CHECKING:
    from vppd.net.x509 import Issued

CA_CERT = "ca.pem"
CA_KEY = "ca.key"
NODE_CERT = "node.pem"
NODE_KEY = "node-tls.key"
CA_DAYS = 3_650
LEAF_DAYS = 90
CRL = "crl.pem"
CRL_DAYS = 365
_PUBLIC, _SECRET = 0o644, 0o600


def init_ca(folder: Path, name: str) -> None:
    """Create ``ca.pem`` and ``ca.key`` (0600), valid for ten years.

    Args:
        folder: created if missing.
        name: the plant's.

    Raises:
        UserError: E150, no library; E151, an authority is there already; E152, the folder cannot
            be written; E153, a name that cannot stand in a certificate.
    """
    library = _library()
    _refuse_existing(folder / CA_CERT, folder / CA_KEY)
    try:
        issued: Issued = library.make_ca(name, CA_DAYS)
    except ValueError as err:
        raise _cannot_issue(err, {"plant": name}) from err
    _write(folder / CA_KEY, issued.key, _SECRET)
    _write(folder / CA_CERT, issued.certificate, _PUBLIC)


def issue(
    folder: Path, name: str, out: Path, days: int = LEAF_DAYS, hosts: Sequence[str] = ()
) -> None:
    """Write a node's ``node.pem`` and ``node-tls.key`` (0600), and the plant's ``ca.pem`` beside.

    Args:
        folder: of the authority.
        name: the node's.
        out: the node's folder, created if missing; an equal ``ca.pem`` may be there.
        days: validity, at least 1; never beyond the authority's.
        hosts: the node's addresses and host names.

    Raises:
        UserError: E150, no library; E151, a file is there already; E152, cannot be read or
            written; E153, something that cannot stand in a certificate.
    """
    library = _library()
    certificate, key = _read(folder / CA_CERT), _read(folder / CA_KEY)
    _refuse_existing(out / NODE_CERT, out / NODE_KEY)
    ca_copy = out / CA_CERT
    copied = ca_copy.exists() and _read(ca_copy) == certificate
    if not copied:
        _refuse_existing(ca_copy)
    try:
        issued: Issued = library.make_leaf(library.Issued(certificate, key), name, days, hosts)
    except ValueError as err:
        raise _cannot_issue(err, {"node": name, "authority": str(folder)}) from err
    _write(out / NODE_KEY, issued.key, _SECRET)
    _write(out / NODE_CERT, issued.certificate, _PUBLIC)
    if not copied:
        _write(ca_copy, certificate, _PUBLIC)


def revoke(folder: Path, files: Sequence[Path], days: int = CRL_DAYS) -> Path:
    """Put certificates on the plant's list of revoked ones, ``crl.pem``; without any, renew it.

    The list replaces the one before: it only ever grows, and holds for so many days.

    Args:
        folder: of the authority.
        files: certificates, PEM.
        days: validity of the list.

    Returns:
        The list's path.

    Raises:
        UserError: E150, no library; E152, cannot be read or written; E154, not a certificate of
            this authority.
    """
    library = _library()
    certificate, key = _read(folder / CA_CERT), _read(folder / CA_KEY)
    path = folder / CRL
    before = _read(path) if path.exists() else None
    try:
        crl: bytes = library.make_crl(
            library.Issued(certificate, key), before, [_read(file) for file in files], days
        )
    except ValueError as err:
        raise UserError(
            "E154",
            "this cannot be revoked",
            facts={
                "certificate": ", ".join(map(str, files)) or "none",
                "authority": str(folder),
                "why": str(err),
            },
            hint="the node's node.pem, and --dir with the authority that issued it",
        ) from err
    fresh = folder / f"{CRL}.new"
    fresh.unlink(missing_ok=True)
    _write(fresh, crl, _PUBLIC)
    fresh.replace(path)
    return path


def show(path: Path) -> dict[str, str]:
    """Subject, issuer, from, until, hosts, serial and fingerprint of a PEM certificate.

    Raises:
        UserError: E150, no library; E152, cannot be read; E153, not a certificate.
    """
    library = _library()
    try:
        facts: dict[str, str] = library.describe(_read(path))
    except ValueError as err:
        raise UserError(
            "E153",
            "this file is not a certificate",
            facts={"file": str(path), "why": str(err)},
            hint="vppd pki show node.pem, or ca.pem; keys are not shown",
        ) from err
    return facts


def _library() -> ModuleType:
    try:
        from vppd.net import x509
    except ModuleNotFoundError as err:
        if err.name is None or err.name.partition(".")[0] != "cryptography":
            raise
        raise UserError(
            "E150",
            "issuing certificates needs the cryptography package",
            facts={"missing": err.name},
            hint="pip install 'vppd[pki]'     on the machine that issues; nodes do not need it",
        ) from err
    return x509


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if file.exists() or file.is_symlink():
            raise UserError(
                "E151",
                "nothing of a certificate authority or node is ever overwritten",
                facts={"file": str(file)},
                hint="name another folder, or move the file away first",
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise UserError(
            "E152",
            "a certificate file cannot be read",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="vppd pki init writes ca.pem and ca.key; --dir names their folder",
        ) from err


def _write(path: Path, data: bytes, mode: int) -> None:
    def private(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", opener=private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        _refuse_existing(path)
        raise  # pragma: no cover - gone again in between
    except OSError as err:
        raise UserError(
            "E152",
            "a certificate file cannot be written",
            facts={"file": str(path), "why": err.strerror or str(err)},
            hint="write to a folder that exists and is yours",
        ) from err


def _cannot_issue(err: ValueError, facts: dict[str, str]) -> UserError:
    return UserError(
        "E153",
        "no certificate can be issued from this",
        facts={**facts, "why": str(err)},
        hint="names have 1 to 64 characters; hosts are addresses or ASCII host names",
    )

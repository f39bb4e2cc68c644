"""Certificates: proof that a quorum signed one (epoch, view, height, digest).

A list of signatures with a signer bitmap, behind one class and one verify function, so that an
aggregate scheme could replace it (protocol.md, §3).
"""

from __future__ import annotations

from collections.abc import Mapping

from vppd.codec import Malformed
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes
from vppd.consensus.validators import ValidatorSet
from vppd.crypto import Verify
from vppd.types import Digest, Epoch, Height, ReplicaIndex, Signature, View

_TAG = {
    CertificateKind.PREPARED: TAG_VOTE,
    CertificateKind.COMMIT: TAG_COMMIT,
    CertificateKind.FAST: TAG_VOTE,
}


def assemble(
    kind: CertificateKind,
    epoch: Epoch,
    view: View,
    height: Height,
    digest: Digest,
    signatures: Mapping[ReplicaIndex, Signature],
    n: int,
    size: int,
) -> Certificate:
    """The canonical certificate: the ``size`` lowest signers of those held."""
    signers = sorted(signatures)[:size]
    bitmap = bytearray((n + 7) // 8)
    for i in signers:
        bitmap[i // 8] |= 1 << (i % 8)
    return Certificate(
        kind, epoch, view, height, digest, bytes(bitmap), tuple(signatures[i] for i in signers)
    )


def signers_of(certificate: Certificate) -> tuple[ReplicaIndex, ...]:
    """Indices whose bit is set, ascending."""
    return tuple(
        8 * byte + bit
        for byte, value in enumerate(certificate.signers)
        for bit in range(8)
        if value >> bit & 1
    )


def required(kind: int, validators: ValidatorSet) -> int:
    """How many signatures a certificate of ``kind`` holds, exactly.

    Raises:
        Malformed: no such kind.
    """
    if kind in (CertificateKind.PREPARED, CertificateKind.COMMIT):
        return validators.quorum.vote
    if kind == CertificateKind.FAST:
        return validators.quorum.fast
    raise Malformed(f"certificate kind {kind} is unknown")


def check_certificate(
    certificate: Certificate, validators: ValidatorSet, chain_id: Digest, verify: Verify
) -> None:
    """Whether the certificate proves what it says.

    Raises:
        Malformed: wrong epoch, size, bitmap or count, or a signature that does not hold; the
            message names the signer.
    """
    size = required(certificate.kind, validators)
    n = validators.quorum.n
    if certificate.epoch != validators.epoch:
        raise Malformed(f"certificate of epoch {certificate.epoch}, in force is {validators.epoch}")
    if len(certificate.signers) != (n + 7) // 8:
        raise Malformed(f"bitmap of {len(certificate.signers)} bytes for {n} replicas")
    signers = signers_of(certificate)
    if signers and signers[-1] >= n:
        raise Malformed(f"certificate names replica {signers[-1]}, there are {n}")
    if len(signers) != size or len(certificate.signatures) != size:
        raise Malformed(
            f"certificate names {len(signers)} signers with {len(certificate.signatures)} "
            f"signatures, it takes exactly {size}"
        )
    message = sign_bytes(
        _TAG[CertificateKind(certificate.kind)],
        chain_id,
        certificate.epoch,
        certificate.view,
        certificate.height,
        certificate.digest,
    )
    for index, signature in zip(signers, certificate.signatures, strict=True):
        if not verify(validators.members[index].key, message, signature):
            raise Malformed(
                f"signature of replica {index} on height {certificate.height} does not hold"
            )

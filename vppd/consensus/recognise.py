"""Our own signatures, met again: does the record know of them? (protocol.md, §4, Rollback).

A record that lacks something its key has signed is older than it was, or the key lives twice.
Whatever carries signatures is looked through: what peers show on purpose
(:mod:`vppd.consensus.lastwords`), certificates, view changes inside a new view. Everything here
has passed the gate, so a signature of ours was made with our key.
"""

from __future__ import annotations

from msgspec.structs import replace

from vppd.consensus.boundary import ZERO_SIGNATURE
from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import Certificate, CertificateKind, NewView, Standing
from vppd.consensus.safety import SafetyRecord, position_of
from vppd.types import Mode, ReplicaIndex


def unknown_in_certificate(
    record: SafetyRecord, own: ReplicaIndex, certificate: Certificate | None
) -> str:
    """Which vote of ours in a certificate the record never cast; empty: none.

    In one of another epoch ``own`` is somebody else's index.
    """
    if certificate is None or certificate.epoch != record.epoch:
        return ""
    if own not in signers_of(certificate):
        return ""
    commits = certificate.kind == CertificateKind.COMMIT
    covers = record.covers_commit if commits else record.covers_vote
    if covers(position_of(certificate), certificate.digest):
        return ""
    return f"it has signed at height {certificate.height}, view {certificate.view}"


def unknown_change(record: SafetyRecord, own: ReplicaIndex, standing: Standing) -> str:
    """Whether a view change of ours is one the record never asked for; empty: it is not."""
    if standing.signer != own:
        return ""
    if not record.covers_change(standing.epoch, standing.view):
        return f"it has asked for view {standing.view}"
    change = record.change
    if change is not None and change.standing.view == standing.view:
        said = replace(standing, sig=ZERO_SIGNATURE)
        if said != replace(change.standing, sig=ZERO_SIGNATURE):
            return f"it has asked for view {standing.view} in other words"
    return ""


def unknown_in_new_view(
    record: SafetyRecord, own: ReplicaIndex, leader: ReplicaIndex, message: NewView
) -> str:
    """Whether a new view holds, or is, something of ours that the record lacks; empty: no."""
    at, here = (message.epoch, message.view), (record.epoch, record.view)
    if leader == own and (here < at or (here == at and record.mode is Mode.CHANGING)):
        return f"it has opened view {message.view}"
    for standing in message.standings:
        why = unknown_change(record, own, standing)
        if why:
            return why
    return unknown_in_certificate(record, own, message.prepared) or unknown_in_certificate(
        record, own, message.decision
    )

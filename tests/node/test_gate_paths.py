"""The gate on what only ``bncm`` says: the end of a wait, and decisions by F first-round votes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, LEADER, N
from tests.node.test_gate import OTHER, Checked, leader, schedule, signed, terms
from tests.store.real_chain import VALIDATORS
from vppd.codec import Malformed
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Agree,
    Certificate,
    CertificateKind,
    Collected,
    Prepare,
    PrePrepared,
    Type,
)
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, TAG_VOTE
from vppd.consensus.terms import founding_term
from vppd.crypto import sha256
from vppd.net.gate import BadSignature, Gate, header_of

QUORUM = VALIDATORS.quorum.vote


@pytest.fixture
def checked() -> Checked:
    return Checked()


def prepared(
    *, view: int = 0, height: int = 1, digest: bytes = OTHER, size: int = QUORUM
) -> Certificate:
    votes = {i: signed(TAG_VOTE, height, digest, i, view) for i in range(size)}
    return assemble(CertificateKind.PREPARED, 0, view, height, digest, votes, N, size)


def waited(held: Certificate | None) -> PrePrepared:
    """The leader of view 0 ends the wait at height 1."""
    return PrePrepared(0, 0, 1, OTHER, signed(TAG_PROPOSAL, 1, OTHER, LEADER), held)


def test_the_end_of_a_wait_passes_with_and_without_votes(checked: Checked) -> None:
    checked.gate.check(waited(None))
    assert checked.count == 1 == checked.gate.cost(waited(None))
    checked.gate.check(waited(prepared()))
    assert checked.count == 1 + (1 + QUORUM)
    assert checked.gate.cost(waited(prepared())) == 1 + QUORUM


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"view": N},
        {"height": 2},
        {"digest": bytes(32)},
        {"proposal_sig": bytes(64)},
        {"proposal_sig": signed(TAG_VOTE, 1, OTHER, LEADER)},
        {"proposal_sig": signed(TAG_PROPOSAL, 1, OTHER, 1)},
    ],
)
def test_every_field_is_under_the_proposal_s_signature(
    checked: Checked, change: dict[str, Any]
) -> None:
    for held in (None, prepared()):
        wrong = replace(waited(held), **change)
        checked.refuses(wrong, BadSignature, "replica 0 did not sign this preprepared")


def test_only_the_leader_of_its_view_ends_a_wait(checked: Checked) -> None:
    wrong = replace(waited(None), view=1)
    checked.refuses(wrong, BadSignature, "replica 1 did not sign")
    right = replace(wrong, proposal_sig=signed(TAG_PROPOSAL, 1, OTHER, schedule(1, 1), 1))
    checked.gate.check(right)


@pytest.mark.parametrize(
    "held",
    [
        prepared(view=1),
        prepared(height=2),
        prepared(digest=sha256(b"a third digest")),
        replace(prepared(), epoch=1),
    ],
    ids=["view", "height", "digest", "epoch"],
)
def test_votes_for_something_else_are_refused_before_they_are_verified(
    checked: Checked, held: Certificate
) -> None:
    checked.refuses(waited(held), Malformed, "votes of another block")
    assert checked.count == 1


@pytest.mark.parametrize("kind", [CertificateKind.COMMIT, CertificateKind.FAST, 0, 9])
def test_a_certificate_of_another_kind_prepares_nothing(checked: Checked, kind: int) -> None:
    held = replace(prepared(), kind=kind)
    checked.refuses(waited(held), Malformed, f"kind {kind} prepares nothing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"signers": b"\x0b"}, "does not hold"),
        ({"signers": b"\x03"}, "signature"),
        ({"signers": b"\x0f"}, "signature"),
        ({"signers": b"\x13"}, "replica 4"),
        ({"signers": b"\x07\x00"}, "bitmap"),
        ({"signatures": (bytes(64),) * QUORUM}, "does not hold"),
    ],
)
def test_the_votes_shown_are_checked_as_any_certificate_is(
    checked: Checked, change: dict[str, Any], words: str
) -> None:
    checked.refuses(waited(replace(prepared(), **change)), Malformed, words)


def test_fewer_or_more_votes_than_q_are_no_prepared_certificate(checked: Checked) -> None:
    for size in (QUORUM - 1, QUORUM + 1):
        checked.refuses(waited(prepared(size=size)), Malformed, "signatures")


def test_commits_are_no_first_round_votes(checked: Checked) -> None:
    commits = {i: signed(TAG_COMMIT, 1, OTHER, i) for i in range(QUORUM)}
    held = assemble(CertificateKind.PREPARED, 0, 0, 1, OTHER, commits, N, QUORUM)
    checked.refuses(waited(held), Malformed, "does not hold")


def test_one_vote_has_one_signature_in_either_envelope(checked: Checked) -> None:
    sig = signed(TAG_VOTE, 1, OTHER, 2)
    checked.gate.check(Collected(0, 0, 1, OTHER, 2, sig))
    checked.gate.check(Prepare(0, 0, 1, OTHER, 2, sig))
    assert checked.gate.cost(Collected(0, 0, 1, OTHER, 2, sig)) == 1


def test_headers_name_who_must_have_signed() -> None:
    header = header_of(replace(waited(None), view=3), leader)
    assert header is not None
    assert header[:6] == (Type.PRE_PREPARED, 0, 3, 1, OTHER, 3)
    header = header_of(Collected(0, 0, 1, OTHER, 2, bytes(64)), leader)
    assert header is not None
    assert header[:6] == (Type.RECEIVED, 0, 0, 1, OTHER, 2)


# ---------------------------------------------------------------- decisions by F votes


def fast(size: int, kind: int = CertificateKind.FAST) -> Certificate:
    votes = {i: signed(TAG_VOTE, 1, OTHER, i) for i in range(size)}
    return assemble(CertificateKind(kind), 0, 0, 1, OTHER, votes, N, size)


def gate_with_exit(checked: Checked) -> Gate:
    return Gate(GENESIS.digest, terms("bncm"), checked.verify, lambda _: None)


def test_f_votes_decide_where_the_engine_has_a_fast_exit(checked: Checked) -> None:
    full = VALIDATORS.quorum.fast
    gate_with_exit(checked).check(Agree(fast(full)))
    assert checked.count == full
    checked.refuses(Agree(fast(full)), Malformed, "decides nothing")


def test_which_certificates_decide_is_the_engine_s_affair() -> None:
    """For whoever reads a store or a proof without a node."""
    rules = {e: replace(GENESIS.consensus, engine=e) for e in ("bncm", "pbft")}
    chains = {engine: replace(GENESIS, consensus=made) for engine, made in rules.items()}
    assert founding_term(chains["bncm"]).decisive == {CertificateKind.COMMIT, CertificateKind.FAST}
    assert founding_term(chains["pbft"]).decisive == {CertificateKind.COMMIT}


def test_fewer_than_f_votes_decide_nothing(checked: Checked) -> None:
    with pytest.raises(Malformed, match="signatures"):
        gate_with_exit(checked).check(Agree(fast(VALIDATORS.quorum.fast - 1)))
    with pytest.raises(Malformed, match="decides nothing"):
        gate_with_exit(checked).check(Agree(prepared()))
    shown = Agree(replace(fast(VALIDATORS.quorum.fast), signatures=(KEYS[0].sign(b""),) * N))
    with pytest.raises(Malformed, match="does not hold"):
        gate_with_exit(checked).check(shown)

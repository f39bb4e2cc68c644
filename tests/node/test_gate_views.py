"""The gate on view changes, new views and evidence: every claim needs what proves it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, N
from tests.node.test_gate import Checked, leader, maker, schedule, signed  # noqa: F401  # maker: fixture
from tests.store.real_chain import Maker
from vppd.codec import Malformed
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Certificate,
    CertificateKind,
    Claim,
    Concealment,
    Equivocation,
    Evidence,
    NewView,
    Proof,
    Round,
    Standing,
    Type,
    ViewChange,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    new_view_bytes,
    standing_bytes,
)
from vppd.crypto import sha256
from vppd.net.gate import BadSignature, header_of

ONE, TWO = sha256(b"one digest"), sha256(b"two digests")
ZERO = bytes(64)


def standing(signer: int, **fields: Any) -> Standing:
    made = Standing(0, 5, signer, 0, GENESIS.digest, None, None, ZERO)
    made = replace(made, **fields)
    return replace(made, sig=KEYS[signer].sign(standing_bytes(GENESIS.digest, made)))


def prepared(digest: bytes = ONE, view: int = 3, height: int = 1) -> Certificate:
    votes = {i: signed(TAG_VOTE, height, digest, i, view) for i in range(3)}
    return assemble(CertificateKind.PREPARED, 0, view, height, digest, votes, N, 3)


def opened(*shown: Standing, **fields: Any) -> NewView:
    made = replace(NewView(0, 5, 1, None, shown, None, None, ZERO), **fields)
    return replace(made, sig=KEYS[schedule(5, 1)].sign(new_view_bytes(GENESIS.digest, made)))


@pytest.fixture
def checked() -> Checked:
    return Checked()


# ---------------------------------------------------------------- view changes


def test_a_view_change_at_genesis_needs_no_certificate(checked: Checked) -> None:
    checked.gate.check(ViewChange(standing(2), None, None))
    assert checked.count == 1


def test_a_view_change_shows_the_decision_it_stands_on(
    checked: Checked,
    maker: Maker,  # noqa: F811
) -> None:
    decision = maker.blocks[1].certificate
    asked = standing(2, decided=2, head=decision.digest)
    checked.gate.check(ViewChange(asked, decision, None))
    checked.refuses(ViewChange(asked, None, None), Malformed, "without the decision")
    older = maker.blocks[0].certificate
    checked.refuses(ViewChange(asked, older, None), Malformed, "decision of another block")
    other = standing(2, decided=2, head=ONE)
    checked.refuses(ViewChange(other, decision, None), Malformed, "decision of another block")
    forged = replace(decision, signatures=(ZERO, *decision.signatures[1:]))
    checked.refuses(ViewChange(asked, forged, None), Malformed, "does not hold")
    wrong_kind = replace(prepared(decision.digest, 0, 2))
    checked.refuses(ViewChange(asked, wrong_kind, None), Malformed, "decides nothing")


def test_a_prepared_claim_comes_with_exactly_its_certificate(checked: Checked) -> None:
    claims = standing(2, prepared=Claim(3, ONE))
    checked.gate.check(ViewChange(claims, None, prepared()))
    checked.refuses(ViewChange(claims, None, None), Malformed, "come together")
    checked.refuses(ViewChange(standing(2), None, prepared()), Malformed, "come together")
    for other in (prepared(TWO), prepared(view=2), prepared(height=2)):
        checked.refuses(ViewChange(claims, None, other), Malformed, "another certificate")
    forged = replace(prepared(), signatures=(ZERO,) * 3)
    checked.refuses(ViewChange(claims, None, forged), Malformed, "does not hold")
    commits = {i: signed(TAG_COMMIT, 1, ONE, i, 3) for i in range(3)}
    decided = assemble(CertificateKind.COMMIT, 0, 3, 1, ONE, commits, N, 3)
    checked.refuses(ViewChange(claims, None, decided), Malformed, "prepares nothing")


@pytest.mark.parametrize("claim", ["vote", "prepared"])
def test_nobody_claims_the_view_asked_for_or_a_later_one(checked: Checked, claim: str) -> None:
    for view in (5, 6):
        asked = standing(2, **{claim: Claim(view, ONE)})
        proof = prepared(view=view) if claim == "prepared" else None
        checked.refuses(ViewChange(asked, None, proof), Malformed, f"a claim of view {view}")


@pytest.mark.parametrize(
    "change", [{"view": 6}, {"signer": 1}, {"vote": Claim(1, ONE)}, {"sig": ZERO}]
)
def test_every_field_of_a_view_change_is_signed(checked: Checked, change: dict[str, Any]) -> None:
    asked = replace(standing(2), **change)
    checked.refuses(ViewChange(asked, None, None), BadSignature, "did not sign")


def test_a_view_change_of_another_epoch_or_replica_is_malformed(checked: Checked) -> None:
    checked.refuses(ViewChange(standing(2, epoch=2), None, None), Malformed, "epoch 2")
    stranger = replace(standing(2), signer=N)
    checked.refuses(ViewChange(stranger, None, None), Malformed, "no replica has index")


# ---------------------------------------------------------------- new views


def test_a_new_view_passes_with_one_signature_per_view_change_and_its_own(
    checked: Checked,
) -> None:
    checked.gate.check(opened(standing(0), standing(1), standing(2)))
    assert checked.count == 4


def test_a_new_view_is_signed_by_the_leader_of_its_view(checked: Checked) -> None:
    good = opened(standing(0), standing(1), standing(2))
    for change in ({"choice": ONE}, {"height": 2}, {"sig": ZERO}):
        checked.refuses(replace(good, **change), BadSignature, "did not open view")
    swapped = replace(good, standings=good.standings[::-1])
    checked.refuses(swapped, Malformed, "distinct replicas in order")
    checked.refuses(replace(good, view=9), Malformed, "for another view")


def test_every_view_change_in_it_is_checked(checked: Checked) -> None:
    forged = replace(standing(2), sig=ZERO)
    checked.refuses(opened(standing(0), standing(1), forged), BadSignature, "replica 2")


def test_it_takes_exactly_w_view_changes(checked: Checked) -> None:
    three = [standing(i) for i in range(3)]
    checked.refuses(opened(*three[:2]), Malformed, "2 view changes, it takes exactly 3")
    checked.refuses(opened(*three, standing(3)), Malformed, "4 view changes")


def test_certificates_in_it_are_checked(checked: Checked) -> None:
    three = [standing(0, prepared=Claim(3, ONE)), standing(1), standing(2)]
    checked.gate.check(opened(*three, prepared=prepared(), choice=ONE))
    forged = replace(prepared(), signatures=(ZERO,) * 3)
    checked.refuses(opened(*three, prepared=forged), Malformed, "does not hold")
    checked.refuses(opened(*three, decision=prepared()), Malformed, "decides nothing")


def test_headers_name_signer_and_view() -> None:
    header = header_of(ViewChange(standing(2), None, None), leader)
    assert header is not None
    assert (header.type, header.view, header.signer) == (Type.VIEW_CHANGE, 5, 2)
    header = header_of(opened(standing(0), standing(1), standing(2)), leader)
    assert header is not None
    assert (header.type, header.view, header.signer) == (Type.NEW_VIEW, 5, schedule(5, 1))


# ---------------------------------------------------------------- evidence

TAGS = {Round.VOTE: TAG_VOTE, Round.COMMIT: TAG_COMMIT, Round.PROPOSAL: TAG_PROPOSAL}


def twice(round_: Round, signer: int = 2) -> Equivocation:
    sigs = [signed(TAGS[round_], 7, digest, signer, 1) for digest in (ONE, TWO)]
    return Equivocation(round_, 0, 1, 7, signer, ONE, sigs[0], TWO, sigs[1])


@pytest.mark.parametrize("round_", Round)
def test_two_signatures_for_two_digests_convict(checked: Checked, round_: Round) -> None:
    checked.gate.check(Evidence(twice(round_)))
    assert checked.count == 2


def _refuse(checked: Checked, proof: Proof, words: str) -> None:
    with pytest.raises((Malformed, BadSignature), match=words):
        checked.gate.check(Evidence(proof))


def test_nothing_less_convicts(checked: Checked) -> None:
    good = twice(Round.VOTE)
    _refuse(checked, replace(good, second=ONE, second_sig=good.first_sig), "do not exclude")
    _refuse(checked, replace(good, round=4), "do not exclude")
    for change in ({"signer": 1}, {"view": 2}, {"height": 8}, {"epoch": 1}, {"first_sig": ZERO}):
        _refuse(checked, replace(good, **change), "did not sign")
    _refuse(checked, replace(good, round=Round.COMMIT), "did not sign")


def test_a_hidden_vote_convicts_and_an_honest_claim_does_not(checked: Checked) -> None:
    sig = signed(TAG_VOTE, 1, ONE, 2, 3)
    for claim in (None, Claim(2, ONE), Claim(3, TWO)):
        checked.gate.check(Evidence(Concealment(standing(2, vote=claim), Claim(3, ONE), sig)))
    for claim in (Claim(3, ONE), Claim(4, TWO)):
        honest = Concealment(standing(2, vote=claim), Claim(3, ONE), sig)
        _refuse(checked, honest, "hides nothing")
    later = Concealment(standing(2), Claim(5, ONE), signed(TAG_VOTE, 1, ONE, 2, 5))
    _refuse(checked, later, "hides nothing")
    foreign = Concealment(standing(2), Claim(3, ONE), signed(TAG_VOTE, 1, ONE, 1, 3))
    _refuse(checked, foreign, "replica 2 did not sign")

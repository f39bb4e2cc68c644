"""What proves itself: evidence convicts, everything less changes nothing."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.ledger.chain import events
from tests.ledger.council import NODES, Council, Crimes, plant
from vppd.codec import Malformed
from vppd.consensus.messages import Claim, Proof, Round
from vppd.consensus.proving import check_proof
from vppd.consensus.terms import validators_of
from vppd.crypto import sha256, verify
from vppd.ledger.changes import Readmit, Remove, SetNumber
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import Convicted, EraScheduled
from vppd.ledger.proofs import Accuse
from vppd.ledger.receipts import Receipt
from vppd.ledger.statements import MOST_STATEMENTS
from vppd.ledger.transaction import decode_transaction, make_statement

NEW = NODES[9]
OTHER_CHAIN = sha256(b"another chain")


def key(i: int) -> bytes:
    return NODES[i].public_key


# -- evidence


@pytest.mark.parametrize("round_", Round)
def test_two_signatures_at_one_place_convict(round_: Round) -> None:
    council = Council(plant(4))
    receipts = council.say(Accuse(Crimes(council).twice(NODES[2], round_)))
    assert events(receipts[1], Convicted) == [Convicted(key(2), 0)]
    assert council.members() == [key(0), key(1), key(3)]
    assert council.latest.first == council.ledger.height + 2
    assert events(receipts[0], EraScheduled) == [EraScheduled(council.latest)]


def test_a_concealed_vote_convicts() -> None:
    council = Council(plant(4))
    council.said(Accuse(Crimes(council).hidden(NODES[1])))
    assert council.members() == [key(0), key(2), key(3)]


def forged() -> dict[str, Proof]:
    """Each nearly proof against node 2 of four."""
    council = Council(plant(4))
    crimes = Crimes(council)
    good, hidden = crimes.twice(NODES[2]), crimes.hidden(NODES[2])
    honest = crimes.standing(NODES[2], 1, 1, vote=Claim(0, hidden.vote.digest))
    return {
        "same digest twice": replace(good, second=good.first, second_sig=good.first_sig),
        "no such round": replace(good, round=0),
        "another round": replace(good, round=Round.COMMIT),
        "another's signatures": replace(good, signer=1),
        "nobody's index": replace(good, signer=4),
        "another view": replace(good, view=2),
        "another height": replace(good, height=2),
        "one signature missing": replace(good, second_sig=bytes(64)),
        "the other missing": replace(good, first_sig=bytes(64)),
        "another digest": replace(good, second=sha256(b"three")),
        "vote claimed": replace(hidden, standing=honest),
        "vote of another": replace(hidden, vote_sig=NODES[1].sign(b"")),
        "another vote": replace(hidden, vote=Claim(0, sha256(b"never cast"))),
        "vote after the change": replace(hidden, vote=Claim(1, hidden.vote.digest)),
        "view change unsigned": replace(hidden, standing=replace(hidden.standing, sig=bytes(64))),
        "view change of another": replace(hidden, standing=replace(hidden.standing, signer=1)),
    }


@pytest.mark.parametrize("name", forged())
def test_less_than_proof_changes_nothing(name: str) -> None:
    council = Council(plant(4))
    assert council.unheard(Accuse(forged()[name])) is ErrorCode.NO_PROOF
    assert council.latest.epoch == 0


def test_proof_from_another_chain_or_epoch_is_none() -> None:
    council = Council(plant(4))
    other = Council(replace(plant(4), digest=OTHER_CHAIN))
    assert council.unheard(Accuse(Crimes(other).twice(NODES[2]))) is ErrorCode.NO_PROOF
    moved = replace(Crimes(council).twice(NODES[2]), epoch=1)
    assert council.unheard(Accuse(moved)) is ErrorCode.UNKNOWN_EPOCH
    council.decide(SetNumber("max_tx_ops", 7))
    assert council.unheard(Accuse(moved)) is ErrorCode.NO_PROOF


def test_an_index_means_whoever_had_it_in_that_epoch() -> None:
    council = Council(plant(5))
    crime = Crimes(council).twice(NODES[2])
    council.decide(Remove(key(0)))
    council.idle(2)
    assert events(council.said(Accuse(crime)), Convicted) == [Convicted(key(2), 0)]
    assert council.members() == [key(1), key(3), key(4)]


def test_an_epoch_too_long_ago_does_not_count() -> None:
    council = Council(plant(4))
    crime = Crimes(council).twice(NODES[2])
    for number in range(16):
        council.decide(SetNumber("max_tx_ops", number + 1))
        council.idle(1)
    assert council.unheard(Accuse(crime)) is ErrorCode.UNKNOWN_EPOCH


def test_a_conviction_is_said_once() -> None:
    council = Council(plant(4))
    crimes = Crimes(council)
    council.said(Accuse(crimes.twice(NODES[2])))
    for proof in (crimes.twice(NODES[2]), crimes.twice(NODES[2], Round.COMMIT)):
        assert council.unheard(Accuse(proof)) is ErrorCode.NOTHING_CHANGES


def test_a_block_takes_out_no_more_than_f() -> None:
    council = Council(plant(7))  # f = 2
    crimes = Crimes(council)
    council.say(*(Accuse(crimes.twice(NODES[i])) for i in (1, 3, 5)))
    assert council.members() == [key(i) for i in (0, 2, 4, 5, 6)]
    council.idle(1)  # f = 1 now
    assert council.members() == [key(i) for i in (0, 2, 4, 6)]
    assert [era.epoch for era in council.ledger.eras] == [0, 1, 2]
    council.idle(3)
    assert council.latest.epoch == 2


def test_evidence_and_a_change_share_the_room_of_one_block() -> None:
    council = Council(plant(4))  # f = 1
    change = council.propose(council.add(NEW))
    accusation = make_statement(1_000, Accuse(Crimes(council).twice(NODES[2])))
    council.pack(accusation, *(council.tx(NODES[i], change) for i in (0, 1)))
    assert council.members() == [key(0), key(1), key(2), key(3), NEW.public_key]
    council.idle(1)
    assert council.members() == [key(0), key(1), key(3), NEW.public_key]


def test_evidence_and_a_change_of_numbers_make_one_era() -> None:
    council = Council(plant(4))
    change = council.propose(SetNumber("max_tx_ops", 7))
    accusation = make_statement(1_000, Accuse(Crimes(council).twice(NODES[2])))
    receipts = council.pack(*(council.tx(NODES[i], change) for i in (0, 1)), accusation)
    assert events(receipts[0], EraScheduled) == [EraScheduled(council.latest)]
    assert (council.latest.epoch, council.latest.rules) == (1, (("max_tx_ops", 7),))
    assert council.members() == [key(0), key(1), key(3)]


def test_f_and_p_follow_those_who_are_left() -> None:
    council = Council(plant(6, f=1))
    council.decide(SetNumber("p", 1))
    council.idle(2)
    council.said(Accuse(Crimes(council).twice(NODES[2])))
    assert (council.latest.f, council.latest.p) == (1, None)
    council.idle(2)
    council.said(Accuse(Crimes(council).twice(NODES[3])))
    assert (len(council.latest.members), council.latest.f) == (4, 1)
    council.idle(2)
    council.said(Accuse(Crimes(council).twice(NODES[4])))
    assert (len(council.latest.members), council.latest.f) == (3, 0)


def test_the_last_member_stays_whatever_it_did() -> None:
    council = Council(plant(1))
    council.said(Accuse(Crimes(council).twice(NODES[0])))
    council.idle(2)
    assert council.members() == [key(0)]
    assert council.latest.epoch == 0


def test_a_convicted_key_never_comes_back() -> None:
    council = Council(plant(4))
    council.said(Accuse(Crimes(council).twice(NODES[1])))
    council.idle(3)
    assert council.refused(council.add(NODES[1])) == (ErrorCode.KEY_CONVICTED, (0,))
    assert council.refused(council.rekey(NODES[2], NODES[1]))[0] is ErrorCode.KEY_CONVICTED


def test_a_convict_who_still_sits_takes_no_other_key_or_nonce() -> None:
    for change in (
        lambda c: Readmit(key(5), c.ready(NODES[5])),
        lambda c: c.rekey(NODES[5], NEW),
    ):
        council = Council(plant(7))
        crimes = Crimes(council)
        council.say(*(Accuse(crimes.twice(NODES[i])) for i in (1, 3, 5)))
        assert key(5) in council.members()
        assert council.refused(change(council)) == (ErrorCode.KEY_CONVICTED, (0,))


# -- how much is looked at


class Counting:
    """The verifier, with a count."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        self.calls += 1
        return verify(public_key, message, signature)


def test_a_block_of_junk_costs_what_32_statements_cost() -> None:
    council = Council(plant(4))
    counting = Counting()
    council.ledger = type(council.ledger).from_genesis(council.genesis, verify=counting)
    junk = replace(Crimes(council).twice(NODES[2]), second_sig=bytes(64))
    txs = [make_statement(1_000 + i, Accuse(junk)) for i in range(200)]
    receipts = council.pack(*txs)
    codes = [ErrorCode(r.code) for r in receipts[1:]]
    assert codes == [ErrorCode.NO_PROOF] * 32 + [ErrorCode.TOO_MANY_STATEMENTS] * 168
    assert counting.calls == 2 * MOST_STATEMENTS
    assert all(r.status == Status.REFUSED for r in receipts[1:])
    assert council.last is not None
    assert council.last.refused == tuple(range(200))


def test_the_next_block_looks_again() -> None:
    council = Council(plant(4))
    crimes = Crimes(council)
    junk = Accuse(replace(crimes.twice(NODES[2]), second_sig=bytes(64)))
    last = Accuse(crimes.twice(NODES[2]))
    receipts = council.say(*[junk] * MOST_STATEMENTS, last)
    assert receipts[-1].code == ErrorCode.TOO_MANY_STATEMENTS
    council.said(last)


def test_a_statement_in_an_ordinary_transaction_fails() -> None:
    council = Council(plant(4))
    crime = Accuse(Crimes(council).twice(NODES[2]))
    receipt: Receipt = council.pack(council.tx(NODES[0], crime))[1]
    assert (receipt.status, receipt.code) == (Status.FAILED, ErrorCode.NOT_A_STATEMENT)
    assert council.latest.epoch == 0


def test_judging_changes_nothing() -> None:
    council = Council(plant(4))
    council.idle(1)
    root = council.ledger.state_root
    tx = decode_transaction(make_statement(9, Accuse(Crimes(council).twice(NODES[2]))))
    effect = council.ledger.judge_statement(tx)
    assert (effect.kind, effect.key) == (Accuse, key(2))
    council.idle(1)
    assert council.reloaded().state_root == council.ledger.state_root == root
    assert council.latest.epoch == 0


# -- the proofs themselves


def test_a_replica_is_judged_by_its_own_epoch_only() -> None:
    council = Council(plant(4))
    council.decide(SetNumber("max_tx_ops", 7))
    old, new = (validators_of(era) for era in council.ledger.eras)
    proof = Crimes(council, council.ledger.eras[0]).twice(NODES[2])
    assert check_proof(proof, old, council.genesis.digest, verify) == key(2)
    with pytest.raises(Malformed, match="epoch 0"):
        check_proof(proof, new, council.genesis.digest, verify)


def test_a_view_change_that_contradicts_itself_proves_nothing() -> None:
    council = Council(plant(4))
    crimes = Crimes(council)
    absurd = crimes.standing(NODES[2], 1, 1, prepared=Claim(1, sha256(b"x")))
    hidden = replace(crimes.hidden(NODES[2]), standing=absurd)
    assert council.unheard(Accuse(hidden)) is ErrorCode.NO_PROOF

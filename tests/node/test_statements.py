"""What a node says on chain by itself, and what it knows better than to say."""

from __future__ import annotations

from msgspec.structs import replace

from tests.consensus.harness import signature
from tests.ledger.council import NODES, plant
from vppd.config.genesis import ConsensusRules
from vppd.consensus.boundary import NewViewRecord
from vppd.consensus.messages import Equivocation, NewView, Round, Standing
from vppd.crypto import sha256
from vppd.ledger.execution import Ledger
from vppd.ledger.proofs import Accuse, Ready, Skip
from vppd.ledger.transaction import decode_transaction
from vppd.node.statements import MOST_CLAIMS, Statements, skip_of

PLANT = plant(4, "dpos", dpos=replace(ConsensusRules().dpos, delegates=4), epoch_blocks=8)
HEAD = PLANT.digest


def standing(signer: int, decided: int = 0, view: int = 1) -> Standing:
    head = HEAD if decided == 0 else sha256(b"%d" % decided)
    sig = signature(signer, ("V", decided, view))
    return Standing(0, view, signer, decided, head, None, None, sig)


def opened(*standings: Standing, view: int = 1) -> NewView:
    height = 1 + max(s.decided for s in standings)
    return NewView(0, view, height, None, standings, None, None, bytes(64))


def said(statements: Statements) -> list[object]:
    """What would go into the next block."""
    return [op for raw in statements.due(None, 1_000) for op in decode_transaction(raw).ops]


def test_view_changes_of_one_height_prove_who_was_passed_over() -> None:
    shown = tuple(standing(i) for i in (0, 2, 3))
    assert skip_of(opened(*shown)) == Skip(0, 1, 1, shown)


def test_view_changes_of_several_heights_name_nobody() -> None:
    """Who is a height behind has waited for another producer."""
    assert skip_of(opened(standing(0), standing(2, 1), standing(3, 1))) is None
    assert skip_of(opened(standing(0, 1), standing(2, 1), standing(3))) is None


def test_a_view_opened_is_a_skip_only_where_the_lead_moves() -> None:
    record = NewViewRecord(opened(*(standing(i) for i in (0, 2, 3))))
    for skips in (False, True):
        statements = Statements(Ledger.from_genesis(PLANT))
        statements.note([record], (), skips=skips)
        assert [type(op) for op in said(statements)] == ([Skip] if skips else [])


def test_what_the_ledger_would_not_take_is_not_said_again() -> None:
    """A node that is none of the plant's cannot have been passed over."""
    statements = Statements(Ledger.from_genesis(PLANT))
    few = opened(standing(0), standing(2))
    statements.note([NewViewRecord(few)], (), skips=True)
    assert said(statements) == []
    statements.note([NewViewRecord(opened(*(standing(i) for i in (0, 2, 3))))], (), skips=True)
    assert len(said(statements)) == 1, "forgotten: another of the same place has room"


def test_proof_of_misbehaviour_is_stated_and_only_so_much_of_it_is_kept() -> None:
    statements = Statements(Ledger.from_genesis(PLANT))
    proofs = [
        Equivocation(Round.VOTE, 0, 0, height, 1, sha256(b"a"), bytes(64), sha256(b"b"), bytes(64))
        for height in range(1, MOST_CLAIMS + 10)
    ]
    statements.note((), proofs, skips=True)
    stated = said(statements)
    assert len(stated) == MOST_CLAIMS
    assert {type(op) for op in stated} == {Accuse}


def test_a_ready_of_another_epoch_is_not_said() -> None:
    statements = Statements(Ledger.from_genesis(PLANT))
    ready = Ready(NODES[0].public_key, 7, 0, HEAD, bytes(32), bytes(64))
    assert list(statements.due(ready, 1_000)) == []

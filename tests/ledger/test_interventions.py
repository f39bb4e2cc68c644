"""Duties by governance, and the operators' quorum stepping in: with a reason, for all to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.plugin import distributions, install
from tests.ledger.chain import ANN, BOB, CAT, bid, events, offer, start_of
from tests.ledger.council import NODES
from tests.ledger.test_contracts import RASCAL
from tests.ledger.town import (
    DER,
    NEW,
    OP,
    OPENING,
    Town,
    build,
    cancel,
    event,
    join,
    key,
    project,
    release,
    town,
)
from vppd.config.duties import DutyEntry
from vppd.config.genesis import ContractRules, Governance
from vppd.ledger.changes import Bar, Grant, ReleaseContract, Revoke, SetMarket, VoidOrders
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Approved, Cause, ContractMoved, Posted, Traded
from vppd.ledger.member_events import DutyChanged, Intervened, StandingChanged
from vppd.ledger.registration.duties import holders
from vppd.ledger.registration.interventions import Action
from vppd.ledger.registration.records import Duty, Standing
from vppd.ledger.state import BALLOT, MEMBERSHIP, PROPOSAL
from vppd.ledger.transaction import Transfer

T = start_of(0)
DER2 = NODES[2]


@pytest.fixture
def chain() -> Town:
    return Town()


# ---------------------------------------------------------------- duties


def test_duties_are_granted_one_by_one_and_taken_back(chain: Town) -> None:
    """P2: the commercial and the technical part of the plant are apart."""
    assert chain.fails(T, BOB, build()) == (ErrorCode.NOT_PERMITTED, (Duty.COMMERCIAL,))
    receipts = chain.act(Grant(key(BOB), Duty.COMMERCIAL))
    assert events(receipts[-1], DutyChanged) == [DutyChanged(Duty.COMMERCIAL, key(BOB), True)]
    tables = {entry[0] for entry, _ in chain.ledger.entries()}
    assert not tables & {PROPOSAL.number, BALLOT.number}, "the proposal is done"
    chain.ok(chain.at(0), BOB, build(), release())
    chain.ok(chain.at(0), ANN, join())
    call = event(9, 9)
    assert chain.fails(chain.at(0), BOB, call) == (ErrorCode.NOT_PERMITTED, (Duty.TECHNICAL,))
    chain.act(Grant(key(CAT), Duty.TECHNICAL))
    assert chain.fails(chain.at(1), CAT, build()) == (ErrorCode.NOT_PERMITTED, (1,))
    chain.ok(chain.at(1), CAT, call)
    chain.act(Revoke(key(CAT), Duty.TECHNICAL))
    assert chain.fails(chain.at(2), CAT, event(19, 19)) == (ErrorCode.NOT_PERMITTED, (2,))


def test_the_operators_have_every_duty_that_genesis_gives_to_nobody() -> None:
    chain = Town(town(duties=(DutyEntry(duty="technical", account="cat"),)))
    ctx = chain.ledger._ctx
    ctx.era = chain.ledger.eras[-1]
    assert list(holders(ctx, Duty.TECHNICAL)) == [key(CAT)]
    assert list(holders(ctx, Duty.COMMERCIAL)) == [key(OP)]
    assert list(holders(ctx, Duty.AGGREGATOR)) == []


def test_only_the_commercial_duty_proposes_rules_of_the_market_where_genesis_names_it() -> None:
    chain = Town(town(duties=(DutyEntry(duty="commercial", account="node-1"),)))
    rules = chain.propose(SetMarket(40, (("max_orders", 3),)))
    assert chain.fails(T, OP, rules) == (ErrorCode.NOT_PERMITTED, (Duty.COMMERCIAL,))
    chain.ok(T + 1, DER, rules)
    chain.ok(T + 2, OP, rules)  # approving is any member's
    assert chain.ledger.calendar.at(40).max_orders == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (Grant(key(NEW), Duty.TECHNICAL), ErrorCode.UNKNOWN_MEMBER),
        (Grant(key(BOB), 9), ErrorCode.OUT_OF_BOUNDS),
        (Grant(key(BOB), 0), ErrorCode.OUT_OF_BOUNDS),
        (Revoke(key(BOB), Duty.TECHNICAL), ErrorCode.NOTHING_CHANGES),
        (Bar(key(NEW), True, "x"), ErrorCode.UNKNOWN_MEMBER),
        (Bar(key(BOB), True, ""), ErrorCode.NO_REASON),
        (Bar(key(BOB), False, "x"), ErrorCode.NOTHING_CHANGES),
        (VoidOrders(2, "x"), ErrorCode.NO_OPEN_ORDERS),
        (VoidOrders(0, "x"), ErrorCode.GATE_CLOSED),
        (VoidOrders(90, "x"), ErrorCode.SLOT_NOT_OPEN),
        (ReleaseContract(0, "x"), ErrorCode.UNKNOWN_CONTRACT),
    ],
)
def test_what_cannot_be_decided(
    chain: Town,
    change: Grant | Revoke | Bar | VoidOrders | ReleaseContract,
    code: ErrorCode,
) -> None:
    assert chain.fails(T, OP, chain.propose(change))[0] is code


def test_a_member_that_has_no_say_grants_nothing(chain: Town) -> None:
    proposal = chain.propose(Grant(key(BOB), Duty.TECHNICAL))
    assert chain.fails(T, BOB, proposal) == (ErrorCode.NOT_A_GOVERNOR, ())


def test_two_grants_of_one_thing_in_one_proposal_are_none(chain: Town) -> None:
    grant = Grant(key(BOB), Duty.TECHNICAL)
    proposal = chain.propose(grant, grant)
    chain.ok(T, OP, proposal)
    assert chain.fails(T + 1, DER, proposal)[0] is ErrorCode.NOTHING_CHANGES


# ---------------------------------------------------------------- the quorum


def test_one_operator_does_not_intervene_alone(chain: Town) -> None:
    receipts = chain.act(Bar(key(BOB), True, "false readings"), by=(OP,))
    assert events(receipts[1], Intervened) == []
    chain.ok(chain.at(0), BOB, offer(2, 10, 400_000))


def test_a_quorum_without_an_operator_does_not_intervene(chain: Town) -> None:
    bar = Bar(key(BOB), True, "false readings")
    receipts = chain.act(bar, by=(DER, DER2))
    assert [(a.approvals, a.needed, a.authority) for a in events(receipts[2], Approved)] == [
        (2, 2, 2)
    ]
    (waiting,) = chain.ledger.validators_view()["proposals"]
    assert waiting["operator_missing"]
    assert not waiting["authority_missing"]
    chain.ok(chain.at(0), BOB, offer(2, 10, 400_000))
    late = chain.act(bar, by=(OP,))
    assert [i.action for i in events(late[1], Intervened)] == [Action.BARRED]


def test_an_authority_is_asked_too_where_there_is_one() -> None:
    chain = Town(town(Governance(authority=(key(CAT),))))
    bar = Bar(key(BOB), True, "x")
    receipts = chain.act(bar, by=(DER, DER2))
    assert events(receipts[2], Approved)[0].authority == 3
    chain.act(bar, by=(OP,))
    done = chain.act(bar, by=(CAT,))
    assert [i.action for i in events(done[1], Intervened)] == [Action.BARRED]


# ---------------------------------------------------------------- barred


def test_a_barred_member_trades_no_more_and_pays_its_debts(chain: Town) -> None:
    chain.ok(T, ANN, offer(2, 100, 400_000))
    chain.now = T + 1
    receipts = chain.act(Bar(key(ANN), True, "registers were turned back"))
    assert events(receipts[-1], Intervened) == [
        Intervened(Action.BARRED, key(ANN), 0, "registers were turned back")
    ]
    assert events(receipts[-1], StandingChanged) == [
        StandingChanged(key(ANN), Standing.BARRED, None, "registers were turned back")
    ]
    assert chain.ledger.book_view(2) == [], "what rested is void"
    refused = (ErrorCode.BARRED, ())
    assert chain.fails(chain.at(0), ANN, offer(2, 100, 400_000)) == refused
    assert chain.fails(chain.at(0), ANN, OpenContract("project", b"")) == refused
    assert chain.fails(chain.at(0), ANN, CallContract(0, 0, b"")) == refused
    chain.ok(chain.at(0), ANN, Transfer(key(BOB), 5))
    chain.act(Bar(key(ANN), False, "it was the meter"))
    chain.ok(chain.at(0), ANN, offer(2, 100, 400_000))


def test_a_registrar_does_not_lift_what_the_quorum_imposed(chain: Town) -> None:
    chain.act(Bar(key(BOB), True, "x"))
    chain.ok(chain.at(0), OP, chain.standing(BOB, Standing.SUSPENDED))
    chain.ok(chain.at(0), OP, chain.standing(BOB, 0))
    assert chain.fails(chain.at(0), BOB, offer(2, 1, 1)) == (ErrorCode.BARRED, ())
    assert chain.fails(chain.at(0), OP, chain.standing(BOB, 0))[0] is ErrorCode.NOTHING_CHANGES


# ---------------------------------------------------------------- void orders


def test_what_rests_in_a_slot_is_void_and_money_comes_back(chain: Town) -> None:
    chain.ok(T, ANN, offer(2, 100, 400_000))
    chain.ok(T + 1, BOB, bid(2, 300, 450_000))
    chain.ok(T + 2, CAT, bid(3, 10, 450_000))
    chain.now = T + 3
    receipts = chain.act(VoidOrders(2, "a forecast was wrong by a factor of ten"))
    assert events(receipts[-1], Intervened) == [
        Intervened(Action.VOIDED, None, 2, "a forecast was wrong by a factor of ten")
    ]
    assert sum(p.delta for p in events(receipts[-1], Posted)) == 0
    assert chain.ledger.book_view(2) == []
    assert chain.escrow(BOB) == 42_500, "its trade is firm"
    assert len(chain.ledger.book_view(3)) == 1, "other slots are not touched"
    again = chain.fails(chain.at(0), OP, chain.propose(VoidOrders(2, "x")))
    assert again == (ErrorCode.NO_OPEN_ORDERS, ())
    chain.ok(chain.at(0), BOB, bid(2, 300, 350_000))
    traded = chain.ok(chain.at(0), CAT, offer(2, 300, 300_000))
    assert [t.quantity_wh for t in events(traded, Traded)] == [300], "the slot goes on"
    chain.settle(3)
    assert chain.escrow(BOB) == 0


def test_a_void_order_gives_back_its_share_of_the_limit(chain: Town) -> None:
    chain.ok(T, ANN, offer(2, 1_000_000, 400_000))
    assert chain.fails(T + 1, ANN, offer(2, 1, 1))[0] is ErrorCode.QUANTITY_OUT_OF_RANGE
    chain.now = T + 1
    chain.act(VoidOrders(2, "x"))
    chain.ok(chain.at(0), ANN, offer(2, 1_000_000, 400_000))


def test_an_order_in_the_transaction_that_voids_its_slot_is_void_and_a_later_one_is_not(
    chain: Town,
) -> None:
    chain.ok(T, ANN, offer(2, 100, 400_000))
    void = chain.propose(VoidOrders(2, "x"))
    chain.ok(T + 1, DER, void)
    before, after = bid(2, 50, 450_000), bid(2, 60, 350_000)
    receipt = chain.ok(T + 2, OP, before, void, after)
    assert events(receipt, Traded) == []
    assert [row["remaining_wh"] for row in chain.ledger.book_view(2)] == [60]
    assert chain.reloaded().book_view(2) == chain.ledger.book_view(2)
    traded = chain.ok(T + 3, CAT, offer(2, 60, 300_000))
    assert [t.quantity_wh for t in events(traded, Traded)] == [60]


def test_a_voiding_that_fails_with_its_transaction_leaves_the_book(chain: Town) -> None:
    chain.ok(T, ANN, offer(2, 100, 400_000))
    void = chain.propose(VoidOrders(2, "x"))
    chain.ok(T + 1, DER, void)
    chain.fails(T + 2, OP, void, Transfer(key(NEW), 1))
    assert len(chain.ledger.book_view(2)) == 1
    assert len(events(chain.ok(T + 3, BOB, bid(2, 10, 450_000)), Traded)) == 1


# ---------------------------------------------------------------- stuck contracts


def test_a_halted_contract_is_released_to_who_opened_it(tmp_path: Path) -> None:
    install(tmp_path, "rascal", "RASCAL", RASCAL, "rascal", "vppd.contracts")
    with distributions(tmp_path):
        chain = Town(town(contracts=ContractRules(kinds=("rascal",))))
        opened = OpenContract("rascal", start_of(1).to_bytes(8, "big"))
        chain.ok(T, BOB, opened)
        early = chain.fails(T + 1, OP, chain.propose(ReleaseContract(0, "x")))
        assert early == (ErrorCode.NOT_STUCK, (start_of(1),))
        chain.block(start_of(2))
        chain.now = start_of(2)
        chain.idle(1)
        assert [c.held for _, c in chain.ledger.contracts()] == [60]
        receipts = chain.act(ReleaseContract(0, "its kind fails as it fires"))
        assert [(e.action, e.account) for e in events(receipts[-1], Intervened)] == [
            (Action.RELEASED, key(BOB))
        ]
        assert [(e.cause, e.ended) for e in events(receipts[-1], ContractMoved)] == [
            (Cause.RELEASED, True)
        ]
    assert chain.balance(BOB) == OPENING
    assert list(chain.ledger.contracts()) == []


def test_a_released_project_has_no_members_any_more(chain: Town) -> None:
    chain.ok(T, OP, build(project()), release())
    chain.ok(T + 1, ANN, join())
    chain.now = T + 1
    receipts = chain.act(ReleaseContract(0, "nobody looks after it"))
    assert [r.status for r in receipts] == [Status.OK] * 3
    assert not [k for k, _ in chain.ledger.entries() if k[0] == MEMBERSHIP.number]


def test_a_project_is_not_ended_while_an_event_of_it_is_not_over(chain: Town) -> None:
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join())
    chain.ok(chain.at(0), OP, event(9, 9))
    end = chain.propose(ReleaseContract(0, "no programme any more"))
    assert chain.fails(chain.at(0), OP, end) == (ErrorCode.EVENT_RUNNING, (1,))
    chain.ok(chain.at(0), OP, cancel(1))
    chain.act(ReleaseContract(0, "no programme any more"))
    assert list(chain.ledger.contracts()) == []

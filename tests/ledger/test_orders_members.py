"""Contracts that trade, among members who plan, are suspended, or whose slot is voided."""

from __future__ import annotations

import pytest

from tests.ledger.chain import ANN, BOB, CAT, Chain, bid, events, genesis, market, offer, start_of
from tests.ledger.test_deals import deal, take
from tests.ledger.test_orders import cancel
from tests.ledger.test_three_party import SIGN, contract
from tests.ledger.test_urgent import standby, urgent
from tests.ledger.town import OP, OPENING, Town, key
from vppd.config.stages import StageRules
from vppd.ledger.changes import Bar, ReleaseContract, VoidOrders
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.engine import ContractsDesk, standing_of
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.events import OrderCancelled, UrgentServed
from vppd.ledger.plan_ops import Plan
from vppd.ledger.state import CONTRACT, STANDBY
from vppd.market.auction import Side

NOW = start_of(5) - 20_000


# -- plans


def planned() -> Chain:
    """Ann means to give 500 Wh in slot 5, Bob to take 500."""
    chain = Chain(genesis(market(stages=StageRules(plans="required"))))
    chain.ok(NOW, ANN, Plan(0, 5, (0,), (500,)))
    chain.ok(NOW, BOB, Plan(0, 5, (500,), (0,)))
    return chain


def test_deals_stay_within_the_plans_of_both() -> None:
    chain = planned()
    failed = (ErrorCode.BEYOND_PLAN, (5, 0, 500))
    assert chain.fails(NOW + 1, ANN, deal(0, 501, 400_000)) == failed
    chain.ok(NOW + 2, ANN, deal(0, 500, 400_000))
    assert chain.fails(NOW + 3, CAT, take(100))[0] == ErrorCode.BEYOND_PLAN
    chain.ok(NOW + 4, BOB, take(500))


def test_three_party_contracts_do_too() -> None:
    chain = planned()
    assert chain.fails(NOW + 1, ANN, contract(wh=501))[0] == ErrorCode.BEYOND_PLAN
    chain.ok(NOW + 2, ANN, contract(ANN, CAT, wh=500))
    assert chain.fails(NOW + 3, CAT, SIGN)[0] == ErrorCode.BEYOND_PLAN


def test_what_is_urgent_was_in_no_plan() -> None:
    chain = planned()
    chain.ok(NOW + 1, ANN, standby(500, 400_000))
    receipt = chain.ok(NOW + 2, CAT, urgent(500, 400_000))
    assert events(receipt, UrgentServed)[0].matched_wh == 500


# -- who may not trade


def test_a_barred_members_contracts_make_no_trade() -> None:
    chain = Town()
    chain.ok(chain.at(0), ANN, deal(Side.OFFER, 500, 400_000, slot=2))
    chain.ok(chain.at(0), ANN, standby(500, 300_000, slot=2))
    chain.ok(chain.at(0), CAT, standby(500, 400_000, slot=2))
    chain.act(Bar(key(ANN), barred=True, reason="a meter that lies"))
    assert chain.fails(chain.at(0), BOB, take(500)) == (ErrorCode.BARRED, ())
    receipt = chain.ok(chain.at(0), BOB, urgent(600, 500_000, slot=2))
    assert events(receipt, UrgentServed) == [UrgentServed(2, 3, 500, 100)]
    assert [t.seller for _, t in chain.ledger.trades(2)] == [key(CAT)]
    chain.act(Bar(key(ANN), barred=False, reason="it was another's"))
    chain.ok(chain.at(0), BOB, take(500))


# -- a voided slot


def test_a_voided_slot_says_which_orders_left_and_its_books_forget_them() -> None:
    chain = Town()
    chain.ok(chain.at(0), ANN, offer(2, 500, 400_000))
    chain.ok(chain.at(0), BOB, bid(2, 200, 300_000), bid(2, 100, 310_000))
    chain.ok(chain.at(0), BOB, cancel(1, slot=2))
    receipts = chain.act(VoidOrders(2, "a forecast was wrong"))
    assert events(receipts[2], OrderCancelled) == [
        OrderCancelled(2, 0, 500),
        OrderCancelled(2, 2, 100),
    ]
    assert chain.balance(BOB) == OPENING
    states = [row["state"] for row in chain.ledger.orders_view(key(BOB))]
    assert states == ["cancelled", "cancelled"]
    chain.ok(chain.at(0), CAT, bid(2, 500, 400_000))
    assert list(chain.ledger.trades(2)) == []


# -- contracts that somebody else ends


@pytest.mark.parametrize(
    ("opened", "held"),
    [
        (deal(Side.BID, 500, 400_000, slot=2), 200_000),
        (standby(500, 400_000, slot=2), 0),
        (contract(ANN, BOB, wh=500, slot=2), 200_000),
    ],
)
def test_a_contract_that_is_stuck_gives_back_what_it_holds(opened: OpenContract, held: int) -> None:
    """None of these gets stuck by itself; the engine can halt any."""
    chain = Town()
    chain.ok(chain.at(0), BOB, opened)
    state = chain.ledger._ctx.state
    (entry,) = state.scan(CONTRACT)
    assert entry[1].held == held
    failed = chain.fails(chain.at(0), OP, chain.propose(ReleaseContract(0, "x")))
    assert failed[0] == ErrorCode.NOT_STUCK
    kind = chain.ledger._ctx.kinds[entry[1].kind]
    desk = ContractsDesk(chain.ledger._ctx, 0, entry[1].owner, None, held)
    kind.release(desk, standing_of(entry[1]))
    assert desk.held == 0
    assert chain.balance(BOB) == OPENING
    assert list(state.scan(STANDBY, 2)) == []

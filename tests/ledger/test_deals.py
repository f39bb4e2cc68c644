"""Deals outside the auction: bilateral and listing, offers and bids (P4, §3.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.chain import (
    ANN,
    BOB,
    CAT,
    OPENING,
    STRANGER,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    start_of,
)
from vppd.codec import encode
from vppd.crypto import SigningKey
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import ContractMoved, OrderMade, Posted, Purse, Reason, Settled, Traded
from vppd.ledger.kinds.terms import DEAL, DealTerms, Take
from vppd.ledger.records import Ordered
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ORDERED

NOW = start_of(5) - 20_000
GATE = start_of(5) - 2_000
WITHDRAW = CallContract(0, 1, b"")
OFFER, BID = 0, 1


def deal(
    side: int, wh: int, price: int, to: SigningKey | None = None, slot: int = 5
) -> OpenContract:
    named = None if to is None else to.public_key
    return OpenContract(DEAL, encode(DealTerms(slot, side, wh, price, named)))


def take(wh: int, number: int = 0) -> CallContract:
    return CallContract(number, 0, encode(Take(wh)))


def held(chain: Chain) -> list[int]:
    return [contract.held for _, contract in chain.ledger.contracts()]


def trades(chain: Chain) -> list[tuple[bytes, bytes, int, int, int]]:
    return [(t.seller, t.buyer, t.quantity_wh, t.price, t.round) for _, t in chain.ledger.trades(5)]


# -- offers


def test_an_offer_to_one_member_is_taken_whole_and_is_a_firm_trade() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 1_001, 400_001, to=BOB))
    assert chain.fails(NOW + 1, CAT, take(1_001)) == (ErrorCode.NOT_A_PARTY, ())
    assert chain.fails(NOW + 2, BOB, take(1_000)) == (ErrorCode.ONLY_WHOLE, (1_001,))
    taken = chain.ok(NOW + 3, BOB, take(1_001))
    amount = 400_401  # 1 001 Wh at 400 001: 400 401.001
    assert taken.events == (
        Posted(BOB.public_key, Purse.BALANCE, -amount, Reason.RESERVE),
        Posted(BOB.public_key, Purse.ESCROW, amount, Reason.RESERVE),
        OrderMade(5, 0, 0, ANN.public_key, OFFER, 1_001, 400_001, 0),
        OrderMade(5, 1, 0, BOB.public_key, BID, 1_001, 400_001, amount),
        Traded(5, 0, 0, 1, ANN.public_key, BOB.public_key, 1_001, 400_001, amount, 0),
        ContractMoved(0, DEAL, 0, 2, 0, ended=True),
    )
    own = chain.block(GATE)[0]
    assert events(own, Posted) == [], "firm: the gate changes nothing"
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert chain.balance(ANN) == OPENING + amount
    assert (chain.balance(BOB), chain.escrow(BOB)) == (OPENING - amount, 0)


def test_a_deal_settles_as_any_other_trade() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 500, 400_000))
    chain.ok(NOW + 1, BOB, take(500))
    own = [chain.block(due_ms(chain.genesis.market, 5, phase))[0] for phase in list(Phase)[1:5]]
    settled = {e.account: (e.sold_wh, e.bought_wh) for e in events(own[-1], Settled)}
    assert settled == {ANN.public_key: (500, 0), BOB.public_key: (0, 500)}


def test_a_listing_is_taken_in_parts_by_anybody() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 1_000, 400_000))
    chain.ok(NOW + 1, BOB, take(400))
    (row,) = [r for r in chain.ledger.contracts_view() if r["kind"] == DEAL]
    assert (row["phase"], row["terms"]["left_wh"], row["terms"]["to"]) == (
        "taken in part",
        600,
        None,
    )
    assert chain.fails(NOW + 2, CAT, take(601)) == (ErrorCode.MORE_THAN_LEFT, (600,))
    assert chain.fails(NOW + 3, CAT, take(0)) == (ErrorCode.MORE_THAN_LEFT, (600,))
    chain.ok(NOW + 4, CAT, take(600))
    assert held(chain) == []
    ann, bob, cat = (key.public_key for key in (ANN, BOB, CAT))
    assert trades(chain) == [(ann, bob, 400, 400_000, 0), (ann, cat, 600, 400_000, 0)]
    assert chain.fails(NOW + 5, CAT, take(1)) == (ErrorCode.UNKNOWN_CONTRACT, ())


def test_a_deal_stays_out_of_the_book_and_the_book_out_of_it() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 1_000, 100_000))
    chain.ok(NOW + 1, BOB, bid(5, 1_000, 500_000))
    assert trades(chain) == []
    chain.ok(NOW + 2, CAT, take(1_000))
    assert [row["agent"] for row in chain.ledger.book_view(5)] == ["bob"]


# -- bids


def test_a_bid_deposits_what_all_of_it_costs_and_gets_back_what_nobody_took() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(BID, 1_001, 400_001))
    assert (held(chain), chain.balance(ANN)) == ([400_402], OPENING - 400_402)
    chain.ok(NOW + 1, BOB, take(500))
    assert (held(chain), chain.escrow(ANN)) == ([200_401], 200_000)  # 500.0005 of it, to even
    assert chain.balance(ANN) == OPENING - 400_402 + 1
    expired = chain.block(GATE)[0]
    assert [e.ended for e in events(expired, ContractMoved)] == [True]
    assert (held(chain), chain.balance(ANN)) == ([], OPENING - 200_000)
    chain.block(due_ms(chain.genesis.market, 5, Phase.SETTLED))
    assert chain.balance(BOB) == OPENING + 200_000


parts = st.lists(st.integers(1, 400), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25)
@given(parts, st.integers(0, 5_000), st.integers(0, 300))
def test_a_bids_parts_cost_what_each_costs(sizes: list[int], price: int, rest: int) -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(BID, sum(sizes) + rest, price))
    for step, wh in enumerate(sizes):
        chain.ok(NOW + 1 + step, BOB, take(wh))
    cost = sum(trade.amount for _, trade in chain.ledger.trades(5))
    chain.block(GATE)
    assert chain.escrow(ANN) == cost
    assert chain.balance(ANN) == OPENING - cost
    assert held(chain) == []


def test_the_last_part_may_cost_a_micro_more_than_is_held() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(BID, 3, 1_500))
    for step in range(3):
        chain.ok(NOW + 1 + step, BOB, take(1))
    assert (chain.escrow(ANN), chain.balance(ANN)) == (6, OPENING - 6)  # 4.5 was held as 5


# -- the end of a deal


def test_the_owner_withdraws_and_nobody_else() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(BID, 1_000, 400_000))
    assert chain.fails(NOW + 1, BOB, WITHDRAW) == (ErrorCode.NOT_A_PARTY, ())
    chain.ok(NOW + 2, ANN, WITHDRAW)
    assert (held(chain), chain.balance(ANN)) == ([], OPENING)
    assert chain.ledger._ctx.state.get(ORDERED, 5, ANN.public_key) == Ordered(1, 0, 0)
    assert chain.ledger.next_due_ms == GATE, "the slot's; the contract's trigger went with it"


def test_no_deal_is_taken_after_gate_closure() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 1_000, 400_000))
    assert chain.fails(GATE, BOB, take(1_000)) == (ErrorCode.UNKNOWN_CONTRACT, ())
    chain.block(GATE + 1)
    assert trades(chain) == []


def test_deals_count_as_orders_and_give_their_energy_back() -> None:
    chain = Chain(genesis(market(max_orders=2, max_quantity_wh=1_000)))
    chain.ok(NOW, ANN, deal(OFFER, 800, 1))
    assert chain.fails(NOW + 1, ANN, offer(5, 201, 1))[0] == ErrorCode.QUANTITY_OUT_OF_RANGE
    assert chain.fails(NOW + 2, ANN, deal(OFFER, 201, 1))[0] == ErrorCode.QUANTITY_OUT_OF_RANGE
    chain.ok(NOW + 3, BOB, bid(5, 900, 0))
    assert chain.fails(NOW + 4, BOB, take(101))[0] == ErrorCode.QUANTITY_OUT_OF_RANGE
    chain.ok(NOW + 5, BOB, take(100))
    assert chain.fails(NOW + 6, BOB, offer(5, 1, 1)) == (ErrorCode.TOO_MANY_ORDERS, (2,))
    chain.ok(NOW + 7, ANN, WITHDRAW)
    assert chain.ledger._ctx.state.get(ORDERED, 5, ANN.public_key) == Ordered(1, 100, 0)


# -- what is refused


@pytest.mark.parametrize(
    ("op", "code", "detail"),
    [
        (deal(OFFER, 1, 1, slot=9), ErrorCode.SLOT_NOT_OPEN, (start_of(9) - 30_000,)),
        (deal(OFFER, 1, 1, slot=2), ErrorCode.GATE_CLOSED, (start_of(2) - 2_000,)),
        (deal(OFFER, 0, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,)),
        (deal(OFFER, 1_000_001, 1), ErrorCode.QUANTITY_OUT_OF_RANGE, (1_000_000,)),
        (deal(OFFER, 1, 10_000_001), ErrorCode.PRICE_OUT_OF_RANGE, (10_000_000,)),
        (deal(OFFER, 1, 1, to=CAT), ErrorCode.SAME_PARTY, ()),
        (deal(OFFER, 1, 1, to=STRANGER), ErrorCode.UNKNOWN_RECIPIENT, ()),
        (deal(BID, 100_000, 100_001), ErrorCode.INSUFFICIENT_FUNDS, (100,)),
        (OpenContract(DEAL, encode((5, 2, 1, 1, None))), ErrorCode.BAD_TERMS, ()),
        (OpenContract(DEAL, b""), ErrorCode.BAD_TERMS, ()),
        (CallContract(0, 0, b""), ErrorCode.BAD_TERMS, ()),
        (CallContract(0, 1, b"x"), ErrorCode.BAD_TERMS, ()),
        (CallContract(0, 2, b""), ErrorCode.BAD_TERMS, ()),
        (take(25_001), ErrorCode.INSUFFICIENT_FUNDS, (400,)),
    ],
)
def test_what_is_refused_changes_nothing(
    op: OpenContract | CallContract, code: ErrorCode, detail: tuple[int, ...]
) -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 30_000, 400_000))
    assert chain.fails(NOW + 1, CAT, op) == (code, detail)


def test_nobody_takes_its_own_deal() -> None:
    chain = Chain()
    chain.ok(NOW, ANN, deal(OFFER, 10, 1))
    assert chain.fails(NOW + 1, ANN, take(10)) == (ErrorCode.SAME_PARTY, ())

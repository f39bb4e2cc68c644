"""Orders and contracts where a grid has its say: what is cut, and whom that gives back what."""

from __future__ import annotations

from msgspec.structs import replace

from tests.ledger.chain import ANN, BOB, CAT, OPENING, Chain, bid, events, market, offer, start_of
from tests.ledger.test_deals import deal, take
from tests.ledger.test_grid import DAN, NARROW, WIDE, plant, star
from tests.ledger.test_orders import cancel
from tests.ledger.test_urgent import standby, urgent
from vppd.crypto import SigningKey
from vppd.ledger.events import TradeCut, Traded, UrgentServed
from vppd.ledger.transaction import PlaceOrder

NOW, GATE = start_of(5) - 20_000, start_of(5) - 2_000
KEYS = (ANN, BOB, CAT, DAN)


def at(key: SigningKey, order: PlaceOrder) -> PlaceOrder:
    return replace(order, bus=KEYS.index(key))


def test_who_has_cancelled_is_not_matched_again_with_what_was_cut() -> None:
    """It has its escrow back: a dearer partner than the one it had could not be paid."""
    for cancels in (False, True):
        chain = Chain(plant(star(WIDE, WIDE, 5_000)))
        chain.ok(NOW, CAT, at(CAT, offer(5, 500, 450_000, 430_000)))
        chain.ok(NOW + 1, DAN, at(DAN, offer(5, 2_000, 300_000)))
        chain.ok(NOW + 2, BOB, at(BOB, bid(5, 2_100, 310_000, 440_000)))
        if cancels:
            chain.ok(NOW + 3, BOB, cancel(2))
        own = chain.block(GATE)[0]
        (cut,) = events(own, TradeCut)
        assert cut.quantity_wh < 1_300
        cost = sum(t.amount for _, t in chain.ledger.trades(5))
        assert (chain.escrow(BOB), chain.balance(BOB)) == (cost, OPENING - cost)
        assert {t.round for t in events(own, Traded)} == (set() if cancels else {2, 3})


def test_a_deal_is_cut_and_the_rest_is_nobody_elses() -> None:
    chain = Chain(plant(NARROW))
    chain.ok(NOW, ANN, deal(0, 2_000, 400_000))
    chain.ok(NOW + 1, BOB, take(2_000))
    chain.ok(NOW + 2, CAT, at(CAT, bid(5, 2_000, 500_000)))
    own = chain.block(GATE)[0]
    (cut,) = events(own, TradeCut)
    assert 1_200 < cut.quantity_wh < 1_250
    assert events(own, Traded) == []
    assert chain.escrow(BOB) == cut.amount == cut.quantity_wh * 400


def test_an_urgent_order_after_the_check_takes_what_the_grid_still_carries() -> None:
    chain = Chain(plant(NARROW))
    chain.ok(NOW, ANN, at(ANN, offer(5, 1_000, 400_000)), standby(2_000, 400_000))
    chain.ok(NOW + 1, BOB, at(BOB, bid(5, 1_000, 400_000)))
    chain.block(GATE)
    receipt = chain.ok(GATE + 1, BOB, urgent(2_000, 400_000))
    (served,) = events(receipt, UrgentServed)
    assert 200 < served.matched_wh < 250, "1,250 Wh and losses go through Bob's line"
    assert served.matched_wh + served.unmet_wh == 2_000
    again = chain.ok(GATE + 2, BOB, urgent(10, 400_000))
    assert events(again, UrgentServed)[0].matched_wh == 0
    wide = chain.ok(GATE + 3, CAT, urgent(1_000, 400_000))
    assert events(wide, UrgentServed)[0].matched_wh == 1_000


def test_the_one_price_of_a_uniform_call_is_the_auctions() -> None:
    """A deal of the slot at another price is no part of it, also where trades are matched again."""
    chain = Chain(plant(star(2_000, WIDE, WIDE), market(rules="uniform")))
    chain.ok(NOW, ANN, deal(0, 10, 123_456))
    chain.ok(NOW + 1, CAT, take(10))
    chain.ok(NOW + 2, ANN, at(ANN, offer(5, 1_000, 300_000)))
    chain.ok(NOW + 3, BOB, at(BOB, bid(5, 1_000, 500_000)))
    chain.ok(NOW + 4, DAN, at(DAN, bid(5, 900, 400_000)))
    chain.block(GATE)
    made = [(t.round, t.price) for _, t in chain.ledger.trades(5)]
    assert made[0] == (0, 123_456)
    assert {price for round_, price in made if round_} == {made[1][1]}
    assert any(round_ == 3 for round_, _ in made), "something was matched again"

"""The end of a day: scores, credit and its reasons, grades and quotas, statements; once a day."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.day.audited import Day
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    FEED_IN,
    OPENING,
    RETAIL,
    Chain,
    bid,
    events,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from tests.ledger.council import NODES, Council
from tests.ledger.council import plant as council_plant
from vppd.config.billing import GRADES, CreditRule, CreditRules, FeeRules, ReviewRules
from vppd.config.clock import ClockChange
from vppd.config.genesis import Genesis
from vppd.crypto import SigningKey
from vppd.ledger.changes import SetMarket
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import BalanceStated, CreditCause, CreditChanged, DayReviewed
from vppd.ledger.receipts import Receipt
from vppd.ledger.records import NO_SCORE
from vppd.ledger.state import DAY, SCORE
from vppd.ledger.transaction import Reading
from vppd.types import PPM

SLOTS = 4
"""A day of the test's market."""
OVER = start_of(SLOTS) + 5_000
"""The last slot of day 0 settles."""
LEVEL = CreditRules(rule="level")


def plant(credit: CreditRules = LEVEL, **changes: Any) -> Genesis:
    fields = {"market_slot_minutes": 360, "dispute_slots": 8, "credit": credit}
    return genesis(market(**(fields | changes)))


def played(
    rules: Genesis | None = None, *, ann: int | None = 1_000, bob: int | None = 1_000
) -> Day:
    """Ann sells 1000 Wh to Bob in slot 1; their meters say so much; the day is over at OVER."""
    day = Day(rules or plant())
    day.ok(start_of(0), ANN, offer(1, 1_000, 400_000))
    day.ok(start_of(0) + 1, BOB, bid(1, 1_000, 400_000))
    day.ok(start_of(1), ANN_METER, reading(0, 100, 50))
    day.ok(start_of(1) + 1, BOB_METER, reading(0, 0))
    if ann is not None:
        day.ok(start_of(2) + 1, ANN_METER, reading(1, 100, 50 + ann))
    if bob is not None:
        day.ok(start_of(2) + 2, BOB_METER, reading(1, bob))
    return day


def credit(chain: Chain, who: SigningKey) -> int:
    account = chain.ledger.account(who.public_key)
    assert account is not None
    return account.credit


def changed(receipt: Receipt, who: SigningKey) -> list[CreditChanged]:
    return [e for e in events(receipt, CreditChanged) if e.account == who.public_key]


def kept(chain: Chain, *tables: int) -> int:
    return sum(key[0] in tables for key, _ in chain.ledger.entries())


# ------------------------------------------------------------ once a day


def test_a_day_is_reviewed_once_as_its_last_slot_would_settle() -> None:
    day = played()
    assert day.ledger.next_due_ms is not None
    day.block(start_of(2) + 5_000)
    assert day.ledger.next_due_ms == OVER, "the slots in between exist for nobody"
    assert events(day.block(OVER - 1)[0], DayReviewed) == []
    assert len(events(day.block(OVER)[0], DayReviewed)) == 1
    assert [events(day.block(OVER + i)[0], DayReviewed) for i in (1, 2)] == [[], []]
    assert day.audit().findings == []


def test_a_ledger_loaded_in_between_reviews_the_same() -> None:
    one, other = played(), played()
    one.block(start_of(2) + 5_000)
    other.block(start_of(2) + 5_000)
    other.ledger = other.reloaded()
    assert one.ledger.next_due_ms == other.ledger.next_due_ms
    assert one.block(OVER) == other.block(OVER)
    other.ledger = other.reloaded()
    assert one.ledger.next_due_ms == other.ledger.next_due_ms
    one.block(start_of(40))
    other.block(start_of(40))
    assert one.ledger.state_root == other.ledger.state_root


def test_everything_about_a_day_leaves_the_state_but_how_members_stand() -> None:
    day = played()
    day.block(OVER)
    assert kept(day, DAY.number, SCORE.number) == 3
    day.block(start_of(40))
    assert kept(day, DAY.number, SCORE.number) == 0
    assert kept(day, 28) == 2


def test_a_review_says_what_the_day_was() -> None:
    day = played(ann=900, bob=None)
    (review,) = events(day.block(OVER)[0], DayReviewed)
    assert review == DayReviewed(
        day=0,
        number=1,
        previous_height=0,
        first_slot=0,
        last_slot=3,
        members=2,
        settled=4,
        missing=1,
        contracted_wh=2_000,
        deviation_wh=100,
        deviation_ppm=50_000,
        trades=1,
        traded_wh=1_000,
        traded_micro=400_000,
        spread=RETAIL - FEED_IN,
        quote_spread=(RETAIL - FEED_IN) * 95 // 100,
    )


def test_reviews_are_numbered_and_say_where_the_last_one_is() -> None:
    day = played()
    day.block(OVER)
    at = day.ledger.height
    day.ok(OVER + 1, ANN_METER, reading(3, 100, 1_050))
    day.ok(start_of(5), ANN_METER, reading(4, 100, 1_050))
    day.block(start_of(5) + 5_000)
    (second,) = events(day.block(start_of(8) + 5_000)[0], DayReviewed)
    assert (second.day, second.number, second.previous_height) == (1, 2, at)
    assert day.audit().findings == []


def test_a_day_of_which_nothing_was_known_in_time_is_reviewed_with_the_next_block() -> None:
    day = Day(plant())
    day.ok(OVER + 1, BOB_METER, reading(1, 500))
    assert len(events(day.block(OVER + 2)[0], DayReviewed)) == 1
    assert day.ledger.next_due_ms == start_of(2) + 5_000 + 80_000
    day.block(OVER + 400_000)
    assert kept(day, DAY.number, SCORE.number) == 0, "a day that is over stays over"


def test_a_day_of_25_hours_is_reviewed_after_its_25th() -> None:
    back = ClockChange(from_ms=start_of(2), offset_minutes=-60)
    day = Day(plant(market_slot_minutes=60, clock=(back,)))
    day.ok(start_of(1), BOB_METER, reading(0, 10))
    day.block(start_of(24) + 5_000)
    (review,) = events(day.block(start_of(25) + 5_000)[0], DayReviewed)
    assert (review.day, review.last_slot) == (0, 24)


@pytest.mark.parametrize("rules", [genesis(market(market_slot_minutes=360))])
def test_without_the_tables_nothing_is_reviewed(rules: Genesis) -> None:
    day = played(rules)
    own = day.block(OVER)[0]
    assert not events(own, DayReviewed) + events(own, CreditChanged) + events(own, BalanceStated)
    assert kept(day, *range(19, 60)) == 0


def test_a_review_without_a_credit_rule_states_and_rates_nobody() -> None:
    day = played(plant(CreditRules(), review=ReviewRules(daily=True)))
    own = day.block(OVER)[0]
    assert events(own, CreditChanged) == []
    assert len(events(own, DayReviewed)) == 1
    assert len(events(own, BalanceStated)) == 3


# ------------------------------------------------------------ credit


def test_who_delivers_gains_and_the_receipt_says_why() -> None:
    day = played(ann=990)
    own = day.block(OVER)[0]
    (ann,) = changed(own, ANN)
    assert ann == CreditChanged(
        day=0,
        account=ANN.public_key,
        cause=CreditCause.REVIEWED,
        score=PPM,
        previous=NO_SCORE,
        slots=1,
        settled=2,
        missing=0,
        before=800_000,
        after=820_000,
        composite=892_000,
        grade=GRADES.index("AA"),
    )
    assert credit(day, ANN) == credit(day, BOB) == 820_000
    assert (changed(own, CAT), credit(day, CAT)) == ([], 800_000)


def test_who_delivers_half_loses() -> None:
    day = played(ann=500, bob=1_500)
    own = day.block(OVER)[0]
    assert [changed(own, who)[0].score for who in (ANN, BOB)] == [500_000, 500_000]
    assert credit(day, ANN) == credit(day, BOB) == 770_000


def test_what_no_meter_proves_was_not_delivered() -> None:
    day = played(bob=None)
    (bob,) = changed(day.block(OVER)[0], BOB)
    assert (bob.score, bob.missing, bob.after) == (0, 1, 720_000)


def test_a_late_reading_moves_credit_to_what_the_review_would_have_said() -> None:
    day, in_time = played(bob=None), played(bob=1_000)
    day.block(OVER)
    in_time.block(OVER)
    (late,) = changed(day.ok(OVER + 1, BOB_METER, reading(1, 1_000)), BOB)
    assert (late.cause, late.score, late.missing) == (CreditCause.CORRECTED, PPM, 0)
    assert (late.before, late.after) == (720_000, 820_000)
    assert credit(day, BOB) == credit(in_time, BOB)
    assert day.audit().findings == []


def test_a_correction_that_changes_no_score_changes_no_credit() -> None:
    day = played()
    day.block(OVER)
    receipt = day.ok(OVER + 1, BOB_METER, reading(1, 1_001))
    assert (changed(receipt, BOB), credit(day, BOB)) == ([], 820_000)


def test_a_correction_after_the_next_review_still_counts() -> None:
    day = played(bob=None)
    day.block(OVER)
    day.ok(start_of(5), ANN_METER, reading(4, 100, 1_050))
    day.block(start_of(8) + 5_000)
    day.ok(start_of(8) + 5_001, BOB_METER, reading(1, 1_000))
    assert credit(day, BOB) == 820_000


def test_the_published_rule_needs_two_days() -> None:
    day = played(plant(CreditRules(rule="paper003")), ann=900, bob=1_000)
    own = day.block(OVER)[0]
    assert [changed(own, who)[0].after for who in (ANN, BOB)] == [800_000, 800_000]
    day.ok(OVER + 1, ANN, offer(5, 1_000, 400_000))
    day.ok(OVER + 2, BOB, bid(5, 1_000, 400_000))
    day.ok(start_of(5), ANN_METER, reading(4, 100, 950))
    day.ok(start_of(5) + 1, BOB_METER, reading(4, 1_000))
    day.ok(start_of(6), ANN_METER, reading(5, 100, 1_950))
    day.ok(start_of(6) + 1, BOB_METER, reading(5, 1_900))
    own = day.block(start_of(8) + 5_000)[0]
    assert (changed(own, ANN)[0].previous, credit(day, ANN)) == (900_000, 802_000)
    assert (changed(own, BOB)[0].previous, credit(day, BOB)) == (PPM, 792_000)
    assert day.audit().findings == []


def test_orders_carry_the_new_credit() -> None:
    day = played(ann=0, bob=1_000)
    day.block(OVER)
    day.ok(OVER + 1, ANN, offer(6, 1_000, 400_000))
    day.ok(OVER + 2, BOB, bid(6, 1_000, 500_000))
    (trade,) = [trade for _, trade in day.ledger.trades(6)]
    rs, rb = credit(day, ANN), credit(day, BOB)
    assert (rs, rb) == (720_000, 820_000)
    assert trade.price == round((rs * 500_000 + rb * 400_000) / (rs + rb))


# ------------------------------------------------------------ grades and what they allow


def test_a_debt_and_a_silent_meter_cost_a_grade() -> None:
    day = played(ann=None, bob=40_000)  # 39 kWh at retail: 19.50, Bob has 10.00
    own = day.block(OVER)[0]
    (ann,), (bob,) = changed(own, ANN), changed(own, BOB)
    assert day.balance(BOB) < 0
    assert (bob.score, bob.after, bob.composite) == (0, 720_000, 682_000)
    assert GRADES[bob.grade] == "BBB"
    assert (ann.missing, ann.settled, ann.composite) == (1, 2, 707_000)
    assert GRADES[ann.grade] == "A"


STRICT = replace(LEVEL, quota=(PPM, PPM, 500_000, *LEVEL.quota[3:6], 250_000, 200_000, 100_000, 1))


def test_a_grade_limits_orders_and_their_energy() -> None:
    day = played(plant(STRICT, max_orders=4, max_quantity_wh=10_000), ann=None)
    day.block(OVER)
    assert day.fails(OVER + 1, ANN, offer(6, 5_001, 1)) == (
        ErrorCode.QUOTA_OF_GRADE,
        (GRADES.index("A"), 2, 5_000),
    )
    day.ok(OVER + 2, ANN, offer(6, 2_500, 1), offer(6, 2_500, 1))
    assert day.fails(OVER + 3, ANN, offer(6, 1, 1))[0] == ErrorCode.QUOTA_OF_GRADE
    day.ok(OVER + 4, BOB, offer(6, 9_000, 1))


def test_who_was_never_rated_has_all_of_the_limits() -> None:
    day = played(plant(STRICT, max_orders=4, max_quantity_wh=10_000))
    day.ok(start_of(2) + 3, CAT, offer(5, 10_000, 1))


# ------------------------------------------------------------ statements


def test_everybodys_money_is_stated_in_key_order() -> None:
    day = played(plant(fees=FeeRules(grid_fee=10_000)))
    day.ok(start_of(3), CAT, bid(6, 1_000, 500_000))
    own = day.block(OVER)[0]
    assert events(own, BalanceStated) == sorted(
        (
            BalanceStated(ANN.public_key, OPENING + 400_000, 0, 2),
            BalanceStated(BOB.public_key, OPENING - 400_000 - 10_000, 0, 2),
            BalanceStated(CAT.public_key, OPENING - 500_000, 500_000, 0),
        ),
        key=lambda event: event.account,
    )
    assert own.events[-1] == events(own, BalanceStated)[-1]


def test_a_corrections_settlement_is_counted() -> None:
    day = played(bob=None)
    day.block(OVER)
    day.ok(OVER + 1, BOB_METER, reading(1, 1_000))
    day.ok(start_of(5), ANN_METER, reading(4, 100, 1_050))
    own = day.block(start_of(8) + 5_000)[0]
    counts = {e.account: e.settlements for e in events(own, BalanceStated)}
    assert (counts[ANN.public_key], counts[BOB.public_key]) == (3, 3)


@pytest.mark.parametrize(
    ("rule", "early", "late"),
    [
        ("level", (reading(9, 4), reading(10, 5)), reading(10, 6)),
        ("fixed", (reading(8, 1), reading(10, 5)), reading(9, 3)),
    ],
)
def test_a_day_counts_what_settled_before_any_slot_of_it_was_due(
    rule: CreditRule, early: tuple[Reading, ...], late: Reading
) -> None:
    """Late readings of slots nobody had mentioned settle at once, before the day has begun."""
    rules = market(credit=CreditRules(rule=rule), review=ReviewRules(daily=True), dispute_slots=40)
    chain = Chain(genesis(rules))
    for i, op in enumerate(early):
        chain.ok(start_of(11) + 6_000 + i, BOB_METER, op)
    chain.ok(start_of(12) + 1_000, ANN_METER, reading(11, 300, 60))
    chain.block(start_of(12) + 6_000)
    chain.ok(start_of(12) + 7_000, BOB_METER, late)
    scores = [score for _, score in chain.ledger.state.scan(SCORE, 1)]
    assert all(0 <= score.missing <= score.settled > 0 for score in scores)
    chain.reloaded()
    reviewed = [e for e in chain.block(start_of(200))[0].events if isinstance(e, DayReviewed)]
    assert len(reviewed) == 1


def test_a_day_whose_rules_change_is_reviewed_at_one_time_everywhere() -> None:
    rules = market(market_slot_minutes=60, review=ReviewRules(daily=True))
    council = Council(replace(council_plant(4), market=rules))
    council.now = start_of(0)
    council.ok(start_of(0) + 1, NODES[0], offer(1, 10, 400_000))
    council.ok(start_of(0) + 2, NODES[1], bid(1, 10, 400_000))
    council.block(start_of(2) + 5_000)  # slot 1 settles: the day of slots 0 to 23 has begun
    council.now = start_of(2) + 6_000
    change = council.propose(SetMarket(15, (("metering_ms", 60_000),)))
    council.send(change, NODES[:2])
    twin = council.reloaded()
    assert twin.next_due_ms == council.ledger.next_due_ms
    for time_ms in (start_of(24) + 5_000, start_of(24) + 60_000, start_of(40)):
        receipts = council.block(time_ms)
        header, _ = council.blocks[-1]
        assert twin.execute(header, ()).receipts_root == council.ledger.receipts_root
        reviewed = [e for e in receipts[0].events if isinstance(e, DayReviewed)]
        assert len(reviewed) == (time_ms == start_of(24) + 60_000)

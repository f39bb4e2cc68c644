"""The cooperative mode on chain: one position, Shapley's shares, penalties, and late readings."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

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
    grid_of,
    market,
    offer,
    reading,
    start_of,
)
from tests.ledger.council import NODES, Council
from tests.ledger.council import plant as council_plant
from vppd.codec import encode
from vppd.config.genesis import AccountEntry, Genesis, MeterEntry, Tariff
from vppd.config.sharing import SharingRules
from vppd.crypto import SigningKey, sha256
from vppd.errors import ConfigError
from vppd.ledger.changes import SetMarket
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Pooled, PositionTaken, Posted, Reason, Settled, Shared, Traded
from vppd.ledger.execution import Ledger
from vppd.ledger.kinds.terms import DEAL, DealTerms, Take
from vppd.ledger.receipts import Receipt
from vppd.ledger.sharing import slot_seed
from vppd.ledger.state import POOL, SHARE
from vppd.market.sharing import penalties, pool

OPEN = start_of(0) - 20_000
GATE = start_of(0) - 2_000
END = start_of(1)
DEADLINE = END + 5_000
CLOSED = DEADLINE + 20_000


def plant(**rules: Any) -> Genesis:
    """Ann, Bob and Cat bid as a whole."""
    return genesis(market(rules="cooperative", sharing=SharingRules(**rules)))


def declared(chain: Chain, ann_wh: int = 1_000, bob_wh: int = 1_000) -> Chain:
    """Ann will give, Bob will take."""
    chain.ok(OPEN, ANN, offer(0, ann_wh, FEED_IN))
    chain.ok(OPEN + 1, BOB, bid(0, bob_wh, RETAIL))
    return chain


def metered(chain: Chain, ann_wh: int = 1_000, bob_wh: int = 1_000) -> Receipt:
    """Both deliver; the slot settles."""
    chain.ok(END, ANN_METER, reading(0, 100, 50 + ann_wh))
    chain.ok(END, BOB_METER, reading(0, bob_wh))
    return chain.block(DEADLINE)[0]


def shares(receipt: Receipt) -> dict[bytes, tuple[int, int, int, int]]:
    """By account: net Wh, worth alone, share, penalty."""
    return {e.account: (e.net_wh, e.alone, e.share, e.penalty) for e in events(receipt, Shared)}


def moved(receipt: Receipt, reason: Reason) -> dict[bytes, int]:
    return {e.account: e.delta for e in events(receipt, Posted) if e.reason == reason}


# The plant bids as a whole


def test_orders_meet_nobody_and_are_one_position_at_gate_closure() -> None:
    chain = declared(Chain(plant()), ann_wh=1_500)
    assert chain.escrow(BOB) == 500_000
    own = chain.block(GATE)[0]
    assert events(own, PositionTaken) == [PositionTaken(0, 2, 500)]
    assert events(own, Traded) == []
    assert (chain.escrow(BOB), chain.balance(BOB)) == (0, OPENING)


def test_a_slot_without_declarations_takes_no_position_and_shares_nothing() -> None:
    chain = Chain(plant())
    chain.ok(END, ANN_METER, reading(0, 100, 1_050))
    own = chain.block(DEADLINE)[0]
    assert [type(e) for e in own.events if isinstance(e, PositionTaken | Pooled | Shared)] == []
    assert chain.balance(ANN) == OPENING + 300_000


def test_what_was_given_under_a_deal_is_no_part_of_the_position() -> None:
    chain = declared(Chain(plant()))
    deal = OpenContract(DEAL, encode(DealTerms(0, 0, 400, 400_000, None)))
    chain.ok(OPEN + 2, ANN, deal)
    taken = chain.ok(OPEN + 3, CAT, CallContract(0, 0, encode(Take(400))))
    assert len(events(taken, Traded)) == 1
    own = metered(chain, ann_wh=1_400)
    assert {account: due[0] for account, due in shares(own).items()} == {
        ANN.public_key: 1_000,
        BOB.public_key: -1_000,
    }


@pytest.mark.parametrize("rules", ["production", "uniform"])
def test_under_other_rules_nothing_is_shared(rules: Any) -> None:
    section = market(rules=rules, sharing=SharingRules(penalty_price=1_000))
    chain = declared(Chain(genesis(section)))
    own = metered(chain)
    assert not any(isinstance(e, PositionTaken | Pooled | Shared) for e in own.events)
    assert not {key[0] for key, _ in chain.ledger.entries()} & {POOL.number, SHARE.number}


# The gain


def test_the_gain_over_settling_alone_is_shared() -> None:
    chain = declared(Chain(plant()))
    own = metered(chain)
    assert events(own, Pooled) == [Pooled(0, 1, 2, 0, 0, 300_000 - 500_000, 0)]
    assert shares(own) == {
        ANN.public_key: (1_000, 300_000, 400_000, 0),
        BOB.public_key: (-1_000, -500_000, -400_000, 0),
    }
    assert chain.balance(ANN) == OPENING + 400_000
    assert chain.balance(BOB) == OPENING - 400_000
    assert grid_of(chain.ledger) == 0


def test_members_settle_alone_first_and_get_the_difference_from_the_grid() -> None:
    own = metered(declared(Chain(plant())))
    assert {e.account: e.grid_amount for e in events(own, Settled)} == {
        ANN.public_key: -300_000,
        BOB.public_key: 500_000,
    }
    assert moved(own, Reason.SHARING) == {
        ANN.public_key: 100_000,
        BOB.public_key: 100_000,
        bytes(32): -100_000,  # the last of two
    }


def test_who_declared_nothing_takes_no_part() -> None:
    chain = Chain(plant())
    chain.ok(OPEN, ANN, offer(0, 1_000, FEED_IN))
    own = metered(chain)
    assert events(own, Pooled) == [Pooled(0, 1, 1, 1_000, 300_000, 300_000, 0)]
    assert list(shares(own)) == [ANN.public_key]
    assert chain.balance(BOB) == OPENING - 500_000


def test_shares_are_at_the_slot_s_own_tariff() -> None:
    night = Tariff(start_minute=0, end_minute=15, retail_price=200_000, feed_in_price=100_000)
    day = Tariff(start_minute=15, end_minute=0, retail_price=RETAIL, feed_in_price=FEED_IN)
    section = market(rules="cooperative", tariffs=(night, day))
    own = metered(declared(Chain(genesis(section))))
    assert shares(own)[ANN.public_key] == (1_000, 100_000, 150_000, 0)


# Penalties


def test_who_gives_less_than_declared_pays_the_others() -> None:
    chain = declared(Chain(plant(penalty_price=1_000_000, tolerance_ppm=0)))
    own = metered(chain, ann_wh=900)
    assert {key: due[3] for key, due in shares(own).items()} == {
        ANN.public_key: -100_000,
        BOB.public_key: 100_000,
    }
    fines = moved(own, Reason.PENALTY)
    assert (fines[ANN.public_key], fines[BOB.public_key]) == (-100_000, 100_000)


def test_a_deviation_within_the_tolerance_costs_nothing() -> None:
    chain = declared(Chain(plant(penalty_price=1_000_000)))
    assert moved(metered(chain, ann_wh=980), Reason.PENALTY) == {}


def test_who_is_alone_pays_nobody() -> None:
    chain = Chain(plant(penalty_price=1_000_000))
    chain.ok(OPEN, ANN, offer(0, 1_000, FEED_IN))
    assert moved(metered(chain, ann_wh=0), Reason.PENALTY) == {}


# Missing, late and corrected readings


def test_nobody_waits_for_a_missing_meter() -> None:
    chain = declared(Chain(plant(penalty_price=1_000_000)))
    chain.ok(END, BOB_METER, reading(0, 1_000))
    own = chain.block(DEADLINE)[0]
    assert shares(own) == {BOB.public_key: (-1_000, -500_000, -500_000, 0)}
    assert moved(own, Reason.PENALTY) == {}


def test_what_no_meter_has_shown_when_the_slot_closes_was_not_delivered() -> None:
    chain = declared(Chain(plant(penalty_price=1_000_000, tolerance_ppm=0)))
    chain.ok(END, BOB_METER, reading(0, 1_000))
    chain.block(DEADLINE)
    own = chain.block(CLOSED)[0]
    assert shares(own) == {
        ANN.public_key: (0, 0, 0, -1_000_000),
        BOB.public_key: (-1_000, -500_000, -500_000, 1_000_000),
    }
    assert chain.balance(ANN) == OPENING - 1_000_000


def test_a_late_reading_is_shared_as_the_slot_closes_and_posts_only_the_difference() -> None:
    in_time, late = (declared(Chain(plant(penalty_price=70_000))) for _ in range(2))
    metered(in_time, ann_wh=900)
    in_time.block(CLOSED)
    late.ok(END, BOB_METER, reading(0, 1_000))
    late.block(DEADLINE)
    receipt = late.ok(DEADLINE + 1, ANN_METER, reading(0, 100, 950))
    assert events(receipt, Shared) == []
    own = late.block(CLOSED)[0]
    assert events(own, Pooled)[0].version == 2
    assert {e.version for e in events(own, Shared)} == {2}
    for key in (ANN, BOB):
        assert late.balance(key) == in_time.balance(key)
    assert grid_of(late.ledger) == grid_of(in_time.ledger)


def test_a_corrected_reading_moves_shares_both_ways() -> None:
    chain = declared(Chain(plant()))
    metered(chain)
    chain.ok(DEADLINE + 1, ANN_METER, reading(0, 100, 550))
    own = chain.block(CLOSED)[0]
    assert shares(own)[ANN.public_key] == (500, 150_000, 200_000, 0)
    assert moved(own, Reason.SHARING)[ANN.public_key] == -50_000
    assert chain.balance(ANN) == OPENING + 200_000


def test_what_has_not_changed_is_not_said_twice() -> None:
    chain = declared(Chain(plant()))
    metered(chain)
    own = chain.block(CLOSED)[0]
    assert not any(isinstance(e, Pooled | Shared | Posted) for e in own.events)


def test_only_members_whose_share_changes_are_said_again() -> None:
    chain = declared(Chain(plant()))
    chain.ok(OPEN + 2, CAT, bid(0, 10, RETAIL))  # Cat has no meter
    metered(chain)
    own = chain.block(CLOSED)[0]
    assert list(shares(own)) == [CAT.public_key]


def test_a_slot_without_time_for_corrections_is_shared_twice_at_once() -> None:
    section = market(rules="cooperative", dispute_slots=0, sharing=SharingRules())
    chain = declared(Chain(genesis(section)))
    chain.ok(END, BOB_METER, reading(0, 1_000))
    own = chain.block(DEADLINE)[0]
    assert [e.version for e in events(own, Pooled)] == [1, 2]


def test_a_closed_slot_leaves_nothing_of_it_behind() -> None:
    chain = declared(Chain(plant()))
    metered(chain)
    tables = {key[0] for key, _ in chain.ledger.entries()}
    assert {POOL.number, SHARE.number} <= tables
    chain.block(CLOSED)
    assert not {key[0] for key, _ in chain.ledger.entries()} & {POOL.number, SHARE.number}


# Many members


def crowd(count: int, **rules: Any) -> tuple[Genesis, list[SigningKey], list[SigningKey]]:
    """A plant of so many members with a meter each."""
    keys = [SigningKey(sha256(b"member %d" % i)) for i in range(count)]
    meters = [SigningKey(sha256(b"meter %d" % i)) for i in range(count)]
    made = replace(
        plant(**rules),
        accounts=tuple(
            AccountEntry(name=f"m{i}", key=key.public_key, balance=OPENING)
            for i, key in enumerate(keys)
        ),
        meters=tuple(
            MeterEntry(key=key.public_key, account=f"m{i}") for i, key in enumerate(meters)
        ),
    )
    return made, keys, meters


def play(
    count: int, draw: int, **rules: Any
) -> tuple[Chain, Receipt, dict[bytes, tuple[int, int]]]:
    """All declare something and deliver something near it; by account: promise and delivery."""
    made, keys, meters = crowd(count, **rules)
    chain, rng = Chain(made), Random(draw)
    orders, readings, wanted = [], [], {}
    for key, meter in zip(keys, meters, strict=True):
        promise = rng.choice([-1, 1]) * rng.randrange(1, 3_000)
        net = promise + rng.randrange(-300, 300)
        op = offer(0, promise, FEED_IN) if promise > 0 else bid(0, -promise, RETAIL)
        orders.append(chain.tx(key, op))
        readings.append((meter, reading(0, max(0, -net), max(0, net))))
        wanted[key.public_key] = (promise, net)
    chain.block(OPEN, *orders)
    chain.block(END, *(chain.tx(meter, op) for meter, op in readings))
    return chain, chain.block(DEADLINE)[0], wanted


@pytest.mark.parametrize(("count", "samples"), [(2, 0), (12, 0), (13, 300), (20, 300)])
def test_every_member_gets_its_shapley_value_in_key_order(count: int, samples: int) -> None:
    chain, own, wanted = play(count, 7, samples=300, seed="s", penalty_price=50_000)
    accounts = sorted(wanted)
    promised = [wanted[key][0] for key in accounts]
    nets = [wanted[key][1] for key in accounts]
    seed = slot_seed(chain.genesis.digest, "s", 0)
    expected = pool(nets, RETAIL, FEED_IN, seed=seed, samples=300)
    fines = penalties(promised, nets, 50_000, 20_000)
    (said,) = events(own, Pooled)
    assert (said.members, said.samples) == (count, samples)
    assert (said.worth, said.alone) == (expected.worth, sum(expected.alone))
    assert [(e.account, e.share, e.penalty) for e in events(own, Shared)] == [
        *zip(accounts, expected.shares, fines, strict=True)
    ]
    assert sum(e.share for e in events(own, Shared)) == said.worth
    for key in accounts:
        account = chain.ledger.account(key)
        assert account is not None
        i = accounts.index(key)
        assert account.balance == OPENING + expected.shares[i] + fines[i]
    assert grid_of(chain.ledger) == -said.worth


def test_nought_neither_counts_as_a_player_nor_gets_a_share() -> None:
    made, keys, meters = crowd(14)
    chain = Chain(made)
    chain.block(OPEN, *(chain.tx(key, offer(0, 10, FEED_IN)) for key in keys))
    nets = [0, 0, *range(1, 13)]
    readings = zip(meters, nets, strict=True)
    chain.block(END, *(chain.tx(meter, reading(0, 0, net)) for meter, net in readings))
    own = chain.block(DEADLINE)[0]
    (said,) = events(own, Pooled)
    assert (said.members, said.samples) == (14, 0)  # twelve players are solved exactly
    assert [e.share for e in events(own, Shared) if e.net_wh == 0] == [0, 0]


@given(seed=st.integers(0, 10_000), count=st.integers(2, 5), late=st.integers(0, 4))
@settings(max_examples=25, deadline=None)
def test_whenever_readings_come_everybody_ends_with_the_same(
    seed: int, count: int, late: int
) -> None:
    """Late ones and corrected ones, in any number, come to what they would have in time."""
    rules = {"penalty_price": 90_001}
    in_time, _, wanted = play(count, seed, **rules)
    made, keys, meters = crowd(count, **rules)
    other = Chain(made)
    for key in keys:
        promise = wanted[key.public_key][0]
        op = offer(0, promise, FEED_IN) if promise > 0 else bid(0, -promise, RETAIL)
        other.ok(OPEN, key, op)
    pairs = [*zip(keys, meters, strict=True)]

    def read(time_ms: int, chosen: list[tuple[SigningKey, SigningKey]], off: int) -> None:
        for key, meter in chosen:
            net = wanted[key.public_key][1]
            op = reading(0, max(0, -net) + off, max(0, net) + off * 2)
            other.ok(time_ms, meter, op)

    read(END, pairs[late:], 7)
    other.block(DEADLINE)
    read(DEADLINE + 1, pairs, 0)
    for chain in (in_time, other):
        chain.block(CLOSED)
    for key in keys:
        assert other.balance(key) == in_time.balance(key)
    assert grid_of(other.ledger) == grid_of(in_time.ledger)


def test_absurd_numbers_stop_no_chain() -> None:
    """Prices and energies at their limits, purses near theirs."""
    most = 2**50
    section = market(
        rules="cooperative",
        max_quantity_wh=most,
        max_price=8_000,
        tariffs=(Tariff(start_minute=0, end_minute=1440, retail_price=8_000, feed_in_price=0),),
        sharing=SharingRules(penalty_price=8_000, tolerance_ppm=0),
    )
    made, keys, meters = crowd(14)
    made = replace(
        made,
        market=section,
        accounts=tuple(replace(a, balance=2**61 // 7) for a in made.accounts),
    )
    chain = Chain(made)
    chain.block(OPEN, *(chain.tx(key, offer(0, most, 0)) for key in keys))
    readings = [reading(0, *((most, 0) if i % 2 else (0, most))) for i in range(14)]
    pairs = zip(meters, readings, strict=True)
    chain.block(END, *(chain.tx(meter, op) for meter, op in pairs))
    own = chain.block(DEADLINE)[0]
    assert len(events(own, Shared)) == 14
    chain.block(CLOSED)


# For people


def test_the_view_says_what_all_are_worth_and_each_one_s_due() -> None:
    chain = declared(Chain(plant(penalty_price=1_000_000, tolerance_ppm=0, seed="s")))
    metered(chain, ann_wh=900)
    rows = {
        "ann": (1_000, 900, 270_000, 360_000, 90_000, -100_000),
        "bob": (-1_000, -1_000, -500_000, -410_000, 90_000, 100_000),
    }
    names = {ANN.public_key: "ann", BOB.public_key: "bob"}
    keys = ("promised_wh", "net_wh", "alone_micro", "share_micro", "gain_micro", "penalty_micro")
    assert chain.ledger.shares_view(0) == {
        "slot": 0,
        "version": 1,
        "members": 2,
        "net_wh": -100,
        "worth_micro": -50_000,
        "alone_micro": -230_000,
        "gain_micro": 180_000,
        "samples": 0,
        "seed": slot_seed(chain.genesis.digest, "s", 0).hex(),
        "penalty_price_micro": 1_000_000,
        "tolerance_ppm": 0,
        "shares": [
            {"account": names[key]}
            | dict(zip(keys, rows[names[key]], strict=True))
            | {"error_bound_micro": 0, "version": 1}
            for key in sorted(names)
        ],
    }


def test_without_a_slot_the_view_is_of_the_latest_shared() -> None:
    chain = Chain(plant())
    for slot in (0, 1):
        chain.ok(OPEN + slot, ANN, offer(slot, 10, FEED_IN))
    chain.ok(END, ANN_METER, reading(0, 100, 60))
    with pytest.raises(LookupError, match="no slot is shared"):
        chain.ledger.shares_view(None)
    chain.ok(start_of(2), ANN_METER, reading(1, 100, 70))
    chain.block(start_of(2) + 5_000)
    assert chain.ledger.shares_view(None)["slot"] == 1
    assert chain.ledger.shares_view(0)["slot"] == 0
    with pytest.raises(LookupError, match="slot 2 is not shared"):
        chain.ledger.shares_view(2)


def test_a_sampled_share_says_how_far_it_may_be_off() -> None:
    chain, _, _ = play(13, 1, samples=50)
    view = chain.ledger.shares_view(0)
    assert view["samples"] == 50
    assert all(row["error_bound_micro"] > 0 for row in view["shares"])


# Rules


def test_the_plant_bids_as_a_whole_from_a_governed_slot_on() -> None:
    council = Council(council_plant(4))
    change = SetMarket(20, (("rules", "cooperative"), ("sharing.penalty_price", 1_000)))
    council.send(council.propose(change), NODES[:2])
    time = start_of(19) - 20_000
    for slot in (19, 20):
        council.ok(time + slot, NODES[0], offer(slot, 10, 400_000))
        receipt = council.ok(time + slot, NODES[1], bid(slot, 10, 400_000))
        assert len(events(receipt, Traded)) == (slot == 19)
    own = council.block(start_of(20))[0]
    assert events(own, PositionTaken) == [PositionTaken(20, 2, 0)]
    assert council.ledger.calendar.at(20).sharing.penalty_price == 1_000


@pytest.mark.parametrize(
    "setting",
    [
        ("sharing.samples", 0),
        ("sharing.samples", "many"),
        ("sharing.seed", "not a seed"),
        ("sharing.seed", 7),
        ("sharing.tolerance_ppm", 1_000_001),
        ("sharing.penalty_price", 10_000_001),
        ("sharing.price", 1),
        ("sharing", 1),
    ],
)
def test_rules_of_sharing_that_cannot_be_are_refused(setting: tuple[str, int | str]) -> None:
    council = Council(council_plant(4))
    code, _ = council.fails(start_of(0), NODES[0], council.propose(SetMarket(20, (setting,))))
    assert code is ErrorCode.BAD_NUMBER


@pytest.mark.parametrize(
    "rules", [{"penalty_price": 10_000_001}, {"penalty_price": 2**53}], ids=["dear", "absurd"]
)
def test_a_penalty_above_the_highest_price_cannot_be_run(rules: Any) -> None:
    with pytest.raises(ConfigError, match="E124") as error:
        Ledger.from_genesis(plant(**rules))
    assert "penalty price" in str(error.value)


def test_each_slot_draws_its_own_orders_from_the_committed_seed() -> None:
    one, other = sha256(b"a"), sha256(b"b")
    drawn = [slot_seed(one, "s", 0), slot_seed(one, "s", 1), slot_seed(one, "t", 0)]
    assert len({*drawn, slot_seed(other, "s", 0)}) == 4
    assert slot_seed(one, "s", 0) == sha256(one + bytes(8) + b"s")

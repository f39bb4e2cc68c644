"""The audit of cooperative slots: it agrees with the market, and finds what is changed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.day.audited import Day, edited, every_event, play_on
from tests.day.audited import plant as audited_plant
from tests.ledger.chain import offer, reading, start_of
from tests.ledger.test_sharing import crowd
from vppd.config.genesis import Tariff
from vppd.config.sharing import SharingRules
from vppd.day.audit import sharing as second
from vppd.ledger.events import Event, Pooled, PositionTaken, Posted, Reason, Shared
from vppd.market import sharing

RULES = SharingRules(penalty_price=123_457, tolerance_ppm=0, samples=40, seed="s")
TARIFF = Tariff(start_minute=0, end_minute=0, retail_price=500_001, feed_in_price=300_000)


@pytest.fixture(scope="module")
def day() -> Day:
    """Everything that may happen to a slot, with shares and penalties; not to be changed."""
    base = audited_plant("cooperative")
    return play_on(replace(base, market=replace(base.market, sharing=RULES)))


def test_a_cooperative_day_has_no_findings(day: Day) -> None:
    assert day.audit().findings == []
    said = [event for _, _, event in every_event(day.exported)]
    assert {e.version for e in said if isinstance(e, Pooled)} == {1, 2}
    assert any(isinstance(e, PositionTaken) for e in said)
    reasons = {e.reason for e in said if isinstance(e, Posted)}
    assert {Reason.SHARING, Reason.PENALTY} <= reasons


def test_a_slot_of_thirteen_has_no_findings() -> None:
    made, keys, meters = crowd(13, samples=40)
    day, rng = Day(made), Random(5)
    day.block(start_of(0) - 9_000, *(day.tx(key, offer(0, 500, 1)) for key in keys))
    nets = [rng.randrange(-900, 900) for _ in meters]
    registers = [reading(0, max(0, -net), max(0, net)) for net in nets]
    pairs = zip(meters, registers, strict=True)
    day.block(start_of(1), *(day.tx(meter, op) for meter, op in pairs))
    day.block(start_of(1) + 5_000)
    day.block(start_of(9))
    assert day.audit().findings == []
    assert any(e.samples == 40 for _, _, e in every_event(day.exported) if isinstance(e, Pooled))


Change = Callable[[Event], list[Event]]


@pytest.mark.parametrize("kind", [PositionTaken, Pooled, Shared])
@pytest.mark.parametrize(
    "change",
    [
        lambda _: [],
        lambda e: [e, e],
        lambda e: [replace(e, slot=e.slot + 1)],
    ],
    ids=["left out", "doubled", "of another slot"],
)
def test_a_sentence_about_sharing_that_is_wrong_is_found(
    day: Day, kind: type[Event], change: Change
) -> None:
    for number, (_, _, event) in enumerate(every_event(day.exported)):
        if isinstance(event, kind):
            assert edited(day, {number: change})


def one_more(field: str) -> Change:
    return lambda event: [replace(event, **{field: getattr(event, field) + 1})]


@pytest.mark.parametrize("field", ["share", "alone", "penalty", "net_wh", "promised_wh", "version"])
def test_a_share_of_another_size_is_found(day: Day, field: str) -> None:
    for number, (_, _, event) in enumerate(every_event(day.exported)):
        if isinstance(event, Shared):
            assert edited(day, {number: one_more(field)})


@pytest.mark.parametrize("reason", [Reason.SHARING, Reason.PENALTY])
def test_a_payment_that_is_left_out_is_found_even_if_the_sums_hold(
    day: Day, reason: Reason
) -> None:
    said = [event for _, _, event in every_event(day.exported)]
    first = next(i for i, e in enumerate(said) if isinstance(e, Posted) and e.reason == reason)
    assert edited(day, {first: lambda _: [], first + 1: lambda _: []})


energies = st.lists(st.integers(-5_000, 5_000), min_size=1, max_size=6)


@given(energies)
def test_exact_shares_agree(nets: list[int]) -> None:
    ours = second._shapley(nets, TARIFF, b"", 0)
    prices = TARIFF.retail_price, TARIFF.feed_in_price
    players = [net for net in nets if net]
    theirs = iter(sharing.pool(players, *prices, seed=b"", samples=1).shares)
    assert ours == [next(theirs) if net else 0 for net in nets]


@given(st.lists(st.integers(1, 5_000), min_size=13, max_size=15), st.binary(max_size=4))
def test_sampled_shares_agree(nets: list[int], seed: bytes) -> None:
    signed = [net * (-1) ** net for net in nets]
    prices = TARIFF.retail_price, TARIFF.feed_in_price
    theirs = sharing.pool(signed, *prices, seed=seed, samples=5)
    assert tuple(second._shapley(signed, TARIFF, seed, 5)) == theirs.shares


@given(energies, st.data(), st.integers(0, 1_000_000))
def test_penalties_agree(promised: list[int], data: st.DataObject, tolerance: int) -> None:
    count = len(promised)
    nets = data.draw(st.lists(st.integers(-5_000, 5_000), min_size=count, max_size=count))
    rules = replace(RULES, tolerance_ppm=tolerance)
    theirs = sharing.penalties(promised, nets, rules.penalty_price, tolerance)
    assert tuple(second._fines(promised, nets, rules)) == theirs


@pytest.mark.parametrize("players", [1, 12, 13, 20, 5_000, 300_000])
def test_numbers_of_samples_agree(players: int) -> None:
    rules = SharingRules(samples=1_000)
    exactly = players <= 12
    assert second._samples(players, rules) == (
        0 if exactly else sharing.samples_for(players, rules.samples)
    )

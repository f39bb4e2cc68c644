"""Rates and records: pure, with time as an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.net import limits
from vppd.net.limits import (
    BAD_SIGNATURES,
    BAR_SECONDS,
    CUT_FAULTS,
    FLOOD_SECONDS,
    FORGIVE_SECONDS,
    IDENTITIES,
    LONGEST_BAR_SECONDS,
    RATES,
    Barred,
    Bucket,
    Flood,
    Meter,
    Offences,
    Rates,
)

LIAR, OTHER = b"liar", b"other"
SMALL = Rates(10, 20, 10, 20, 10, 20)

# ---------------------------------------------------------------- buckets


def test_a_bucket_begins_full_and_may_be_overdrawn_once() -> None:
    bucket = Bucket(10, 30, 0)
    assert bucket.spend(30, 0) == 0
    assert bucket.spend(20, 0) == 2
    assert bucket.level(1) == -10
    assert bucket.spend(0, 2) == 0
    assert bucket.level(100) == 30


def test_time_that_stands_still_or_runs_backwards_refills_nothing() -> None:
    bucket = Bucket(10, 30, 5)
    bucket.spend(30, 5)
    assert bucket.level(5) == bucket.level(1) == 0
    assert bucket.level(6) == 10


@given(
    st.floats(0.1, 1e4),
    st.floats(1, 1e4),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 500)), max_size=50),
)
def test_who_waits_as_told_never_gets_more_than_burst_and_rate(
    rate: float, burst: float, spends: list[tuple[float, float]]
) -> None:
    """Over any stretch of time that begins with a full bucket, but for the last amount."""
    bucket, now, spent, last = Bucket(rate, burst, 0), 0.0, 0.0, 0.0
    for pause, amount in spends:
        now += pause
        assert spent - last <= (burst + rate * now) * (1 + 1e-9) + 1e-6
        wait = bucket.spend(amount, now)
        assert wait >= 0
        now += wait
        assert bucket.level(now) >= -1e-6
        assert bucket.level(now) <= burst
        spent, last = spent + amount, amount


# ---------------------------------------------------------------- the meter of a link


@pytest.mark.parametrize("what", ["frames", "size", "verifications"])
def test_each_budget_makes_its_link_wait(what: str) -> None:
    meter = Meter(SMALL, 0)
    assert meter.spend(0, **{what: 20}) == 0
    assert meter.spend(0, **{what: 5}) == 0.5
    assert meter.spend(0.5) == 0


def test_an_honest_node_at_its_busiest_never_waits() -> None:
    """5,000 transactions a second one by one and again in blocks, for ten minutes."""
    meter = Meter(RATES, 0)
    assert meter.spend(0, frames=5_000, size=5_000 * 400, verifications=5_000) == 0, "it is back"
    for tenth in range(1, 6_001):
        now = tenth / 10
        assert meter.spend(now, frames=500 + 50, size=500 * 400, verifications=500 + 50) == 0
        assert meter.spend(now, frames=1, size=500 * 400) == 0
    assert meter.spend(601, frames=2, size=2 * 1024 * 1024, verifications=2 * 4_096) == 0


def test_an_honest_node_that_serves_catching_up_never_waits() -> None:
    """Answers of 1 MiB, each of which takes 0.09 s or more to execute; and their requests."""
    meter = Meter(RATES, 0)
    for answer in range(600):
        assert meter.spend(0.09 * answer, frames=1, size=1024 * 1024) == 0


def test_a_flood_is_cut_after_a_minute_without_a_pause() -> None:
    meter, now = Meter(SMALL, 0), 0.0
    while now < FLOOD_SECONDS:
        now += meter.spend(now, frames=30)
    with pytest.raises(Flood, match="60 s without a pause"):
        meter.spend(now, frames=30)


def test_a_burst_and_a_pause_are_no_flood() -> None:
    meter, now = Meter(SMALL, 0), 0.0
    for _ in range(100):
        wait = meter.spend(now, frames=30)
        assert wait > 0
        now += wait + 2
        assert meter.spend(now) == 0


# ---------------------------------------------------------------- records


def test_the_twentieth_bad_signature_is_too_many() -> None:
    offences = Offences()
    told = [offences.note(LIAR, 1, i / 5_000) for i in range(BAD_SIGNATURES)]
    assert told == [False] * (BAD_SIGNATURES - 1) + [True]
    with pytest.raises(Barred, match=r"barred for 10 s: too many bad signatures"):
        offences.admit(LIAR, 1)
    offences.admit(OTHER, 1)
    offences.admit(LIAR, 1 + BAR_SECONDS)


def test_a_link_cut_for_a_fault_counts_five() -> None:
    offences = Offences()
    told = [offences.note(LIAR, CUT_FAULTS, i) for i in range(4)]
    assert told == [False, False, False, True]


def test_the_bar_doubles_up_to_an_hour() -> None:
    offences, now, bars = Offences(), 0.0, []
    for _ in range(12):
        assert offences.note(LIAR, BAD_SIGNATURES, now)
        bars.append(offences.barred_seconds(LIAR, now))
        now += bars[-1]
    assert bars[:4] == [10, 20, 40, 80]
    assert bars[-1] == LONGEST_BAR_SECONDS


def test_what_was_long_ago_is_forgiven_step_by_step() -> None:
    offences, now = Offences(), 0.0
    for _ in range(3):
        offences.note(LIAR, BAD_SIGNATURES, now)
        now += offences.barred_seconds(LIAR, now)
    now += 2 * LONGEST_BAR_SECONDS
    offences.note(LIAR, BAD_SIGNATURES, now)
    assert offences.barred_seconds(LIAR, now) == 2 * BAR_SECONDS


def test_one_bad_signature_a_minute_bars_nobody() -> None:
    offences = Offences()
    assert not any(offences.note(LIAR, 1, i * FORGIVE_SECONDS) for i in range(1_000))


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from([1, CUT_FAULTS])), max_size=80))
def test_no_reconnecting_gets_around_the_count(faults: list[tuple[float, int]]) -> None:
    """Between two bars there are never more than twenty faults, and those time has forgiven."""
    offences, now, since, count = Offences(), 0.0, 0.0, 0
    for pause, weight in faults:
        now = max(now + pause, now + offences.barred_seconds(LIAR, now))
        count += weight
        if offences.note(LIAR, weight, now):
            assert count >= BAD_SIGNATURES
            since, count = now, 0
        else:
            assert count < BAD_SIGNATURES + (now - since) / FORGIVE_SECONDS


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    assert IDENTITIES > 10
    monkeypatch.setattr(limits, "IDENTITIES", 2)
    offences = Offences()
    for name in (LIAR, OTHER, b"third"):
        offences.note(name, BAD_SIGNATURES, 0)
    offences.admit(LIAR, 1)
    with pytest.raises(Barred):
        offences.admit(OTHER, 1)

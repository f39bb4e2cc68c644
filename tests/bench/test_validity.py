"""What makes a run invalid: every rule seen to say so, and a good run to pass."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.made import S, facts, window
from vppd.bench.plan import Plan
from vppd.bench.stores import forks
from vppd.bench.validity import reasons, stepped
from vppd.bench.watch import Clock


def test_a_good_run_is_valid() -> None:
    assert reasons(facts()) == ()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"window": window(dropped=3)}, "3 transactions were never taken"),
        ({"window": window(timeouts=2)}, "2 transactions were taken and not committed"),
        ({"forks": ("height 7: op-0 aa, der-1 bb",)}, "unequal blocks: height 7"),
        ({"deaths": {"der-1": "2 times"}}, "der-1 died 2 times, and nobody killed it"),
        ({"clocks": [Clock(0, 0), Clock(S, S + S // 2)]}, "the wall clock was moved by 500 ms"),
        ({"plan": Plan(rate=100.0, warm_up_s=0.5)}, "a warm-up of 0.5 s is shorter than 1 s"),
        ({"window": window(committed=99)}, "99 samples are fewer than 100"),
        ({"window": window(commits=949)}, "goodput 94.9/s is below 95 % of the 100.0/s"),
        ({"failed": 2}, "2 transactions failed in execution"),
        ({"exhausted": True}, "ran out of transactions"),
        ({"late_ms": 101.0}, "101 ms late themselves"),
        ({"in_memory": True}, "the stores lie in memory"),
        ({"missing": ("der-2",)}, "der-2 did not answer at the end"),
        ({"faults": ("the store of der-1 does not hold: x",)}, "the store of der-1 does not"),
    ],
)
def test_each_rule_says_why(changed: dict[str, Any], why: str) -> None:
    (reason,) = reasons(facts(**changed))
    assert reason.startswith(why) or why in reason


def test_the_limits_themselves_are_valid() -> None:
    assert reasons(facts(window=window(commits=950))) == ()
    assert reasons(facts(window=window(timeouts=1))) == ()
    assert reasons(facts(window=window(committed=100))) == ()
    assert reasons(facts(plan=Plan(rate=100.0, warm_up_s=1.0))) == ()
    assert reasons(facts(plan=Plan(rate=100.0, sync="off"), in_memory=True)) == ()


def test_a_closed_loop_has_no_rate_to_fall_behind() -> None:
    assert reasons(facts(plan=Plan(rate=None, closed=4), window=window(commits=1))) == ()


def test_a_search_may_find_the_plant_behind_but_nothing_worse() -> None:
    behind = window(commits=10, dropped=500, timeouts=400)
    assert reasons(facts(window=behind, late_ms=999.0), searching=True) == ()
    assert len(reasons(facts(window=behind, failed=1, forks=("x",)), searching=True)) == 2


def test_a_clock_that_drifts_as_adjusting_it_makes_it_was_not_moved() -> None:
    drifting = [Clock(i * S, i * S + i * 500_000) for i in range(60)]
    assert stepped(drifting) is None
    assert stepped([]) is None
    assert stepped([Clock(0, 0), Clock(S, S - 30_000_000)]) == pytest.approx(-30.0)


def test_blocks_that_differ_are_named_with_their_nodes() -> None:
    chains = [{1: "a" * 64, 2: "b" * 64}, {1: "a" * 64}, {1: "a" * 64, 2: "c" * 64}]
    assert forks(["x", "y", "z"], chains) == ("height 2: x bbbbbbbb, z cccccccc",)
    assert forks(["x", "y"], chains[:2]) == ()

"""Whatever is issued, answered, cancelled and metered: money and overlaps stay within bounds."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.chain import ANN, BOB, start_of
from tests.ledger.town import (
    DAN,
    OP,
    RICH,
    Town,
    answer,
    build,
    cancel,
    event,
    join,
    key,
    order,
    release,
)
from vppd.ledger.events import Posted, Reason
from vppd.ledger.member_events import EffectMeasured
from vppd.ledger.response.calls import Answer, is_asked, live_events
from vppd.market.response import Signal

PEOPLE = (ANN, BOB, DAN)
SLOTS = 10

issue = st.fixed_dictionaries(
    {
        "what": st.just("issue"),
        "ahead": st.integers(1, 3),
        "length": st.integers(1, 3),
        "signal": st.sampled_from(Signal),
        "target_w": st.integers(1, 3_000),
        "priority": st.integers(0, 2),
        "members": st.sets(st.sampled_from(range(3))),
        "replaces": st.none() | st.integers(1, 6),
        "binding": st.booleans(),
    }
)
reply = st.fixed_dictionaries(
    {
        "what": st.just("reply"),
        "who": st.integers(0, 2),
        "number": st.integers(1, 6),
        "opts_in": st.booleans(),
    }
)
stop = st.fixed_dictionaries({"what": st.just("stop"), "number": st.integers(1, 6)})
steps = st.lists(
    st.tuples(
        st.lists(issue | reply | stop, max_size=3), st.tuples(*[st.integers(-9_999, 9_999)] * 3)
    ),
    min_size=4,
    max_size=SLOTS,
)


def send(chain: Town, step: dict[str, Any], slot: int) -> bytes:
    match step["what"]:
        case "reply":
            return chain.tx(PEOPLE[step["who"]], answer(step["number"], step["opts_in"]))
        case "stop":
            return chain.tx(OP, cancel(step["number"]))
        case _:
            first = slot + step["ahead"]
            last = first + step["length"] - 1
            people = [PEOPLE[i] for i in sorted(step["members"])]
            if step["binding"]:
                return chain.tx(OP, order(first, last, *people, target_w=step["target_w"]))
            named = {name: step[name] for name in ("signal", "target_w", "priority", "replaces")}
            return chain.tx(OP, event(first, last, members=map(key, people), **named))


def check_nobody_is_called_twice(chain: Town) -> None:
    busy: Counter[tuple[bytes, int]] = Counter()
    for live in live_events(chain.ledger._ctx):
        terms = live.event.terms
        for called in live.event.called:
            for slot in range(terms.first_slot, terms.last_slot + 1):
                busy[called.account, slot] += is_asked(called, terms, slot)
    assert max(busy.values(), default=0) <= 1


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.tuples(*[st.booleans()] * 3))
def test_events_pay_no_more_than_was_deposited_and_never_call_anybody_twice(
    days: list[tuple[list[dict[str, Any]], tuple[int, int, int]]], auto: tuple[bool, ...]
) -> None:
    """The chain's own auditor re-adds every posting besides, and money is conserved."""
    chain = Town()
    chain.ok(chain.at(0), OP, build(), release())
    for person, consents in zip(PEOPLE, auto, strict=True):
        chain.ok(chain.at(0), person, join(capacity_w=2_000, auto=consents))
    for slot, (said, nets) in enumerate(days):
        for step in said:
            chain.block(chain.at(slot), send(chain, step, slot))
            check_nobody_is_called_twice(chain)
        chain.live(slot, **dict(zip(("ann", "bob", "dan"), nets, strict=True)))
        check_nobody_is_called_twice(chain)
    for block in range(3):  # a contract fires once per block
        chain.block(start_of(SLOTS + 12) + block)
    assert list(live_events(chain.ledger._ctx)) == []
    held: Counter[bytes] = Counter()
    for posted in chain.all_told(Posted):
        if (
            posted.reason in (Reason.DEPOSIT, Reason.PAYOUT)
            and posted.account < b"\x00" * 31 + b"\xff"
        ):
            held[posted.account] += posted.delta
            assert held[posted.account] >= 0
    assert not any(held.values())
    paid = sum(found.amount for found in chain.all_told(EffectMeasured))
    assert all(found.effect_wh >= 0 for found in chain.all_told(EffectMeasured))
    deposits = sum(
        -p.delta for p in chain.all_told(Posted) if p.reason == Reason.DEPOSIT and p.delta < 0
    )
    refunds = sum(
        p.delta
        for p in chain.all_told(Posted)
        if p.reason == Reason.PAYOUT and p.account == key(OP)
    )
    assert paid == deposits - refunds
    assert chain.balance(OP) == RICH - paid
    assert {a.answer for a in chain.told if hasattr(a, "answer")} <= set(Answer)

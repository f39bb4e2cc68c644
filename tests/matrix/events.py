"""Event management and effect: notification, orders, load control, what came of them."""

from __future__ import annotations

from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER, CAT
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    OP,
    PRICE,
    Town,
    answer,
    build,
    cancel,
    event,
    join,
    key,
    order,
    release,
    town,
)
from tests.matrix.scene import Refusal, Scene, signed_scene
from tests.matrix.users import AGGREGATORS, NOT_PERMITTED
from vppd.crypto import SigningKey
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.events import ContractMoved, ContractSaid, Event, Posted, ReadingAccepted, Reason
from vppd.ledger.kinds.event import TERMS_SAID
from vppd.ledger.member_events import Answered, EffectMeasured
from vppd.ledger.registration.views import events_view
from vppd.ledger.response.calls import read_event
from vppd.ledger.transaction import Reading
from vppd.market.response import Signal

USUAL_WH = 20_000


def programme(*, aggregators: bool = False, auto: bool = True) -> Town:
    """Ann, Bob and Dan in a released project; Ann and Dan are agg's."""
    chain = Town(town(duties=AGGREGATORS)) if aggregators else Town()
    chain.ok(chain.at(0), OP, build(), release())
    for member in (ANN, BOB, DAN):
        chain.ok(chain.at(0), member, join(auto=auto))
    return chain


def called(chain: Town) -> list[str]:
    """Whom the only event calls."""
    (row,) = chain.ledger.look(events_view)
    return [member["name"] for member in row["members"]]


def _issue(
    chain: Town, who: SigningKey, op: OpenContract, names: set[str], *refusals: Refusal
) -> Scene:
    def done() -> None:
        assert set(called(chain)) == names

    def told(found: list[Event]) -> None:
        (said,) = [e for e in found if isinstance(e, ContractSaid)]
        assert said.topic == TERMS_SAID
        keys = {chain.ledger.account_view(c.account)["name"] for c in read_event(said.data).called}
        assert keys == names
        (moved,) = [e for e in found if isinstance(e, ContractMoved)]
        assert moved.kind == "event"

    return signed_scene(chain, (who, op), done, told, *refusals)


def notification_service() -> Scene:
    """All members of a project are called; who lacks the duty calls nobody."""
    chain = programme()
    op = event(2, 3)
    return _issue(
        chain, OP, op, {"ann", "bob", "dan"},
        Refusal(DER, op, NOT_PERMITTED),
        Refusal(BOB, op, NOT_PERMITTED),
        Refusal(OP, event(0, 0), ErrorCode.SLOT_HAS_BEGUN),
        Refusal(OP, event(2, 3, members=(key(CAT),)), ErrorCode.NOT_IN_PROJECT),
    )  # fmt: skip


def notification_aggregate() -> Scene:
    """An aggregator calls its members, and no others."""
    chain = programme(aggregators=True)
    op = event(2, 3, members=(key(ANN), key(DAN)))
    return _issue(
        chain, AGG, op, {"ann", "dan"},
        Refusal(AGG, event(2, 3), NOT_PERMITTED),
        Refusal(AGG, event(2, 3, members=(key(BOB),)), NOT_PERMITTED),
    )  # fmt: skip


def order_service() -> Scene:
    """An operator's order binds, with its reason."""
    chain = programme()
    op = order(2, 2, ANN, CAT)
    return _issue(
        chain, OP, op, {"ann", "cat"},
        Refusal(DER, op, NOT_PERMITTED),
        Refusal(OP, order(2, 2, ANN, reason=""), ErrorCode.NO_REASON),
        Refusal(OP, order(2, 2), ErrorCode.NOT_CALLED),
    )  # fmt: skip


def order_aggregate() -> Scene:
    """An aggregator orders nothing; its members are bound by the operator's, and cannot say no."""
    chain = programme(aggregators=True)
    op = order(2, 2, ANN, DAN)
    scene = _issue(
        chain, OP, op, {"ann", "dan"},
        Refusal(AGG, op, NOT_PERMITTED),
        Refusal(ANN, answer(1, False), ErrorCode.UNKNOWN_CONTRACT),
    )  # fmt: skip

    def done() -> None:
        scene.done()
        assert chain.fails(chain.at(0), ANN, answer(1, False)) == (ErrorCode.TOO_LATE, ())

    return scene._replace(done=done)


def load_service() -> Scene:
    """A setpoint: each is asked for no more than so much; it comes before what it displaces."""
    chain = programme()
    chain.ok(chain.at(0), OP, event(2, 3, priority=1))
    op = event(3, 3, signal=Signal.LIMIT, target_w=500, priority=9)

    def done() -> None:
        displaced, limit = chain.ledger.look(events_view)
        assert (limit["signal"], {m["target_w"] for m in limit["members"]}) == ("limit", {500})
        assert {m["until_slot"] for m in displaced["members"]} == {3}

    def told(found: list[Event]) -> None:
        (said,) = [e for e in found if isinstance(e, ContractSaid)]
        assert read_event(said.data).terms.signal == Signal.LIMIT
        assert len([e for e in found if isinstance(e, Answered)]) == 3

    return signed_scene(
        chain, (OP, op), done, told,
        Refusal(DER, op, NOT_PERMITTED),
        Refusal(OP, event(3, 3, priority=1), ErrorCode.EVENTS_OVERLAP),
    )  # fmt: skip


def load_aggregate() -> Scene:
    """An aggregator limits its members."""
    chain = programme(aggregators=True)
    op = event(2, 2, signal=Signal.LIMIT, target_w=500, members=(key(ANN), key(DAN)))
    other = event(2, 2, signal=Signal.LIMIT, target_w=500, members=(key(BOB),))
    return _issue(
        chain, AGG, op, {"ann", "dan"},
        Refusal(AGG, other, NOT_PERMITTED),
        Refusal(DAN, op, NOT_PERMITTED),
    )  # fmt: skip


# ---------------------------------------------------------------- effect


def _effect(chain: Town, who: SigningKey, names: dict[str, SigningKey]) -> Scene:
    """A kilowatt less in slot 5, of two days' habit; each does what it can, and time pays it."""
    chain.days(0, 3, **dict.fromkeys(names, USUAL_WH))
    chain.ok(chain.at(4, 2), who, event(5, 5, members=map(key, names.values())))
    chain.live(4, **dict.fromkeys(names, USUAL_WH))
    took = {name: USUAL_WH - 1_000 * (i + 1) for i, name in enumerate(names)}
    chain.live(5, **took)

    def found(events: list[Event]) -> dict[bytes, EffectMeasured]:
        return {e.account: e for e in events if isinstance(e, EffectMeasured)}

    def check(events: list[Event]) -> None:
        for i, signer in enumerate(names.values()):
            effect = found(events)[key(signer)]
            assert (effect.effect_wh, effect.amount) == (
                1_000 * (i + 1),
                1_000 * (i + 1) * PRICE // 1_000,
            )
        posted = [e for e in events if isinstance(e, Posted) and e.reason == Reason.PAYOUT]
        assert sum(p.delta for p in posted) == 0

    def done() -> None:
        check(list(chain.told))
        assert chain.ledger.look(events_view) == []

    refusals = (
        Refusal(DER, cancel(1), NOT_PERMITTED),
        Refusal(who, cancel(1), ErrorCode.TOO_LATE),
        Refusal(next(iter(names.values())), answer(1, False), ErrorCode.TOO_LATE),
    )
    return Scene(chain, lambda: chain.settle(5), done, check, refusals)


def effect_service() -> Scene:
    """The plant's event is measured as its last slot closes, and paid from its deposit."""
    return _effect(programme(), OP, {"ann": ANN, "bob": BOB})


def effect_aggregate() -> Scene:
    """An aggregator's event is measured for its members, and paid from its deposit."""
    return _effect(programme(aggregators=True), AGG, {"ann": ANN, "dan": DAN})


def effect_terminal() -> Scene:
    """What counts is what the meter signed; nobody else's reading, and no register turned back."""
    chain = programme()
    chain.days(0, 3, bob=USUAL_WH)
    chain.ok(chain.at(4, 2), OP, event(5, 5, members=(key(BOB),)))
    chain.live(4, bob=USUAL_WH)
    chain.block(chain.at(6, 1))
    register = 5 * USUAL_WH + 17_000
    reading = Reading(5, register, 0)

    def act() -> None:
        chain.ok(chain.at(6, 1), BOB_METER, reading)
        chain.settle(5)

    def check(events: list[Event]) -> None:
        assert ReadingAccepted(key(BOB_METER), key(BOB), 5, register, 0, 1) in events
        (effect,) = [e for e in events if isinstance(e, EffectMeasured)]
        assert (effect.metered_wh, effect.effect_wh) == (17_000, 3_000)

    return Scene(
        chain, act, lambda: check(list(chain.told)), check,
        (
            Refusal(BOB, reading, ErrorCode.NOT_A_METER),
            Refusal(BOB_METER, Reading(5, 1, 0), ErrorCode.REGISTER_BACKWARDS),
            Refusal(ANN_METER, Reading(7, 1, 0), ErrorCode.READING_FROM_FUTURE),
        ),
        (BOB_METER, reading),
    )  # fmt: skip

"""Registration on chain: who may, which names and keys, suspended and closed accounts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    bid,
    events,
    market,
    offer,
    start_of,
)
from tests.ledger.council import NODES
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    EVE,
    NEW,
    NEW_METER,
    OP,
    OPENING,
    PER_DAY,
    Town,
    build,
    join,
    key,
    release,
    town,
)
from vppd.config.duties import DutyEntry
from vppd.config.genesis import STARTING_CREDIT, Governance
from vppd.ledger.changes import Bar, Grant
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import AccountOpened, Posted, Reason
from vppd.ledger.member_events import MemberRegistered, MeterRegistered, StandingChanged
from vppd.ledger.order_ops import SignTrades
from vppd.ledger.registration.ops import RegisterMember
from vppd.ledger.registration.records import Duty, Standing
from vppd.ledger.state import MEMBER
from vppd.ledger.transaction import Transfer

T = start_of(0)


@pytest.fixture
def chain() -> Town:
    return Town()


def registered(chain: Town, **changes: Any) -> RegisterMember:
    op = chain.register(**changes)
    chain.ok(chain.at(0), OP, op)
    return op


# ---------------------------------------------------------------- accounts


def test_an_operator_registers_a_member_that_can_then_act(chain: Town) -> None:
    receipt = chain.ok(T, OP, chain.register(aggregator=key(AGG)))
    assert events(receipt, AccountOpened) == [AccountOpened(key(NEW), STARTING_CREDIT)]
    assert events(receipt, MemberRegistered) == [
        MemberRegistered(key(NEW), "newcomer", 7, key(AGG), key(OP))
    ]
    account = chain.ledger.account(key(NEW))
    assert account is not None
    assert (account.balance, account.bus, account.nonce) == (0, 7, 0)
    chain.ok(T + 1, ANN, Transfer(key(NEW), 500))
    chain.ok(T + 2, NEW, Transfer(key(ANN), 200))
    assert chain.balance(NEW) == 300


def test_who_joined_sells_through_a_meter(chain: Town) -> None:
    """Else one sells what no meter will ever miss, and the grid pays for it."""
    registered(chain)
    chain.ok(chain.at(0) + 1, ANN, Transfer(key(NEW), 500_000))
    assert chain.fails(chain.at(0) + 2, NEW, offer(2, 10, 1)) == (ErrorCode.NO_METER, ())
    chain.ok(chain.at(0) + 3, NEW, bid(2, 10, 1))
    chain.ok(chain.at(0) + 4, OP, chain.meter(account=key(NEW)))
    chain.ok(chain.at(0) + 5, NEW, offer(2, 10, 1))


def test_where_there_is_an_authority_it_registers_and_operators_do_not() -> None:
    chain = Town(town(Governance(authority=(key(CAT),))))
    assert chain.fails(T, OP, chain.register()) == (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))
    chain.ok(T + 1, CAT, chain.register())


def test_who_genesis_names_registers_and_operators_do_not() -> None:
    chain = Town(town(duties=(DutyEntry(duty="registrar", account="bob"),)))
    assert chain.fails(T, OP, chain.register()) == (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))
    chain.ok(T + 1, BOB, chain.register())


def test_an_aggregator_registers_members_under_itself_and_nowhere_else() -> None:
    chain = Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))
    refused = (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))
    assert chain.fails(T, AGG, chain.register()) == refused
    assert chain.fails(T + 1, AGG, chain.register(aggregator=key(BOB))) == refused
    assert chain.fails(T + 2, BOB, chain.register(aggregator=key(BOB))) == refused
    chain.ok(T + 3, AGG, chain.register(aggregator=key(AGG)))
    chain.ok(T + 4, AGG, chain.meter(account=key(NEW)))
    assert chain.fails(T + 5, AGG, chain.meter(key=key(STRANGE), account=key(BOB))) == refused


STRANGE = NODES[9]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": key(BOB)}, ErrorCode.KEY_IN_USE),
        ({"key": key(BOB_METER)}, ErrorCode.KEY_IN_USE),
        ({"key": key(NODES[2])}, ErrorCode.KEY_IN_USE),
        ({"name": "bob"}, ErrorCode.BAD_MEMBER_NAME),
        ({"name": "node-2"}, ErrorCode.BAD_MEMBER_NAME),
        ({"name": "a b"}, ErrorCode.BAD_MEMBER_NAME),
        ({"name": ""}, ErrorCode.BAD_MEMBER_NAME),
        ({"aggregator": key(STRANGE)}, ErrorCode.UNKNOWN_MEMBER),
    ],
)
def test_who_cannot_be_registered(chain: Town, changes: dict[str, Any], code: ErrorCode) -> None:
    assert chain.fails(T, OP, chain.register(**changes)) == (code, ())


def test_a_name_is_given_once(chain: Town) -> None:
    registered(chain)
    again = chain.register(key=key(STRANGE))
    assert chain.fails(T + 5, OP, again) == (ErrorCode.BAD_MEMBER_NAME, ())


def test_a_validator_without_account_is_not_registered_under_another_name() -> None:
    made = town()
    chain = Town(town(accounts=tuple(a for a in made.accounts if a.name != "node-3")))
    refused = chain.fails(T, OP, chain.register(key=key(NODES[3])))
    assert refused == (ErrorCode.KEY_IN_USE, ())


def test_a_member_registers_nobody(chain: Town) -> None:
    assert chain.fails(T, BOB, chain.register()) == (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))
    assert chain.fails(T + 1, DER, chain.register()) == (ErrorCode.NOT_PERMITTED, (3,))


def test_a_failed_registration_leaves_nothing_and_its_key_is_free(chain: Town) -> None:
    chain.fails(T, OP, chain.register(), Transfer(key(STRANGE), 1))
    assert chain.ledger.account(key(NEW)) is None
    registered(chain)


# ---------------------------------------------------------------- meters


def test_a_registered_meter_reports_and_is_settled(chain: Town) -> None:
    op = chain.meter(first_slot=2)
    receipt = chain.ok(T, OP, op)
    assert events(receipt, MeterRegistered) == [
        MeterRegistered(key(NEW_METER), key(CAT), 2, 100, 50, key(OP))
    ]
    assert chain.ledger.meters_of(key(CAT)) == (key(NEW_METER),)
    assert chain.reloaded().meters_of(key(CAT)) == (key(NEW_METER),)
    early = chain.fails(start_of(2), NEW_METER, _reading(1, 100, 50))
    assert early == (ErrorCode.BEFORE_FIRST_SLOT, (2,))
    chain.ok(start_of(3), NEW_METER, _reading(2, 130, 50))
    chain.settle(2)
    assert chain.balance(CAT) == OPENING - 30 * 500


def _reading(slot: int, import_wh: int, export_wh: int) -> Any:
    from vppd.ledger.transaction import Reading

    return Reading(slot, import_wh, export_wh)


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"key": key(BOB)}, ErrorCode.KEY_IN_USE, ()),
        ({"key": key(BOB_METER)}, ErrorCode.KEY_IN_USE, ()),
        ({"account": key(STRANGE)}, ErrorCode.UNKNOWN_MEMBER, ()),
        ({"account": key(BOB_METER)}, ErrorCode.UNKNOWN_MEMBER, ()),
        ({"first_slot": 0}, ErrorCode.SLOT_HAS_BEGUN, (1,)),
        ({"first_slot": 2**50}, ErrorCode.SLOT_HAS_BEGUN, (1,)),
        ({"import_wh": 2**63 - 1}, ErrorCode.ENERGY_OUT_OF_RANGE, (2**62,)),
    ],
)
def test_which_meter_cannot_be_registered(
    chain: Town, changes: dict[str, Any], code: ErrorCode, detail: tuple[int, ...]
) -> None:
    assert chain.fails(T, OP, chain.meter(**changes)) == (code, detail)


def test_a_failed_registration_gives_nobody_a_meter(chain: Town) -> None:
    chain.fails(T, OP, chain.meter(), Transfer(key(STRANGE), 1))
    assert chain.ledger.meters_of(key(CAT)) == ()
    chain.ok(T + 1, BOB, Transfer(key(CAT), 1))
    assert chain.ledger.meters_of(key(CAT)) == ()


# ---------------------------------------------------------------- suspended


def test_a_suspended_account_sends_nothing_until_it_may_again(chain: Town) -> None:
    receipt = chain.ok(T, OP, chain.standing(BOB, Standing.SUSPENDED, "key lost"))
    assert events(receipt, StandingChanged) == [
        StandingChanged(key(BOB), Standing.SUSPENDED, key(OP), "key lost")
    ]
    refused = (ErrorCode.SUSPENDED, (Standing.SUSPENDED,))
    assert chain.fails(T + 1, BOB, Transfer(key(ANN), 1)) == refused
    assert chain.fails(T + 2, BOB, offer(2, 10, 400_000)) == refused
    chain.ok(T + 3, ANN, Transfer(key(BOB), 1))  # it can be paid
    chain.ok(start_of(1), BOB_METER, _reading(0, 5, 0))  # and metered
    chain.ok(start_of(1) + 1, OP, chain.standing(BOB, 0))
    chain.ok(start_of(1) + 2, BOB, Transfer(key(ANN), 1))


def test_a_suspended_validator_keeps_its_vote(chain: Town) -> None:
    chain.ok(T, OP, chain.standing(DER, Standing.SUSPENDED))
    proposal = chain.propose(Grant(key(BOB), Duty.TECHNICAL))
    chain.ok(T + 1, DER, proposal)
    assert chain.fails(T + 2, DER, Transfer(key(ANN), 1))[0] is ErrorCode.SUSPENDED


def test_what_rests_for_a_suspended_account_is_void_and_its_trades_are_firm(chain: Town) -> None:
    chain.ok(T, ANN, offer(2, 100, 400_000))
    chain.ok(T + 1, BOB, bid(2, 300, 450_000))
    held = chain.escrow(BOB)
    receipt = chain.ok(T + 2, OP, chain.standing(BOB, Standing.SUSPENDED))
    released = [p.delta for p in events(receipt, Posted) if p.reason == Reason.RELEASE]
    assert released == [-92_500, 92_500], "300 Wh at 0.45 less 100 Wh at 0.425"
    assert chain.escrow(BOB) == held - 92_500
    assert chain.ledger.book_view(2) == []
    assert chain.reloaded().book_view(2) == []
    chain.ok(T + 3, CAT, offer(2, 50, 300_000))
    assert [t["buyer"] for t in chain.ledger.trades_view(2)] == ["bob"], "nobody to meet any more"
    chain.settle(2)
    assert chain.escrow(BOB) == 0


@pytest.mark.parametrize(
    ("standing", "code"),
    [(Standing.BARRED, ErrorCode.OUT_OF_BOUNDS), (7, ErrorCode.OUT_OF_BOUNDS),
     (0, ErrorCode.NOTHING_CHANGES)],
)  # fmt: skip
def test_which_standing_a_registrar_cannot_give(
    chain: Town, standing: int, code: ErrorCode
) -> None:
    assert chain.fails(T, OP, chain.standing(BOB, standing))[0] is code


def test_a_suspension_says_why_and_is_somebodys(chain: Town) -> None:
    assert chain.fails(T, OP, chain.standing(BOB, 1, ""))[0] is ErrorCode.NO_REASON
    assert chain.fails(T + 1, OP, chain.standing(STRANGE, 1))[0] is ErrorCode.UNKNOWN_MEMBER
    assert chain.fails(T + 2, BOB, chain.standing(ANN, 1))[0] is ErrorCode.NOT_PERMITTED


# ---------------------------------------------------------------- closed


def test_a_closed_account_stays_closed_to_what_its_key_signed(chain: Town) -> None:
    registered(chain)
    chain.ok(T + 5, OP, chain.standing(NEW, Standing.CLOSED, "moved away"))
    assert chain.fails(T + 6, NEW, Transfer(key(ANN), 1))[0] is ErrorCode.SUSPENDED
    assert chain.fails(T + 7, ANN, Transfer(key(NEW), 1))[0] is ErrorCode.UNKNOWN_RECIPIENT
    assert chain.fails(T + 8, OP, chain.register())[0] is ErrorCode.KEY_IN_USE
    meter = chain.meter(account=key(NEW))
    assert chain.fails(T + 9, OP, meter)[0] is ErrorCode.UNKNOWN_MEMBER
    chain.ok(T + 10, OP, chain.standing(NEW, 0))
    chain.ok(T + 11, ANN, Transfer(key(NEW), 1))


def test_an_account_with_money_is_not_closed(chain: Town) -> None:
    assert chain.fails(T, OP, chain.standing(CAT, 4)) == (ErrorCode.STILL_NEEDED, (1,))


def test_an_account_with_orders_in_a_live_slot_is_not_closed(chain: Town) -> None:
    chain.ok(T, EVE, offer(2, 10, 400_000))
    assert chain.fails(T + 1, OP, chain.standing(EVE, 4)) == (ErrorCode.STILL_NEEDED, (2,))
    chain.settle(2)
    chain.ok(chain.at(9), OP, chain.standing(EVE, 4))


def test_an_account_with_a_meter_is_not_closed_until_its_last_slot_is(chain: Town) -> None:
    chain.ok(T, OP, chain.meter(account=key(EVE), first_slot=1))
    refused = (ErrorCode.STILL_NEEDED, (3,))
    assert chain.fails(T + 1, OP, chain.standing(EVE, 4)) == refused
    chain.ok(T + 2, OP, chain.control(NEW_METER, 2, mode=2))
    assert chain.fails(start_of(3), OP, chain.standing(EVE, 4)) == refused
    chain.ok(chain.at(9), OP, chain.standing(EVE, 4))


def test_an_account_with_a_contract_project_or_members_is_not_closed() -> None:
    chain = Town(
        town(
            duties=(
                DutyEntry(duty="aggregator", account="eve"),
                DutyEntry(duty="commercial", account="eve"),
            )
        )
    )
    chain.ok(T, EVE, build())
    assert chain.fails(T + 1, OP, chain.standing(EVE, 4)) == (ErrorCode.STILL_NEEDED, (4,))
    chain.ok(T + 2, EVE, release())
    registered(chain, aggregator=key(EVE))
    chain.ok(T + 5, NEW, join())
    assert chain.fails(T + 6, OP, chain.standing(NEW, 4)) == (ErrorCode.STILL_NEEDED, (5,))


def test_an_aggregator_with_members_or_a_validator_is_not_closed(chain: Town) -> None:
    registered(chain, aggregator=key(EVE))
    assert chain.fails(T + 5, OP, chain.standing(EVE, 4)) == (ErrorCode.STILL_NEEDED, (6,))
    chain.ok(T + 6, OP, chain.standing(NEW, 4))
    chain.ok(T + 7, OP, chain.standing(EVE, 4))
    chain.ok(T + 8, DER, Transfer(key(ANN), OPENING))
    assert chain.fails(T + 9, OP, chain.standing(DER, 4)) == (ErrorCode.STILL_NEEDED, (7,))


# ---------------------------------------------------------------- founders


def test_a_founder_has_a_record_only_where_genesis_says_more(chain: Town) -> None:
    tables = [k[1:] for k, _ in chain.ledger.entries() if k[0] == MEMBER.number]
    assert sorted(tables) == sorted([key(ANN), key(DAN)])
    assert PER_DAY == 4
    plain = Town(town(accounts=tuple(_alone(a) for a in town().accounts)))
    assert not [k for k, _ in plain.ledger.entries() if k[0] >= MEMBER.number]


def _alone(account: Any) -> Any:
    from msgspec.structs import replace

    return replace(account, aggregator="")


def test_a_suspended_founder_keeps_its_name(chain: Town) -> None:
    chain.ok(T, OP, chain.standing(BOB, 1))
    record = MEMBER.decode(dict(chain.ledger.entries())[MEMBER.key(key(BOB))])
    assert (record.name, record.standing, record.height) == ("bob", 1, chain.ledger.height)
    assert chain.fails(T + 1, ANN_METER, chain.register())[0] is ErrorCode.NOT_AN_ACCOUNT


# ---------------------------------------------------------------- who lifts what


def aggregated() -> Town:
    return Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))


REGISTRARS = (ErrorCode.NOT_PERMITTED, (Duty.REGISTRAR,))


def test_an_aggregator_lifts_its_own_suspension_and_not_the_registrars() -> None:
    chain = aggregated()
    chain.ok(T, AGG, chain.standing(ANN, Standing.SUSPENDED))
    chain.ok(T + 1, AGG, chain.standing(ANN, 0))
    chain.ok(T + 2, OP, chain.standing(ANN, Standing.SUSPENDED))
    for standing in (0, Standing.SUSPENDED, Standing.CLOSED):
        assert chain.fails(T + 3 + standing, AGG, chain.standing(ANN, standing)) == REGISTRARS
    chain.ok(T + 9, OP, chain.standing(ANN, 0))
    chain.ok(T + 10, AGG, chain.standing(ANN, Standing.SUSPENDED))


def test_the_registrar_takes_an_aggregators_suspension_over() -> None:
    chain = aggregated()
    chain.ok(T, AGG, chain.standing(ANN, Standing.SUSPENDED))
    chain.ok(T + 1, OP, chain.standing(ANN, Standing.SUSPENDED))
    assert chain.fails(T + 2, AGG, chain.standing(ANN, 0)) == REGISTRARS
    assert chain.fails(T + 3, OP, chain.standing(ANN, 1))[0] is ErrorCode.NOTHING_CHANGES


def test_barring_does_not_hand_a_registrars_suspension_to_an_aggregator() -> None:
    chain = aggregated()
    chain.ok(T, OP, chain.standing(ANN, Standing.SUSPENDED))
    chain.act(Bar(key(ANN), True, "why"))
    chain.act(Bar(key(ANN), False, "why not"))
    assert chain.fails(chain.at(0), AGG, chain.standing(ANN, 0)) == REGISTRARS


def test_only_the_registrar_opens_a_closed_account_again() -> None:
    chain = aggregated()
    chain.ok(T, AGG, chain.register(aggregator=key(AGG)))
    chain.ok(T + 1, AGG, chain.standing(NEW, Standing.CLOSED))
    assert chain.fails(T + 2, AGG, chain.standing(NEW, 0)) == REGISTRARS
    assert chain.fails(T + 3, AGG, chain.standing(NEW, Standing.SUSPENDED)) == REGISTRARS
    chain.ok(T + 4, OP, chain.standing(NEW, 0))


def test_an_account_is_not_closed_in_the_transaction_that_gives_it_a_meter(chain: Town) -> None:
    registered(chain)
    meter = chain.meter(account=key(NEW))
    closed = chain.standing(NEW, Standing.CLOSED)
    assert chain.fails(T + 5, OP, meter, closed) == (ErrorCode.STILL_NEEDED, (3,))
    chain.ok(T + 6, OP, closed)


def test_whoever_may_not_trade_any_more_still_signs_its_firm_trades() -> None:
    made = town(market=market(market_slot_minutes=360, consent="explicit"))
    chain = Town(made)
    chain.ok(T, ANN, offer(2, 100, 400_000))
    chain.ok(T + 1, BOB, bid(2, 100, 450_000))
    chain.ok(T + 2, OP, chain.standing(BOB, Standing.SUSPENDED))
    chain.act(Bar(key(ANN), True, "why"))
    time = start_of(2) - 1_000
    chain.ok(time, BOB, SignTrades(2, (0,)))
    chain.ok(time + 1, ANN, SignTrades(2, (0,)))

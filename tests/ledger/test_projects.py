"""Projects: built, released, updated, deleted; who joins and what each has agreed to."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ledger.chain import ANN, BOB, CAT, events, start_of
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    OP,
    PRICE,
    Town,
    build,
    cancel,
    delete,
    event,
    join,
    key,
    leave,
    project,
    release,
    town,
    update,
)
from vppd.codec import encode
from vppd.config.duties import DutyEntry
from vppd.ledger.codes import ErrorCode
from vppd.ledger.contracts.ops import CallContract
from vppd.ledger.events import Cause, ContractMoved, ContractSaid
from vppd.ledger.kinds.project import JOIN, MEMBER_SAID, RELEASE, TERMS_SAID
from vppd.ledger.registration.records import Duty, Membership
from vppd.ledger.response.calls import MOST_CALLED, read_project
from vppd.ledger.state import MEMBERSHIP

T = start_of(0)


@pytest.fixture
def chain() -> Town:
    return Town()


@pytest.fixture
def released(chain: Town) -> Town:
    chain.ok(chain.at(0), OP, build(), release())
    return chain


def members(chain: Town) -> dict[bytes, Membership]:
    return {
        entry[9:]: MEMBERSHIP.decode(value)
        for entry, value in chain.ledger.entries()
        if entry[0] == MEMBERSHIP.number
    }


def test_a_project_is_built_released_updated_and_deleted(chain: Town) -> None:
    built = chain.ok(T, OP, build())
    (said,) = events(built, ContractSaid)
    assert (said.topic, read_project(said.data).terms) == (TERMS_SAID, project())
    assert events(built, ContractMoved) == [
        ContractMoved(0, "project", 0, Cause.OPENED, 0, ended=False)
    ]
    assert chain.fails(T + 1, ANN, join()) == (ErrorCode.NOT_RELEASED, ())
    assert events(chain.ok(T + 2, OP, release()), ContractMoved)[0].phase == 1
    chain.ok(T + 3, ANN, join())
    updated = chain.ok(T + 4, OP, update(project(price=PRICE + 1)))
    assert read_project(events(updated, ContractSaid)[0].data).version == 2
    deleted = chain.ok(T + 5, OP, delete())
    assert events(deleted, ContractMoved)[0].ended
    assert members(chain) == {}
    assert chain.fails(T + 6, OP, delete()) == (ErrorCode.UNKNOWN_CONTRACT, ())


def test_people_see_a_projects_terms(released: Town) -> None:
    (row,) = released.ledger.contracts_view()
    assert (row["kind"], row["phase"], row["owner"]) == ("project", "released", "node-0")
    assert row["terms"] == {
        "title": "evening", "version": 1, "price_micro": PRICE, "capacity_w": 5_000,
        "baseline_days": 2, "notice_slots": 0, "purpose": "less at dusk", "aggregators_own": False,
    }  # fmt: skip


def test_members_agree_to_each_version_anew(released: Town) -> None:
    receipt = released.ok(T + 2, ANN, join(auto=True))
    assert events(receipt, ContractSaid) == [
        ContractSaid(0, MEMBER_SAID, encode((key(ANN), 2_000, True, 1)))
    ]
    height = released.ledger.height
    assert members(released) == {key(ANN): Membership(2_000, True, 1, height)}
    released.ok(T + 3, OP, update(project(price=1)))
    call = event(2, 2)
    assert released.fails(T + 4, OP, call) == (ErrorCode.NOT_CALLED, ()), "nobody has agreed"
    named = event(2, 2, members=(key(ANN),))
    assert released.fails(T + 5, OP, named) == (ErrorCode.NOT_AGREED, (2,))
    assert released.fails(T + 6, ANN, join()) == (ErrorCode.NOT_AGREED, (2,))
    released.ok(T + 7, ANN, join(version=2))
    released.ok(T + 8, OP, named)


def test_a_member_leaves_and_may_not_while_it_is_called(released: Town) -> None:
    released.ok(T + 2, ANN, join())
    released.ok(T + 3, OP, event(2, 2))
    assert released.fails(T + 4, ANN, leave()) == (ErrorCode.EVENT_RUNNING, (1,))
    assert released.fails(T + 5, OP, delete()) == (ErrorCode.EVENT_RUNNING, (1,))
    released.ok(T + 6, OP, cancel(1))
    left = released.ok(T + 7, ANN, leave())
    assert events(left, ContractSaid) == [ContractSaid(0, MEMBER_SAID, encode((key(ANN),)))]
    assert released.fails(start_of(2), ANN, leave()) == (ErrorCode.NOT_IN_PROJECT, ())


@pytest.mark.parametrize(
    ("changes", "code", "detail"),
    [
        ({"title": "no name"}, ErrorCode.BAD_TERMS, ()),
        ({"capacity_w": 0}, ErrorCode.OUT_OF_BOUNDS, (2,)),
        ({"capacity_w": 2**50}, ErrorCode.OUT_OF_BOUNDS, (2,)),
        ({"price": 10_000_001}, ErrorCode.OUT_OF_BOUNDS, (3,)),
        ({"baseline_days": 0}, ErrorCode.OUT_OF_BOUNDS, (4,)),
        ({"baseline_days": 11}, ErrorCode.OUT_OF_BOUNDS, (4,)),
        ({"notice_slots": 10_001}, ErrorCode.OUT_OF_BOUNDS, (8,)),
    ],
)
def test_terms_that_cannot_be(
    chain: Town, changes: dict[str, Any], code: ErrorCode, detail: tuple[int, ...]
) -> None:
    assert chain.fails(T, OP, build(project(**changes))) == (code, detail)
    chain.ok(T + 1, OP, build())
    assert chain.fails(T + 2, OP, update(project(**changes))) == (code, detail)


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (release(), ErrorCode.NOT_RELEASED),
        (CallContract(0, RELEASE, b"x"), ErrorCode.BAD_TERMS),
        (CallContract(0, JOIN, b"x"), ErrorCode.BAD_TERMS),
        (update(project()), ErrorCode.NOTHING_CHANGES),
        (join(capacity_w=0), ErrorCode.OUT_OF_BOUNDS),
        (join(capacity_w=5_001), ErrorCode.OUT_OF_BOUNDS),
    ],
)
def test_calls_that_cannot_be(released: Town, op: CallContract, code: ErrorCode) -> None:
    assert released.fails(T + 2, OP, op)[0] is code


def test_joining_twice_changes_nothing(released: Town) -> None:
    released.ok(T + 2, ANN, join())
    assert released.fails(T + 3, ANN, join()) == (ErrorCode.NOTHING_CHANGES, ())
    released.ok(T + 4, ANN, join(capacity_w=2_500))


@pytest.mark.parametrize("op", [release(), update(project(price=1)), delete()])
def test_whoever_lacks_the_duty_manages_no_project(released: Town, op: CallContract) -> None:
    refused = (ErrorCode.NOT_PERMITTED, (Duty.COMMERCIAL,))
    assert released.fails(T + 2, DER, op) == refused
    assert released.fails(T + 3, BOB, op) == refused


def test_an_aggregators_project_is_its_own_and_for_its_members() -> None:
    chain = Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))
    chain.ok(T, AGG, build(), release())
    chain.ok(T + 1, DAN, join())
    assert chain.fails(T + 2, BOB, join()) == (ErrorCode.NOT_IN_PROJECT, ())
    assert chain.fails(T + 3, CAT, delete())[0] is ErrorCode.NOT_PERMITTED
    chain.ok(T + 4, OP, update(project(price=1)))  # the commercial duty is for all of them
    chain.ok(T + 5, AGG, delete())


def test_a_project_has_only_so_many_members(released: Town) -> None:
    """The members are put into the state: registering hundreds takes too long here."""
    state = released.ledger._ctx.state
    for i in range(MOST_CALLED):
        state.put(MEMBERSHIP, Membership(1, False, 1, 1), 0, i.to_bytes(32, "big"))
    failed = released.do(T + 2, ANN, join())
    assert (failed.code, failed.detail[1:]) == (ErrorCode.TOO_MANY_MEMBERS, (MOST_CALLED,))

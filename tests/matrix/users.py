"""User management: registration, permissions, information query."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.ledger.chain import ANN, BOB, BOB_METER, CAT, offer
from tests.ledger.town import (
    AGG,
    DAN,
    DER,
    NEW,
    NEW_METER,
    OP,
    Town,
    build,
    key,
    town,
)
from tests.matrix.scene import Refusal, Scene, refuse_forgery, signed_scene
from vppd.codec import Malformed, encode
from vppd.config.duties import DutyEntry
from vppd.ledger.buckets import verify_proof
from vppd.ledger.changes import Grant
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Event, ReadingAccepted
from vppd.ledger.member_events import DutyChanged, MemberRegistered, MeterRegistered
from vppd.ledger.registration.records import Duty
from vppd.ledger.registration.views import people_view
from vppd.ledger.state import ACCOUNT, MEMBER, METER
from vppd.ledger.transaction import Reading, Transfer

AGGREGATORS = (DutyEntry(duty="aggregator", account="agg"),)
NOT_PERMITTED = ErrorCode.NOT_PERMITTED


def saying(event: Event) -> Callable[[list[Event]], None]:
    """The receipts say exactly this."""

    def check(told: list[Event]) -> None:
        assert event in told

    return check


# ---------------------------------------------------------------- registration


def registration_service() -> Scene:
    """An operator registers a member; who has no duty cannot, nor can a meter."""
    chain = Town()
    op = chain.register()

    def done() -> None:
        assert chain.ledger.account(key(NEW)) is not None
        assert chain.ledger.account_view(key(NEW))["name"] == "newcomer"

    return signed_scene(
        chain, (OP, op), done, saying(MemberRegistered(key(NEW), "newcomer", 7, None, key(OP))),
        Refusal(BOB, op, NOT_PERMITTED),
        Refusal(DER, op, NOT_PERMITTED),
        Refusal(BOB_METER, op, ErrorCode.NOT_AN_ACCOUNT),
        Refusal(OP, chain.register(name="bob"), ErrorCode.BAD_MEMBER_NAME),
    )  # fmt: skip


def registration_aggregate() -> Scene:
    """An aggregator registers a member under itself, and under nobody else."""
    chain = Town(town(duties=AGGREGATORS))
    op = chain.register(aggregator=key(AGG))

    def done() -> None:
        (row,) = [r for r in chain.ledger.look(people_view) if r["name"] == "newcomer"]
        assert row["aggregator"] == "agg"

    told = saying(MemberRegistered(key(NEW), "newcomer", 7, key(AGG), key(AGG)))
    return signed_scene(
        chain, (AGG, op), done, told,
        Refusal(AGG, chain.register(), NOT_PERMITTED),
        Refusal(AGG, chain.register(aggregator=key(BOB)), NOT_PERMITTED),
        Refusal(DAN, op, NOT_PERMITTED),
    )  # fmt: skip


def registration_terminal() -> Scene:
    """A meter is registered for a member and its readings count; a key in use is none."""
    chain = Town()
    op = chain.meter(first_slot=2)

    def done() -> None:
        chain.ok(chain.at(3), NEW_METER, Reading(2, 130, 50))
        assert [slot for slot, _ in chain.ledger.registers(key(NEW_METER))] == [2]

    told = saying(MeterRegistered(key(NEW_METER), key(CAT), 2, 100, 50, key(OP)))
    return signed_scene(
        chain, (OP, op), done, told,
        Refusal(CAT, op, NOT_PERMITTED),
        Refusal(OP, chain.meter(key=key(BOB_METER)), ErrorCode.KEY_IN_USE),
    )  # fmt: skip


# ---------------------------------------------------------------- permissions


def permissions_service() -> Scene:
    """Governance gives Cat the commercial duty, and with it nothing technical."""
    chain = Town()
    grant = chain.propose(Grant(key(CAT), Duty.COMMERCIAL))

    def act() -> None:
        chain.ok(chain.at(0), DER, grant)
        chain.ok(chain.at(0), OP, grant)

    def done() -> None:
        chain.ok(chain.at(0), CAT, build())
        pause = chain.control(BOB_METER, 9, 0)
        assert chain.fails(chain.at(0), CAT, pause) == (NOT_PERMITTED, (Duty.TECHNICAL,))

    return Scene(
        chain, act, done, saying(DutyChanged(Duty.COMMERCIAL, key(CAT), granted=True)),
        (Refusal(CAT, grant, ErrorCode.NOT_A_GOVERNOR), Refusal(CAT, build(), NOT_PERMITTED)),
    )  # fmt: skip


def permissions_aggregate() -> Scene:
    """An aggregator's duty reaches as far as its members."""
    chain = Town()
    grant = chain.propose(Grant(key(AGG), Duty.AGGREGATOR))
    own, foreign = chain.standing(ANN, 1), chain.standing(BOB, 1)

    def act() -> None:
        chain.ok(chain.at(0), DER, grant)
        chain.ok(chain.at(0), OP, grant)

    def done() -> None:
        chain.ok(chain.at(0), AGG, own)
        assert chain.fails(chain.at(0), AGG, foreign) == (NOT_PERMITTED, (Duty.REGISTRAR,))

    return Scene(
        chain, act, done, saying(DutyChanged(Duty.AGGREGATOR, key(AGG), granted=True)),
        (Refusal(AGG, own, NOT_PERMITTED), Refusal(AGG, grant, ErrorCode.NOT_A_GOVERNOR)),
    )  # fmt: skip


def permissions_terminal() -> Scene:
    """A meter may send readings, and nothing else; an account sends none."""
    chain = Town()
    chain.block(chain.at(1))
    op = Reading(0, 10, 0)

    def done() -> None:
        assert chain.ledger.account_view(key(BOB_METER))["readings"][0]["import_wh"] == 10

    told = saying(ReadingAccepted(key(BOB_METER), key(BOB), 0, 10, 0, 1))
    return signed_scene(
        chain, (BOB_METER, op), done, told,
        Refusal(BOB, op, ErrorCode.NOT_A_METER),
        Refusal(BOB_METER, Transfer(key(ANN), 1), ErrorCode.NOT_AN_ACCOUNT),
        Refusal(BOB_METER, offer(3, 10, 1), ErrorCode.NOT_AN_ACCOUNT),
    )  # fmt: skip


# ---------------------------------------------------------------- query


def _query(chain: Town, table_key: bytes, expected: bytes, view: Callable[[], bool]) -> Scene:
    """Somebody asks a node it does not trust for one record of the state.

    The contract answers (A) from the state; the answer is proved under a state root that stands in
    a header (B); an answer with another value, or of another key, is refused (D).
    """
    asked: list[bytes] = []

    def act() -> None:
        chain.block(chain.at(0))
        proof = chain.ledger.prove(table_key)
        value = verify_proof(chain.ledger.state_root, table_key, proof)
        assert value is not None
        asked.append(value)

    def done() -> None:
        assert asked == [expected]
        assert view()

    def told(_: list[Event]) -> None:
        assert chain.blocks[-1][0].state_root != bytes(32)
        proof = chain.ledger.prove(table_key)
        root = chain.ledger.state_root
        chain.idle(1)
        assert chain.blocks[-1][0].state_root == root, "the next header carries it"
        assert verify_proof(root, table_key, proof) == expected

    return Scene(chain, act, done, told)


def refuse_lies(chain: Town, table_key: bytes, lie: bytes) -> None:
    """A node that lies about a record convinces nobody, and nothing changes."""
    chain.idle(1)
    root, proof = chain.ledger.state_root, chain.ledger.prove(table_key)
    forged = tuple((k, lie if k == table_key else v) for k, v in proof.bucket)
    assert forged != proof.bucket
    hidden = tuple(pair for pair in proof.bucket if pair[0] != table_key)
    for bucket in (forged, hidden):
        with pytest.raises(Malformed, match="does not lead to root"):
            verify_proof(root, table_key, replace(proof, bucket=bucket))
    assert chain.ledger.state_root == root


def query_service() -> Scene:
    """The registry: what the plant knows of a member."""
    chain = Town()
    chain.ok(chain.at(0), OP, chain.register())
    where = MEMBER.key(key(NEW))
    value = dict(chain.ledger.entries())[where]
    return _query(
        chain,
        where,
        value,
        lambda: "newcomer" in [r["name"] for r in chain.ledger.look(people_view)],
    )


def query_aggregate() -> Scene:
    """An aggregator asks for the money of one of its members."""
    chain = Town()
    where = ACCOUNT.key(key(ANN))
    value = dict(chain.ledger.entries())[where]
    return _query(
        chain, where, value, lambda: chain.ledger.account_view(key(ANN))["balance_micro"] > 0
    )


def query_terminal() -> Scene:
    """A device asks where its registers stand."""
    chain = Town()
    where = METER.key(key(BOB_METER))
    value = dict(chain.ledger.entries())[where]
    return _query(
        chain, where, value, lambda: chain.ledger.account_view(key(BOB_METER))["account"] == "bob"
    )


def query_security(system: str) -> None:
    """Lies of a node, and a client that would write instead of ask."""
    scene = {"service": query_service, "aggregate": query_aggregate, "terminal": query_terminal}
    chain = scene[system]().chain
    signer, table_key, lie = {
        "service": (NEW, MEMBER.key(key(NEW)), encode(("thief", None, 0, 1))),
        "aggregate": (ANN, ACCOUNT.key(key(ANN)), encode((0, 2**50, 0, 800_000, 0))),
        "terminal": (BOB, METER.key(key(BOB_METER)), encode((0, key(BOB), 0, 9, 9))),
    }[system]
    refuse_lies(chain, table_key, lie)
    with pytest.raises(LookupError):
        chain.ledger.account_view(b"\x07" * 32)
    refuse_forgery(chain, signer, Transfer(key(CAT), 1))

"""A plant with an operator, an aggregator and its members: four slots a day, readings on demand."""

from __future__ import annotations

from typing import Any, TypeVar

from msgspec.structs import replace

from tests.ledger.chain import ANN, ANN_METER, BOB, BOB_METER, CAT, market, start_of
from tests.ledger.council import NODES, Council, plant
from vppd.codec import encode
from vppd.config.genesis import AccountEntry, Genesis, Governance, MeterEntry
from vppd.crypto import SigningKey, sha256
from vppd.ledger.changes import Change
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Event
from vppd.ledger.kinds.event import CANCEL, RESPOND
from vppd.ledger.kinds.project import DELETE, JOIN, LEAVE, RELEASE, UPDATE
from vppd.ledger.receipts import Receipt
from vppd.ledger.registration.ops import RegisterMember, RegisterMeter, SetAcquisition, SetStanding
from vppd.ledger.response.calls import ORDER_PRIORITY, EventTerms, ProjectTerms
from vppd.ledger.transaction import Reading
from vppd.market.response import Signal
from vppd.types import PublicKey, Slot, TimeMs

E = TypeVar("E")

OP, DER = NODES[0], NODES[1]
AGG, DAN, EVE = (SigningKey(sha256(name)) for name in (b"agg", b"dan", b"eve"))
DAN_METER = SigningKey(sha256(b"dan meter"))
NEW, NEW_METER = SigningKey(sha256(b"new")), SigningKey(sha256(b"new meter"))
OPENING = 10_000_000
RICH = 100_000_000
"""The operator's, who pays for events."""
PER_DAY = 4
"""Slots of six hours."""
PRICE = 200_000
WH_OF_KW = 6_000
"""What a kilowatt is in a slot."""


def key(signer: SigningKey) -> PublicKey:
    return signer.public_key


def town(governance: Governance | None = None, **changes: Any) -> Genesis:
    """Four validators, node-0 the operator; ann and dan under agg; bob, cat and eve on their own.

    Ann, Bob and Dan have meters; Eve has no money.
    """
    made = plant(4, governance=governance or Governance())
    people = (("agg", AGG), ("ann", ANN), ("bob", BOB), ("cat", CAT), ("dan", DAN), ("eve", EVE))
    meters = (("ann", ANN_METER), ("bob", BOB_METER), ("dan", DAN_METER))
    fields: dict[str, Any] = {
        "name": "town",
        "digest": sha256(b"town"),
        "consensus": made.consensus,
        "validators": made.validators,
        "governance": made.governance,
        "market": market(market_slot_minutes=360),
        "accounts": (
            replace(made.accounts[0], balance=RICH),
            *made.accounts[1:],
            *(
                AccountEntry(
                    name=name,
                    key=key(signer),
                    balance=0 if name == "eve" else OPENING,
                    aggregator="agg" if name in ("ann", "dan") else "",
                )
                for name, signer in people
            ),
        ),
        "meters": tuple(MeterEntry(key=key(meter), account=name) for name, meter in meters),
    }
    return Genesis(**(fields | changes))


class Town(Council):
    """A plant whose meters report what a test says."""

    def __init__(self, made: Genesis | None = None) -> None:
        super().__init__(made or town())
        self._registers: dict[PublicKey, tuple[int, int]] = {}
        self.told: list[Event] = []
        """Events of all blocks so far."""
        self.leaves: list[tuple[bytes, ...]] = []
        """Receipts of each block."""

    def block(self, time_ms: TimeMs, *txs: bytes) -> list[Receipt]:
        receipts = super().block(time_ms, *txs)
        assert self.last is not None
        self.leaves.append(self.last.receipts)
        self.told += [event for receipt in receipts for event in receipt.events]
        return receipts

    def all_told(self, kind: type[E]) -> list[E]:
        """Events of one kind, of the whole chain."""
        return [event for event in self.told if isinstance(event, kind)]

    def act(self, *changes: Change, by: tuple[SigningKey, ...] = (OP, DER)) -> list[Receipt]:
        """These members propose and approve the same; the block's receipt, then theirs."""
        return self.send(self.propose(*changes), by)

    def at(self, slot: Slot, offset_ms: int = 0) -> int:
        """Block time in a slot, after every block so far."""
        self.now = max(self.now + 1, start_of(slot) + offset_ms)
        return self.now

    def read(self, slot: Slot, meter: SigningKey, import_wh: int, export_wh: int = 0) -> bytes:
        """A transaction with the meter's reading: so much more than at its last."""
        before = self._registers.get(key(meter), (0, 0))
        now = (before[0] + import_wh, before[1] + export_wh)
        self._registers[key(meter)] = now
        return self.tx(meter, Reading(slot, *now))

    def live(self, slot: Slot, **nets: int) -> None:
        """``slot`` has been: these members took so many Wh, or gave as many below zero."""
        meters = {"ann": ANN_METER, "bob": BOB_METER, "dan": DAN_METER}
        time = self.at(slot + 1, 1)
        txs = [self.read(slot, meters[name], max(0, n), max(0, -n)) for name, n in nets.items()]
        self.block(time, *txs)

    def days(self, first: Slot, last: Slot, **nets: int) -> None:
        """Slots like each other."""
        for slot in range(first, last + 1):
            self.live(slot, **nets)

    def settle(self, slot: Slot) -> Receipt:
        """Everything about ``slot`` is closed; the block's own receipt."""
        return self.block(self.at(slot + 3, 5_000))[0]

    # ------------------------------------------------------------ what people send

    def register(self, **changes: Any) -> RegisterMember:
        fields: dict[str, Any] = {"key": key(NEW), "name": "newcomer", "bus": 7, "aggregator": None}
        return RegisterMember(**(fields | changes))

    def meter(self, **changes: Any) -> RegisterMeter:
        slot = max(0, self.ledger.calendar.slot_at(self.now)) + 2
        fields: dict[str, Any] = {
            "key": key(NEW_METER), "account": key(CAT), "first_slot": slot,
            "import_wh": 100, "export_wh": 50,
        }  # fmt: skip
        return RegisterMeter(**(fields | changes))

    def standing(self, signer: SigningKey, standing: int, reason: str = "asked") -> SetStanding:
        return SetStanding(key(signer), standing, reason)

    def control(self, meter: SigningKey, first: Slot, mode: int, every: int = 1) -> SetAcquisition:
        return SetAcquisition(key(meter), first, mode, every, "works on the line")


# ---------------------------------------------------------------- projects and events


def project(**changes: Any) -> ProjectTerms:
    fields: dict[str, Any] = {
        "title": "evening", "price": PRICE, "capacity_w": 5_000, "baseline_days": 2,
        "notice_slots": 0, "purpose": "less at dusk",
    }  # fmt: skip
    return ProjectTerms(**(fields | changes))


def build(terms: ProjectTerms | None = None) -> OpenContract:
    return OpenContract("project", encode(terms or project()))


def release(number: int = 0) -> CallContract:
    return CallContract(number, RELEASE, b"")


def update(terms: ProjectTerms, number: int = 0) -> CallContract:
    return CallContract(number, UPDATE, encode(terms))


def delete(number: int = 0) -> CallContract:
    return CallContract(number, DELETE, b"")


def join(
    number: int = 0, capacity_w: int = 2_000, version: int = 1, auto: bool = False
) -> CallContract:
    return CallContract(number, JOIN, encode((capacity_w, version, auto)))


def leave(number: int = 0) -> CallContract:
    return CallContract(number, LEAVE, b"")


def event(first: Slot, last: Slot, **changes: Any) -> OpenContract:
    """An event of project 0 to all its members: a kilowatt less."""
    fields: dict[str, Any] = {
        "project": 0, "signal": Signal.REDUCE, "first_slot": first, "last_slot": last,
        "target_w": 1_000, "priority": 5, "members": (), "replaces": None, "reason": "",
    }  # fmt: skip
    fields |= changes
    fields["members"] = tuple(sorted(fields["members"]))
    return OpenContract("event", encode(EventTerms(**fields)))


def order(first: Slot, last: Slot, *members: SigningKey, **changes: Any) -> OpenContract:
    """A binding order: take at most so much."""
    fields: dict[str, Any] = {
        "project": None, "signal": Signal.LIMIT, "priority": ORDER_PRIORITY,
        "members": tuple(map(key, members)), "reason": "line 3 is down",
    }  # fmt: skip
    return event(first, last, **(fields | changes))


def answer(number: int, opts_in: bool) -> CallContract:
    return CallContract(number, RESPOND, encode((opts_in,)))


def cancel(number: int, reason: str = "no need") -> CallContract:
    return CallContract(number, CANCEL, encode((reason,)))

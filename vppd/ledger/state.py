"""The state: typed tables over one sorted space of keys.

A key is a one-byte table prefix followed by fixed-width big-endian parts, so that the order of keys
is the order of what they name. Records are immutable; a change replaces one. Changes are undone
back to a mark (a failed transaction), or sealed into bytes (the end of a block).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from vppd.codec import I64, U8, U32, U63, Bytes32, Decoder, Malformed, Message, encode
from vppd.era import Era, Name
from vppd.ledger.changes import Configure
from vppd.ledger.order_records import Consent, OrderNote, StandbyPrice
from vppd.ledger.plan_records import EnergyRecord, ForecastRecord, PlanRecord, ResourceRecord
from vppd.ledger.registration.records import (
    Acquisition,
    DayEnergy,
    DutyRecord,
    Member,
    Membership,
    Parameters,
)

R = TypeVar("R", bound=Message)
P = TypeVar("P", int, bytes)
"""Type of a key's last part."""


class Account(Message, frozen=True):
    """A member."""

    nonce: U63
    balance: I64
    """Micro-currency; below zero: a debt."""
    escrow: U63
    """Micro-currency set aside for bids."""
    credit: U32
    """Parts per million."""
    bus: U32


class Meter(Message, frozen=True):
    """A registered meter, with the oldest registers that still matter."""

    nonce: U63
    account: Bytes32
    slot: U63
    """The two registers are those at the *start* of this slot; it moves on as slots close."""
    import_wh: U63
    export_wh: U63


class SlotRecord(Message, frozen=True):
    """A slot somebody has an order or a reading for."""

    phase: U8
    orders: U63
    """Placed so far; the next order's number."""
    trades: U63


class OrderRecord(Message, frozen=True):
    """An order, kept until its slot closes."""

    account: Bytes32
    side: U8
    quantity_wh: U63
    """As ordered."""
    remaining_wh: U63
    price: U63
    reserve_price: U63
    credit: U32
    """The member's when it ordered."""
    bus: U32
    escrow: U63
    """Set aside for this bid; from gate closure on exactly what its trades cost."""
    cost: U63
    """Sum of its trades' amounts, of a bid."""


class TradeRecord(Message, frozen=True):
    """A firm trade, kept until its slot closes."""

    offer: U63
    bid: U63
    seller: Bytes32
    buyer: Bytes32
    quantity_wh: U63
    price: U63
    amount: U63
    """What the buyer pays the seller, micro-currency."""
    offer_price: U63
    bid_price: U63
    round: U8
    """1 or 2 of the auction; 0: a contract made it."""


class Register(Message, frozen=True):
    """A meter's registers at the end of a slot."""

    import_wh: U63
    export_wh: U63
    version: U63


class SettlementRecord(Message, frozen=True):
    """One member's latest settlement of a slot (:class:`~vppd.ledger.events.Settled`)."""

    version: U63
    import_wh: U63
    export_wh: U63
    sold_wh: U63
    bought_wh: U63
    imbalance_wh: I64
    grid_amount: I64
    flags: U8


class Ordered(Message, frozen=True):
    """What one member has ordered for one slot so far; bounds what a slot can hold and cost."""

    orders: U32
    offered_wh: U63
    bid_wh: U63


class GridAccount(Message, frozen=True):
    """What the grid has got from members less what it has paid them."""

    balance: I64


class Proposal(Message, frozen=True):
    """Changes that somebody has proposed and not enough have approved."""

    configure: Configure
    height: U63
    """First proposed in this block."""


class Ballot(Message, frozen=True):
    """Proposals a member, or an authority, approves."""

    proposals: tuple[Bytes32, ...]
    """Oldest first."""


class Conviction(Message, frozen=True):
    """A key that is proved to have broken the rules; it never votes again."""

    epoch: U63
    """In which it did."""
    height: U63
    """Of the block that carried the proof."""


class Candidate(Message, frozen=True):
    """A node that can be elected, in engine ``dpos``."""

    name: Name
    operator: bool
    addr: str
    nonce: Bytes32
    account: Bytes32
    """Whose energy and vote count for it: the key it was first listed under."""


class Readiness(Message, frozen=True):
    """A candidate has said since the last election that it is there."""

    epoch: U63
    height: U63
    """Of the block that carried it."""


class Punishment(Message, frozen=True):
    """A producer that was skipped."""

    until_epoch: U63
    """The last for which it cannot be elected."""


class Votes(Message, frozen=True):
    """Whom an account votes for."""

    targets: tuple[Bytes32, ...]


class Delivery(Message, frozen=True):
    """What an account contracted and delivered in the latest slot it settled."""

    slot: U63
    pre_wh: U63
    real_wh: U63
    energy_wh: U63


class ContractRecord(Message, frozen=True):
    """A contract that has not ended (:mod:`vppd.ledger.contracts`)."""

    kind: Name
    owner: Bytes32
    """Who opened it."""
    phase: U8
    due_ms: U63 | None
    """Block time of its trigger."""
    held: U63
    """Micro-currency that its callers deposited and it has not paid out."""
    opened: U63
    """Height of the block that did."""
    data: bytes


class MarketUpdate(Message, frozen=True):
    """Other rules of the market (:class:`~vppd.market.calendar.MarketCalendar`)."""

    settings: tuple[tuple[Name, U63 | str], ...]


class PoolRecord(Message, frozen=True):
    """How a cooperative slot was shared last (:class:`~vppd.ledger.events.Pooled`)."""

    version: U63
    members: U32
    net_wh: I64
    worth: I64
    alone: I64
    samples: U32


class ShareRecord(Message, frozen=True):
    """One member's latest share of a slot (:class:`~vppd.ledger.events.Shared`)."""

    promised_wh: I64
    net_wh: I64
    alone: I64
    share: I64
    penalty: I64
    gained: I64
    """Posted so far of ``share`` less ``alone``."""
    fined: I64
    """Posted so far of ``penalty``."""
    version: U63


class Counter(Message, frozen=True):
    """How many there have been of something; numbers the next."""

    count: U63


class FeeRecord(Message, frozen=True):
    """What one member has paid for a slot's energy (:class:`~vppd.ledger.events.FeesCharged`)."""

    grid_fee: I64
    levy: I64


class Fund(Message, frozen=True):
    """What levies have brought and rewards have not taken."""

    balance: I64


NO_SCORE = 2**32 - 1
"""Stands for "none" among scores and credits."""


class StandingRecord(Message, frozen=True):
    """How a member stands after its last rated day."""

    day: U63
    """Key of that day in table :data:`DAY`."""
    score: U32
    """Of the last day with a contract."""
    composite: U32
    grade: U8
    settlements: U63
    """So far, corrections counted."""


class DayRecord(Message, frozen=True):
    """A day of which something has settled, until it takes no corrections any more."""

    last_slot: U63
    settled: U32
    missing: U32
    contracted_wh: U63
    deviation_wh: U63
    trades: U63
    traded_wh: U63
    traded_micro: U63
    spread: U63
    quote_spread: U63
    reviewed: bool


class ScoreRecord(Message, frozen=True):
    """One member's day."""

    contracted_wh: U63
    honoured_wh: U63
    slots: U32
    settled: U32
    missing: U32
    before: U32
    """Credit before the day's review; this and the next are none before it."""
    after: U32
    """What the rule made of it."""
    previous: U32
    """Score of the day before that had one."""


class OdometerRecord(Message, frozen=True):
    """How a meter's registers lie on its odometer (:mod:`vppd.ledger.meters`)."""

    rollover_wh: U63
    """The registers begin again at 0 after one less than this; 0: they never do."""
    import_shift: I64
    """Odometer less register, before any rollover."""
    export_shift: I64
    from_slot: U63
    """The meter counts from within this slot on."""
    import_floor: U63
    """Where the odometer stood as it began."""
    export_floor: U63
    successor: Bytes32
    """The meter that has replaced this one; zeros: none has."""


class PathsRecord(Message, frozen=True):
    """The grid in a slot whose gate has closed (:class:`~vppd.ledger.events.PathsHashed`)."""

    paths: Bytes32
    loss_mw: U63
    lowest_ppm: U32
    highest_ppm: U32
    fullest_ppm: U63
    flags: U8


class RouteRecord(Message, frozen=True):
    """Which way a trade goes, kept until its slot closes."""

    lines: tuple[U32, ...]
    loss_mwh: U63
    cut_wh: U63
    """What the security check took from it; a trade it took all of has no lines."""


class Table(Generic[R, P]):
    """One kind of record and how its keys are written.

    Args:
        number: the prefix byte.
        layout: ``struct`` formats of the key's parts, separated by spaces.
        record: the kind.
    """

    __slots__ = ("_group", "_layout", "decode", "key", "number")

    def __init__(self, number: int, layout: str, record: type[R]) -> None:
        head, _, _ = layout.rpartition(" ")
        self.number = number
        self.decode = Decoder(record)
        self._layout = struct.Struct(f">B {layout}")
        self._group = struct.Struct(f">B {head}")
        self.key: Callable[..., bytes] = partial(self._layout.pack, number)
        """The key of one record, from its parts."""

    def group(self, *first: int | bytes) -> bytes:
        """What the keys begin with whose parts, but for the last, are these."""
        return self._group.pack(self.number, *first)

    def group_of(self, key: bytes) -> bytes:
        """What all keys of the group of ``key`` begin with."""
        return key[: self._group.size]

    def last_part(self, key: bytes) -> P:
        """What tells ``key`` from the others of its group.

        Raises:
            Malformed: no key of this table.
        """
        try:
            part: P = self._layout.unpack(key)[-1]
        except struct.error as err:
            raise Malformed(f"{key.hex()} is no key of state table {self.number}: {err}") from err
        return part


ACCOUNT: Table[Account, bytes] = Table(1, "32s", Account)
METER: Table[Meter, bytes] = Table(2, "32s", Meter)
SLOT: Table[SlotRecord, int] = Table(3, "Q", SlotRecord)
ORDER: Table[OrderRecord, int] = Table(4, "Q Q", OrderRecord)
"""By slot and number."""
TRADE: Table[TradeRecord, int] = Table(5, "Q Q", TradeRecord)
"""By slot and number."""
REGISTER: Table[Register, int] = Table(6, "32s Q", Register)
"""By meter and slot."""
SETTLEMENT: Table[SettlementRecord, bytes] = Table(7, "Q 32s", SettlementRecord)
"""By slot and account."""
GRID_ACCOUNT: Table[GridAccount, int] = Table(8, "", GridAccount)
ORDERED: Table[Ordered, bytes] = Table(9, "Q 32s", Ordered)
"""By slot and account."""
ERA: Table[Era, int] = Table(10, "Q", Era)
"""By epoch; the latest, never era 0."""
PROPOSAL: Table[Proposal, bytes] = Table(11, "32s", Proposal)
"""By id."""
BALLOT: Table[Ballot, bytes] = Table(12, "32s", Ballot)
"""By key of the member or authority."""
CONVICTION: Table[Conviction, bytes] = Table(13, "32s", Conviction)
CANDIDATE: Table[Candidate, bytes] = Table(14, "32s", Candidate)
READINESS: Table[Readiness, bytes] = Table(15, "32s", Readiness)
"""By candidate."""
PUNISHMENT: Table[Punishment, bytes] = Table(16, "32s", Punishment)
"""By candidate."""
VOTES: Table[Votes, bytes] = Table(17, "32s", Votes)
"""By account."""
DELIVERY: Table[Delivery, bytes] = Table(18, "32s", Delivery)
"""By account."""
CONTRACT: Table[ContractRecord, int] = Table(19, "Q", ContractRecord)
"""By number."""
MARKET_UPDATE: Table[MarketUpdate, int] = Table(20, "Q", MarketUpdate)
"""By first slot."""
COUNTER: Table[Counter, int] = Table(21, "B", Counter)
"""By what is counted."""
FEE: Table[FeeRecord, bytes] = Table(26, "Q 32s", FeeRecord)
"""By slot and account."""
FUND_ACCOUNT: Table[Fund, int] = Table(27, "", Fund)
STANDING: Table[StandingRecord, bytes] = Table(28, "32s", StandingRecord)
"""By account."""
DAY: Table[DayRecord, int] = Table(29, "Q", DayRecord)
"""By day, plus 1."""
SCORE: Table[ScoreRecord, bytes] = Table(30, "Q 32s", ScoreRecord)
"""By day, plus 1, and account."""
ODOMETER: Table[OdometerRecord, bytes] = Table(31, "32s", OdometerRecord)
"""By meter; of those that roll over, have replaced another, or were replaced."""
ORDER_NOTE: Table[OrderNote, int] = Table(23, "Q Q", OrderNote)
"""By slot and number of the order."""
CONSENT: Table[Consent, int] = Table(24, "Q Q", Consent)
"""By slot and number of the trade."""
STANDBY: Table[StandbyPrice, int] = Table(25, "Q Q", StandbyPrice)
"""By slot and number of the contract."""
PATHS: Table[PathsRecord, int] = Table(32, "Q", PathsRecord)
"""By slot."""
ROUTE: Table[RouteRecord, int] = Table(33, "Q Q", RouteRecord)
"""By slot and number of the trade."""
RESOURCE: Table[ResourceRecord, int] = Table(35, "32s I", ResourceRecord)
"""By account and number."""
PLAN: Table[PlanRecord, bytes] = Table(36, "Q 32s", PlanRecord)
"""By slot and account."""
RESOURCE_PLAN: Table[EnergyRecord, int] = Table(37, "32s I Q", EnergyRecord)
"""By account, number and slot."""
FORECAST: Table[ForecastRecord, bytes] = Table(38, "Q 32s", ForecastRecord)
"""By slot and operator."""
POOL: Table[PoolRecord, int] = Table(39, "Q", PoolRecord)
"""By slot."""
SHARE: Table[ShareRecord, bytes] = Table(40, "Q 32s", ShareRecord)
"""By slot and account."""
MEMBER: Table[Member, bytes] = Table(42, "32s", Member)
"""By account."""
DUTY: Table[DutyRecord, bytes] = Table(43, "B 32s", DutyRecord)
"""By duty and account."""
PARAMETERS: Table[Parameters, bytes] = Table(44, "32s", Parameters)
"""By account or meter."""
ACQUISITION: Table[Acquisition, bytes] = Table(45, "32s", Acquisition)
"""By meter."""
MEMBERSHIP: Table[Membership, bytes] = Table(46, "Q 32s", Membership)
"""By project and account."""
DAY_ENERGY: Table[DayEnergy, int] = Table(47, "32s Q", DayEnergy)
"""By account and slot of the day."""

TABLES: dict[int, Table[Any, Any]] = {
    table.number: table
    for table in (
        ACCOUNT, METER, SLOT, ORDER, TRADE, REGISTER, SETTLEMENT, GRID_ACCOUNT, ORDERED,
        ERA, PROPOSAL, BALLOT, CONVICTION, CANDIDATE, READINESS, PUNISHMENT, VOTES, DELIVERY,
        CONTRACT, MARKET_UPDATE, COUNTER,
        ORDER_NOTE, CONSENT, STANDBY,
        FEE, FUND_ACCOUNT, STANDING, DAY, SCORE, ODOMETER,
        PATHS, ROUTE,
        RESOURCE, PLAN, RESOURCE_PLAN, FORECAST,
        POOL, SHARE,
        MEMBER, DUTY, PARAMETERS, ACQUISITION, MEMBERSHIP, DAY_ENERGY,
    )
}  # fmt: skip


class State:
    """All records, with the changes made since the last :meth:`seal`."""

    __slots__ = ("_groups", "_records", "_undo")

    def __init__(self) -> None:
        self._records: dict[bytes, Message] = {}
        self._groups: dict[bytes, dict[bytes, None]] = {}
        self._undo: list[tuple[bytes, Message | None]] = []

    @classmethod
    def load(cls, entries: Iterable[tuple[bytes, bytes]]) -> State:
        """The state that once was sealed into these keys and values.

        Raises:
            Malformed: a key of no table, or a value that is not its table's record.
        """
        state = cls()
        for key, value in entries:
            table = TABLES.get(key[0]) if key else None
            if table is None:
                raise Malformed(f"{key.hex()} is a key of no state table")
            table.last_part(key)
            state._set(key, table.decode(value))
        return state

    def get(self, table: Table[R, P], *parts: int | bytes) -> R | None:
        """One record; ``None`` if there is none."""
        # Sound because put() is the only way in, and it takes a table's own kind.
        found: Any = self._records.get(table.key(*parts))
        record: R | None = found
        return record

    def need(self, table: Table[R, P], *parts: int | bytes) -> R:
        """One record that the rules say is there.

        Raises:
            KeyError: it is not; a mistake of ours.
        """
        found: Any = self._records[table.key(*parts)]
        record: R = found
        return record

    def put(self, table: Table[R, P], record: R, *parts: int | bytes) -> None:
        """Add or replace a record."""
        self._write(table.key(*parts), record)

    def remove(self, table: Table[R, P], *parts: int | bytes) -> None:
        """Remove a record, if there is one."""
        key = table.key(*parts)
        if key in self._records:
            self._write(key, None)

    def scan(self, table: Table[R, P], *first: int | bytes) -> Iterator[tuple[P, R]]:
        """Records of one group in key order, each with the last part of its key.

        The record just yielded may be replaced or removed meanwhile.

        Args:
            table: which table.
            first: all parts but the last.
        """
        for key in sorted(self._groups.get(table.group(*first), ())):
            found: Any = self._records[key]
            record: R = found
            yield table.last_part(key), record

    def mark(self) -> int:
        """A point to go back to with :meth:`undo`."""
        return len(self._undo)

    def undo(self, mark: int) -> None:
        """Take back every change made since ``mark``."""
        while len(self._undo) > mark:
            self._set(*self._undo.pop())

    def seal(self) -> tuple[tuple[bytes, bytes | None], ...]:
        """Written keys since the last seal with their values as bytes, in key order.

        ``None`` means removed. A key may have got back its old value.
        """
        touched = sorted({key for key, _ in self._undo})
        self._undo.clear()
        records = self._records
        return tuple((key, encode(records[key]) if key in records else None) for key in touched)

    def _write(self, key: bytes, record: Message | None) -> None:
        before = self._records.get(key)
        self._undo.append((key, before))
        if before is None or record is None:
            self._set(key, record)
        else:  # its group has it already
            self._records[key] = record

    def _set(self, key: bytes, record: Message | None) -> None:
        group = TABLES[key[0]].group_of(key)
        if record is not None:
            self._records[key] = record
            self._groups.setdefault(group, {})[key] = None
        elif self._records.pop(key, None) is not None:
            members = self._groups[group]
            del members[key]
            if not members:
                del self._groups[group]

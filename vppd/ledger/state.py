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

from vppd.codec import Decoder, Malformed, Message, encode
from vppd.era import Era
from vppd.ledger.order_records import Consent, OrderNote, StandbyPrice
from vppd.ledger.plan_records import EnergyRecord, ForecastRecord, PlanRecord, ResourceRecord
from vppd.ledger.records import (
    Account,
    Ballot,
    Candidate,
    ContractRecord,
    Conviction,
    Counter,
    DayRecord,
    Delivery,
    FeeRecord,
    Fund,
    GridAccount,
    MarketUpdate,
    Meter,
    OdometerRecord,
    Ordered,
    OrderRecord,
    PathsRecord,
    PoolRecord,
    Proposal,
    Punishment,
    Readiness,
    Register,
    RouteRecord,
    ScoreRecord,
    SettlementRecord,
    ShareRecord,
    SlotRecord,
    StandingRecord,
    TradeRecord,
    Votes,
)
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

    def around(self, table: Table[R, P], *parts: int | bytes) -> tuple[P | None, P | None]:
        """Last parts of the keys next before and next after this one in its group.

        The cheap way to two neighbours: :meth:`scan` sorts the whole group.
        """
        own = table.key(*parts)
        before: bytes | None = None
        after: bytes | None = None
        for key in self._groups.get(table.group(*parts[:-1]), ()):
            if key < own:
                if before is None or key > before:
                    before = key
            elif key != own and (after is None or key < after):
                after = key
        return (
            None if before is None else table.last_part(before),
            None if after is None else table.last_part(after),
        )

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

"""Records of the state: what lies under each key (:mod:`vppd.ledger.state`).

Records are immutable and their encodings never change: a chain that exists has them on its disk.
"""

from __future__ import annotations

from vppd.codec import I64, U8, U32, U63, Bytes32, Message
from vppd.era import Name
from vppd.ledger.changes import Configure


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
    due_ms: U63
    """Of its next step."""


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

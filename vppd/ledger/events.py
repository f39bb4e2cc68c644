"""Events: what happened, as receipts tell it; encodings and tags are stable."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TypeAlias

from vppd.codec import I64, U8, U32, U63, Bytes32, Message
from vppd.era import Era, Name
from vppd.types import PublicKey

GRID: PublicKey = bytes(32)
"""Stands for the grid account in events; no key pair has this public key (of small order)."""


class Purse(IntEnum):
    """Where money lies."""

    BALANCE = 0
    ESCROW = 1
    """Set aside for bids; it pays for their trades and nothing else."""
    GRID = 2
    """The grid's account, negative when the grid has paid more than it got."""
    CONTRACT = 3
    """What a contract holds; its account is the contract's number in 32 bytes, big-endian."""


class Reason(IntEnum):
    """Why money moved."""

    TRANSFER = 1
    RESERVE = 2
    """Balance → escrow: a bid was placed."""
    RELEASE = 3
    """Escrow → balance: what the bid's trades do not need, at gate closure or when it is cancelled;
    what a trade needed that is void."""
    TRADE = 4
    """Buyer's escrow → seller's balance at settlement."""
    IMBALANCE = 5
    """Between a member and the grid at settlement."""
    CORRECTION = 6
    """Between a member and the grid when a reading came late or was corrected."""
    DEPOSIT = 7
    """Balance → contract, by who calls it."""
    PAYOUT = 8
    """Contract → balance."""
    SHARING = 38
    """Between a member and the grid: what its share of a cooperative slot is above what it settled
    for alone."""
    PENALTY = 39
    """Among members, through the grid's account: who delivered less than it promised pays."""


class Cause(IntEnum):
    """What moved a contract."""

    OPENED = 1
    CALLED = 2
    FIRED = 3
    """Its trigger's time had come."""
    HALTED = 4
    """Its kind failed as it fired; it keeps what it holds and has no trigger any more."""
    RELEASED = 5
    """The operators' quorum ended it."""


class SettlementFlag(IntFlag):
    """What is special about a settlement."""

    ESTIMATED = 1
    """The metered energy is unknown: the contracted quantities stand in for it."""
    CORRECTED = 2
    """Made or changed after the slot's deadline, by a late or corrected reading."""


class Posted(Message, frozen=True, tag=1):
    """A purse changed."""

    account: Bytes32
    """:data:`GRID` for the grid's."""
    purse: U8
    delta: I64
    """Micro-currency."""
    reason: U8


class SlotAdvanced(Message, frozen=True, tag=2):
    """A slot entered a phase (:class:`~vppd.ledger.slots.Phase`); once for each phase at most."""

    slot: U63
    phase: U8


class OrderAccepted(Message, frozen=True, tag=3):
    """An order went into the book."""

    slot: U63
    seq: U63
    """Number of the order within its slot."""


class Traded(Message, frozen=True, tag=4):
    """An offer and a bid met; the contract is firm."""

    slot: U63
    seq: U63
    """Number of the trade within its slot."""
    offer: U63
    bid: U63
    seller: Bytes32
    buyer: Bytes32
    quantity_wh: U63
    price: U63
    amount: U63
    """What the buyer will pay the seller, in micro-currency."""
    round: U8
    """1 or 2 of the auction; 0: a contract made it."""


class ReadingAccepted(Message, frozen=True, tag=5):
    """A meter's registers at the end of a slot are on chain."""

    meter: Bytes32
    account: Bytes32
    slot: U63
    import_wh: U63
    export_wh: U63
    version: U63
    """1, and one more with each correction."""


class Settled(Message, frozen=True, tag=6):
    """One member's slot was settled; ``(export − import) − (sold − bought) = imbalance``."""

    slot: U63
    account: Bytes32
    version: U63
    """1, and one more with each correction."""
    import_wh: U63
    export_wh: U63
    sold_wh: U63
    bought_wh: U63
    imbalance_wh: I64
    retail_price: U63
    feed_in_price: U63
    grid_amount: I64
    """What the member owes the grid for the slot in all; a correction posts only the difference."""
    flags: U8


class EraScheduled(Message, frozen=True, tag=7):
    """New members or rules from ``era.first`` on; in the block's own receipt, once."""

    era: Era


class Approved(Message, frozen=True, tag=8):
    """A proposal was made or approved."""

    proposal: Bytes32
    """Its id."""
    approvals: U32
    """Of members of the era in force."""
    needed: U32
    authority: U8
    """What is missing besides: 1, an authority's approval, 2, an operator's, 3, both."""


class AccountOpened(Message, frozen=True, tag=9):
    """A new validator has an account, without money."""

    account: Bytes32
    credit: U32
    """Parts per million."""


class ReadyNoted(Message, frozen=True, tag=10):
    """A candidate may be elected next: it is there."""

    key: Bytes32
    epoch: U63


class Convicted(Message, frozen=True, tag=11):
    """A key is proved to have broken the rules; it never votes again."""

    key: Bytes32
    epoch: U63
    """In which it did."""


class Punished(Message, frozen=True, tag=12):
    """A producer was skipped."""

    key: Bytes32
    until_epoch: U63
    """The last for which it cannot be elected."""


class Voted(Message, frozen=True, tag=13):
    """An account votes for these candidates from now on."""

    account: Bytes32
    targets: tuple[Bytes32, ...]


class ContractMoved(Message, frozen=True, tag=14):
    """A contract was opened, called, fired or halted."""

    number: U63
    kind: Name
    phase: U8
    """Where it stands now; what the number means is its kind's to say."""
    cause: U8
    """A :class:`Cause`."""
    method: U8
    """Which was called; 0 otherwise."""
    ended: bool
    """It is gone from the state."""


class ContractSaid(Message, frozen=True, tag=15):
    """A contract's own news; its kind says what the bytes are."""

    number: U63
    topic: U8
    data: bytes


class RulesScheduled(Message, frozen=True, tag=16):
    """Other rules of the market from a slot on."""

    first_slot: U63
    settings: tuple[tuple[Name, U63 | str], ...]


# Orders, deals and urgent orders: tags 18 to 22


class OrderCancelled(Message, frozen=True, tag=18):
    """What rested of an order has left the book."""

    slot: U63
    seq: U63
    quantity_wh: U63
    """That rested."""


class OrderMade(Message, frozen=True, tag=19):
    """A contract made an order: it trades outside the auction, its rest may go into the book."""

    slot: U63
    seq: U63
    contract: U63
    account: Bytes32
    side: U8
    quantity_wh: U63
    price: U63
    escrow: U63
    """Set aside for it, micro-currency."""


class UrgentServed(Message, frozen=True, tag=20):
    """An urgent order has met the standby offers."""

    slot: U63
    contract: U63
    matched_wh: U63
    unmet_wh: U63
    """Goes into the book as a bid if the gate is open; else nobody in the plant gives it."""


class TradeSigned(Message, frozen=True, tag=21):
    """A party consents to a trade of the auction."""

    slot: U63
    trade: U63
    parties: U8
    """Who has so far (:class:`~vppd.ledger.order_records.Parties`)."""


class TradeVoided(Message, frozen=True, tag=22):
    """Not all three parties had consented as delivery began: the trade is undone."""

    slot: U63
    trade: U63


# Credit, fees, settlement and meters: tags 23 to 29


# Grid: tags 30 to 33


class TradeCut(Message, frozen=True, tag=30):
    """The grid does not carry all of a trade; what is left of the contract is this."""

    slot: U63
    seq: U63
    quantity_wh: U63
    """0: nothing of it."""
    amount: U63


class TradeRouted(Message, frozen=True, tag=31):
    """Which way a trade goes."""

    slot: U63
    seq: U63
    lines: tuple[U32, ...]
    """Numbers of lines, from the seller's bus to the buyer's; none on one bus."""
    loss_mwh: U63
    """Thousandths of a Wh that it would lose alone in the grid."""


class PathsHashed(Message, frozen=True, tag=32):
    """The security check of a slot is over."""

    slot: U63
    paths: Bytes32
    """P4's ``h``: SHA-256 of the path queue (:mod:`vppd.market.grid.routing`)."""
    trades: U63
    """In the queue."""
    loss_mw: U63
    """Of all lines together."""
    lowest_ppm: U32
    """Voltage of the bus that has the lowest, of nominal."""
    highest_ppm: U32
    fullest_ppm: U63
    """Loading of the line that has the highest, of its rating."""
    flags: U8
    """1: limits are broken even without a trade; 2: some was cut unseen, for the work it is."""


# Plans and resources: tags 34 to 37


class ResourceRegistered(Message, frozen=True, tag=34):
    """A member has said what it owns."""

    account: Bytes32
    number: U32
    kind: U8


class ResourceRetired(Message, frozen=True, tag=35):
    """A member no longer has it."""

    account: Bytes32
    number: U32


class Planned(Message, frozen=True, tag=36):
    """A member, or one of its resources (0: the member as a whole), has planned some slots."""

    account: Bytes32
    resource: U32
    first_slot: U63
    slots: U32


class Forecasted(Message, frozen=True, tag=37):
    """An operator has forecast some slots."""

    operator: Bytes32
    first_slot: U63
    slots: U32


# Sharing: tags 38 to 40


class PositionTaken(Message, frozen=True, tag=38):
    """Gate closure of a cooperative slot: what members declared is the plant's one position."""

    slot: U63
    members: U32
    promised_wh: I64
    """Offers less bids of them all."""


class Pooled(Message, frozen=True, tag=39):
    """A cooperative slot was shared; a :class:`Shared` follows for each member it changes."""

    slot: U63
    version: U63
    """1, and one more when it is shared again as it closes."""
    members: U32
    net_wh: I64
    """What they gave to the grid in all; negative: took."""
    worth: I64
    """v(N), what the grid pays for that at once; negative: what it charges. The shares' sum."""
    alone: I64
    """Σ v({i}), what they settled for one by one; ``worth`` less this is the gain."""
    samples: U32
    """Orders of joining averaged; 0: exact."""


class Shared(Message, frozen=True, tag=40):
    """What one member of a cooperative slot is due; the posting before it moved the difference."""

    slot: U63
    account: Bytes32
    version: U63
    promised_wh: I64
    """What it declared to give; negative: to take."""
    net_wh: I64
    """What it gave."""
    alone: I64
    """What the grid pays for that by itself; negative: what it charges."""
    share: I64
    """Its Shapley value, in place of ``alone``."""
    penalty: I64
    """What it gets of the others' penalties, less its own."""


# Registration, permissions and demand response: tags 41 to 49


class MemberRegistered(Message, frozen=True, tag=41):
    """A new member's account, which :class:`AccountOpened` has opened."""

    account: Bytes32
    name: Name
    bus: U32
    aggregator: Bytes32 | None
    by: Bytes32


class MeterRegistered(Message, frozen=True, tag=42):
    """A new meter counts from a slot on."""

    meter: Bytes32
    account: Bytes32
    first_slot: U63
    import_wh: U63
    export_wh: U63
    by: Bytes32


class StandingChanged(Message, frozen=True, tag=43):
    """An account may act less, or again."""

    account: Bytes32
    standing: U8
    """A :class:`~vppd.ledger.registration.records.Standing`."""
    by: Bytes32 | None
    """``None``: the operators' quorum."""
    reason: str


class DutyChanged(Message, frozen=True, tag=44):
    """A duty was granted or taken away."""

    duty: U8
    """A :class:`~vppd.ledger.registration.records.Duty`."""
    account: Bytes32
    granted: bool


class Intervened(Message, frozen=True, tag=45):
    """The operators' quorum has stepped in."""

    action: U8
    """A :class:`~vppd.ledger.registration.interventions.Action`."""
    account: Bytes32 | None
    number: U63
    """Of the slot or contract; 0 for an account."""
    reason: str


class ParametersSet(Message, frozen=True, tag=46):
    """Parameters of an account or a meter have a new version."""

    subject: Bytes32
    version: U63
    settings: tuple[tuple[Name, U63 | str], ...]
    by: Bytes32


class AcquisitionSet(Message, frozen=True, tag=47):
    """A meter's readings are taken otherwise from a slot on."""

    meter: Bytes32
    first_slot: U63
    mode: U8
    interval_slots: U32
    by: Bytes32
    reason: str


class Answered(Message, frozen=True, tag=48):
    """Where a called member stands in an event now."""

    number: U63
    account: Bytes32
    answer: U8
    """An :class:`~vppd.ledger.response.calls.Answer`."""
    until_slot: U63
    """The first slot that is no longer asked of it."""


class EffectMeasured(Message, frozen=True, tag=49):
    """What a member did in an event, against its baseline; sums over the slots that are known."""

    number: U63
    account: Bytes32
    asked_slots: U32
    known_slots: U32
    """Those with a reading and a baseline; the others count for nothing."""
    baseline_wh: I64
    metered_wh: I64
    """Import less export."""
    effect_wh: U63
    """What is paid for, within what was asked."""
    over_wh: U63
    """Above a setpoint."""
    amount: U63
    """Micro-currency out of the event's deposit."""


Event: TypeAlias = (
    Posted
    | SlotAdvanced
    | OrderAccepted
    | Traded
    | ReadingAccepted
    | Settled
    | EraScheduled
    | Approved
    | AccountOpened
    | ReadyNoted
    | Convicted
    | Punished
    | Voted
    | ContractMoved
    | ContractSaid
    | RulesScheduled
    | OrderCancelled
    | OrderMade
    | UrgentServed
    | TradeSigned
    | TradeVoided
    | TradeCut
    | TradeRouted
    | PathsHashed
    | ResourceRegistered
    | ResourceRetired
    | Planned
    | Forecasted
    | PositionTaken
    | Pooled
    | Shared
    | MemberRegistered
    | MeterRegistered
    | StandingChanged
    | DutyChanged
    | Intervened
    | ParametersSet
    | AcquisitionSet
    | Answered
    | EffectMeasured
)

"""Events: what happened, as receipts tell it; encodings and tags are stable."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import TypeAlias

from vppd.codec import I64, U8, U32, U63, Bytes32, Message
from vppd.era import Era, Name
from vppd.ledger.member_events import (
    AcquisitionSet,
    Answered,
    DutyChanged,
    EffectMeasured,
    Intervened,
    MemberRegistered,
    MeterRegistered,
    ParametersSet,
    StandingChanged,
)
from vppd.types import PublicKey

GRID: PublicKey = bytes(32)
"""Stands for the grid account in events; no key pair has this public key (of small order)."""
FUND: PublicKey = b"\x01" + bytes(31)
"""Stands for the fund that levies fill and block rewards empty; of small order too."""


class Purse(IntEnum):
    """Where money lies."""

    BALANCE = 0
    ESCROW = 1
    """Set aside for bids; it pays for their trades and nothing else."""
    GRID = 2
    """The grid's account, negative when the grid has paid more than it got."""
    CONTRACT = 3
    """What a contract holds; its account is the contract's number in 32 bytes, big-endian."""
    FUND = 7
    """What levies have brought and rewards have not taken."""


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
    GRID_FEE = 20
    """Between a member and the grid: for energy it took from the network."""
    LEVY = 21
    """Between a member and the fund, likewise."""
    REWARD = 22
    """Fund → who packed the block."""
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
    """A meter's registers at the end of a slot are on chain.

    Of a meter that rolls over or has replaced another: its odometer (:mod:`vppd.ledger.meters`).
    """

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


class FeesCharged(Message, frozen=True, tag=23):
    """Fees on one member's slot; a later version posts only the difference."""

    slot: U63
    account: Bytes32
    version: U63
    """Of the settlement it follows."""
    net_wh: U63
    """Energy taken from the network, net over the slot."""
    grid_fee_price: U63
    levy_price: U63
    grid_fee: I64
    """Micro-currency owed to the grid in all; less than the price makes it only at ±2⁶²."""
    levy: I64
    """Micro-currency owed to the fund in all."""


class CreditCause(IntEnum):
    """What moved a member's credit."""

    REVIEWED = 1
    """The end of a day."""
    CORRECTED = 2
    """A reading of a day reviewed before: credit moves by what the review would have said."""


class CreditChanged(Message, frozen=True, tag=24):
    """A member was rated, and why (P3, eqs 5–7; P2, §II.D)."""

    day: I64
    account: Bytes32
    cause: U8
    """A :class:`CreditCause`."""
    score: U32
    """Of the day's deliveries, parts per million; 2³²−1: it had no contract."""
    previous: U32
    """Of the last day before it that had one; 2³²−1: there is none."""
    slots: U32
    """With a contract."""
    settled: U32
    missing: U32
    """Of the settlements: those no reading proves; with a contract they score 0."""
    before: U32
    """Credit, parts per million."""
    after: U32
    composite: U32
    """Weighted indicators, parts per million."""
    grade: U8
    """The latest: position in :data:`vppd.config.billing.GRADES`."""


class DayReviewed(Message, frozen=True, tag=25):
    """A day is over and was looked at, once (P0, §2.1)."""

    day: I64
    """Local; see :mod:`vppd.market.clock`."""
    number: U63
    """1 for the first review of the chain."""
    previous_height: U63
    """Of the review before it; 0: none."""
    first_slot: U63
    last_slot: U63
    members: U32
    """With a settlement."""
    settled: U32
    missing: U32
    """Settlements that no reading proves."""
    contracted_wh: U63
    """Net, over members and slots."""
    deviation_wh: U63
    """Of it, how much was not delivered or too much."""
    deviation_ppm: U32
    trades: U63
    traded_wh: U63
    traded_micro: U63
    spread: U63
    """Micro-currency per kWh between the grid's two prices, mean over the day's slots."""
    quote_spread: U63
    """Next day's parameter: how much of it members are advised to leave to each other."""


class BalanceStated(Message, frozen=True, tag=26):
    """What a member has at the end of a day, after everything above in the block."""

    account: Bytes32
    balance: I64
    escrow: U63
    settlements: U63
    """Of the member since the first review's day began, corrections counted."""


class MeterReplaced(Message, frozen=True, tag=27):
    """A meter goes on where another stopped."""

    old: Bytes32
    new: Bytes32
    account: Bytes32
    slot: U63
    """During which."""
    final_import_wh: U63
    """Of the old one, counted as if it were the first meter and had no last digit."""
    final_export_wh: U63
    import_wh: U63
    """What the new one showed then."""
    export_wh: U63
    rollover_wh: U63


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
    | FeesCharged
    | CreditChanged
    | DayReviewed
    | BalanceStated
    | MeterReplaced
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

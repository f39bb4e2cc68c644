"""genesis.toml: what all replicas must agree on before height 1; its SHA-256 is the chain id."""

from __future__ import annotations

from typing import Annotated, Literal, NewType

import msgspec
from msgspec import Meta

from vppd.config.billing import CreditRules, FeeRules, ReviewRules
from vppd.config.clock import ClockChange
from vppd.config.duties import DutyEntry
from vppd.config.grid import Grid
from vppd.config.sharing import SharingRules
from vppd.config.stages import NO_STAGES, StageRules
from vppd.types import PPM, Digest, Micro, MicroPerKwh, Ppm, PublicKey, Role, Slot, TimeMs, Wh

Engine = NewType("Engine", str)
"""The name of an engine that can run here: :mod:`vppd.config.engines` checks it."""
PathSetting = Literal["auto", "collect", "broadcast"]
"""Where first-round votes go in engine ``bncm``; ``auto``: the leader picks by measured cost."""
MarketRules = Literal["production", "paper003", "literal003", "two-stage", "uniform", "cooperative"]
ConsentMode = Literal["signature", "explicit"]
LedgerKind = Literal["market", "null"]
Ranking = Literal["composite", "largest-producer"]
"""By what producers are elected in engine ``dpos``: votes weighed by score, or energy alone."""
Count = Annotated[int, Meta(ge=1, lt=2**31)]
Millis = Annotated[int, Meta(ge=1, lt=2**53)]

STARTING_CREDIT: Ppm = 800_000
"""Of an account that says nothing else (market.md, §0)."""
MOST_VALIDATORS = 256
"""A certificate's bitmap has at most 32 bytes (consensus/messages.py)."""
BLOCK_BYTES_LIMIT = 2**20 - 2**16
"""A block with its header and certificate must fit a frame of 1 MiB (protocol.md, §3)."""
TX_BYTES_LIMIT = 2**14
"""A transaction must fit a frame of 16 KiB; a genesis may say more, and stays what it is, but then
what is larger gets into a block only where it was handed in."""
ORDERED_RULES = (
    ("view_timeout_ms", "view_timeout_max_ms"),
    ("max_tx_bytes", "max_block_bytes"),
)
"""Pairs of numbers in ``[consensus]``: the first is at most the second."""


class DposRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[consensus.dpos]``: how engine ``dpos`` elects (protocol.md, §13).

    A plant founded on another engine may change to this one with its section left out, so these
    defaults are part of what a genesis means: they never change.
    """

    alpha_ppm: Annotated[int, Meta(ge=0, le=PPM)] = 700_000
    """α: weight of reputation in the composite score; the rest is the amount's."""
    delegates: Annotated[int, Meta(ge=1, le=MOST_VALIDATORS)] = 4
    """N: producers elected, at most."""
    punish_epochs: Count = 3
    """K: epochs for which a skipped producer cannot be elected."""
    ranking: Ranking = "composite"


class ConsensusRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[consensus]``: limits and timers that decide what is valid."""

    engine: Engine = Engine("bncm")
    path: PathSetting = "auto"
    f: Annotated[int, Meta(ge=0)] | None = None
    """Byzantine replicas to tolerate; unset: the most, ⌊(n−1)/3⌋."""
    view_timeout_ms: Millis = 2_000
    view_timeout_max_ms: Millis = 10_000
    idle_block_interval_ms: Millis = 60_000
    """An empty block after so long without one."""
    epoch_blocks: Count = 1_024
    checkpoint_blocks: Count = 128
    max_block_bytes: Count = 524_288
    """Sum of the transactions' bytes in one block."""
    max_block_txs: Count = 4_096
    max_tx_bytes: Count = 16_384
    max_tx_ops: Count = 64
    max_tx_lifetime: Count = 10_000
    """Furthest expiry a transaction may name, in heights from the block that carries it."""
    clock_tolerance_ms: Millis = 500
    """How far a fresh block's time may lie ahead of a voter's clock."""
    dpos: DposRules = DposRules()


class Governance(msgspec.Struct, frozen=True, kw_only=True):
    """``[governance]``: whose word changes members and rules of a plant that runs."""

    threshold: int | None = None
    """Members of the era in force that must agree; unset: f+1, so that one of them is honest."""
    authority: tuple[PublicKey, ...] = ()
    """Registration authority: if there is one, a change also needs one of these keys."""


class LedgerRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[ledger]``: what transactions do.

    A plant trades on the ``market``. The ``null`` ledger only keeps what it is given, in order and
    once: it measures everything but the market.
    """

    kind: LedgerKind = "market"
    signed: bool = True
    """False: whoever names a member may send in its name; null ledger only."""


class ContractRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[contracts]``: what members can open besides this build's own kinds."""

    kinds: tuple[Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")], ...] = ()
    """Kinds that other distributions bring; every node needs them (docs/contracts.md)."""


class Tariff(msgspec.Struct, frozen=True, kw_only=True):
    """``[[market.tariff]]``: the grid's prices for a part of the day; may wrap around midnight."""

    start_minute: int
    """First minute of the day, 0…1439, start-inclusive."""
    end_minute: int
    """End of the interval, 0…1440, end-exclusive; at or below the start: wraps around midnight."""
    retail_price: MicroPerKwh
    """What the grid charges."""
    feed_in_price: MicroPerKwh
    """What the grid pays."""


class MarketRulesSection(msgspec.Struct, frozen=True, kw_only=True):
    """``[market]``: slots, gates and prices.

    Slot ``s`` is delivered in block time ``[origin_ms + s·slot_ms, … + slot_ms)``. Orders for it
    are taken from ``open_lead_ms`` before its start until ``gate_lead_ms`` before its start;
    readings until ``metering_ms`` after its end, when it settles; corrections for
    ``dispute_slots`` slots more.
    """

    rules: MarketRules = "production"
    currency: str = "CNY"
    origin_ms: TimeMs = 0
    """Block time at which slot 0 starts; 0: slots count from the Unix epoch."""
    slot_ms: Millis = 900_000
    """Chain time per slot."""
    market_slot_minutes: Annotated[int, Meta(ge=1, le=1_440)] = 15
    """Market time per slot: which tariff applies. Differs from slot_ms in an accelerated day."""
    market_offset_minutes: int = 0
    """Minute of the market day at which slot 0 starts (a UTC offset when origin_ms is 0)."""
    open_lead_ms: Millis = 86_400_000
    gate_lead_ms: Annotated[int, Meta(ge=0, lt=2**53)] = 300_000
    metering_ms: Millis = 3_600_000
    dispute_slots: Annotated[int, Meta(ge=0, lt=2**31)] = 96
    max_quantity_wh: Annotated[Wh, Meta(ge=1, le=2**50)] = 1_000_000_000
    """Largest sum of a member's offers, and of its bids, for one slot, and largest energy of one
    reading: absurd quantities are refused."""
    max_orders: Annotated[int, Meta(ge=1, le=1_024)] = 64
    """Orders of one member for one slot."""
    max_price: Annotated[MicroPerKwh, Meta(ge=0, lt=2**53)] = 1_000_000_000
    tariffs: tuple[Tariff, ...] = ()
    clock: tuple[ClockChange, ...] = ()
    """What local time is ahead of market_offset_minutes, from when on; before the first nothing."""
    fees: FeeRules = FeeRules()
    credit: CreditRules = CreditRules()
    review: ReviewRules = ReviewRules()
    consent: ConsentMode = "signature"
    """Whose word a trade of the auction needs besides the signatures on its orders; ``explicit``:
    seller, buyer and an operator each call between gate closure and delivery (P0, Table 2)."""
    stages: StageRules = NO_STAGES
    sharing: SharingRules = SharingRules()
    """Of what a plant gains that bids as a whole; in force under rules ``cooperative``."""

    def slot_start(self, slot: Slot) -> TimeMs:
        """Block time at which delivery of ``slot`` starts."""
        return self.origin_ms + slot * self.slot_ms


class ValidatorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``[[validator]]``: a replica that votes; its index is its position in the file.

    In engine ``dpos`` a candidate; the first ``delegates`` of them produce until an election.
    """

    name: str
    role: Role
    key: PublicKey


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``[[account]]``: a member with an opening balance."""

    name: str
    key: PublicKey
    balance: Micro = 0
    credit: Ppm = STARTING_CREDIT
    bus: int = 0
    """Where in the grid the member sits."""
    aggregator: str = ""
    """Name of the account it belongs to; empty: none."""


class MeterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """``[[meter]]``: a registered meter, which signs its own readings for one account."""

    key: PublicKey
    account: str
    import_wh: Wh = 0
    """Register of energy taken from the grid (OBIS 1.8.0) at the start of slot ``first_slot``."""
    export_wh: Wh = 0
    """Register of energy given to the grid (OBIS 2.8.0)."""
    first_slot: Slot = 0
    """First slot whose energy the meter measures."""
    rollover_wh: Wh = 0
    """Its registers begin again at 0 after one less than this; 0: they never do."""


class Genesis(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file, decoded: keys are bytes, money is micro, times are milliseconds."""

    name: str
    """``chain_id`` in the file: what people call the plant."""
    digest: Digest
    """SHA-256 of the file's bytes: the chain id in every signature."""
    consensus: ConsensusRules
    market: MarketRulesSection
    validators: tuple[ValidatorEntry, ...]
    accounts: tuple[AccountEntry, ...] = ()
    meters: tuple[MeterEntry, ...] = ()
    governance: Governance = Governance()
    ledger: LedgerRules = LedgerRules()
    contracts: ContractRules = ContractRules()
    grid: Grid | None = None
    """None: trades are not checked against a grid."""
    duties: tuple[DutyEntry, ...] = ()

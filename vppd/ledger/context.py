"""What the rules of execution work on, and how they move money or give up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from vppd.config.founding import founding_era
from vppd.config.genesis import Genesis, MarketRulesSection
from vppd.crypto import Verify
from vppd.ledger.agenda import Agenda, Due
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import GRID, Event, Posted, Purse, Reason, SlotAdvanced
from vppd.ledger.records import Account, MarketUpdate, SlotRecord
from vppd.ledger.slots import Phase, next_step, phase_at
from vppd.ledger.state import ACCOUNT, GRID_ACCOUNT, MARKET_UPDATE, METER, SLOT, State
from vppd.market.auction import RULES, Book, Order, Rules
from vppd.market.calendar import MarketCalendar
from vppd.market.grid.flow import Feeder
from vppd.types import Height, Micro, PublicKey, Slot, TimeMs

if TYPE_CHECKING:
    from vppd.ledger.contracts.kind import Kind

MOST_MICRO: Micro = 2**62
"""No purse goes further from zero than this."""


class Failed(Exception):
    """An operation breaks a rule; its whole transaction fails.

    Args:
        code: which rule.
        detail: the integers :data:`~vppd.ledger.codes.MEANING` promises for it.
    """

    def __init__(self, code: ErrorCode, *detail: int) -> None:
        super().__init__(code.name)
        self.code = code
        self.detail = detail


class Context:
    """One chain's state and what is derived from it.

    Args:
        genesis: the chain.
        state: at some height.
        verify: the one verifier, for signatures inside operations.
        kinds: of contracts, by name.
    """

    def __init__(
        self, genesis: Genesis, state: State, verify: Verify, kinds: Mapping[str, Kind]
    ) -> None:
        self.genesis = genesis
        self.state = state
        self.verify = verify
        self.kinds = kinds
        self.calendar = MarketCalendar(genesis.market)
        """Rules of the market, slot by slot, as the blocks before this one decided them."""
        self._updates: tuple[tuple[Slot, MarketUpdate], ...] = ()
        self.reckon_rules()
        self.time_ms: TimeMs = 0
        """Of the block being executed."""
        self.height: Height = 0
        """Of the block being executed."""
        self.founding = founding_era(genesis)
        self.era = self.founding
        """In force at ``height``."""
        self._phases: dict[Slot, Phase | None] = {}
        """Of slots that orders were for, in the block being executed."""
        self.events: list[Event] = []
        """Of the receipt being made."""
        self.redo: list[Callable[[], None]] = []
        """What follows from the state without being in it, and is to be made again if the
        transaction being executed holds."""
        self.notes: list[Due] = []
        """What will be due if the transaction or trigger being executed holds."""
        self.fired: set[int] = set()
        """Contracts that have fired in this block."""
        self.deferred: list[Due] = []
        """Triggers for the next block."""
        self.arrivals: list[tuple[Slot, Order[PublicKey]]] = []
        """Orders of the transaction being executed; they meet the book when all of it holds, so
        that a book never has to forget anything."""
        self.withdrawals: list[tuple[Slot, int]] = []
        """Orders that the transaction being executed cancels; they leave the book before its own
        orders arrive."""
        self.books: dict[Slot, Book[PublicKey]] = {}
        """Of open slots; what rests in them is in the state too."""
        self.agenda = Agenda()
        self.feeder = None if genesis.grid is None else Feeder(genesis.grid)
        """The grid that trades go through; None: nobody asks."""
        self.meters: dict[PublicKey, tuple[PublicKey, ...]] = {}
        """An account's meters, in key order."""
        self.reckon_meters()

    def reckon_meters(self) -> None:
        """Whose meters are which, from the state."""
        self.meters.clear()
        for key, meter in self.state.scan(METER):
            self.meters[meter.account] = (*self.meters.get(meter.account, ()), key)

    def begin(self, height: Height, time_ms: TimeMs) -> None:
        """The next block is executed."""
        self.height, self.time_ms = height, time_ms
        self._phases.clear()
        self.fired.clear()

    def phase(self, slot: Slot) -> Phase | None:
        """Of ``slot`` at the time of the block being executed; ``None`` before it opens."""
        phases = self._phases
        if slot not in phases:
            phases[slot] = phase_at(self.calendar.at(slot), slot, self.time_ms)
        return phases[slot]

    def reckon_rules(self) -> None:
        """What has been decided about the market is in force, each from its slot on."""
        updates = tuple(self.state.scan(MARKET_UPDATE))
        if updates != self._updates:
            self._updates = updates
            self.calendar = self.decided_rules()

    def decided_rules(self) -> MarketCalendar:
        """Rules of the market with what this block has decided so far."""
        updates = ((slot, update.settings) for slot, update in self.state.scan(MARKET_UPDATE))
        return MarketCalendar(self.genesis.market, updates)

    def market_of(self, slot: Slot) -> MarketRulesSection:
        """The rules of the market in force in ``slot``."""
        return self.calendar.at(slot)

    def auction_of(self, slot: Slot) -> Rules:
        """Which auction ``slot`` has."""
        return RULES[self.calendar.at(slot).rules]

    def note(self, slot: Slot, phase: Phase) -> None:
        """``slot`` has entered ``phase``: what follows will be due."""
        due = next_step(self.calendar.at(slot), slot, phase)
        if due is not None:
            self.notes.append(due)

    def note_all(self) -> None:
        """What was executed holds: so do its dates."""
        for due in self.notes:
            self.agenda.note(due)
        self.notes.clear()

    def redo_all(self) -> None:
        """What was executed holds: what follows from the state is made again."""
        for redo in self.redo:
            redo()
        self.redo.clear()

    def need_slot(self, slot: Slot, phase: Phase) -> SlotRecord:
        """The record of ``slot``, which by block time is in ``phase``; made if there is none."""
        record = self.state.get(SLOT, slot)
        if record is None:
            record = SlotRecord(phase, 0, 0)
            self.state.put(SLOT, record, slot)
            self.events.append(SlotAdvanced(slot, phase))
            self.note(slot, phase)
        return record

    def post(self, account: PublicKey, purse: Purse, delta: Micro, reason: Reason) -> None:
        """Change a member's purse; nothing is said about a change of nothing."""
        if delta == 0:
            return
        record = self.state.need(ACCOUNT, account)
        balance, escrow = record.balance, record.escrow
        if purse is Purse.BALANCE:
            balance += delta
        else:
            escrow += delta
        after = Account(record.nonce, balance, escrow, record.credit, record.bus)
        self.state.put(ACCOUNT, after, account)
        self.events.append(Posted(account, purse, delta, reason))

    def charge(self, account: PublicKey, amount: Micro, reason: Reason) -> Micro:
        """Move ``amount`` from a member's balance to the grid; negative: the other way.

        Returns:
            What was moved: less than asked where a purse would leave ±2⁶², so that no decided
            block, however absurd its genesis and readings, can make execution fail.
        """
        member, bank = self.state.need(ACCOUNT, account), self.state.need(GRID_ACCOUNT)
        amount = min(amount, MOST_MICRO + member.balance, MOST_MICRO - bank.balance)
        amount = max(amount, member.balance - MOST_MICRO, -MOST_MICRO - bank.balance)
        if amount == 0:
            return 0
        self.post(account, Purse.BALANCE, -amount, reason)
        grid = self.state.need(GRID_ACCOUNT)
        self.state.put(GRID_ACCOUNT, replace(grid, balance=grid.balance + amount))
        self.events.append(Posted(GRID, Purse.GRID, amount, reason))
        return amount

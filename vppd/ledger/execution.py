"""Executing decided blocks: the one place where the state changes (architecture.md, wall 5).

A block is executed in two parts: first what its time triggers, slot by slot, then its transactions
in order. A transaction's operations succeed or fail together; a failure changes nothing but its
sender's nonce. Nothing in a decided block can make execution fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.crypto import Verify, sha256, verify
from vppd.era import Era, EraMember
from vppd.errors import LocalFault
from vppd.header import Header
from vppd.ledger.agenda import Due, Topic
from vppd.ledger.buckets import Buckets, StateProof
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.engine import contract_due, fire_contract, next_due_ms
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.contracts.registry import kinds_of
from vppd.ledger.documents import Documents
from vppd.ledger.epochs import conclude
from vppd.ledger.eras import DELAY, in_force, known_eras, latest_era
from vppd.ledger.events import EraScheduled, Event
from vppd.ledger.fees import fund_balance, reward_packer
from vppd.ledger.keeping import KEPT, Run, encoded
from vppd.ledger.lifecycle import advance_slot
from vppd.ledger.opening import opening_state
from vppd.ledger.operations import operate
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.plan_ops import Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.producers import next_election
from vppd.ledger.proofs import Statement
from vppd.ledger.receipts import Receipt, encode_receipt, failure, receipts_root
from vppd.ledger.records import (
    Account,
    ContractRecord,
    Meter,
    Register,
    SettlementRecord,
    SlotRecord,
    TradeRecord,
)
from vppd.ledger.review import day_due, day_step
from vppd.ledger.slots import Phase
from vppd.ledger.snapshot import Snapshot
from vppd.ledger.state import (
    ACCOUNT,
    CANDIDATE,
    CONTRACT,
    DAY,
    GRID_ACCOUNT,
    MEMBER,
    METER,
    PUNISHMENT,
    REGISTER,
    SETTLEMENT,
    SLOT,
    TRADE,
    State,
)
from vppd.ledger.statements import MOST_STATEMENTS, Effect, examine, state_fact
from vppd.ledger.trading import match_arrivals, restore_book
from vppd.ledger.transaction import (
    NOBODY,
    Op,
    Opaque,
    PlaceOrder,
    Reading,
    Transaction,
    Transfer,
    decode_transaction,
    statement_in,
)
from vppd.market.auction import Book
from vppd.market.calendar import MarketCalendar
from vppd.merkle import EMPTY_ROOT
from vppd.types import Digest, Epoch, Height, Micro, PublicKey, Slot, TimeMs

T = TypeVar("T")

SNAPSHOTS = 2
"""States kept for joiners: who began with one has until the next but one to finish."""
_OF_A_MARKET: tuple[type, ...] = (
    Transfer, PlaceOrder, Reading, OpenContract, CallContract, CancelOrder, SignTrades,
    RegisterResource, RetireResource, Plan, Forecast,
)  # fmt: skip
_STEPS: dict[int, Callable[[Context, Due], None]] = {
    Topic.SLOT: advance_slot,
    Topic.CONTRACT: fire_contract,
    Topic.DAY: day_step,
}
"""What takes a step whose time has come."""


class Execution(NamedTuple):
    """What executing one decided block did."""

    height: Height
    state_root: Digest
    """After ``height``."""
    receipts_root: Digest
    receipts: tuple[bytes, ...]
    """Index 0 is the block's own, then one per transaction."""
    changes: tuple[tuple[bytes, bytes | None], ...]
    """State keys, ascending, and their new values; ``None`` removes."""
    tx_ids: tuple[Digest, ...]
    """In the order of the block; SHA-256 of the raw bytes of what is no transaction."""
    next_due_ms: TimeMs | None
    """Block time at which there is something to do even without a transaction."""
    refused: tuple[int, ...] = ()
    """Positions of transactions that did not use their nonce: they may yet be executed."""
    era: Era | None = None
    """The era this block scheduled."""


class Ledger(Documents):
    """One chain's state after some height; :meth:`from_genesis` and :meth:`load` make one."""

    __slots__ = (
        "_buckets", "_ctx", "_eras", "_foreign", "_statements", "genesis", "height",
        "receipts_root", "snapshots", "time_ms",
    )  # fmt: skip

    def __init__(
        self,
        genesis: Genesis,
        state: State,
        buckets: Buckets,
        height: Height,
        time_ms: TimeMs,
        last_receipts_root: Digest,
        verify: Verify = verify,
    ) -> None:
        self.genesis = genesis
        self.height: Height = height
        """Last executed."""
        self.time_ms: TimeMs = time_ms
        """Of the block at ``height``; 0 at genesis."""
        self.receipts_root: Digest = last_receipts_root
        """Of the block at ``height``; that of no receipts at genesis."""
        self.snapshots: tuple[Snapshot, ...] = ()
        """States kept for joiners, the latest last: of the last checkpoints (§10)."""
        self._buckets = buckets
        self._ctx = ctx = Context(genesis, state, verify, kinds_of(genesis))
        self._eras = known_eras(ctx.founding, state)
        self._foreign = _OF_A_MARKET if genesis.ledger.kind == "null" else (Opaque,)
        self._statements = 0
        """Met in the block being executed."""
        for slot, record in state.scan(SLOT):
            phase = Phase(record.phase)
            ctx.note(slot, phase)
            if phase is Phase.OPEN:
                ctx.books[slot] = restore_book(state, ctx.auction_of(slot), slot)
        for key, day in state.scan(DAY):
            ctx.notes.append(day_due(key, day))
        for number, contract in state.scan(CONTRACT):
            trigger = contract_due(number, contract)
            if trigger is not None:
                ctx.notes.append(trigger)
        ctx.note_all()

    @classmethod
    def from_genesis(cls, genesis: Genesis, *, verify: Verify = verify) -> Ledger:
        """The ledger at height 0.

        Args:
            genesis: the chain.
            verify: decides on signatures inside operations.

        Raises:
            ConfigError: E124; the numbers in genesis cannot be executed.
        """
        state, buckets = opening_state(genesis), Buckets()
        buckets.apply(state.seal())
        return cls(genesis, state, buckets, 0, 0, EMPTY_ROOT, verify)

    @classmethod
    def load(
        cls,
        genesis: Genesis,
        height: Height,
        entries: Iterable[tuple[bytes, bytes]],
        header: Header | None = None,
        last_receipts_root: Digest = EMPTY_ROOT,
        *,
        verify: Verify = verify,
    ) -> Ledger:
        """The ledger as it was after ``height``.

        The state does not hold the receipts root and time of that block; a ledger that is to
        execute the next one needs to be told.

        Args:
            genesis: the chain.
            height: last executed.
            entries: the whole state, as :meth:`entries` gave it.
            header: of the block at ``height``; None at genesis.
            last_receipts_root: of the block at ``height``.
            verify: decides on signatures inside operations.

        Raises:
            LocalFault: the header is another block's.
            Malformed: an entry no ledger wrote.
        """
        if header is not None and header.height != height:
            raise LocalFault(f"state of height {height} with the header of {header.height}")
        pairs = tuple(entries)
        buckets = Buckets()
        buckets.apply(pairs)
        time_ms = 0 if header is None else header.time_ms
        state = State.load(pairs)
        return cls(genesis, state, buckets, height, time_ms, last_receipts_root, verify)

    # ------------------------------------------------------------ execution

    def execute(
        self,
        header: Header,
        txs: Sequence[bytes],
        opened: Sequence[Transaction] | None = None,
    ) -> Execution:
        """Execute the decided block after this one.

        Args:
            header: its header; only height, time and proposer matter here.
            txs: raw, in order.
            opened: the same, decoded, where somebody has done that before.

        Raises:
            LocalFault: it is not the next block.
        """
        if header.height != self.height + 1:
            raise LocalFault(f"block {header.height} handed to a ledger at height {self.height}")
        ctx = self._ctx
        ctx.begin(header.height, header.time_ms)
        ctx.era = self.era_at(header.height)
        self._statements = 0
        own = self._triggers(header.proposer)
        if opened is None:
            whole: tuple[Transaction | bytes, ...] = tuple(map(_open, txs))
            tx_ids = tuple(sha256(tx) if isinstance(tx, bytes) else tx.id for tx in whole)
        else:
            whole, tx_ids = tuple(opened), tuple([tx.id for tx in opened])
        receipts = self._receipts(whole)
        block = Receipt(Status.OK, ErrorCode.NONE, (), (*own, *self._conclusions()))
        leaves = (encode_receipt(block), *encoded(receipts))
        changes = self._buckets.apply(ctx.state.seal())
        self.height, self.time_ms = header.height, header.time_ms
        self.receipts_root = receipts_root(leaves)
        if self.height % self.genesis.consensus.checkpoint_blocks == 0:
            self.freeze()
        return Execution(
            self.height,
            self.state_root,
            self.receipts_root,
            leaves,
            changes,
            tx_ids,
            self.next_due_ms,
            tuple([i for i, r in enumerate(receipts) if r.status == Status.REFUSED])
            if receipts.count(KEPT) < len(receipts)
            else (),
            self._scheduled(),
        )

    def _triggers(self, proposer: PublicKey) -> tuple[Event, ...]:
        """Every step whose time has come, each once, before the block's transactions."""
        ctx = self._ctx
        ctx.events = []
        reward_packer(ctx, proposer)
        while (due := ctx.agenda.take(ctx.time_ms)) is not None:
            _STEPS[due.topic](ctx, due)
        for due in ctx.deferred:
            ctx.agenda.note(due)
        ctx.deferred.clear()
        return tuple(ctx.events)

    def _conclusions(self) -> tuple[Event, ...]:
        """What follows from the block as a whole, after its transactions."""
        ctx = self._ctx
        ctx.events = []
        conclude(ctx)
        ctx.reckon_rules()
        latest = latest_era(ctx.founding, ctx.state)
        if latest.epoch > self._eras[-1].epoch:
            self._eras = known_eras(ctx.founding, ctx.state)
            ctx.events.append(EraScheduled(latest))
        return tuple(ctx.events)

    def _scheduled(self) -> Era | None:
        latest = self._eras[-1]
        return latest if latest.first == self.height + DELAY else None

    def _receipts(self, txs: Sequence[Transaction | bytes]) -> list[Receipt]:
        """Execute the transactions; of each what it did."""
        receipts: list[Receipt] = []
        run = Run(self._ctx.state) if self.genesis.ledger.kind == "null" else None
        while len(receipts) < len(txs):
            if run is not None:
                kept = run.keep(txs, len(receipts))
                run.end()
                receipts += [KEPT] * (kept - len(receipts))
                if kept == len(txs):
                    break
            tx = txs[len(receipts)]
            if isinstance(tx, bytes):
                receipts.append(failure(Status.REFUSED, ErrorCode.UNDECODABLE))
            else:
                receipts.append(self._transaction(tx))
        return receipts

    def _transaction(self, tx: Transaction) -> Receipt:
        if tx.sender == NOBODY and (statement := statement_in(tx)) is not None:
            return self._statement(statement)
        state = self._ctx.state
        sender = state.get(ACCOUNT, tx.sender) or state.get(METER, tx.sender)
        if sender is None:
            return failure(Status.REFUSED, ErrorCode.UNKNOWN_ACCOUNT)
        if tx.nonce != sender.nonce:
            return failure(Status.REFUSED, ErrorCode.BAD_NONCE, sender.nonce)
        if isinstance(sender, Account):  # written out: replace() takes a third of a transfer
            after = Account(
                sender.nonce + 1, sender.balance, sender.escrow, sender.credit, sender.bus
            )
            state.put(ACCOUNT, after, tx.sender)
        else:
            state.put(METER, replace(sender, nonce=sender.nonce + 1), tx.sender)
        return self._operations(tx.sender, tx.ops, is_meter=isinstance(sender, Meter))

    def _statement(self, op: Statement) -> Receipt:
        """All or nothing, and nothing means no trace."""
        ctx = self._ctx
        self._statements += 1
        if self._statements > MOST_STATEMENTS:
            return failure(Status.REFUSED, ErrorCode.TOO_MANY_STATEMENTS, MOST_STATEMENTS)
        ctx.events = []
        try:
            state_fact(ctx, op)
        except Failed as failed:
            return failure(Status.REFUSED, failed.code, *failed.detail)
        return Receipt(Status.OK, ErrorCode.NONE, (), tuple(ctx.events))

    def _operations(self, sender: PublicKey, ops: Sequence[Op], *, is_meter: bool) -> Receipt:
        """All of them, or none."""
        ctx = self._ctx
        ctx.events, ctx.arrivals, ctx.withdrawals = [], [], []
        ctx.notes, ctx.redo = [], []
        mark = ctx.state.mark()
        for index, op in enumerate(ops):
            try:
                self._check_ledger(op)
                operate(ctx, sender, op, is_meter=is_meter)
            except Failed as failed:
                ctx.state.undo(mark)
                ctx.notes.clear()
                return failure(Status.FAILED, failed.code, index, *failed.detail)
        ctx.redo_all()
        match_arrivals(ctx)
        ctx.note_all()
        return Receipt(Status.OK, ErrorCode.NONE, (), tuple(ctx.events))

    def _check_ledger(self, op: Op) -> None:
        if isinstance(op, self._foreign):
            raise Failed(ErrorCode.WRONG_LEDGER)

    # ------------------------------------------------------------ facts

    @property
    def chain_id(self) -> Digest:
        """SHA-256 of the genesis file."""
        return self.genesis.digest

    @property
    def state(self) -> State:
        """All records; not to be changed."""
        return self._ctx.state

    @property
    def state_root(self) -> Digest:
        """After ``height``."""
        return self._buckets.root

    @property
    def eras(self) -> tuple[Era, ...]:
        """Those known, ascending: the last 16 after genesis, with era 0 before fewer than 16.

        The last may not have begun.
        """
        return self._eras

    @property
    def candidates(self) -> tuple[EraMember, ...]:
        """Who may be elected, by key; nobody but in engine ``dpos``."""
        return tuple(
            EraMember(key, c.operator, c.name, c.addr, c.nonce)
            for key, c in self._ctx.state.scan(CANDIDATE)
        )

    @property
    def next_election(self) -> Height | None:
        """The next height whose execution elects; ``None``: nobody is elected."""
        return next_election(self.genesis, self._eras[-1], self.height)

    def punished_until(self, key: PublicKey) -> Epoch | None:
        """A candidate that was skipped sits in no epoch up to this one if others can."""
        found = self._ctx.state.get(PUNISHMENT, key)
        return None if found is None else found.until_epoch

    def era_at(self, height: Height) -> Era:
        """Who votes at ``height``, as far as it is decided.

        Raises:
            LookupError: the era is no longer known.
        """
        return in_force(self._eras, height)

    @property
    def next_due_ms(self) -> TimeMs | None:
        """Block time of the next transition of any slot, or trigger of any contract."""
        return next_due_ms(self._ctx)

    @property
    def calendar(self) -> MarketCalendar:
        """Rules of the market, slot by slot, as far as they are decided."""
        return self._ctx.calendar

    def freeze(self) -> None:
        """Keep the state as it is now for joiners, and the one kept before."""
        kept = (*self.snapshots, Snapshot(self.height, self._buckets.freeze()))
        self.snapshots = kept[-SNAPSHOTS:]

    def entries(self) -> list[tuple[bytes, bytes]]:
        """The whole state, in key order."""
        return self._buckets.entries()

    def prove(self, key: bytes) -> StateProof:
        """Proof of one state key under ``state_root``; keys come from :mod:`.state`'s tables."""
        return self._buckets.prove(key)

    def total_micro(self) -> Micro:
        """All money: balances, escrows, contracts, grid and fund. It never changes."""
        state = self._ctx.state
        members = sum(a.balance + a.escrow for _, a in state.scan(ACCOUNT))
        contracts = sum(contract.held for _, contract in state.scan(CONTRACT))
        return members + contracts + state.need(GRID_ACCOUNT).balance + fund_balance(self._ctx)

    def judge_statement(self, tx: Transaction, *, proved: bool = False) -> Effect:
        """What a statement would change in the next block.

        Args:
            tx: of the form :func:`~vppd.ledger.transaction.statement_in` knows.
            proved: its signatures have been checked before.

        Raises:
            Failed: nothing; its code says why.
        """
        op = statement_in(tx)
        if op is None:
            raise Failed(ErrorCode.NOT_A_STATEMENT)
        return examine(self._next_block(), op, proved=proved)

    def _next_block(self) -> Context:
        """What the rules would work on now; nothing of it outlives the next block's execution."""
        ctx = self._ctx
        ctx.height = self.height + 1
        ctx.era = self.era_at(ctx.height)
        return ctx

    def nonce(self, key: PublicKey) -> int | None:
        """The next nonce of a member or a meter; ``None`` if the key is neither."""
        state = self._ctx.state
        sender = state.get(ACCOUNT, key) or state.get(METER, key)
        return None if sender is None else sender.nonce

    def account(self, key: PublicKey) -> Account | None:
        """A member."""
        return self._ctx.state.get(ACCOUNT, key)

    def validator_name(self, key: PublicKey) -> str | None:
        """What a member of the latest era, or a candidate, is called."""
        candidate = self._ctx.state.get(CANDIDATE, key)
        if candidate is not None:
            return candidate.name
        return next((m.name for m in self._eras[-1].members if m.key == key), None)

    def former_name(self, key: PublicKey) -> str | None:
        """What a member was called in the last known era that it was in."""
        members = (member for era in reversed(self._eras) for member in era.members)
        return next((member.name for member in members if member.key == key), None)

    def account_keys(self) -> list[PublicKey]:
        """Every member's key, ascending."""
        return [key for key, _ in self._ctx.state.scan(ACCOUNT)]

    def meter(self, key: PublicKey) -> Meter | None:
        """A registered meter."""
        return self._ctx.state.get(METER, key)

    def meters_of(self, account: PublicKey) -> tuple[PublicKey, ...]:
        """Keys of a member's meters, ascending."""
        return self._ctx.meters.get(account, ())

    def registers(self, meter: PublicKey) -> Iterator[tuple[Slot, Register]]:
        """A meter's readings of slots that are not closed yet, ascending."""
        return self._ctx.state.scan(REGISTER, meter)

    def slots(self) -> Iterator[tuple[Slot, SlotRecord]]:
        """Slots in the state, ascending."""
        return self._ctx.state.scan(SLOT)

    def book(self, slot: Slot) -> Book[PublicKey] | None:
        """The book of an open slot; not to be changed."""
        return self._ctx.books.get(slot)

    def trades(self, slot: Slot) -> Iterator[tuple[int, TradeRecord]]:
        """Trades of a slot by number, until it closes."""
        return self._ctx.state.scan(TRADE, slot)

    def contracts(self) -> Iterator[tuple[int, ContractRecord]]:
        """Contracts that have not ended, by number."""
        return self._ctx.state.scan(CONTRACT)

    def settlement(self, slot: Slot, account: PublicKey) -> SettlementRecord | None:
        """A member's latest settlement of a slot, until it closes."""
        return self._ctx.state.get(SETTLEMENT, slot, account)

    def registered_name(self, key: PublicKey) -> str | None:
        """What registration calls an account; ``None``: nothing."""
        member = self._ctx.state.get(MEMBER, key)
        return None if member is None or not member.name else member.name

    # ------------------------------------------------------------ documents for people

    def look(self, render: Callable[[Context, Ledger], T]) -> T:
        """A document of the state as the next block finds it; ``render`` changes nothing."""
        return render(self._next_block(), self)


def _open(raw: bytes) -> Transaction | bytes:
    """Decoded; what is no transaction stays what it is."""
    try:
        return decode_transaction(raw)
    except Malformed:
        return raw

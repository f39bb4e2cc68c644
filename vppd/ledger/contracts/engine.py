"""Contracts on chain: opened and called by members, fired by block time, each trigger once.

A contract holds what its callers deposited and can pay out no more than that. Triggers whose time
has come fire before a block's transactions, by due time and number, each contract at most once per
block: one that is due again waits for the next block, so that no contract can hold up a chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from msgspec.structs import replace

from vppd.ledger.agenda import Due, Topic
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.contracts.kind import Kind, Standing
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import Cause, ContractMoved, ContractSaid, Posted, Purse, Reason
from vppd.ledger.records import ContractRecord, Counter
from vppd.ledger.state import ACCOUNT, CONTRACT, COUNTER
from vppd.types import Height, Micro, PublicKey, TimeMs

CONTRACTS = 0
"""Which :data:`~vppd.ledger.state.COUNTER` numbers contracts."""
MOST_DATA = 16_384
"""Bytes one contract may remember."""


class ContractsDesk:
    """What one move of one contract sees and does (:class:`~.kind.Desk`).

    Args:
        ctx: the state.
        number: of the contract.
        owner: who opened it.
        caller: who moves it; ``None``: time.
        held: what it holds before the move.
    """

    __slots__ = ("_caller", "_ctx", "_held", "_number", "_owner")

    def __init__(
        self, ctx: Context, number: int, owner: PublicKey, caller: PublicKey | None, held: Micro
    ) -> None:
        self._ctx = ctx
        self._number = number
        self._owner = owner
        self._caller = caller
        self._held = held

    @property
    def number(self) -> int:
        """Of this contract."""
        return self._number

    @property
    def owner(self) -> PublicKey:
        """Who opened it."""
        return self._owner

    @property
    def caller(self) -> PublicKey | None:
        """Who moves it; ``None``: time."""
        return self._caller

    @property
    def time_ms(self) -> TimeMs:
        """Of the block being executed."""
        return self._ctx.time_ms

    @property
    def height(self) -> Height:
        """Of the block being executed."""
        return self._ctx.height

    @property
    def held(self) -> Micro:
        """What it holds now, micro-currency."""
        return self._held

    @property
    def context(self) -> Context:
        """The state, for this build's own kinds."""
        return self._ctx

    def balance(self, account: PublicKey) -> Micro | None:
        """An account's balance; ``None``: there is none."""
        record = self._ctx.state.get(ACCOUNT, account)
        return None if record is None else record.balance

    def deposit(self, amount: Micro) -> None:
        """From the caller into the contract."""
        caller = self._caller
        if caller is None or amount < 0:
            raise Failed(ErrorCode.AMOUNT_OUT_OF_RANGE)
        balance = self._ctx.state.need(ACCOUNT, caller).balance
        if balance < amount:
            code = ErrorCode.IN_DEBT if balance < 0 else ErrorCode.INSUFFICIENT_FUNDS
            raise Failed(code, amount - balance)
        self._ctx.post(caller, Purse.BALANCE, -amount, Reason.DEPOSIT)
        self._hold(amount, Reason.DEPOSIT)

    def pay(self, to: PublicKey, amount: Micro) -> None:
        """From the contract to an account."""
        if amount < 0:
            raise Failed(ErrorCode.AMOUNT_OUT_OF_RANGE)
        if amount > self._held:
            raise Failed(ErrorCode.CONTRACT_OVERDRAWN, amount - self._held)
        if self._ctx.state.get(ACCOUNT, to) is None:
            raise Failed(ErrorCode.UNKNOWN_RECIPIENT)
        self._hold(-amount, Reason.PAYOUT)
        self._ctx.post(to, Purse.BALANCE, amount, Reason.PAYOUT)

    def say(self, topic: int, data: bytes) -> None:
        """News in the receipt."""
        self._ctx.events.append(ContractSaid(self._number, topic, data))

    def refuse(self, reason: int) -> Failed:
        """To be raised."""
        return Failed(ErrorCode.CONTRACT_REFUSED, reason)

    def _hold(self, delta: Micro, reason: Reason) -> None:
        if delta:
            self._held += delta
            purse = contract_purse(self._number)
            self._ctx.events.append(Posted(purse, Purse.CONTRACT, delta, reason))


class Waiting(NamedTuple):
    """A contract as people ask for it."""

    number: int
    kind: Kind
    record: ContractRecord


def contract_purse(number: int) -> PublicKey:
    """What stands for a contract in events that move its money."""
    return number.to_bytes(32, "big")


def open_contract(ctx: Context, sender: PublicKey, op: OpenContract) -> None:
    """A member opens a contract.

    Raises:
        Failed: no such kind, or the kind refuses.
    """
    kind = ctx.kinds.get(op.kind)
    if kind is None:
        raise Failed(ErrorCode.UNKNOWN_KIND)
    counter = ctx.state.get(COUNTER, CONTRACTS) or Counter(0)
    number = counter.count
    ctx.state.put(COUNTER, Counter(number + 1), CONTRACTS)
    record = ContractRecord(op.kind, sender, 0, None, 0, ctx.height, b"")
    _move(ctx, number, kind, record, _Call(Cause.OPENED, sender, op.terms))


def call_contract(ctx: Context, sender: PublicKey, op: CallContract) -> None:
    """A member calls a contract.

    Raises:
        Failed: no such contract or method, or the kind refuses.
    """
    record = ctx.state.get(CONTRACT, op.number)
    if record is None:
        raise Failed(ErrorCode.UNKNOWN_CONTRACT)
    kind = ctx.kinds[record.kind]
    if op.method >= len(kind.methods):
        raise Failed(ErrorCode.BAD_TERMS)
    _move(ctx, op.number, kind, record, _Call(Cause.CALLED, sender, op.args, op.method))


def fire_contract(ctx: Context, due: Due) -> None:
    """A trigger's time has come: the contract moves, unless it moved its trigger meanwhile."""
    record = ctx.state.get(CONTRACT, due.number)
    if record is None or record.due_ms != due.due_ms:
        return
    if due.number in ctx.fired:
        ctx.deferred.append(due)
        return
    ctx.fired.add(due.number)
    mark, events = ctx.state.mark(), len(ctx.events)
    try:
        _move(ctx, due.number, ctx.kinds[record.kind], record, _Call(Cause.FIRED, None))
    except Failed:
        ctx.state.undo(mark)
        del ctx.events[events:]
        ctx.notes.clear()
        ctx.state.put(CONTRACT, replace(record, due_ms=None), due.number)
        ctx.events.append(
            ContractMoved(due.number, record.kind, record.phase, Cause.HALTED, 0, False)
        )
    ctx.note_all()


def next_due_ms(ctx: Context) -> TimeMs | None:
    """Block time of the earliest step to come; ``None`` without any.

    A trigger that its contract has moved, or that has gone with it, is none: a ledger that was
    loaded knows nothing of it.
    """
    while (due := ctx.agenda.peek()) is not None:
        if due.topic != Topic.CONTRACT:
            return due.due_ms
        record = ctx.state.get(CONTRACT, due.number)
        if record is not None and record.due_ms == due.due_ms:
            return due.due_ms
        ctx.agenda.take(due.due_ms)
    return None


def release_contract(ctx: Context, number: int) -> None:
    """The operators' quorum ends a contract that does not move by itself any more.

    Raises:
        Failed: its kind cannot let go of what it holds.
    """
    record = ctx.state.need(CONTRACT, number)
    _move(ctx, number, ctx.kinds[record.kind], record, _Call(Cause.RELEASED, None))


def waiting_contracts(ctx: Context) -> Iterator[Waiting]:
    """Contracts in the state, by number."""
    for number, record in ctx.state.scan(CONTRACT):
        yield Waiting(number, ctx.kinds[record.kind], record)


def standing_of(record: ContractRecord) -> Standing:
    """Where a contract stands."""
    return Standing(record.phase, record.data, record.due_ms)


def contract_due(number: int, record: ContractRecord) -> Due | None:
    """Its trigger."""
    return None if record.due_ms is None else Due(record.due_ms, Topic.CONTRACT, number, 0)


class _Call(NamedTuple):
    cause: Cause
    caller: PublicKey | None
    data: bytes = b""
    method: int = 0


def _move(ctx: Context, number: int, kind: Kind, record: ContractRecord, move: _Call) -> None:
    """One move of one contract.

    Raises:
        Failed: the kind refuses, or does what no kind may.
    """
    desk = ContractsDesk(ctx, number, record.owner, move.caller, record.held)
    try:
        then = _moved(kind, desk, record, move)
    except (Failed, MemoryError, RecursionError):
        raise  # the last two depend on the machine: better no node than a fork
    except Exception as err:  # a stranger's kind may raise anything, the same everywhere
        raise Failed(ErrorCode.CONTRACT_BROKEN) from err
    if then.ended:
        ctx.state.remove(CONTRACT, number)
    else:
        after = ContractRecord(
            record.kind, record.owner, then.phase, then.due_ms, desk.held, record.opened, then.data
        )
        ctx.state.put(CONTRACT, after, number)
        due = contract_due(number, after)
        if due is not None and due.due_ms != record.due_ms:
            ctx.notes.append(due)
    ctx.events.append(
        ContractMoved(number, record.kind, then.phase, move.cause, move.method, then.ended)
    )


def _moved(kind: Kind, desk: ContractsDesk, record: ContractRecord, move: _Call) -> Standing:
    """Where the kind says it stands now.

    Raises:
        Failed: the kind refuses, or does what no kind may.
    """
    now = standing_of(record)
    match move.cause:
        case Cause.OPENED:
            then = kind.open(desk, move.data)
        case Cause.CALLED:
            then = kind.call(desk, now, move.method, move.data)
        case Cause.RELEASED:
            kind.release(desk, now)
            then = Standing(now.phase, b"", ended=True)
        case _:
            then = kind.fire(desk, now)
            if then.due_ms is not None and then.due_ms <= (record.due_ms or 0):
                raise Failed(ErrorCode.CONTRACT_BROKEN)  # it would fire for ever
    if not _is_sound(then, desk.held):
        raise Failed(ErrorCode.CONTRACT_BROKEN)
    return then


def _is_sound(then: Any, held: Micro) -> bool:
    """Whether it is something the state can hold; mypy does not read a stranger's kind."""
    phase, data, due_ms = then.phase, then.data, then.due_ms
    return (
        isinstance(phase, int)
        and 0 <= phase <= 255
        and isinstance(data, bytes)
        and len(data) <= MOST_DATA
        and (due_ms is None or (isinstance(due_ms, int) and 0 <= due_ms < 2**62))
        and (not then.ended or (held == 0 and due_ms is None))
    )

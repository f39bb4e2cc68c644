"""Walking through exported blocks, receipt by receipt, event by event."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TypeVar, assert_never

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.day.audit.chain import Chain, Senders
from vppd.day.audit.fees import Fees
from vppd.day.audit.findings import Findings
from vppd.day.audit.meters import Meters
from vppd.day.audit.purses import Purses
from vppd.day.audit.ratings import Ratings
from vppd.day.audit.report import AuditReport, ExportedBlock, MemberAudit
from vppd.day.audit.rules import Calendar
from vppd.day.audit.settlements import Settlements
from vppd.day.audit.sharing import Sharing
from vppd.day.audit.signatures import Signatures
from vppd.day.audit.slots import Slots
from vppd.day.audit.trades import Trades
from vppd.ledger.changes import Configure
from vppd.ledger.codes import Status
from vppd.ledger.contracts.ops import OpenContract
from vppd.ledger.events import (
    AccountOpened,
    Approved,
    BalanceStated,
    ContractMoved,
    ContractSaid,
    Convicted,
    CreditChanged,
    DayReviewed,
    EraScheduled,
    Event,
    FeesCharged,
    Forecasted,
    MeterReplaced,
    OrderAccepted,
    OrderCancelled,
    OrderMade,
    PathsHashed,
    Planned,
    Pooled,
    PositionTaken,
    Posted,
    Punished,
    Purse,
    ReadingAccepted,
    ReadyNoted,
    Reason,
    ResourceRegistered,
    ResourceRetired,
    RulesScheduled,
    Settled,
    Shared,
    SlotAdvanced,
    TradeCut,
    Traded,
    TradeRouted,
    TradeSigned,
    TradeVoided,
    UrgentServed,
    Voted,
)
from vppd.ledger.kinds.terms import read_terms
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
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.plan_ops import MOST_AT_ONCE, Forecast, Plan
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.registration.ops import SetStanding
from vppd.ledger.transaction import (
    Op,
    PlaceOrder,
    Reading,
    ReplaceMeter,
    Transaction,
    Transfer,
    decode_transaction,
)
from vppd.types import Slot, TimeMs

_Op = TypeVar("_Op", PlaceOrder, Reading, CancelOrder, tuple[Slot, int])


def audit_blocks(genesis: Genesis, blocks: Iterable[ExportedBlock]) -> AuditReport:
    """Work a chain out again and compare.

    Args:
        genesis: where it begins; trusted.
        blocks: from height 1 on, in order; nothing in them is trusted.
    """
    audit = _Audit(genesis)
    for block in blocks:
        audit.block(block)
    return audit.report()


class _Audit:
    """One chain under audit."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._findings = findings = Findings(genesis)
        calendar = Calendar(genesis.market)
        self._chain = Chain(genesis, findings)
        self._senders = Senders(genesis, findings)
        self._purses = Purses(genesis, findings)
        self._slots = Slots(calendar, findings)
        self._ratings = Ratings(genesis, self._purses, findings)
        self._trades = Trades(
            genesis, calendar, self._slots, self._purses, self._ratings.credit, findings
        )
        self._signatures = Signatures(genesis, self._slots, self._trades, findings)
        self._meters = Meters(genesis, calendar, findings)
        self._settlements = Settlements(
            calendar, self._slots, self._trades, self._meters, self._purses, findings
        )
        self._fees = Fees(genesis, self._purses, findings)
        self._sharing = Sharing(
            genesis,
            calendar,
            self._slots,
            self._trades,
            self._settlements,
            self._purses,
            findings,
        )
        self._transactions = 0

    def block(self, block: ExportedBlock) -> None:
        """The next block."""
        header = self._chain.link(block)
        self._transactions += len(block.txs)
        if header is None:
            return
        for position, raw in enumerate(block.receipts[: 1 + len(block.txs)]):
            self._findings.enter(header.height, position)
            if position == 0:
                self._fees.begin_block(header.proposer)
            tx = None if position == 0 else self._open(block.txs[position - 1])
            try:
                receipt = decode_receipt(raw)
            except Malformed as err:
                self._findings.add(f"the receipt cannot be read: {err}")
                continue
            if tx is not None:
                self._senders.executed(tx, receipt.status)
            if receipt.status == Status.OK:
                self._receipt(tx, receipt.events, header.time_ms, by_time=position == 0)
            elif receipt.events:
                self._findings.add("something has happened, though the receipt says it failed")

    def report(self) -> AuditReport:
        """The outcome, after the last block."""
        self._findings.enter(self._chain.height)
        self._purses.end_chain()
        trades, traded_wh = self._trades.totals()
        return AuditReport(
            height=self._chain.height,
            head=self._chain.head.hex(),
            transactions=self._transactions,
            trades=trades,
            traded_wh=traded_wh,
            members=self._members(),
            findings=self._findings.sentences,
        )

    def _members(self) -> list[MemberAudit]:
        roles = {validator.key: validator.role.value for validator in self._genesis.validators}
        members = []
        for account in self._genesis.accounts:
            net_wh, grid_only = self._settlements.grid_only(account.key)
            member = MemberAudit(
                name=account.name,
                role=roles.get(account.key, "member"),
                net_wh=net_wh,
                paid_micro=self._purses.paid(account.key),
                paid_grid_only_micro=grid_only,
            )
            members.append(member)
        return members

    def _open(self, raw: bytes) -> Transaction | None:
        try:
            return decode_transaction(raw)
        except Malformed as err:
            self._findings.add(f"the transaction cannot be read: {err}")
            return None

    def _receipt(
        self,
        tx: Transaction | None,
        events: tuple[Event, ...],
        time_ms: TimeMs,
        *,
        by_time: bool,
    ) -> None:
        """What succeeded: a block's own triggers if ``by_time``, else the transaction."""
        wishes = _Wishes(tx)
        self._slots.begin_receipt(wishes.slots())
        for to, amount in wishes.transfers:
            self._purses.expect(wishes.sender, Purse.BALANCE, -amount, Reason.TRANSFER)
            self._purses.expect(to, Purse.BALANCE, amount, Reason.TRANSFER)
        for event in events:
            self._event(event, wishes, time_ms, by_time=by_time)
        if wishes.orders or wishes.readings or wishes.meters:
            self._findings.add("the transaction holds orders or readings that nothing has come of")
        if wishes.cancels or wishes.signs:
            self._findings.add("the transaction cancels or signs what nothing has come of")
        self._trades.end_receipt(by_time=by_time)
        self._signatures.end_receipt(by_time=by_time)
        self._settlements.end_receipt(by_time=by_time)
        self._fees.end_receipt()
        self._sharing.end_receipt(by_time=by_time)
        self._purses.end_receipt()
        if by_time:
            self._slots.end_triggers(time_ms)

    def _event(self, event: Event, wishes: _Wishes, time_ms: TimeMs, *, by_time: bool) -> None:
        match event:
            case Posted():
                self._purses.post(event)
            case SlotAdvanced():
                self._slots.advance(event, time_ms, by_time=by_time)
            case OrderAccepted():
                if (order := _next(wishes.orders)) is None:
                    self._findings.add(f"an order for slot {event.slot} is taken, nobody sent it")
                else:
                    self._slots.need(order.slot, "an order")
                    self._trades.accept(event, wishes.sender, order, time_ms)
            case OrderMade():
                self._slots.need(event.slot, "a contract's order")
                self._trades.make(event)
            case OrderCancelled():
                wish = _next(wishes.cancels)
                asked = wish is not None and (wish.slot, wish.seq) == (event.slot, event.seq)
                if not asked and not wishes.governs:
                    self._findings.add(f"an order of slot {event.slot} is cancelled, nobody asked")
                self._trades.cancel(event, None if wishes.governs else wishes.sender)
            case TradeSigned():
                if _next(wishes.signs) != (event.slot, event.trade):
                    self._findings.add(f"a trade of slot {event.slot} is signed, nobody asked")
                self._signatures.sign(event, wishes.sender)
            case TradeVoided():
                self._trades.void(event, by_time=by_time)
            case Traded():
                self._trades.trade(event, by_time=by_time)
            case TradeCut():
                self._trades.cut(event, by_time=by_time)
            case TradeRouted():
                self._trades.routed(event)
            case PathsHashed():
                self._trades.hashed(event)
            case ReadingAccepted():
                if (reading := _next(wishes.readings)) is None:
                    self._findings.add(f"a reading of slot {event.slot} counts, nobody sent it")
                else:
                    self._slots.need(reading.slot, "a reading")
                    self._meters.accept(event, wishes.sender, reading, time_ms)
                    self._settlements.read(event)
            case Settled():
                self._settlements.settle(event, by_time=by_time)
                self._fees.settle(event)
            case FeesCharged():
                self._fees.charge(event)
            case CreditChanged():
                self._ratings.rate(event)
            case DayReviewed():
                self._ratings.review(event)
            case BalanceStated():
                self._ratings.state(event)
            case MeterReplaced(old, new):
                self._senders.replaced(old, new)
                if wishes.meters:
                    self._meters.replace(event, wishes.meters.pop(0))
                else:
                    self._findings.add("a meter is replaced, nobody asked for it")
            case AccountOpened(account, credit):
                self._senders.opened(account)
                self._ratings.opened(account, credit)
                self._purses.opened(account)
            case PositionTaken() | Pooled() | Shared():
                self._sharing.hear(event)
            case RulesScheduled():
                self._findings.add("rules of the market change: this audit reads by genesis alone")
            case MeterRegistered():
                self._meters.registered(event)
                self._senders.opened(event.meter)
            case AcquisitionSet():
                self._meters.control(event)
            case MemberRegistered() | DutyChanged() | ParametersSet():
                pass  # who may do what; the account was opened before
            case StandingChanged() | Intervened():
                pass  # the orders and the money it takes out of books stand beside it
            case Answered() | EffectMeasured():
                pass  # a contract's own rules
            case ContractMoved() | ContractSaid() | UrgentServed():
                pass  # a contract's own rules; its money is in the postings
            case ResourceRegistered() | ResourceRetired() | Planned() | Forecasted():
                pass  # what members mean to do; what they did is in orders and readings
            case EraScheduled() | Approved() | ReadyNoted() | Convicted() | Punished() | Voted():
                pass  # who agrees on blocks, not what is in them
            case _:  # pragma: no cover
                assert_never(event)


class _Wishes:
    """What a transaction asks for and has not been seen to happen; time asks for nothing."""

    def __init__(self, tx: Transaction | None) -> None:
        ops: tuple[Op, ...] = () if tx is None else tx.ops
        self.sender = b"" if tx is None else tx.sender
        self.transfers = [(op.to, op.amount) for op in ops if isinstance(op, Transfer)]
        self.orders = [op for op in ops if isinstance(op, PlaceOrder)]
        self.readings = [op for op in ops if isinstance(op, Reading)]
        self.meters = [op for op in ops if isinstance(op, ReplaceMeter)]
        self.cancels = [op for op in ops if isinstance(op, CancelOrder)]
        self.governs = any(isinstance(op, Configure | SetStanding) for op in ops)
        """Whoever may do that takes others' orders out of the books."""
        self.signs = [(op.slot, n) for op in ops if isinstance(op, SignTrades) for n in op.trades]
        self._opened = [op for op in ops if isinstance(op, OpenContract)]
        self.planned = [
            slot
            for op in ops
            if isinstance(op, Plan | Forecast)
            for slot in range(op.first_slot, op.first_slot + MOST_AT_ONCE)
        ]

    def slots(self) -> set[Slot]:
        """Those with an order or a reading, or a contract, a plan or a forecast about them."""
        slots = {op.slot for op in self.orders} | {op.slot for op in self.readings}
        for op in self._opened:
            with suppress(Malformed):  # then it was refused
                terms = read_terms(op.kind, op.terms)
                slots |= set() if terms is None else {terms.slot}
        return slots | set(self.planned)


def _next(wishes: list[_Op]) -> _Op | None:
    return wishes.pop(0) if wishes else None

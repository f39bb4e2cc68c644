"""A member's bill for a day: every posting of its money, told from receipts alone.

A bill goes from one statement of the chain to the next (:class:`~vppd.ledger.events.BalanceStated`,
at the end of each day), so its lines must add up to what the member has more or less: who leaves a
line out, or puts one in twice, is caught by the sum. Where a chain states no balances, or the day
is not over, the bill has what settled for the day's slots and says that it may not be all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from vppd.client.names import name_order
from vppd.config.genesis import Genesis
from vppd.crypto import key_text
from vppd.ledger.events import (
    BalanceStated,
    DayReviewed,
    FeesCharged,
    Posted,
    Purse,
    Reason,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    TradeCut,
    Traded,
)
from vppd.ledger.receipts import Receipt
from vppd.ledger.slots import Phase
from vppd.market.money import format_micro
from vppd.types import Height, Micro, MicroPerKwh, PublicKey, Slot

SCHEMA = 1
_OWN = (Purse.BALANCE, Purse.ESCROW)
_ASIDE = (Reason.RESERVE, Reason.RELEASE)
"""Moves between a member's own purses, both halves in one receipt: no lines."""
_SETTLING = (Reason.IMBALANCE, Reason.CORRECTION)
_FEES = (Reason.GRID_FEE, Reason.LEVY)


class Place(NamedTuple):
    """Where an event stands in the chain; places sort as things happened."""

    height: Height
    receipt: int
    event: int


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that moved the member's money, or settled without moving any."""

    kind: str
    """``sale``, ``purchase``, ``imbalance``, ``correction``, ``grid_fee``, ``levy``, ``reward``,
    ``transfer``, or another reason of the ledger's."""
    slot: Slot | None = None
    version: int | None = None
    """Of the settlement: 1, and one more with each correction."""
    trade: int | None = None
    """Number of the trade within its slot."""
    counterparty: str | None = None
    quantity_wh: int | None = None
    """Of an imbalance: above zero given beyond the contract, below zero short of it."""
    price_micro: MicroPerKwh | None = None
    amount_micro: Micro
    """Above zero: the member gets it."""
    amount: str
    """The same in whole currency."""
    estimated: bool = False
    """No reading proved the energy: the contract stood in for it."""
    height: Height
    receipt: int
    event: int


class Stated(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the member had at one moment."""

    by: Literal["genesis", "review"]
    height: Height
    balance_micro: Micro
    escrow_micro: Micro
    settlements: int
    """Of the member so far, corrections counted."""

    @property
    def funds_micro(self) -> Micro:
        """Balance and escrow: a bid moves money between them and costs nothing."""
        return self.balance_micro + self.escrow_micro


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bill itself; all of it follows from proved receipts."""

    schema: int
    plant: str
    genesis_sha256: str
    currency: str
    member: str
    key: str
    day: int
    first_slot: Slot
    end_slot: Slot
    """The first one of the next day."""
    state: Literal["final", "by_slot"]
    """``final``: between two statements; ``by_slot``: what settled for these slots, which may not
    be all."""
    opening: Stated | None
    closing: Stated | None
    lines: tuple[Line, ...]
    totals_micro: dict[str, Micro]
    """By kind."""
    total_micro: Micro
    total: str


class Asked(NamedTuple):
    """Which bill."""

    key: PublicKey
    day: int
    first_slot: Slot
    end_slot: Slot


Receipts = Mapping[tuple[Height, int], Receipt]
"""By height and position; in block order."""


class Contradiction(ValueError):
    """Receipts that do not fit together, or not all of them."""


def compose(genesis: Genesis, asked: Asked, receipts: Receipts) -> Body:
    """The bill that these receipts make.

    Args:
        genesis: names, currency and opening balances.
        asked: whose and which day's.
        receipts: at least those that concern the member, the day's review and the one before.

    Raises:
        Contradiction: the lines do not add up to what the statements say.
    """
    opening, closing, since, until = _statements(genesis, asked, receipts)
    lines = []
    for (height, index), receipt in sorted(receipts.items()):
        for line in lines_of(genesis, asked.key, (height, index), receipt, receipts):
            place = Place(line.height, line.receipt, line.event)
            if closing is None:
                wanted = line.slot is not None and asked.first_slot <= line.slot < asked.end_slot
            else:
                wanted = since < place < until
            if wanted:
                lines.append(line)
    totals: dict[str, Micro] = {}
    for line in lines:
        totals[line.kind] = totals.get(line.kind, 0) + line.amount_micro
    total = sum(totals.values())
    if opening is not None and closing is not None:
        counted = opening.by == "review" or _reviews_days(genesis)
        _check(opening, closing, lines, total, counted=counted)
    return Body(
        schema=SCHEMA,
        plant=genesis.name,
        genesis_sha256=genesis.digest.hex(),
        currency=genesis.market.currency,
        member=name_of(genesis, asked.key),
        key=key_text(asked.key),
        day=asked.day,
        first_slot=asked.first_slot,
        end_slot=asked.end_slot,
        state="by_slot" if closing is None else "final",
        opening=opening,
        closing=closing,
        lines=tuple(lines),
        totals_micro=dict(sorted(totals.items())),
        total_micro=total,
        total=format_micro(total, 6),
    )


def _reviews_days(genesis: Genesis) -> bool:
    """From the first day on, so that settlements have been counted since."""
    return genesis.market.review.daily or genesis.market.credit.rule != "fixed"


def _check(
    opening: Stated, closing: Stated, lines: Iterable[Line], total: Micro, *, counted: bool
) -> None:
    moved = closing.funds_micro - opening.funds_micro
    if moved != total:
        raise Contradiction(
            f"the lines add up to {total} micro, the balance has changed by {moved}"
        )
    settled = sum(line.kind in ("imbalance", "correction") for line in lines)
    said = closing.settlements - opening.settlements
    if counted and settled != said:
        raise Contradiction(f"{settled} settlements are shown, the member has had {said}")


def _statements(
    genesis: Genesis, asked: Asked, receipts: Receipts
) -> tuple[Stated | None, Stated | None, Place, Place]:
    """Opening and closing, and the places in between which everything lies."""
    reviews = list(_reviews(receipts))
    nowhere = Place(0, 0, 0)
    found = next((r for r in reviews if r[1].day == asked.day), None)
    if found is None:
        return None, None, nowhere, nowhere
    until, review = found
    if (asked.first_slot, asked.end_slot) != (review.first_slot, review.last_slot + 1):
        raise Contradiction(
            f"day {asked.day} has the slots {review.first_slot} to {review.last_slot}"
        )
    closing = _stated(asked.key, until, receipts)
    if review.number == 1:
        founded = {a.key: a.balance for a in genesis.accounts}
        return _nothing("genesis", 0, founded.get(asked.key, 0)), closing, nowhere, until
    since = next((place for place, r in reviews if r.number == review.number - 1), None)
    if since is None or since.height != review.previous_height:
        raise Contradiction(f"the review before that of day {asked.day} is not shown")
    return _stated(asked.key, since, receipts), closing, since, until


def _reviews(receipts: Receipts) -> Iterator[tuple[Place, DayReviewed]]:
    """In the blocks' own receipts; two days may end in one block."""
    for (height, index), receipt in receipts.items():
        for e, event in enumerate(receipt.events if index == 0 else ()):
            if isinstance(event, DayReviewed):
                yield Place(height, 0, e), event


def _stated(key: PublicKey, at: Place, receipts: Receipts) -> Stated:
    """What a member had at a review; nothing: it had no account yet."""
    for event in receipts[at.height, 0].events[at.event + 1 :]:
        if isinstance(event, DayReviewed):
            break
        if isinstance(event, BalanceStated) and event.account == key:
            return Stated(
                by="review",
                height=at.height,
                balance_micro=event.balance,
                escrow_micro=event.escrow,
                settlements=event.settlements,
            )
    return _nothing("review", at.height, 0)


def _nothing(by: Literal["genesis", "review"], height: Height, balance: Micro) -> Stated:
    return Stated(by=by, height=height, balance_micro=balance, escrow_micro=0, settlements=0)


def payouts_of(genesis: Genesis, day: int, receipts: Receipts) -> list[dict[str, Any]]:
    """What each member has more or less after a day, for a payment system, by name.

    Args:
        genesis: names and opening balances.
        day: which was reviewed.
        receipts: with its review, and the one before.

    Raises:
        Contradiction: the review before it is missing.
    """
    rows = []
    found = next((entry for entry in _reviews(receipts) if entry[1].day == day), None)
    if found is None:
        return []
    at, review = found
    for event in receipts[at.height, 0].events[at.event + 1 :]:
        if isinstance(event, DayReviewed):
            break
        if not isinstance(event, BalanceStated):
            continue
        asked = Asked(event.account, day, review.first_slot, review.last_slot + 1)
        opening, closing, _, _ = _statements(genesis, asked, receipts)
        if opening is None or closing is None:  # pragma: no cover - the review was just found
            continue
        net = closing.funds_micro - opening.funds_micro
        rows.append(
            {
                "member": name_of(genesis, event.account),
                "key": key_text(event.account),
                "day": day,
                "currency": genesis.market.currency,
                "net_micro": net,
                "net": format_micro(net, 6),
                "balance_micro": closing.balance_micro,
                "escrow_micro": closing.escrow_micro,
            }
        )
    return sorted(rows, key=lambda row: name_order(str(row["member"])))


def concerns(asked: Asked, receipt: Receipt) -> bool:
    """Whether a receipt has anything to say for a bill, as far as one can tell by itself."""
    key, slots = asked.key, range(asked.first_slot, asked.end_slot)
    return any(
        (isinstance(e, Settled | FeesCharged) and e.account == key)
        or (isinstance(e, Posted) and e.account == key and e.reason not in _ASIDE)
        or (isinstance(e, Traded) and key in (e.seller, e.buyer) and e.slot in slots)
        or (isinstance(e, TradeCut) and e.slot in slots)
        for e in receipt.events
    )


def name_of(genesis: Genesis, key: PublicKey) -> str:
    """What genesis calls a member; its key where it joined later."""
    return next((a.name for a in genesis.accounts if a.key == key), key_text(key))


# ------------------------------------------------------------ lines


class _Trade(NamedTuple):
    """One side of a trade: what the member gets, or pays, for it."""

    amount: Micro
    event: Traded


def lines_of(
    genesis: Genesis, key: PublicKey, at: tuple[Height, int], receipt: Receipt, all_: Receipts
) -> Iterator[Line]:
    """The lines of one receipt.

    Args:
        genesis: names.
        key: the member's.
        at: height and position of the receipt.
        receipt: it.
        all_: in which the trades stand that it pays.
    """
    events = receipt.events
    slot: Slot | None = None
    trades: Iterator[_Trade] = iter(())
    settling = dict.fromkeys((*_SETTLING, *_FEES), 0)

    def line(kind: str, amount: Micro, e: int, **more: object) -> Line:
        fields = {
            "kind": kind,
            "amount_micro": amount,
            "amount": format_micro(amount, 6),
            "height": at[0],
            "receipt": at[1],
            "event": e,
        }
        return msgspec.convert(fields | more, Line)

    for e, event in enumerate(events):
        match event:
            case SlotAdvanced() if event.phase == Phase.SETTLED:
                slot = event.slot
                trades = iter(_trades(key, slot, all_))
            case Posted() if event.reason in _ASIDE:
                pass
            case Posted() if event.account == key and event.purse in _OWN:
                reason, delta = event.reason, event.delta
                if reason in settling:
                    settling[Reason(reason)] += delta
                elif reason == Reason.TRADE:
                    trade = next(trades, None)
                    more: dict[str, object] = {"slot": slot}
                    if trade is not None and trade.amount == delta:
                        more |= _details(genesis, delta, trade.event)
                    yield line("sale" if delta > 0 else "purchase", delta, e, **more)
                elif reason == Reason.TRANSFER:
                    other = events[e + 1] if delta < 0 else events[e - 1]
                    who = name_of(genesis, other.account) if isinstance(other, Posted) else None
                    yield line("transfer", delta, e, counterparty=who)
                else:
                    yield line(_reason(reason), delta, e)
            case Settled() if event.account == key:
                late = bool(event.flags & SettlementFlag.CORRECTED)
                moved = sum(settling[reason] for reason in _SETTLING)
                settling |= dict.fromkeys(_SETTLING, 0)
                yield line(
                    "correction" if late else "imbalance",
                    moved,
                    e,
                    slot=event.slot,
                    version=event.version,
                    quantity_wh=event.imbalance_wh,
                    price_micro=event.feed_in_price
                    if event.imbalance_wh >= 0
                    else event.retail_price,
                    counterparty="grid",
                    estimated=bool(event.flags & SettlementFlag.ESTIMATED),
                )
            case FeesCharged() if event.account == key:
                prices = {
                    Reason.GRID_FEE: event.grid_fee_price,
                    Reason.LEVY: event.levy_price,
                }
                for reason in _FEES:
                    moved = settling[reason]
                    settling[reason] = 0
                    if moved:
                        yield line(
                            reason.name.lower(),
                            moved,
                            e,
                            slot=event.slot,
                            version=event.version,
                            quantity_wh=event.net_wh,
                            price_micro=prices[reason],
                            counterparty="grid" if reason is Reason.GRID_FEE else "fund",
                        )
            case _:
                pass


def _details(genesis: Genesis, amount: Micro, trade: Traded) -> dict[str, object]:
    other = trade.buyer if amount > 0 else trade.seller
    return {
        "trade": trade.seq,
        "counterparty": name_of(genesis, other),
        "quantity_wh": trade.quantity_wh,
        "price_micro": trade.price,
    }


def _trades(key: PublicKey, slot: Slot, receipts: Receipts) -> list[_Trade]:
    """Both sides of a member's trades of a slot, as settling pays them: by number, buyer first.

    What the grid does not carry was cut after the trade was made.
    """
    found: dict[int, Traded] = {}
    for receipt in receipts.values():
        for event in receipt.events:
            if isinstance(event, Traded) and event.slot == slot:
                found[event.seq] = event
            elif isinstance(event, TradeCut) and event.slot == slot and event.seq in found:
                left = replace(found[event.seq], quantity_wh=event.quantity_wh)
                found[event.seq] = replace(left, amount=event.amount)
    sides = []
    for trade in (found[seq] for seq in sorted(found) if found[seq].amount):
        if trade.buyer == key:
            sides.append(_Trade(-trade.amount, trade))
        if trade.seller == key:
            sides.append(_Trade(trade.amount, trade))
    return sides


def _reason(reason: int) -> str:
    try:
        return Reason(reason).name.lower()
    except ValueError:
        return f"reason_{reason}"

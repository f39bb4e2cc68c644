"""The ledger as JSON documents for people (docs/clients.md): units in the names, keys as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vppd.crypto import key_text
from vppd.ledger.contracts.engine import standing_of, waiting_contracts
from vppd.ledger.events import SettlementFlag
from vppd.ledger.meters import Face, face_of
from vppd.ledger.orders_view import signed_by
from vppd.ledger.sharing import slot_seed
from vppd.ledger.slots import Phase, due_ms, next_step
from vppd.ledger.state import ODOMETER, POOL, SHARE
from vppd.market.auction import Side
from vppd.market.sharing import pool_error_bound
from vppd.market.tariff import tariff_for
from vppd.types import PublicKey, Slot

if TYPE_CHECKING:
    from vppd.ledger.context import Context
    from vppd.ledger.execution import Ledger


def phase_name(phase: int) -> str:
    """``open``, ``gate_closed``, ``delivering``, ``metered``, ``settled``, ``closed``."""
    return Phase(phase).name.lower()


def member_name(ledger: Ledger, key: PublicKey) -> str:
    """What genesis or the registrar calls a member, or who added it as a validator; or its key.

    No two accounts have one name. Where a validator got another key, or left and its name was given
    to a newcomer, the account that has the name already, or bears it now, keeps it alone: the other
    one's goes on with the beginning of its key.
    """
    accounts = ledger.genesis.accounts
    for entry in accounts:
        if entry.key == key:
            return entry.name
    registered = ledger.registered_name(key)
    if registered is not None:
        return registered
    current = ledger.validator_name(key)
    name = current or ledger.former_name(key)
    if name is None:
        return key_text(key)
    alone = current is not None and all(entry.name != name for entry in accounts)
    return name if alone else f"{name}~{key.hex()[:8]}"


def account_view(ledger: Ledger, key: PublicKey) -> dict[str, Any]:
    """Money and standing of a member, or the member a meter belongs to.

    Raises:
        LookupError: neither.
    """
    meter = ledger.meter(key)
    if meter is not None:
        odometer = ledger.state.get(ODOMETER, key)
        return {
            "kind": "meter",
            "account": member_name(ledger, meter.account),
            "known_before_slot": meter.slot,
            **face_of(odometer, Face(meter.import_wh, meter.export_wh))._asdict(),
            "rollover_wh": 0 if odometer is None else odometer.rollover_wh,
            "readings": [
                {
                    "slot": slot,
                    **face_of(odometer, Face(register.import_wh, register.export_wh))._asdict(),
                    "version": register.version,
                }
                for slot, register in ledger.registers(key)
            ],
        }
    account = ledger.account(key)
    if account is None:
        raise LookupError(f"no account or meter {key_text(key)} on this chain")
    return {
        "kind": "account",
        "name": member_name(ledger, key),
        "balance_micro": account.balance,
        "escrow_micro": account.escrow,
        "credit_ppm": account.credit,
        "bus": account.bus,
        "meters": [key_text(meter_key) for meter_key in ledger.meters_of(key)],
    }


def contracts_view(ctx: Context, ledger: Ledger) -> list[dict[str, Any]]:
    """Every state machine on chain (P1 §3.2): slots, then contracts by number.

    ``next_ms`` is the block time at which it moves by itself; null: only when it is called.
    """
    rows: list[dict[str, Any]] = []
    for slot, record in ledger.slots():
        due = next_step(ctx.market_of(slot), slot, Phase(record.phase))
        rows.append(
            {
                "contract": f"slot-{slot}",
                "kind": "slot",
                "phase": phase_name(record.phase),
                "next_ms": None if due is None else due.due_ms,
                "next": None if due is None else phase_name(due.step),
                "held_micro": 0,
                "owner": None,
                "terms": {"orders": record.orders, "trades": record.trades},
            }
        )
    for number, kind, contract in waiting_contracts(ctx):
        rows.append(
            {
                "contract": str(number),
                "kind": contract.kind,
                "phase": kind.phases[contract.phase],
                "next_ms": contract.due_ms,
                "next": None,
                "held_micro": contract.held,
                "owner": member_name(ledger, contract.owner),
                "terms": kind.view(standing_of(contract)),
            }
        )
    return rows


def slots_view(ledger: Ledger) -> list[dict[str, Any]]:
    """Slots somebody has an order or a reading for, until they close."""
    market_of = ledger.calendar.at
    return [
        {
            "slot": slot,
            "phase": phase_name(record.phase),
            "start_ms": market_of(slot).slot_start(slot),
            "orders": record.orders,
            "trades": record.trades,
            "next_phase_ms": due_ms(market_of(slot), slot, Phase(record.phase + 1)),
        }
        for slot, record in ledger.slots()
    ]


def book_view(ledger: Ledger, slot: Slot) -> list[dict[str, Any]]:
    """Resting orders of a slot, offers before bids, best first; none once the gate has closed."""
    book = ledger.book(slot)
    if book is None:
        return []
    return [
        {
            "slot": slot,
            "order_id": order.id,
            "side": side.name.lower(),
            "agent": member_name(ledger, order.agent),
            "quantity_wh": order.quantity_wh,
            "remaining_wh": left,
            "price_micro": order.price,
            "reserve_price_micro": order.reserve_price,
            "credit_ppm": order.credit,
        }
        for side in Side
        for order, left in book.rows(side)
    ]


def trades_view(ctx: Context, ledger: Ledger, slot: Slot) -> list[dict[str, Any]]:
    """Trades of a slot in the order made, until it closes.

    ``signed``: which parties have consented, where the slot's rules ask for it; else null.
    """
    return [
        {
            "slot": slot,
            "trade_id": seq,
            "seller": member_name(ledger, trade.seller),
            "buyer": member_name(ledger, trade.buyer),
            "offer_id": trade.offer,
            "bid_id": trade.bid,
            "quantity_wh": trade.quantity_wh,
            "price_micro": trade.price,
            "amount_micro": trade.amount,
            "round": trade.round,
            "signed": signed_by(ctx, slot, seq, trade),
        }
        for seq, trade in ledger.trades(slot)
    ]


def shares_view(ctx: Context, ledger: Ledger, slot: Slot | None) -> dict[str, Any]:
    """How a cooperative slot was shared last, members in key order, until it closes.

    Args:
        ctx: the state.
        ledger: names its members.
        slot: which; ``None``: the latest that is shared.

    Raises:
        LookupError: not shared, or closed.
    """
    if slot is None:
        slot = max((number for number, _ in ctx.state.scan(POOL)), default=None)
        if slot is None:
            raise LookupError("no slot is shared that has not closed")
    summary = ctx.state.get(POOL, slot)
    if summary is None:
        raise LookupError(f"slot {slot} is not shared, or it is closed")
    market = ctx.market_of(slot)
    tariff = tariff_for(market, slot)
    return {
        "slot": slot,
        "version": summary.version,
        "members": summary.members,
        "net_wh": summary.net_wh,
        "worth_micro": summary.worth,
        "alone_micro": summary.alone,
        "gain_micro": summary.worth - summary.alone,
        "samples": summary.samples,
        "seed": slot_seed(ctx.genesis.digest, market.sharing.seed, slot).hex(),
        "penalty_price_micro": market.sharing.penalty_price,
        "tolerance_ppm": market.sharing.tolerance_ppm,
        "shares": [
            {
                "account": member_name(ledger, key),
                "promised_wh": share.promised_wh,
                "net_wh": share.net_wh,
                "alone_micro": share.alone,
                "share_micro": share.share,
                "gain_micro": share.share - share.alone,
                "penalty_micro": share.penalty,
                "error_bound_micro": pool_error_bound(
                    share.net_wh, tariff.retail_price, tariff.feed_in_price, summary.samples
                ),
                "version": share.version,
            }
            for key, share in ctx.state.scan(SHARE, slot)
        ],
    }


def settlement_view(ledger: Ledger, slot: Slot, key: PublicKey) -> dict[str, Any]:
    """A member's latest settlement of a slot.

    Raises:
        LookupError: not settled, closed, or nothing to settle.
    """
    record = ledger.settlement(slot, key)
    if record is None:
        raise LookupError(f"no settlement of slot {slot} for {member_name(ledger, key)}")
    tariff = tariff_for(ledger.calendar.at(slot), slot)
    return {
        "slot": slot,
        "account": member_name(ledger, key),
        "version": record.version,
        "import_wh": record.import_wh,
        "export_wh": record.export_wh,
        "sold_wh": record.sold_wh,
        "bought_wh": record.bought_wh,
        "imbalance_wh": record.imbalance_wh,
        "retail_price_micro": tariff.retail_price,
        "feed_in_price_micro": tariff.feed_in_price,
        "grid_amount_micro": record.grid_amount,
        "estimated": bool(record.flags & SettlementFlag.ESTIMATED),
        "corrected": bool(record.flags & SettlementFlag.CORRECTED),
    }

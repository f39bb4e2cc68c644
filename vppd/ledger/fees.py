"""Fees and rewards on chain: what the network and the keepers of the ledger cost.

Fees follow a slot's settlement, and each later version of it: they lie on the net energy it says
(market.md, §2: fees on net energy over all clearings). The levy fills a fund; who packs a block is
paid from it (P0, maintainer), as long as it lasts.
"""

from __future__ import annotations

from vppd.ledger.context import MOST_MICRO, Context
from vppd.ledger.events import FUND, FeesCharged, Posted, Purse, Reason
from vppd.ledger.records import FeeRecord, Fund
from vppd.ledger.state import ACCOUNT, FEE, FUND_ACCOUNT, SETTLEMENT
from vppd.market.fees import block_reward, slot_fees
from vppd.types import Micro, PublicKey, Slot


def settle_fees(ctx: Context, slot: Slot) -> None:
    """Everybody that has a settlement of ``slot`` pays for the energy it took."""
    for account, _ in ctx.state.scan(SETTLEMENT, slot):
        correct_fees(ctx, slot, account)


def correct_fees(ctx: Context, slot: Slot, account: PublicKey) -> None:
    """The fees of one member's slot are those of its latest settlement; posts the difference."""
    rules = ctx.market_of(slot).fees
    settled = ctx.state.get(SETTLEMENT, slot, account)
    if settled is None or not (rules.grid_fee or rules.levy):
        return
    paid = ctx.state.get(FEE, slot, account)
    before = paid or FeeRecord(0, 0)
    due = slot_fees(settled.import_wh, settled.export_wh, rules.grid_fee, rules.levy)
    if paid is not None and paid == FeeRecord(due.grid_fee, due.levy):
        return
    grid_fee = before.grid_fee + ctx.charge(
        account, due.grid_fee - before.grid_fee, Reason.GRID_FEE
    )
    levy = before.levy + _charge_levy(ctx, account, due.levy - before.levy)
    ctx.state.put(FEE, FeeRecord(grid_fee, levy), slot, account)
    ctx.events.append(
        FeesCharged(
            slot,
            account,
            settled.version,
            due.net_wh,
            rules.grid_fee,
            rules.levy,
            grid_fee,
            levy,
        )
    )


def close_fees(ctx: Context, slot: Slot) -> None:
    """No more corrections of ``slot``."""
    for account, _ in ctx.state.scan(FEE, slot):
        ctx.state.remove(FEE, slot, account)


def reward_packer(ctx: Context, proposer: PublicKey) -> None:
    """Pay who packed the block being executed, if it has an account and the fund can."""
    calendar = ctx.calendar
    reward = calendar.at(max(0, calendar.slot_at(ctx.time_ms))).fees.block_reward
    if not reward:
        return
    packer = ctx.state.get(ACCOUNT, proposer)
    amount = block_reward(reward, fund_balance(ctx))
    if packer is None or amount == 0 or packer.balance > MOST_MICRO - amount:
        return
    _fill_fund(ctx, -amount, Reason.REWARD)
    ctx.post(proposer, Purse.BALANCE, amount, Reason.REWARD)


def fund_balance(ctx: Context) -> Micro:
    """What lies in the fund."""
    fund = ctx.state.get(FUND_ACCOUNT)
    return 0 if fund is None else fund.balance


def _charge_levy(ctx: Context, account: PublicKey, amount: Micro) -> Micro:
    """From a member to the fund, negative: back; what was moved, as :meth:`Context.charge`."""
    member, fund = ctx.state.need(ACCOUNT, account).balance, fund_balance(ctx)
    amount = min(amount, MOST_MICRO + member, MOST_MICRO - fund)
    amount = max(amount, member - MOST_MICRO, -MOST_MICRO - fund)
    if amount:
        ctx.post(account, Purse.BALANCE, -amount, Reason.LEVY)
        _fill_fund(ctx, amount, Reason.LEVY)
    return amount


def _fill_fund(ctx: Context, delta: Micro, reason: Reason) -> None:
    ctx.state.put(FUND_ACCOUNT, Fund(fund_balance(ctx) + delta))
    ctx.events.append(Posted(FUND, Purse.FUND, delta, reason))

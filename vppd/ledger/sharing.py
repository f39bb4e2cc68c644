"""The cooperative mode on chain: the plant bids as a whole and shares what that gains (P1, §3.4).

An order in a cooperative slot meets no other: it declares what a member will give or take, and that
it takes part. Members settle with the grid one by one as everywhere; then the grid pays back what
they are worth more as one position, and each gets its Shapley value of it. Who gave less than it
declared pays a penalty to the others.

A slot is shared twice at most: when it settles, and, if late or corrected readings change anything,
once more as it closes. So one block never shares a slot more than twice, whatever arrives.
"""

from __future__ import annotations

from typing import NamedTuple

from vppd.crypto import sha256
from vppd.ledger.context import Context
from vppd.ledger.events import Pooled, PositionTaken, Reason, SettlementFlag, Shared
from vppd.ledger.records import PoolRecord, ShareRecord
from vppd.ledger.state import ORDER, POOL, SETTLEMENT, SHARE
from vppd.market.auction import Side
from vppd.market.sharing import grid_worth, penalties, pool
from vppd.market.tariff import tariff_for
from vppd.types import Digest, Micro, PublicKey, Slot, Wh

COOPERATIVE = "cooperative"
"""The rules of the market under which this is done."""
_MOST = 2**63 - 1
_NOTHING = ShareRecord(0, 0, 0, 0, 0, 0, 0, 0)
"""Stands before the first version."""


class _Member(NamedTuple):
    """Who takes part in a slot."""

    account: PublicKey
    promised_wh: int
    """What it declared to give; negative: to take."""
    net_wh: int | None
    """What it gave beyond its trades; ``None``: no meter has said."""


class _Due(NamedTuple):
    """What the rules make of one member."""

    net_wh: int
    alone: Micro
    share: Micro
    penalty: Micro


def take_position(ctx: Context, slot: Slot) -> None:
    """Gate closure: what its members declared is the plant's one position."""
    if not _is_cooperative(ctx, slot):
        return
    promises = _promises(ctx, slot)
    if promises:
        ctx.events.append(PositionTaken(slot, len(promises), _clipped(sum(promises.values()))))


def share(ctx: Context, slot: Slot) -> None:
    """After settlement: share among the members whose energy is known.

    One whose meter is missing neither shares nor pays yet; nobody waits for it.
    """
    if _is_cooperative(ctx, slot):
        _share(ctx, slot, final=False)


def share_again(ctx: Context, slot: Slot) -> None:
    """Before the slot closes: share once more, and post what has become different.

    What no meter has shown by now was not delivered.
    """
    if _is_cooperative(ctx, slot):
        _share(ctx, slot, final=True)
    for account, _ in ctx.state.scan(SHARE, slot):
        ctx.state.remove(SHARE, slot, account)
    ctx.state.remove(POOL, slot)


def slot_seed(chain_id: Digest, seed: str, slot: Slot) -> Digest:
    """What the orders of a slot are drawn from: committed with genesis, different in each slot."""
    return sha256(chain_id + slot.to_bytes(8, "big") + seed.encode())


def _is_cooperative(ctx: Context, slot: Slot) -> bool:
    return ctx.market_of(slot).rules == COOPERATIVE


def _promises(ctx: Context, slot: Slot) -> dict[PublicKey, int]:
    """What each member's orders come to, by key: offers less bids."""
    found: dict[PublicKey, Wh] = {}
    for _, order in ctx.state.scan(ORDER, slot):
        if order.remaining_wh > 0:
            given = order.remaining_wh if order.side == Side.OFFER else -order.remaining_wh
            found[order.account] = found.get(order.account, 0) + given
    return dict(sorted(found.items()))


def _members(ctx: Context, slot: Slot) -> list[_Member]:
    members = []
    for account, promised_wh in _promises(ctx, slot).items():
        settled = ctx.state.get(SETTLEMENT, slot, account)
        known = settled is not None and not settled.flags & SettlementFlag.ESTIMATED
        net_wh = settled.imbalance_wh if settled is not None and known else None
        members.append(_Member(account, promised_wh, net_wh))
    return members


def _share(ctx: Context, slot: Slot, *, final: bool) -> None:
    judged = [m for m in _members(ctx, slot) if final or m.net_wh is not None]
    if not judged:
        return
    summary, dues = _work_out(ctx, slot, judged)
    before = ctx.state.get(POOL, slot)
    version = 1 if before is None else before.version + 1
    changed = []
    for member, due in zip(judged, dues, strict=True):
        old = ctx.state.get(SHARE, slot, member.account)
        if old is None or (old.net_wh, old.alone, old.share, old.penalty) != due:
            changed.append((member, due, old or _NOTHING))
    if not changed:
        return
    summary = summary._replace(version=version)
    ctx.state.put(POOL, PoolRecord(*summary), slot)
    ctx.events.append(Pooled(slot, *summary))
    for member, due, old in changed:
        _pay(ctx, slot, member, due, old, version)


class _Summary(NamedTuple):
    """Fields as in :class:`~vppd.ledger.events.Pooled`."""

    version: int
    members: int
    net_wh: int
    worth: Micro
    alone: Micro
    samples: int


def _work_out(ctx: Context, slot: Slot, members: list[_Member]) -> tuple[_Summary, list[_Due]]:
    market = ctx.market_of(slot)
    tariff = tariff_for(market, slot)
    rules = market.sharing
    nets = [member.net_wh or 0 for member in members]
    # Who gave and took nothing adds nothing to any coalition, so it gets nothing (the null player
    # axiom) and costs no time.
    players = [i for i, net in enumerate(nets) if net]
    outcome = pool(
        [nets[i] for i in players],
        tariff.retail_price,
        tariff.feed_in_price,
        seed=slot_seed(ctx.genesis.digest, rules.seed, slot),
        samples=rules.samples,
    )
    shares = dict(zip(players, outcome.shares, strict=True))
    fines = penalties(
        [member.promised_wh for member in members],
        nets,
        rules.penalty_price,
        rules.tolerance_ppm,
    )
    summary = _Summary(
        1,
        len(members),
        _clipped(sum(nets)),
        _clipped(outcome.worth),
        _clipped(sum(outcome.alone)),
        outcome.samples,
    )
    dues = [
        _Due(
            net,
            grid_worth(net, tariff.retail_price, tariff.feed_in_price),
            shares.get(i, 0),
            fines[i],
        )
        for i, net in enumerate(nets)
    ]
    return summary, dues


def _pay(
    ctx: Context, slot: Slot, member: _Member, due: _Due, old: ShareRecord, version: int
) -> None:
    """Post what a member is due beyond what it has got; through the grid's account, in pairs."""
    account = member.account
    gained = due.share - due.alone - old.gained
    gained = -ctx.charge(account, -gained, Reason.SHARING)
    fined = -ctx.charge(account, old.fined - due.penalty, Reason.PENALTY)
    record = ShareRecord(
        member.promised_wh,
        due.net_wh,
        due.alone,
        due.share,
        due.penalty,
        old.gained + gained,
        old.fined + fined,
        version,
    )
    ctx.state.put(SHARE, record, slot, account)
    ctx.events.append(
        Shared(
            slot,
            account,
            version,
            member.promised_wh,
            due.net_wh,
            due.alone,
            due.share,
            due.penalty,
        )
    )


def _clipped(number: int) -> int:
    """A sum over many members of absurd numbers leaves 64 bits; then the furthest they can say."""
    return min(max(number, -_MOST), _MOST)

"""Engine ``dpos`` in the ledger: what each account delivered, whom it votes for, who is elected.

Epoch by epoch, the state after the last height but one decides who produces next (protocol.md,
§13); the arithmetic is in :mod:`vppd.ledger.election`.
"""

from __future__ import annotations

from typing import Any

from vppd.config.engines import DPOS
from vppd.config.founding import rules_in
from vppd.config.genesis import Genesis
from vppd.consensus.quorum import quorums
from vppd.era import Era, EraMember
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.election import Standing, elect
from vppd.ledger.events import SettlementFlag, Voted
from vppd.ledger.grades import may_be_elected
from vppd.ledger.records import Candidate, Delivery, SettlementRecord, Votes
from vppd.ledger.state import (
    ACCOUNT,
    CANDIDATE,
    CONVICTION,
    DELIVERY,
    PUNISHMENT,
    READINESS,
    VOTES,
    State,
    Table,
)
from vppd.ledger.transaction import Vote
from vppd.types import Height, PublicKey, Role, Slot


def list_candidates(genesis: Genesis, state: State) -> None:
    """At genesis all validators are candidates, also those who do not produce yet."""
    for v in genesis.validators:
        candidate = Candidate(v.name, v.role is Role.OPERATOR, "", bytes(32), v.key)
        state.put(CANDIDATE, candidate, v.key)


def note_delivery(ctx: Context, slot: Slot, account: PublicKey, record: SettlementRecord) -> None:
    """Keep what an account contracted and delivered, of the latest slot it has settled.

    Both are net, in the direction of the contract. What no meter proves was not delivered: else
    losing one's readings would make a perfect reputation.
    """
    if ctx.era.engine != DPOS:
        return
    known = ctx.state.get(DELIVERY, account)
    if known is not None and known.slot > slot:
        return
    contracted = record.sold_wh - record.bought_wh
    delivered = record.export_wh - record.import_wh
    if record.flags & SettlementFlag.ESTIMATED:
        real = 0
    elif contracted == 0:
        real = abs(delivered)
    else:
        real = max(0, delivered if contracted > 0 else -delivered)
    energy = record.import_wh + record.export_wh
    ctx.state.put(DELIVERY, Delivery(slot, abs(contracted), real, energy), account)


def vote(ctx: Context, account: PublicKey, op: Vote) -> None:
    """An account votes, or no longer does.

    Raises:
        Failed: nobody is elected here, or it cannot vote like that.
    """
    if ctx.era.engine != DPOS:
        raise Failed(ErrorCode.NOT_DPOS)
    most = rules_in(ctx.genesis, ctx.era).dpos.delegates
    if len(op.targets) > most or len(set(op.targets)) < len(op.targets):
        raise Failed(ErrorCode.TOO_MANY_TARGETS, most)
    if any(ctx.state.get(CANDIDATE, key) is None for key in op.targets):
        raise Failed(ErrorCode.NOT_A_CANDIDATE)
    known = ctx.state.get(VOTES, account)
    if op.targets == (() if known is None else known.targets):
        raise Failed(ErrorCode.NOTHING_CHANGES)
    if op.targets:
        ctx.state.put(VOTES, Votes(op.targets), account)
    else:
        ctx.state.remove(VOTES, account)
    ctx.events.append(Voted(account, op.targets))


def standings(state: State) -> list[Standing]:
    """Every account and every candidate, each once; a candidate under its own key.

    A re-keyed candidate goes on with the energy and the vote of the account it came with.
    """
    candidates = dict(state.scan(CANDIDATE))
    node_of = {candidate.account: key for key, candidate in candidates.items()}
    accounts = {account for account, _ in state.scan(ACCOUNT)} | node_of.keys()
    found = []
    for account in sorted(accounts):
        key = node_of.get(account, account)
        if key == account and account in candidates and candidates[account].account != account:
            continue  # opened when the candidate was re-keyed: it counts under its first account
        delivery = state.get(DELIVERY, account) or Delivery(0, 0, 0, 0)
        votes = state.get(VOTES, account) or Votes(())
        targets = tuple(target for target in votes.targets if target in candidates)
        found.append(Standing(key, delivery.pre_wh, delivery.real_wh, delivery.energy_wh, targets))
    return found


def is_election(genesis: Genesis, latest: Era, height: Height) -> bool:
    """Whether executing block ``height`` elects the producers of the epoch after the next block."""
    if latest.engine != DPOS:
        return False
    return (height + 1) % rules_in(genesis, latest).epoch_blocks == 0


def next_election(genesis: Genesis, latest: Era, height: Height) -> Height | None:
    """The next height after ``height`` whose execution elects; ``None``: nobody is elected."""
    if latest.engine != DPOS:
        return None
    blocks = rules_in(genesis, latest).epoch_blocks
    return ((height + 1) // blocks + 1) * blocks - 1


def elected(ctx: Context, era: Era) -> tuple[EraMember, ...]:
    """The producers of ``era``, in order.

    Args:
        ctx: state after the last height but one of the epoch that ends.
        era: to come; its members are those who stay if too few are ready.
    """
    state, rules = ctx.state, rules_in(ctx.genesis, era)
    candidates = dict(state.scan(CANDIDATE))
    punished = {key for key, p in state.scan(PUNISHMENT) if p.until_epoch >= era.epoch}
    sitting = {m.key: m for m in era.members if state.get(CONVICTION, m.key) is None}
    keys = elect(
        standings(state),
        alpha_ppm=rules.dpos.alpha_ppm,
        delegates=rules.dpos.delegates,
        eligible=frozenset(candidates.keys() - punished - _badly_rated(ctx, candidates)),
        current=tuple(sitting),
        ready=frozenset(key for key, _ in state.scan(READINESS)),
        quorum=lambda n: _quorum(n, era.f),
        ranking=rules.dpos.ranking,
        reserve=[
            *(key for key in sitting if key in punished),
            *sorted(punished & candidates.keys() - sitting.keys()),
        ],
    )
    listed = {
        key: EraMember(key, c.operator, c.name, c.addr, c.nonce) for key, c in candidates.items()
    }
    return tuple(listed.get(key) or sitting[key] for key in keys) or era.members


def _badly_rated(ctx: Context, candidates: dict[PublicKey, Candidate]) -> set[PublicKey]:
    """Candidates whose accounts' grades are below what a seat takes, where something is asked."""
    rules = ctx.market_of(max(0, ctx.calendar.slot_at(ctx.time_ms))).credit
    return {key for key, c in candidates.items() if not may_be_elected(rules, ctx.state, c.account)}


def begin_period(state: State, era: Era) -> None:
    """After an election everybody says again that it is there; served punishments are over."""
    for key, _ in state.scan(READINESS):
        state.remove(READINESS, key)
    for key, punishment in state.scan(PUNISHMENT):
        if punishment.until_epoch <= era.epoch:
            state.remove(PUNISHMENT, key)


def move_candidate(state: State, old: PublicKey, new: PublicKey) -> None:
    """A candidate has another key: votes for it count on, and so does its punishment."""
    punishment = state.get(PUNISHMENT, old)
    if punishment is not None:
        state.put(PUNISHMENT, punishment, new)
        state.remove(PUNISHMENT, old)
    state.remove(READINESS, old)
    for account, votes in state.scan(VOTES):
        if old in votes.targets:
            targets = tuple(new if target == old else target for target in votes.targets)
            state.put(VOTES, Votes(targets), account)


def forget_elections(state: State) -> None:
    """Nobody is elected any more; the state is rid of everything about it."""
    tables: tuple[Table[Any, bytes], ...] = (READINESS, PUNISHMENT, VOTES, DELIVERY)
    for table in tables:
        for key, _ in state.scan(table):
            state.remove(table, key)


def _quorum(n: int, f: int | None) -> int:
    most = (n - 1) // 3
    return quorums(n, most if f is None else min(f, most), 0).vote

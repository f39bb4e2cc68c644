"""Executing what proves itself: ready, evidence, proof of a skipped producer.

Nobody pays for a statement with a nonce, so one that changes nothing leaves nothing behind, and a
block's statements beyond :data:`MOST_STATEMENTS` are not looked at: a leader who packs junk buys
bytes, not seconds of verification.
"""

from __future__ import annotations

from typing import NamedTuple

from vppd.codec import Malformed
from vppd.config.engines import DPOS
from vppd.config.founding import rules_in
from vppd.consensus.evidence import charge_of
from vppd.consensus.proving import check_proof, check_skip_shape, check_standing
from vppd.consensus.schedule import producers_in_order
from vppd.consensus.terms import validators_of
from vppd.consensus.validators import ValidatorSet
from vppd.era import Era
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.eras import era_of
from vppd.ledger.events import Convicted, Punished, ReadyNoted
from vppd.ledger.proofs import Accuse, Ready, Skip, Statement, signed_part
from vppd.ledger.records import Conviction, Punishment, Readiness
from vppd.ledger.state import CANDIDATE, CONVICTION, PUNISHMENT, READINESS
from vppd.types import Epoch, PublicKey

MOST_STATEMENTS = 32
"""In one block."""


class Effect(NamedTuple):
    """What a statement would change: two with the same effect are one too many."""

    kind: type[Ready] | type[Accuse] | type[Skip]
    key: PublicKey
    """Of the node it is about."""
    epoch: Epoch
    """In which the key broke the rules; the last it is punished for; the one it is ready in."""


def examine(ctx: Context, op: Statement, *, proved: bool = False) -> Effect:
    """What ``op`` would change in the block being executed.

    Args:
        ctx: not changed.
        op: the statement.
        proved: leave signatures alone: they have been checked.

    Raises:
        Failed: it changes nothing, or proves nothing.
    """
    match op:
        case Ready():
            return _examine_ready(ctx, op, proved=proved)
        case Accuse():
            return _examine_accuse(ctx, op, proved=proved)
        case Skip():
            return _examine_skip(ctx, op, proved=proved)


def state_fact(ctx: Context, op: Statement) -> None:
    """Execute a statement.

    Raises:
        Failed: as :func:`examine`.
    """
    kind, key, epoch = examine(ctx, op)
    if kind is Ready:
        ctx.state.put(READINESS, Readiness(epoch, ctx.height), key)
        ctx.events.append(ReadyNoted(key, epoch))
    elif kind is Accuse:
        ctx.state.put(CONVICTION, Conviction(epoch, ctx.height), key)
        ctx.state.remove(CANDIDATE, key)
        ctx.events.append(Convicted(key, epoch))
    else:
        ctx.state.put(PUNISHMENT, Punishment(epoch), key)
        ctx.events.append(Punished(key, epoch))


def _examine_ready(ctx: Context, op: Ready, *, proved: bool) -> Effect:
    if ctx.era.engine != DPOS:
        raise Failed(ErrorCode.NOT_DPOS)
    if op.epoch != ctx.era.epoch:
        raise Failed(ErrorCode.UNKNOWN_EPOCH, ctx.era.epoch)
    candidate = ctx.state.get(CANDIDATE, op.key)
    if candidate is None:
        raise Failed(ErrorCode.NOT_A_CANDIDATE)
    if ctx.state.get(READINESS, op.key) is not None:
        raise Failed(ErrorCode.NOTHING_CHANGES)
    # Another nonce is another memory: it votes once a decided change has named it, not before.
    if op.nonce != candidate.nonce or op.height >= ctx.height:
        raise Failed(ErrorCode.NO_PROOF)
    if not proved and not ctx.verify(op.key, signed_part(op, ctx.genesis.digest), op.sig):
        raise Failed(ErrorCode.NO_PROOF)
    return Effect(Ready, op.key, op.epoch)


def _examine_accuse(ctx: Context, op: Accuse, *, proved: bool) -> Effect:
    signer, _, epoch, *_ = charge_of(op.proof)
    validators = validators_of(_need_era(ctx, epoch))
    if signer >= len(validators.members):
        raise Failed(ErrorCode.NO_PROOF)
    key = validators.members[signer].key
    if ctx.state.get(CONVICTION, key) is not None:
        raise Failed(ErrorCode.NOTHING_CHANGES)
    if not proved:
        try:
            check_proof(op.proof, validators, ctx.genesis.digest, ctx.verify)
        except Malformed as err:
            raise Failed(ErrorCode.NO_PROOF) from err
    return Effect(Accuse, key, epoch)


def _examine_skip(ctx: Context, op: Skip, *, proved: bool) -> Effect:
    era = _need_era(ctx, op.epoch)
    if era.engine != DPOS:
        raise Failed(ErrorCode.NOT_DPOS)
    if not ctx.era.epoch - 1 <= era.epoch <= ctx.era.epoch:
        raise Failed(ErrorCode.UNKNOWN_EPOCH, ctx.era.epoch)
    validators = validators_of(era)
    after = era_of(ctx.founding, ctx.state, era.epoch + 1)
    if op.height > ctx.height or (after is not None and op.height >= after.first):
        raise Failed(ErrorCode.NO_PROOF)
    try:
        check_skip_shape(op.standings, op.view, op.height, validators)
        key = _skipped(op, validators)
        until = era.epoch + rules_in(ctx.genesis, era).dpos.punish_epochs
        if ctx.state.get(CANDIDATE, key) is None:
            raise Failed(ErrorCode.NOT_A_CANDIDATE)
        known = ctx.state.get(PUNISHMENT, key)
        if known is not None and known.until_epoch >= until:
            raise Failed(ErrorCode.NOTHING_CHANGES)
        for standing in () if proved else op.standings:
            check_standing(standing, validators, ctx.genesis.digest, ctx.verify)
    except Malformed as err:
        raise Failed(ErrorCode.NO_PROOF) from err
    return Effect(Skip, key, until)


def _skipped(op: Skip, validators: ValidatorSet) -> PublicKey:
    """Who led the view before the one asked for."""
    return validators.members[producers_in_order(validators, op.view - 1, op.height)].key


def _need_era(ctx: Context, epoch: Epoch) -> Era:
    era = era_of(ctx.founding, ctx.state, epoch)
    if era is None:
        raise Failed(ErrorCode.UNKNOWN_EPOCH, ctx.era.epoch)
    return era

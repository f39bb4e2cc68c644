"""What follows from a block as a whole: convicted members leave, producers are elected."""

from __future__ import annotations

from msgspec.structs import replace

from vppd.config.engines import DPOS
from vppd.era import Era
from vppd.ledger.context import Context
from vppd.ledger.eras import era_of, fits, fitting, follow, latest_era, schedule
from vppd.ledger.governance import most_changes
from vppd.ledger.producers import begin_period, elected, is_election
from vppd.ledger.state import CONVICTION


def conclude(ctx: Context) -> None:
    """After the last transaction: what it all comes to is at most one era."""
    _remove_convicted(ctx)
    latest = latest_era(ctx.founding, ctx.state)
    if is_election(ctx.genesis, latest, ctx.height):
        era = follow(latest, ctx.height)
        era = fitting(replace(era, members=elected(ctx, era)))
        schedule(ctx.state, ctx.height, era)
        begin_period(ctx.state, era)


def _remove_convicted(ctx: Context) -> None:
    """As many as may go with this block; the others go with the next ones.

    In engine ``dpos`` they are candidates no more, and sit until the election.
    """
    convicted = {key for key, _ in ctx.state.scan(CONVICTION)}
    if not convicted:
        return
    latest = latest_era(ctx.founding, ctx.state)
    guilty = [member.key for member in latest.members if member.key in convicted]
    if not guilty or latest.engine == DPOS:
        return
    room = most_changes(latest) - _changed(ctx, latest)
    going = set(guilty[: max(0, min(room, len(latest.members) - 1))])
    if going:
        era = follow(latest, ctx.height)
        left = tuple(member for member in era.members if member.key not in going)
        era = fitting(replace(era, members=left))
        if fits(ctx.genesis, era):
            schedule(ctx.state, ctx.height, era)


def _changed(ctx: Context, latest: Era) -> int:
    """Members this block has changed already; a re-keyed one counts as two."""
    if follow(latest, ctx.height) is not latest:
        return 0
    before = era_of(ctx.founding, ctx.state, latest.epoch - 1)
    if before is None:
        return 0
    old, new = ({(m.key, m.nonce) for m in era.members} for era in (before, latest))
    return len(old ^ new)

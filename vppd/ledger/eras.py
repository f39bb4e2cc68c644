"""Eras in the state: which are known, which rules they have, how one is scheduled.

What block n decides takes effect at height n + 2: header n + 1, decided by the old members, carries
the hash of the new ones (protocol.md, §10).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from vppd.config.founding import founding_era
from vppd.config.genesis import Genesis
from vppd.consensus.quorum import quorums
from vppd.consensus.terms import validators_of
from vppd.consensus.validators import ValidatorSet
from vppd.era import Era
from vppd.ledger.state import BALLOT, ERA, PROPOSAL, State
from vppd.types import Epoch, Height

KEPT = 16
"""So many of the latest eras after genesis stay in the state."""
DELAY = 2
"""Heights from the block that decides on an era to the first of that era."""


def known_eras(genesis: Genesis, state: State) -> tuple[Era, ...]:
    """Eras that can still be asked for, ascending; the last may not have begun."""
    later = tuple(era for _, era in state.scan(ERA))
    return later if len(later) >= KEPT else (founding_era(genesis), *later)


def latest_era(genesis: Genesis, state: State) -> Era:
    """The latest scheduled."""
    eras = known_eras(genesis, state)
    return eras[-1]


def era_of(genesis: Genesis, state: State, epoch: Epoch) -> Era | None:
    """The era of that number; ``None``: not known, or not any more."""
    found = state.get(ERA, epoch)
    if found is None and epoch == 0 and len(tuple(state.scan(ERA))) < KEPT:
        return founding_era(genesis)
    return found


def in_force(eras: Sequence[Era], height: Height) -> Era:
    """Who votes at ``height``, of these eras, ascending.

    Raises:
        LookupError: it is before the first of them.
    """
    for era in reversed(eras):
        if era.first <= height:
            return era
    raise LookupError(f"the era of height {height} is no longer known")


def schedule(state: State, height: Height, latest: Era, era: Era) -> None:
    """Block ``height`` decides on ``era``; what it decided on before, if anything, is replaced.

    A new era ends every proposal made for the one before it.

    Args:
        state: to change.
        height: of the block being executed.
        latest: scheduled so far.
        era: what is to follow; its epoch and first height are set here.
    """
    if latest.first == height + DELAY:
        state.put(ERA, replace(era, epoch=latest.epoch, first=latest.first), latest.epoch)
        return
    made = replace(era, epoch=latest.epoch + 1, first=height + DELAY)
    state.put(ERA, made, made.epoch)
    if made.epoch > KEPT:
        state.remove(ERA, made.epoch - KEPT)
    for proposal, _ in state.scan(PROPOSAL):
        state.remove(PROPOSAL, proposal)
    for key, _ in state.scan(BALLOT):
        state.remove(BALLOT, key)


def electorate(era: Era) -> ValidatorSet:
    """The voters of an era with their quorums.

    Raises:
        ValueError: f and p do not fit so many members.
    """
    return validators_of(era)


def fitting(era: Era) -> Era:
    """``era`` with ``f`` and ``p`` lowered to what so many members can have."""
    n = len(era.members)
    most = (n - 1) // 3
    f = era.f if era.f is None else min(era.f, most)
    try:
        quorums(n, f, era.p)
    except ValueError:
        return replace(era, f=f, p=None)
    return replace(era, f=f)

"""Eras in the state: which are known, which rules they have, how one is scheduled.

What block n decides takes effect at height n + 2: header n + 1, decided by the old members, carries
the hash of the new ones (protocol.md, §10).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from vppd.config.engines import OWN
from vppd.config.genesis import Engine, Genesis
from vppd.consensus.profile import check_fit, profile_of
from vppd.consensus.quorum import quorums
from vppd.consensus.terms import validators_of
from vppd.era import Era
from vppd.errors import ConfigError, LocalFault
from vppd.ledger.state import BALLOT, ERA, PROPOSAL, State
from vppd.types import Epoch, Height

KEPT = 16
"""So many of the latest eras after genesis stay in the state."""
DELAY = 2
"""Heights from the block that decides on an era to the first of that era."""


def known_eras(founding: Era, state: State) -> tuple[Era, ...]:
    """Eras that can still be asked for, ascending; the last may not have begun."""
    later = tuple(era for _, era in state.scan(ERA))
    return later if len(later) >= KEPT else (founding, *later)


def latest_era(founding: Era, state: State) -> Era:
    """The latest scheduled."""
    return known_eras(founding, state)[-1]


def era_of(founding: Era, state: State, epoch: Epoch) -> Era | None:
    """The era of that number; ``None``: not known, or not any more."""
    found = state.get(ERA, epoch)
    if found is None and epoch == 0 and len(tuple(state.scan(ERA))) < KEPT:
        return founding
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


def follow(latest: Era, height: Height) -> Era:
    """The era that block ``height`` decides on, before anything is changed in it.

    Args:
        latest: scheduled so far; by this very block, if something in it did before.
        height: of the block being executed.
    """
    if latest.first == height + DELAY:
        return latest
    return replace(latest, epoch=latest.epoch + 1, first=height + DELAY)


def schedule(state: State, height: Height, era: Era) -> None:
    """Block ``height`` decides on ``era``: one that :func:`follow` made, with its changes.

    It takes the place of what the block decided on before; and it ends every proposal made for the
    era before it.
    """
    if era.first != height + DELAY:
        raise LocalFault(f"block {height} cannot decide on an era from height {era.first} on")
    if state.get(ERA, era.epoch) is None:
        if era.epoch > KEPT:
            state.remove(ERA, era.epoch - KEPT)
        for proposal, _ in state.scan(PROPOSAL):
            state.remove(PROPOSAL, proposal)
        for key, _ in state.scan(BALLOT):
            state.remove(BALLOT, key)
    state.put(ERA, era, era.epoch)


def fits(genesis: Genesis, era: Era) -> bool:
    """Whether the engine of ``era`` can run with its members; this build's own always can."""
    if era.engine in OWN:
        return True
    profile = profile_of(Engine(era.engine))
    try:
        check_fit(profile, validators_of(era), genesis.consensus.path)
    except ConfigError:
        return False
    return True


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

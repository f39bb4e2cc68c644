"""Where an engine stands, in the words of :class:`~vppd.consensus.boundary.EngineStatus`."""

from __future__ import annotations

from collections import Counter

from vppd.consensus.boundary import EngineStatus
from vppd.consensus.core import Core
from vppd.consensus.profile import EngineProfile


def describe(
    profile: EngineProfile, core: Core, triggers: Counter[str], stuck_ms: int | None
) -> EngineStatus:
    """A snapshot.

    Args:
        profile: the engine.
        core: of the epoch it is in.
        triggers: why it changed views.
        stuck_ms: how long there has been work without a decision.
    """
    quorum = core.quorum
    return EngineStatus(
        engine=profile.name,
        epoch=core.record.epoch,
        view=core.record.view,
        mode=core.record.mode,
        leader=core.leader(core.record.view, core.head.height + 1),
        decided=core.head.height,
        head=core.head.digest,
        applied=core.applied is not None,
        voting=core.voting,
        observer=_why_mute(core),
        nonce=core.record.nonce,
        lost=core.record.observer is not None,
        view_changes=triggers.total(),
        view_triggers=tuple(sorted(triggers.items())),
        stuck_ms=stuck_ms,
        ahead_ms=core.ahead_ms,
        evidence=len(core.accusations),
        byzantine_tolerance=quorum.f,
        quorum_slack=quorum.n - quorum.vote,
        view_slack=quorum.n - quorum.view_change,
        fast_slack=quorum.p,
        path=core.waiting.last_path.name.lower(),
        decisions=tuple(sorted(core.waiting.decisions.items())),
        fallbacks=tuple(sorted((str(c), k) for c, k in core.waiting.causes.items())),
        success_ppm=core.policy.success_ppm,
        costs_ms=core.policy.costs_ms,
    )


def _why_mute(core: Core) -> str:
    record = core.record
    if core.own is not None:
        return ""
    if record.observer is not None:
        return record.observer
    return f"it is no member in epoch {record.epoch}" if record.epoch else ""

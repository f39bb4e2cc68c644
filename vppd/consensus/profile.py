"""What makes an engine: a leader schedule and a path policy around the one core.

No engine has its own copy of voting, locking, certificates, view change or catch-up
(architecture.md, wall 3). ``bncm`` and ``dpos`` are further rows of this table.
"""

from __future__ import annotations

import msgspec

from vppd.config.genesis import Engine, Genesis
from vppd.consensus.schedule import Rotation, Schedule, all_in_turn, round_robin
from vppd.consensus.validators import ValidatorSet, founding_set


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between engines."""

    name: Engine
    schedule: Schedule
    rotation: Rotation
    fast_exit: bool
    """Whether F first-round votes decide at once (protocol.md, §9.2)."""
    hands_back: bool
    """Whether a DER in the lead returns it to an operator that is back (protocol.md, §7)."""


PBFT = EngineProfile(
    name="pbft", schedule=round_robin, rotation=all_in_turn, fast_exit=False, hands_back=False
)
"""Castro–Liskov's normal case on the shared core: broadcast, no fast exit (§12)."""

PROFILES: dict[str, EngineProfile] = {PBFT.name: PBFT}


def founding_validators(genesis: Genesis) -> ValidatorSet:
    """The set of epoch 0 under the engine genesis names.

    Slack for the fast path costs view changes (w = max(q, 2f+2p+1)); an engine without that path
    takes none, so that it survives as many dead replicas as its votes do.

    Raises:
        ValueError: empty, duplicate keys, or f out of bounds.
    """
    rules = genesis.consensus
    p = None if PROFILES[rules.engine].fast_exit else 0
    return founding_set(genesis.validators, rules.f, p)

"""What makes an engine: a leader schedule and a path policy around the one core.

No engine has its own copy of voting, locking, certificates, view change or catch-up
(architecture.md, wall 3). ``bncm`` and ``dpos`` are further rows of this table.
"""

from __future__ import annotations

import msgspec

from vppd.config.genesis import Engine
from vppd.consensus.schedule import Schedule, round_robin


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between engines."""

    name: Engine
    schedule: Schedule
    fast_exit: bool
    """Whether F first-round votes decide at once (protocol.md, §9.2)."""


PBFT = EngineProfile(name="pbft", schedule=round_robin, fast_exit=False)
"""Castro–Liskov's normal case on the shared core: broadcast, no fast exit (§12)."""

PROFILES: dict[str, EngineProfile] = {PBFT.name: PBFT}

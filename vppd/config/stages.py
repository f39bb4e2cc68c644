"""``[market.stages]``: what must be on chain before a slot's next stage (P3, Fig 2)."""

from __future__ import annotations

from typing import Literal

import msgspec

PlanStage = Literal["optional", "required"]


class StageRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[market.stages]``."""

    plans: PlanStage = "optional"
    """``required``: a member orders within its plan of the slot only, which makes it a seller or a
    buyer there; ``optional``: it orders as it likes."""


NO_STAGES = StageRules()

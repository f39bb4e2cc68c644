"""``--engine``: which engines this build can run."""

from __future__ import annotations

from vppd.config.genesis import Engine
from vppd.consensus.profile import PROFILES
from vppd.errors import Exit, UserError


def parse_engine(text: str) -> Engine:
    """The engine of that name.

    Raises:
        UserError: E412.
    """
    profile = PROFILES.get(text)
    if profile is None:
        raise UserError(
            "E412",
            f"engine {text!r} is not in this build",
            hint=f"--engine {' | '.join(PROFILES)}",
            exit_code=Exit.USAGE,
        )
    return profile.name

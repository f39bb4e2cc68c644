"""Who leads which view: pure functions of the validator set (protocol.md, §6, §12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from vppd.consensus.validators import ValidatorSet
from vppd.types import Height, ReplicaIndex, View

Schedule: TypeAlias = Callable[[ValidatorSet, View, Height], ReplicaIndex]


def round_robin(validators: ValidatorSet, view: View, height: Height) -> ReplicaIndex:
    """``leader(v) = v mod n`` over all replicas (engine ``pbft``, §12)."""
    del height
    return view % validators.quorum.n

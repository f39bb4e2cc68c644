"""Who leads which view: pure functions of the validator set (protocol.md, §6, §12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from vppd.consensus.validators import ValidatorSet
from vppd.types import Height, ReplicaIndex, View

Schedule: TypeAlias = Callable[[ValidatorSet, View, Height], ReplicaIndex]
Rotation: TypeAlias = Callable[[ValidatorSet], int]
"""Views within which every replica leads at least once."""


def round_robin(validators: ValidatorSet, view: View, height: Height) -> ReplicaIndex:
    """``leader(v) = v mod n`` over all replicas (engine ``pbft``, §12)."""
    del height
    return view % validators.quorum.n


def all_in_turn(validators: ValidatorSet) -> int:
    """The rotation of :func:`round_robin` and of :func:`producers_in_order`."""
    return validators.quorum.n


def producers_in_order(validators: ValidatorSet, view: View, height: Height) -> ReplicaIndex:
    """``leader(n,v) = Q[(n − n₀ + v) mod N]``, n₀ the epoch's first height (``dpos``, §13)."""
    return (height - validators.first + view) % validators.quorum.n


def operators_first(validators: ValidatorSet, view: View, height: Height) -> ReplicaIndex:
    """All m operators, then one DER, then all operators again, then the next DER (§6).

    Operators in the order of the set, DERs likewise: ``c = m+1; k = v mod c``; ``ops[k]`` if
    ``k < m``, else ``ders[(v div c) mod (n−m)]``. Without DERs, or without operators, in turn.
    """
    operators, ders = validators.parties
    if not operators or not ders:
        return round_robin(validators, view, height)
    cycle = len(operators) + 1
    turn = view % cycle
    return operators[turn] if turn < len(operators) else ders[view // cycle % len(ders)]


def every_der_once(validators: ValidatorSet) -> int:
    """The rotation of :func:`operators_first`: ``c · (n−m)`` views."""
    operators, ders = validators.parties
    if not operators or not ders:
        return all_in_turn(validators)
    return (len(operators) + 1) * len(ders)

"""Signed roots from replicas: f+1 equal ones prove a result before the next block does.

Replies are checked when somebody wants the proof, not when they come: most never matter.
"""

from __future__ import annotations

from collections import OrderedDict

from vppd.consensus.messages import Reply
from vppd.errors import PeerFault
from vppd.net.gate import Gate
from vppd.types import Height, ReplicaIndex

KEPT_HEIGHTS = 1_024


class Replies:
    """The replies of recent heights, one per signer.

    Args:
        gate: checks signatures.
        needed: f+1.
    """

    def __init__(self, gate: Gate, needed: int) -> None:
        self._gate = gate
        self._needed = needed
        self._held: OrderedDict[Height, dict[ReplicaIndex, Reply]] = OrderedDict()

    def add(self, sender: ReplicaIndex | None, reply: Reply, decided: Height) -> None:
        """Keep a reply from its signer, unless its height is long past or far ahead."""
        if sender != reply.signer or not decided - KEPT_HEIGHTS < reply.height <= decided + 2:
            return
        self._held.setdefault(reply.height, {}).setdefault(reply.signer, reply)
        while len(self._held) > KEPT_HEIGHTS:
            self._held.popitem(last=False)

    def proving(self, height: Height) -> tuple[Reply, ...]:
        """F+1 valid replies that agree on the roots after ``height``; empty without so many."""
        by_roots: dict[tuple[bytes, bytes, bytes], list[Reply]] = {}
        for _, reply in sorted(self._held.get(height, {}).items()):
            try:
                self._gate.check(reply)
            except PeerFault:
                continue
            roots = (reply.digest, reply.state_root, reply.receipts_root)
            by_roots.setdefault(roots, []).append(reply)
        for group in by_roots.values():
            if len(group) >= self._needed:
                return tuple(group[: self._needed])
        return ()

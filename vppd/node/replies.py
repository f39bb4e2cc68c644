"""Signed roots from replicas: f+1 equal ones prove a result before the next block does.

Replies are checked when somebody wants the proof, not when they come: most never matter.
"""

from __future__ import annotations

from collections import OrderedDict

from vppd.consensus.messages import Reply
from vppd.consensus.terms import Terms
from vppd.errors import PeerFault
from vppd.net.gate import Gate
from vppd.types import Height, ReplicaIndex

KEPT_HEIGHTS = 1_024


class Replies:
    """The replies of recent heights, one per signer.

    Args:
        gate: checks signatures.
        terms: whose replies count at a height, and how many.
    """

    def __init__(self, gate: Gate, terms: Terms) -> None:
        self._gate = gate
        self._terms = terms
        self._held: OrderedDict[Height, dict[ReplicaIndex, Reply]] = OrderedDict()

    def add(self, sender: ReplicaIndex | None, reply: Reply, decided: Height) -> None:
        """Keep a reply from its signer, unless its height is long past or far ahead.

        Args:
            sender: who handed it over, by its index in the epoch the reply names.
            reply: of a height of that epoch; else it is not kept.
            decided: the last decision here.
        """
        if sender != reply.signer or not decided - KEPT_HEIGHTS < reply.height <= decided + 2:
            return
        term = self._terms.of(reply.epoch)
        if term is None or not self._terms.covers(term, reply.height):
            return
        self._held.setdefault(reply.height, {}).setdefault(reply.signer, reply)
        while len(self._held) > KEPT_HEIGHTS:
            self._held.popitem(last=False)

    def proving(self, height: Height) -> tuple[Reply, ...]:
        """F+1 valid replies that agree on the roots after ``height``; empty without so many."""
        held = sorted(self._held.get(height, {}).items())
        term = self._terms.of(held[0][1].epoch) if held else None
        if term is None:
            return ()
        needed = term.validators.quorum.f + 1
        by_roots: dict[tuple[bytes, bytes, bytes], list[Reply]] = {}
        for _, reply in held:
            try:
                self._gate.check(reply)
            except PeerFault:
                continue
            roots = (reply.digest, reply.state_root, reply.receipts_root)
            by_roots.setdefault(roots, []).append(reply)
        for group in by_roots.values():
            if len(group) >= needed:
                return tuple(group[:needed])
        return ()

"""Two ways to number nodes: for good, and by their index in the epoch in force.

The network keeps a link per *peer number*: founders have their position in genesis, others follow
in the order in which this node learns of them. Consensus counts votes by *replica index*, which is
another one in every epoch. Only the machine translates.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from vppd.consensus.terms import Term
from vppd.types import PublicKey, ReplicaIndex

PeerNumber: TypeAlias = int


class Roster:
    """Nodes this one knows of.

    Args:
        keys: by peer number.
        term: the epoch in force.
    """

    def __init__(self, keys: Iterable[PublicKey], term: Term) -> None:
        self._keys: list[PublicKey] = []
        self._numbers: dict[PublicKey, PeerNumber] = {}
        for key in keys:
            self.number(key)
        self.enter(term)

    def enter(self, term: Term) -> None:
        """Another epoch is in force."""
        self.term = term
        self._members = [self.number(member.key) for member in term.validators.members]
        self._indices = {number: i for i, number in enumerate(self._members)}

    def number(self, key: PublicKey) -> PeerNumber:
        """The number of a node, given to it now if it has none."""
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._keys)
            self._keys.append(key)
        return number

    def key(self, number: PeerNumber) -> PublicKey:
        """Whose number it is."""
        return self._keys[number]

    def index(self, number: PeerNumber | None) -> ReplicaIndex | None:
        """A peer's index in this epoch; ``None``: it is no member."""
        return None if number is None else self._indices.get(number)

    def numbers(self, indices: Iterable[ReplicaIndex]) -> tuple[PeerNumber, ...]:
        """Peer numbers of members of this epoch."""
        return tuple(self._members[i] for i in indices)

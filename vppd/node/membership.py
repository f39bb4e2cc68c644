"""Whom the network keeps links to, as the eras that the ledger knows say.

Members of a scheduled era are connected to as soon as it is decided, so that they are there when it
begins; those that are in none to come are cut when it does. Everything follows from the known eras
and the height, whatever was seen before, so a node that was away has nothing to make up for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vppd.config.genesis import ValidatorEntry
from vppd.config.peers import Peer
from vppd.era import Era, EraMember
from vppd.net.peers import Network, PeerEntry
from vppd.types import Height, PeerNumber, PublicKey, Role

GONE = "no validator any more"


class Plan(NamedTuple):
    """What the network should be like."""

    entries: tuple[PeerEntry, ...]
    """Everybody to have a link to, this node included if it is a validator."""
    own: PeerEntry | None
    """This node, if it is a validator."""
    dismissed: dict[PublicKey, str]
    """Those that were validators and are none now, with what to tell them."""


class Membership:
    """Keeps the network as the chain says.

    Args:
        own: this node's key.
        number: what the network calls the holder of a key; the machine gives the next number to a
            new one.
        founders: of genesis; their places are their numbers.
        peers: of peers.toml: addresses of members that name none, and, while this node is no
            validator, further nodes to follow the chain from.
    """

    def __init__(
        self,
        own: PublicKey,
        number: Callable[[PublicKey], PeerNumber],
        founders: Sequence[ValidatorEntry],
        peers: Sequence[Peer],
    ) -> None:
        self.number = number
        """What the network calls the holder of a key."""
        self._own = own
        self._founders = tuple(
            EraMember(founder.key, founder.role is Role.OPERATOR, founder.name)
            for founder in founders
        )
        self._peers = {peer.key: peer for peer in peers}
        self._members = dict(enumerate(self._founders))
        self.dismissed = ""
        """Why this node is no validator although it was one; empty: it is one, or never was."""

    def member(self, number: PeerNumber) -> EraMember | None:
        """Who has that number, as the last era it was in says; ``None``: it never was in one."""
        return self._members.get(number)

    def role(self, number: PeerNumber) -> Role:
        """What it is, or was, to the plant."""
        member = self._members.get(number)
        if member is None:
            return Role.OBSERVER
        return Role.OPERATOR if member.operator else Role.DER

    def plan(
        self, eras: Sequence[Era], height: Height, candidates: Sequence[EraMember] = ()
    ) -> Plan:
        """Who belongs into the network.

        Args:
            eras: those known, ascending; none: the founders vote, and nobody else ever did.
            height: executed; the next one falls into the era in force.
            candidates: who may be elected; they stay connected, so that an election moves no link.
        """
        at = max((i for i, era in enumerate(eras) if era.first <= height + 1), default=0)
        coming = [era.members for era in eras[at:]] if eras else [self._founders]
        wanted = {member.key: member for members in (candidates, *coming) for member in members}
        dismissed = {m.key: GONE for m in self._founders if m.key not in wanted}
        for i, era in enumerate(eras[:at]):
            for member in era.members:
                if member.key not in wanted:
                    since = _left(member.key, eras[i + 1 :])
                    dismissed[member.key] = f"{GONE} since height {since}"
        for member in [m for era in eras for m in era.members] + list(wanted.values()):
            self._members[self.number(member.key)] = member
        entries = [self._entry(member) for member in wanted.values()]
        own = next((entry for entry in entries if entry.key == self._own), None)
        if own is None:
            entries += [
                self._entry(EraMember(peer.key, operator=False, name=peer.name))
                for peer in self._peers.values()
                if peer.key not in wanted and peer.key != self._own
            ]
        return Plan(tuple(entries), own, dismissed)

    def follow(self, network: Network, plan: Plan) -> None:
        """Bring the network in line; nothing happens when it is."""
        keys = {entry.key for entry in plan.entries}
        for entry in plan.entries:
            if entry.key != self._own:
                network.admit(entry)
        for key in network.members():
            if key not in keys and key != self._own:
                network.dismiss(key, plan.dismissed.get(key, GONE))
        network.remember(plan.dismissed)
        self.dismissed = "" if plan.own is not None else plan.dismissed.get(self._own, "")
        if plan.own is not None:
            network.promote(plan.own)
        else:
            network.demote(self.dismissed or GONE)

    def _entry(self, member: EraMember) -> PeerEntry:
        number, peer = self.number(member.key), self._peers.get(member.key)
        addr = member.addr or (peer.addr if peer is not None else "")
        return PeerEntry(number, member.name, member.key, addr, number < len(self._founders))


def _left(key: PublicKey, later: Sequence[Era]) -> Height:
    """First height of the first of these eras without that key."""
    return next(era.first for era in later if all(m.key != key for m in era.members))

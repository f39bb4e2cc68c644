"""The validators as one node's network knows them: who they are, and who dials whom.

Members come and go while the node runs. A *peer number* stands for a key as long as the process
lives: founders have their place in genesis, later members the next numbers in the order in which
this node learns of them. Two nodes may number a third one differently, so between any two of which
one is no founder the keys decide who dials, which both compare alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from vppd.net.copies import Newcomer
from vppd.net.hello import Kind
from vppd.net.link import Link, Traffic
from vppd.types import PeerNumber, PublicKey


class PeerEntry(msgspec.Struct, frozen=True):
    """A validator and where it listens."""

    index: PeerNumber
    name: str
    key: PublicKey
    addr: str
    """``host:port``; empty: nobody knows, it can only dial."""
    founder: bool = True
    """Whether genesis lists it."""


class PeerState(msgspec.Struct, frozen=True):
    """One validator as this node's network sees it."""

    index: PeerNumber
    name: str
    addr: str
    connected: bool
    seconds: float
    """Since when it is so."""
    why: str
    """Last failure or refusal in plain words; empty while connected."""
    rtt_us: int | None
    wire: int | None
    """Version of the protocol spoken with it; ``None``: not connected."""
    traffic: Traffic
    """Since this node started."""


def total_traffic(states: Iterable[PeerState]) -> Traffic:
    """Frames to and from all of them so far."""
    total = Traffic()
    for state in states:
        total.add(state.traffic)
    return total


class Slot:
    """One validator's place."""

    def __init__(self, entry: PeerEntry, now: float) -> None:
        self.entry = entry
        self.link: Link | None = None
        self.newcomer: Newcomer | None = None
        """Another process with its key, which waits."""
        self.why = "not heard from yet"
        self.since = now
        self.past = Traffic()
        """Of earlier links."""
        self.dialling: asyncio.Task[None] | None = None
        self.attempt: Link | None = None
        """Connected by us, its hello perhaps not over."""
        self.told = ""
        """Why we are no validator to it, if it says so."""
        self.as_observer = False
        """Dial it as one next time: it has refused us as a validator."""

    def state(self, now: float, shunned: str) -> PeerState:
        """How it stands.

        Args:
            now: seconds on the event loop's clock.
            shunned: why it is as good as gone though its link is up; empty: it is not.
        """
        traffic, rtt, wire = Traffic(), None, None
        traffic.add(self.past)
        if self.link is not None:
            traffic.add(self.link.traffic)
            rtt, wire = self.link.rtt_us(), self.link.wire
        entry = self.entry
        return PeerState(
            entry.index, entry.name, entry.addr, self.link is not None and not shunned,
            now - self.since, shunned or self.why, rtt, wire, traffic,
        )  # fmt: skip


class Directory:
    """Every other validator, by peer number and by key.

    Args:
        own: this node's key.
        kind: what this node is.
        entries: every validator, this node included if it is one.
        now: seconds on the event loop's clock.
    """

    def __init__(
        self, own: PublicKey, kind: Kind, entries: Sequence[PeerEntry], now: float
    ) -> None:
        self.kind = kind
        self.own = next((entry for entry in entries if entry.key == own), None)
        """This node's entry, while it is a validator."""
        self.slots = {e.index: Slot(e, now) for e in entries if e.key != own}
        self.numbers: dict[PublicKey, PeerNumber] = {e.key: e.index for e in entries}
        """Peer number of each validator; handshakes look at it while they run."""
        self.dismissed: dict[PublicKey, str] = {}
        """What to tell those that are none any more."""

    def by_key(self, key: PublicKey) -> Slot | None:
        """The place of a validator other than this node."""
        number = self.numbers.get(key)
        return None if number is None else self.slots.get(number)

    def add(self, entry: PeerEntry, now: float) -> Slot:
        """A place for one more.

        Raises:
            ValueError: its key or its number is taken: our own mistake.
        """
        if entry.key in self.numbers or entry.index in self.numbers.values():
            raise ValueError(f"peer {entry.index}, {entry.name}, is there already")
        self.dismissed.pop(entry.key, None)
        self.numbers[entry.key] = entry.index
        slot = self.slots[entry.index] = Slot(entry, now)
        return slot

    def remove(self, slot: Slot, reason: str) -> None:
        """It is no validator any more, and will be told so."""
        del self.slots[slot.entry.index]
        del self.numbers[slot.entry.key]
        self.dismissed[slot.entry.key] = reason

    def join(self, own: PeerEntry) -> None:
        """This node is a validator from now on."""
        self.kind, self.own = Kind.VALIDATOR, own
        self.numbers[own.key] = own.index
        for slot in self.slots.values():
            slot.told, slot.as_observer = "", False

    def leave(self) -> None:
        """This node is an observer from now on."""
        if self.own is not None:
            self.numbers.pop(self.own.key, None)
        self.kind, self.own = Kind.OBSERVER, None
        for slot in self.slots.values():
            slot.told, slot.as_observer = "", False

    def is_ours_to_dial(self, slot: Slot) -> bool:
        """Whether this node connects to that one, and not the other way round."""
        own, other = self.own, slot.entry
        if own is None or self.kind is not Kind.VALIDATOR:
            return True
        if own.founder and other.founder:
            return other.index < own.index
        return other.key < own.key

    def greeting(self, slot: Slot) -> Kind | None:
        """What to say we are when dialling it now; ``None``: it dials us."""
        if slot.as_observer:
            return Kind.OBSERVER
        return self.kind if self.is_ours_to_dial(slot) else None

    def dismissed_by(self) -> dict[str, str]:
        """Validators that take this node for none, by name, and what they say."""
        return {slot.entry.name: slot.told for slot in self.slots.values() if slot.told}

    def take_no(self, slot: Slot, why: str) -> bool:
        """It says that we are no validator; whether that is news."""
        news = slot.told != why
        slot.told, slot.as_observer = why, True
        return news

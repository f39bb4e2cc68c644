"""Who is where, who needs what again, and how to get what is missing (protocol.md, §5 Resend, §10).

Asks for data by message only; answers to those requests come from the node's store, never from
the core, so that serving a laggard cannot delay a vote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from vppd.consensus.boundary import Timer, TimerKind
from vppd.consensus.messages import GetBlock, GetBlocks, Status
from vppd.consensus.outbox import Outbox
from vppd.types import Digest, Height, ReplicaIndex

FRESH_MS = 3_000
"""A status older than this says nothing about now (§5)."""
FETCH_TIMEOUT_MS = 1_000

_SYNC = Timer(TimerKind.FETCH, 0)
_BODY = Timer(TimerKind.FETCH, 1)
_LATE = Timer(TimerKind.FETCH, 2)


class PeerView(NamedTuple):
    """What a peer last said of itself, and when (monotonic ms)."""

    status: Status
    seen_ms: int


class CatchUp:
    """Peers' statuses, and the two things that can be under way: a range of blocks, one body."""

    __slots__ = ("_asked", "_body", "_sync_from", "_sync_start", "_waiting", "peers")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Know nobody, and wait for nothing."""
        self.peers: dict[ReplicaIndex, PeerView] = {}
        self._sync_from: ReplicaIndex | None = None
        self._sync_start: Height = 0
        """First height of the range asked for."""
        self._body: Digest | None = None
        self._asked: set[ReplicaIndex] = set()
        self._waiting = False

    def note(self, sender: ReplicaIndex, status: Status, now_ms: int) -> bool:
        """Take a peer's status.

        Returns:
            Whether it is news: changed, or heard again after a silence.
        """
        known = self.peers.get(sender)
        self.peers[sender] = PeerView(status, now_ms)
        return known is None or known.status != status or now_ms - known.seen_ms > FRESH_MS

    def renumber(self, index: Mapping[ReplicaIndex, ReplicaIndex | None]) -> None:
        """Another epoch: peers have other indices, or none; whatever was asked for is void.

        Args:
            index: the new one by the old one.
        """
        held = self.peers
        self.forget()
        for old, peer in held.items():
            new = index.get(old)
            if new is not None:
                self.peers[new] = peer

    def fresh(self, now_ms: int) -> list[ReplicaIndex]:
        """Peers heard of within ``FRESH_MS``, ascending."""
        return sorted(i for i, p in self.peers.items() if now_ms - p.seen_ms <= FRESH_MS)

    def sync(self, decided: Height, now_ms: int, out: Outbox, *, quiet: bool) -> None:
        """Ask one peer that is ahead for what follows ``decided``, unless one is being asked.

        Each range goes to the next of them in turn, so that no single slow one sets the pace.

        ``quiet``: nothing has been decided here for a while, so one height behind counts too.
        """
        if self._sync_from is not None:
            return
        need = decided + 1 if quiet else decided + 2
        ahead = [i for i in self.fresh(now_ms) if self.peers[i].status.decided >= need]
        if ahead:
            self._ask_range(ahead[decided % len(ahead)], decided, out)

    def synced(
        self, sender: ReplicaIndex | None, decided: Height, now_ms: int, out: Outbox
    ) -> None:
        """Blocks have arrived: go on with the next peer that has more.

        An answer that brought nothing is worth as much as none: that peer is left out until it says
        again where it stands.
        """
        if self._sync_from is None or sender != self._sync_from:
            return
        self._sync_from = None
        out.cancel(_SYNC)
        if decided < self._sync_start:
            self.peers.pop(sender, None)
        else:
            self.sync(decided, now_ms, out, quiet=True)

    def proposed_ahead(
        self, leader: ReplicaIndex, height: Height, patience_ms: int, now_ms: int, out: Outbox
    ) -> None:
        """A leader proposes two heights above our head: it has decided one that we have not.

        Usually that decision is on its way here; if it is not in ``patience_ms``, it is asked for,
        so that one lost block does not cost the next height this replica's vote as well.
        """
        known = self.peers.get(leader)
        if known is not None and known.status.decided < height - 1:
            self.peers[leader] = PeerView(replace(known.status, decided=height - 1), now_ms)
            out.arm(_LATE, patience_ms)

    def overtaken(self, decided: Height, out: Outbox) -> None:
        """What was asked for has been decided here meanwhile: the answer will not matter."""
        if self._sync_from is not None and decided >= self._sync_start:
            self._sync_from = None
            out.cancel(_SYNC)

    def _ask_range(self, peer: ReplicaIndex, decided: Height, out: Outbox) -> None:
        self._sync_from, self._sync_start = peer, decided + 1
        out.send((peer,), GetBlocks(decided + 1))
        out.arm(_SYNC, FETCH_TIMEOUT_MS)

    def fetch(
        self, missing: tuple[Digest, list[ReplicaIndex]] | None, now_ms: int, out: Outbox
    ) -> None:
        """Get the body the core lacks from one who holds it; a silent one is passed over.

        Those heard of lately are asked first: a dead one would cost ``FETCH_TIMEOUT_MS``.
        """
        if missing is None or missing[0] != self._body:
            self._asked.clear()
            if self._waiting:
                out.cancel(_BODY)
                self._waiting = False
        if missing is None:
            self._body = None
            return
        self._body, holders = missing
        if self._waiting or not holders:
            return
        if self._asked.issuperset(holders):
            self._asked.clear()
        left = [i for i in holders if i not in self._asked]
        fresh = set(self.fresh(now_ms))
        peer = next((i for i in left if i in fresh), left[0])
        self._asked.add(peer)
        self._waiting = True
        out.send((peer,), GetBlock(self._body))
        out.arm(_BODY, FETCH_TIMEOUT_MS)

    def expired(self, timer: Timer) -> bool:
        """A request was not answered in time.

        Returns:
            Whether to ask somebody else for a range now; a body is asked for again anyway.
        """
        if timer == _BODY:
            self._waiting = False
            return False
        if timer == _LATE:
            return True
        if self._sync_from is not None:
            self.peers.pop(self._sync_from, None)  # until it says again where it stands
            self._sync_from = None
        return True

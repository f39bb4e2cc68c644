"""The leader's part: asking for a block, promising it, sending it on a path (protocol.md, §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vppd.consensus.boundary import (
    ALL,
    ZERO_SIGNATURE,
    Offered,
    ProposalRecord,
    VoteRecord,
)
from vppd.consensus.chain import Body
from vppd.consensus.flight import Flight
from vppd.consensus.messages import Block, Path
from vppd.consensus.outbox import Outbox
from vppd.consensus.safety import Position
from vppd.consensus.tally import Cast
from vppd.errors import LocalFault
from vppd.header import decode_header
from vppd.types import Digest, Height, ReplicaIndex

if TYPE_CHECKING:
    from vppd.consensus.core import Core


class Proposal(NamedTuple):
    """What a leader proposed, and where it wants the votes."""

    cast: Cast
    path: Path


class Proposer:
    """What a replica does while it leads; at most one block per (view, height).

    Args:
        core: whose promises it makes.
        out: where blocks go.
    """

    __slots__ = ("_core", "_out", "_wanted")

    def __init__(self, core: Core, out: Outbox) -> None:
        self._core = core
        self._out = out
        self._wanted: Height | None = None
        """The height a block was asked for."""

    def forget(self) -> None:
        """What was asked for is void: the height is decided, or the view is another one."""
        self._wanted = None

    def ask(self, *, work: bool) -> None:
        """The leader wants a block if there is work, or a time trigger is due (§5, Packing)."""
        core = self._core
        height = core.head.height + 1
        applied, at = core.applied, core.at(height)
        if applied is None or self._wanted == height or not self._may_open(at):
            return
        if core.record.voted(at) is not None:
            return  # a record without its proposal: never another
        if (choice := core.choice(at)) is not None:
            self._open_choice(at, choice)
            return
        due = applied.next_due_ms is not None and applied.next_due_ms <= core.now.unix_ms
        if work or due:
            self._wanted = height
            self._out.want(height)

    def propose(self, offered: Offered) -> None:
        """Promise and send the block the node built.

        Raises:
            LocalFault: the node built a block that no replica could accept.
        """
        core = self._core
        self._wanted = None
        header = decode_header(offered.header)
        at = core.at(header.height)
        if not self._may_open(at) or core.choice(at) is not None:
            return
        digest = header.digest()
        body = Body(header, offered.header, offered.txs, at.view, b"")
        why = core.why_invalid(body)
        if why:
            raise LocalFault(f"the node built an invalid block for height {at.height}: {why}")
        core.bodies.add(digest, body)
        self._open(at, digest)

    def send(self, digest: Digest, to: tuple[ReplicaIndex, ...] | None = None) -> None:
        """The proposal and its vote, to everybody or again to some."""
        core = self._core
        body, flight = core.bodies[digest], core.waiting.flight
        at = core.at(body.header.height)
        path = Path.BROADCAST if flight is None else flight.path
        message = Block(
            *at, digest, path, body.raw_header, body.txs, ZERO_SIGNATURE, ZERO_SIGNATURE
        )
        self._out.send(ALL if to is None else to, message)
        if to is None:
            core.opened_ms = core.now.monotonic_ms

    def _may_open(self, at: Position) -> bool:
        core = self._core
        leads = core.leader(at.view, at.height) == core.own
        return core.may(at.view, at.height) and leads and core.record.proposed(at) is None

    def _open_choice(self, at: Position, choice: Digest) -> None:
        """The choice, at once and unchanged: its time and proposer are those of its first view."""
        core = self._core
        body = core.bodies.get(choice)
        if body is None:  # power failed since: the others have it
            core.sought = (choice, core.others)
        elif not core.why_invalid(body):
            self._open(at, choice)

    def _open(self, at: Position, digest: Digest) -> None:
        """Promise proposal and vote in one record, then send (§5, propose)."""
        core = self._core
        if not core.record.allows(at, digest):
            return
        core.bodies.keep(digest)
        core.promise(ProposalRecord(*at, digest), VoteRecord(*at, digest))
        path = core.policy.next()
        core.waiting.begin(Flight(at, digest, path, core.now.monotonic_ms, leads=True))
        self.send(digest)

"""An era: who votes, and by which rules, from one height on (protocol.md, §10).

The ledger decides on eras and keeps the latest in its state; the consensus core lives in one at a
time. Era 0 is what genesis says. What block n executes takes effect at height n + 2, so that block
n + 1, still decided by the old members, carries the hash of the new ones.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from vppd.codec import U32, U63, Bytes32, Message
from vppd.types import ZERO_DIGEST

Name: TypeAlias = Annotated[str, Meta(max_length=64)]


class EraMember(Message, frozen=True):
    """A replica that votes; its index is its position in the era."""

    key: Bytes32
    operator: bool
    name: Name
    addr: Annotated[str, Meta(max_length=128)] = ""
    """``host:port``; empty: where peers.toml says."""
    nonce: Bytes32 = ZERO_DIGEST
    """Drawn by that node before it became ready; zeros: as genesis lists it. A node votes only
    in eras that name its own nonce, so that no copy without memory ever does (§4)."""


class Era(Message, frozen=True):
    """One epoch's members and rules."""

    epoch: U63
    """0 for genesis; one more with each era."""
    first: U63
    """First height; 1 for genesis. The last is the one before the next era's first."""
    engine: Name
    f: U32 | None
    """Byzantine replicas to tolerate; ``None``: the most."""
    p: U32 | None
    """Slack of the fast path; ``None``: the default."""
    members: tuple[EraMember, ...]
    rules: tuple[tuple[Name, U63], ...] = ()
    """Numbers of ``[consensus]`` that differ from genesis, by name, ascending."""

"""What goes into an audit and what comes out of it."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from vppd.types import Height, Micro


class ExportedBlock(NamedTuple):
    """A decided block and what executing it did, as bytes."""

    header: bytes
    txs: tuple[bytes, ...]
    """In order, as received."""
    receipts: tuple[bytes, ...]
    """The block's own first, then one per transaction."""


class MemberAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One member's energy and money; amounts are signed, negative = received."""

    name: str
    role: str
    """Of the validator with the member's key; ``member`` if it has none."""
    net_wh: int
    """Import − export, over the settled slots whose energy its meters know."""
    paid_micro: Micro
    """What balance and escrow have lost since genesis but for transfers between members."""
    paid_grid_only_micro: Micro
    """What the energy in ``net_wh`` would have cost at the grid's prices alone."""


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found."""

    height: Height
    """Of the last block; 0: there is none."""
    head: str
    """Digest of the last block in hex; of the genesis file if there is none."""
    transactions: int
    trades: int
    traded_wh: int
    members: list[MemberAudit]
    """In the order of genesis."""
    findings: list[str]
    """One sentence for each failed check, with its height; empty: nothing to object to."""

"""Blocks: making the header of a new one, and whether a body is the one a header names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vppd.codec import Malformed
from vppd.config.genesis import ConsensusRules
from vppd.header import VERSION, Header
from vppd.ledger.transaction import transaction_id
from vppd.merkle import merkle_root
from vppd.types import Digest, Epoch, Height, PublicKey, TimeMs


def make_header(
    *,
    chain_id: Digest,
    epoch: Epoch,
    height: Height,
    parent: Digest,
    time_ms: TimeMs,
    proposer: PublicKey,
    txs: Sequence[bytes],
    state_root: Digest,
    receipts_root: Digest,
    next_validators: Digest,
) -> Header:
    """The header of a block with these transactions.

    Args:
        chain_id: SHA-256 of the genesis file.
        epoch: in force at ``height``.
        height: of the new block.
        parent: digest of the block before; ``chain_id`` for height 1.
        time_ms: strictly after the parent's.
        proposer: key of the replica that packs.
        txs: raw, in order.
        state_root: after the parent.
        receipts_root: after the parent.
        next_validators: hash of the validator set in force at ``height + 1``.
    """
    return Header(
        VERSION,
        chain_id,
        epoch,
        height,
        parent,
        time_ms,
        proposer,
        merkle_root(txs),
        state_root,
        receipts_root,
        next_validators,
        len(txs),
        sum(map(len, txs)),
    )


def check_body(
    header: Header,
    txs: Sequence[bytes],
    rules: ConsensusRules,
    ids: Iterable[Digest] | None = None,
) -> None:
    """Accepts the transactions that ``header`` names, within the limits, each of them once.

    Whether each is valid by itself is another question: :mod:`vppd.ledger.transaction`.

    Args:
        header: of the block.
        txs: raw, in order.
        rules: in force at its height.
        ids: of the transactions, looked at when they are the header's; ``None``: not known yet.

    Raises:
        Malformed: other transactions than the header's, too many, too large, or an id twice.
    """
    count, size = len(txs), sum(map(len, txs))
    if (count, size) != (header.tx_count, header.body_bytes):
        raise Malformed(
            f"block {header.height} holds {count} transactions of {size} bytes, its header says "
            f"{header.tx_count} of {header.body_bytes}"
        )
    if count > rules.max_block_txs or size > rules.max_block_bytes:
        raise Malformed(
            f"block {header.height} holds {count} transactions of {size} bytes, at most "
            f"{rules.max_block_txs} of {rules.max_block_bytes} are allowed"
        )
    if merkle_root(txs) != header.tx_root:
        raise Malformed(f"block {header.height} holds other transactions than its header names")
    if len(set(map(transaction_id, txs) if ids is None else ids)) != count:
        raise Malformed(f"block {header.height} holds a transaction twice")

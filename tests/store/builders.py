"""Records of a plausible chain without a ledger: what the store keeps, it does not understand."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from vppd.codec import encode
from vppd.consensus.boundary import (
    BodyRecord,
    DecisionRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    ViewRecord,
    VoteRecord,
)
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.crypto import sha256
from vppd.header import VERSION, Header
from vppd.merkle import merkle_root
from vppd.store.chain import ExecutionRow
from vppd.types import ZERO_DIGEST, Digest, Height

CHAIN_ID = sha256(b"genesis of the store tests")
GENESIS_STATE = [(b"account/a", b"100"), (b"account/b", b"200")]


def body(height: Height, salt: int = 0, txs: tuple[bytes, ...] = ()) -> BodyRecord:
    """One of many possible bodies at a height."""
    txs = txs or (b"tx %d %d" % (height, salt),)
    header = Header(
        version=VERSION,
        chain_id=CHAIN_ID,
        epoch=0,
        height=height,
        parent=ZERO_DIGEST,
        time_ms=1_000 * height + salt,
        proposer=bytes(32),
        tx_root=merkle_root(txs),
        state_root=ZERO_DIGEST,
        receipts_root=ZERO_DIGEST,
        next_validators=ZERO_DIGEST,
        tx_count=len(txs),
        body_bytes=sum(len(raw) for raw in txs),
    )
    return BodyRecord(header.digest(), height, salt, header.encode(), txs, bytes(64))


def certificate(block: BodyRecord, kind: CertificateKind = CertificateKind.COMMIT) -> Certificate:
    return Certificate(kind, 0, block.view, block.height, block.digest, b"\x07", (b"s" * 64,) * 3)


def decision(block: BodyRecord) -> DecisionRecord:
    return DecisionRecord(block.height, block.digest, certificate(block))


def vote(block: BodyRecord) -> VoteRecord:
    return VoteRecord(0, block.view, block.height, block.digest)


def proposal(block: BodyRecord) -> ProposalRecord:
    return ProposalRecord(0, block.view, block.height, block.digest)


def prepared(block: BodyRecord) -> PreparedRecord:
    return PreparedRecord(certificate(block, CertificateKind.PREPARED))


def view(number: int) -> ViewRecord:
    return ViewRecord(0, number, 0)


def decided(height: Height) -> tuple[Record, ...]:
    """Body and decision of one height."""
    block = body(height)
    return block, decision(block)


def tx_id(height: Height, salt: int = 0) -> Digest:
    """Of the one transaction of :func:`body`, as execution names what it cannot read."""
    return sha256(b"tx %d %d" % (height, salt))


def execution(
    height: Height,
    changes: tuple[tuple[bytes, bytes | None], ...] = (),
    tx_ids: tuple[Digest, ...] | None = None,
) -> ExecutionRow:
    return ExecutionRow(
        height=height,
        state_root=sha256(b"state %d" % height),
        receipts_root=sha256(b"receipts %d" % height),
        receipts=(b"block", b"receipt %d" % height),
        changes=changes or ((b"height", b"%d" % height),),
        tx_ids=(tx_id(height),) if tx_ids is None else tx_ids,
        next_due_ms=5_000 if height % 2 else None,
    )


def raw_rows(path: Path, query: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
    """What another process would read."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query, parameters).fetchall()
    finally:
        connection.close()


def raw_write(path: Path, statement: str, parameters: Sequence[object] = ()) -> None:
    """What another process would write."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(statement, parameters)
    finally:
        connection.close()


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def content(path: Path, suffix: str = "") -> bytes:
    return path.with_name(path.name + suffix).read_bytes()


def encoded_size(message: object) -> int:
    return len(encode(message))

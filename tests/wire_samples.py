"""One small sample of every message between nodes, for docs/wire.md and its tests."""

from __future__ import annotations

from vppd.codec import Message
from vppd.consensus.messages import (
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Commit,
    DecidedBlock,
    GetBlock,
    GetBlocks,
    Ping,
    Prepare,
    Reply,
    Status,
    Tx,
)
from vppd.header import VERSION, Header
from vppd.merkle import EMPTY_ROOT, merkle_root

D = bytes(range(32))
SIG = bytes([0xAA]) * 64
TXS = (b"\x01\x02\x03",)
HEADER = Header(
    version=VERSION,
    chain_id=D,
    epoch=0,
    height=7,
    parent=bytes([0x11]) * 32,
    time_ms=1_750_000_000_000,
    proposer=bytes([0x22]) * 32,
    tx_root=merkle_root(TXS),
    state_root=bytes([0x33]) * 32,
    receipts_root=EMPTY_ROOT,
    next_validators=bytes([0x44]) * 32,
    tx_count=1,
    body_bytes=3,
)
CERTIFICATE = Certificate(CertificateKind.COMMIT, 0, 1, 7, D, b"\x07", (SIG, SIG, SIG))

SAMPLES: tuple[Message, ...] = (
    Block(0, 1, 7, D, 0, HEADER.encode(), TXS, SIG, SIG),
    Agree(CERTIFICATE),
    Prepare(0, 1, 7, D, 2, SIG),
    Commit(0, 1, 7, D, 2, SIG),
    Reply(0, 7, D, D, D, 2, SIG),
    Status(0, 7, 1, 0),
    GetBlock(D),
    BlockBody(0, 1, 7, D, HEADER.encode(), TXS, SIG),
    GetBlocks(8),
    Blocks((DecidedBlock(HEADER.encode(), TXS, CERTIFICATE),)),
    Tx(b"\x01\x02\x03"),
    Ping(),
)

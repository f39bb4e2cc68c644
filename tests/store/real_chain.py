"""A small chain as four replicas would have made it: real keys, real signatures, a real ledger."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Genesis,
    MarketRulesSection,
    MeterEntry,
    Tariff,
    ValidatorEntry,
)
from vppd.consensus.boundary import BodyRecord, DecisionRecord, NewViewRecord, VoteRecord
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import Certificate, CertificateKind, NewView
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, TAG_VOTE, sign_bytes
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.crypto import SigningKey, sha256
from vppd.header import Header
from vppd.ledger.block import make_header
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.transaction import Op, PlaceOrder, Reading, Transfer, make_transaction
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import Digest, Height, Role

N = 4
START_MS = 1_750_000_000_000
SLOT_MS = 2_000
KEYS = [SigningKey(sha256(b"replica %d of the store tests" % i)) for i in range(N)]
METER = SigningKey(sha256(b"meter of the store tests"))
NAMES = ["op-0", "der-1", "der-2", "der-3"]

GENESIS = Genesis(
    name="store tests",
    digest=sha256(b"genesis of the real chain"),
    consensus=ConsensusRules(),
    market=MarketRulesSection(
        origin_ms=START_MS,
        slot_ms=SLOT_MS,
        market_slot_minutes=60,
        open_lead_ms=2 * SLOT_MS,
        gate_lead_ms=SLOT_MS // 4,
        metering_ms=SLOT_MS // 2,
        dispute_slots=8,
        tariffs=(
            Tariff(start_minute=0, end_minute=1440, retail_price=570_000, feed_in_price=380_000),
        ),
    ),
    validators=tuple(
        ValidatorEntry(name=name, role=Role.DER if i else Role.OPERATOR, key=KEYS[i].public_key)
        for i, name in enumerate(NAMES)
    ),
    accounts=tuple(
        AccountEntry(name=name, key=KEYS[i].public_key, balance=200_000_000)
        for i, name in enumerate(NAMES)
    ),
    meters=(MeterEntry(key=METER.public_key, account="der-1"),),
)
VALIDATORS = ValidatorSet.of(0, (Validator(v.key, v.role, v.name) for v in GENESIS.validators))


class Block(msgspec.Struct, frozen=True):
    """One decided and executed height."""

    header: Header
    txs: tuple[bytes, ...]
    certificate: Certificate
    execution: Execution

    @property
    def body(self) -> BodyRecord:
        """With the leader's signature on odd heights; the even ones came by catching up."""
        header, view = self.header, self.certificate.view
        digest = header.digest()
        proposal = b""
        if header.height % 2:
            leader = KEYS[header.height % N]
            message = sign_bytes(TAG_PROPOSAL, header.chain_id, 0, view, header.height, digest)
            proposal = leader.sign(message)
        return BodyRecord(digest, header.height, view, header.encode(), self.txs, proposal)

    @property
    def row(self) -> ExecutionRow:
        return ExecutionRow.of(self.execution)


class Maker:
    """Makes block after block."""

    def __init__(self, plant: Genesis = GENESIS) -> None:
        self.ledger = Ledger.from_genesis(plant)
        self.genesis_state = tuple(self.ledger.entries())
        self.blocks: list[Block] = []
        self._nonces: dict[bytes, int] = {}

    def sign(self, key: SigningKey, *ops: Op) -> bytes:
        """The next transaction of that sender."""
        nonce = self._nonces.get(key.public_key, 0)
        self._nonces[key.public_key] = nonce + 1
        return make_transaction(key, GENESIS.digest, nonce, 1_000, ops)

    def add(self, *txs: bytes) -> Block:
        """Decide and execute a block, a second after the last."""
        height = len(self.blocks) + 1
        parent = self.blocks[-1].header.digest() if self.blocks else GENESIS.digest
        header = make_header(
            chain_id=GENESIS.digest,
            epoch=0,
            height=height,
            parent=parent,
            time_ms=START_MS + 1_000 * height,
            proposer=KEYS[height % N].public_key,
            txs=txs,
            state_root=self.ledger.state_root,
            receipts_root=self.ledger.receipts_root,
            next_validators=VALIDATORS.digest,
        )
        certificate = certify(CertificateKind.COMMIT, height, header.digest())
        block = Block(header, txs, certificate, self.ledger.execute(header, txs))
        self.blocks.append(block)
        return block

    def add_typical(self, heights: int) -> None:
        """Transfers, one of them beyond the sender's means, orders that trade, readings."""
        for number in range(1, heights + 1):
            txs = [
                self.sign(KEYS[1], Transfer(KEYS[2].public_key, 1_000 * number)),
                self.sign(KEYS[3], Transfer(KEYS[0].public_key, 10**12)),
            ]
            if number <= 2:
                txs += [
                    self.sign(KEYS[1], PlaceOrder(2, 0, 1_000, 400_000, 390_000, 0)),
                    self.sign(KEYS[2], PlaceOrder(2, 1, 800, 500_000, 550_000, 0)),
                ]
            if number == 4:
                txs.append(self.sign(METER, Reading(0, 500, 1_500)))
            self.add(*txs)


def certify(kind: CertificateKind, height: Height, digest: Digest, view: int = 0) -> Certificate:
    """Signatures of all replicas on one decision."""
    tag = TAG_COMMIT if kind is CertificateKind.COMMIT else TAG_VOTE
    message = sign_bytes(tag, GENESIS.digest, 0, view, height, digest)
    signatures = {i: key.sign(message) for i, key in enumerate(KEYS)}
    return assemble(kind, 0, view, height, digest, signatures, N, VALIDATORS.quorum.vote)


async def write(path: Path, maker: Maker, executed: Height | None = None) -> None:
    """The store of a replica that took part from the start."""
    await ChainStore.create(path, GENESIS.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        await store.seed_state(maker.genesis_state)
        for block in maker.blocks:
            body, height = block.body, block.header.height
            vote = VoteRecord(0, body.view, height, body.digest)
            await store.persist([body, vote])
            await store.persist([DecisionRecord(height, body.digest, block.certificate)])
            if executed is None or height <= executed:
                store.put_execution(block.row)
        await store.persist([NewViewRecord(NewView(0, 1, 1, None, (), None, None, bytes(64)))])

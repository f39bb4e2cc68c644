"""A plant to measure with: four replicas, a thousand members, real keys and a real ledger."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Genesis,
    LedgerRules,
    MarketRulesSection,
    MeterEntry,
    Tariff,
    ValidatorEntry,
)
from vppd.consensus.boundary import BodyRecord, DecisionRecord
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import CertificateKind
from vppd.consensus.profile import founding_validators
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, sign_bytes
from vppd.crypto import SigningKey, sha256
from vppd.header import Header
from vppd.ledger.block import make_header
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.transaction import Op, Opaque, PlaceOrder, Reading, Transfer, make_transaction
from vppd.types import Digest, Height, Role, TimeMs

REPLICAS = 4
MEMBERS = 1_000
"""A block of the benchmarks holds one transaction of each."""
SLOT_MS = 900_000
ORIGIN_MS: TimeMs = 1_750_000_000_000
SLOT = 100
"""The slot that orders are placed for."""
LIFETIME = 1_000
RETAIL, FEED_IN = 570_000, 380_000


class Plant(NamedTuple):
    """Genesis and every secret key."""

    genesis: Genesis
    replicas: tuple[SigningKey, ...]
    members: tuple[SigningKey, ...]
    meters: tuple[SigningKey, ...]


@cache
def plant() -> Plant:
    """The plant; the same in every process."""
    replicas = tuple(SigningKey(sha256(b"replica %d" % i)) for i in range(REPLICAS))
    members = tuple(SigningKey(sha256(b"member %d" % i)) for i in range(MEMBERS))
    meters = tuple(SigningKey(sha256(b"meter %d" % i)) for i in range(MEMBERS))
    genesis = Genesis(
        name="micro",
        digest=sha256(b"genesis of the micro-benchmarks"),
        consensus=ConsensusRules(),
        market=MarketRulesSection(
            origin_ms=ORIGIN_MS,
            slot_ms=SLOT_MS,
            tariffs=(
                Tariff(start_minute=0, end_minute=1440, retail_price=RETAIL, feed_in_price=FEED_IN),
            ),
        ),
        validators=tuple(
            ValidatorEntry(
                name=f"node-{i}", role=Role.DER if i else Role.OPERATOR, key=key.public_key
            )
            for i, key in enumerate(replicas)
        ),
        accounts=tuple(
            AccountEntry(name=f"member-{i}", key=key.public_key, balance=10**12)
            for i, key in enumerate(members)
        ),
        meters=tuple(
            MeterEntry(key=key.public_key, account=f"member-{i}") for i, key in enumerate(meters)
        ),
    )
    return Plant(genesis, replicas, members, meters)


@cache
def null_plant() -> Plant:
    """The same with a ledger that executes nothing."""
    home = plant()
    genesis = msgspec.structs.replace(
        home.genesis,
        digest=sha256(b"null genesis of the micro-benchmarks"),
        ledger=LedgerRules(kind="null"),
    )
    return home._replace(genesis=genesis)


def _signed(key: SigningKey, nonce: int, ops: Sequence[Op]) -> bytes:
    return make_transaction(key, plant().genesis.digest, nonce, LIFETIME, ops)


@cache
def transfers(nonce: int = 0, ops: int = 1) -> tuple[bytes, ...]:
    """A transaction of every member, each paying its neighbour ``ops`` times."""
    keys = plant().members
    return tuple(
        _signed(key, nonce, [Transfer(keys[i - 1].public_key, 1 + k) for k in range(ops)])
        for i, key in enumerate(keys)
    )


@cache
def opaque(nonce: int = 0) -> tuple[bytes, ...]:
    """A transaction of some 200 bytes of every member of the plant with the null ledger."""
    chain_id = null_plant().genesis.digest
    return tuple(
        make_transaction(key, chain_id, nonce, LIFETIME, [Opaque(key.public_key * 2 + bytes(20))])
        for key in plant().members
    )


@cache
def orders() -> tuple[bytes, ...]:
    """An order of every member, offers and bids in turn; most of them cross."""
    made = []
    for i, key in enumerate(plant().members):
        side, step = i % 2, i * 7_919 % 100_000
        price = RETAIL - step if side else FEED_IN + step
        reserve = price + 20_000 if side else price - 20_000
        quantity = 500 + i * 104_729 % 3_000
        made.append(_signed(key, 0, [PlaceOrder(SLOT, side, quantity, price, reserve, 0)]))
    return tuple(made)


@cache
def readings() -> tuple[bytes, ...]:
    """The first reading of every meter: of slot 0."""
    return tuple(
        _signed(key, 0, [Reading(0, i * 31 % 2_000, i * 17 % 2_000)])
        for i, key in enumerate(plant().meters)
    )


def header_over(ledger: Ledger, parent: Digest, time_ms: TimeMs, txs: Sequence[bytes]) -> Header:
    """Of the block after what ``ledger`` has executed."""
    home = plant()
    return make_header(
        chain_id=ledger.chain_id,
        epoch=0,
        height=ledger.height + 1,
        parent=parent,
        time_ms=time_ms,
        proposer=home.replicas[0].public_key,
        txs=txs,
        state_root=ledger.state_root,
        receipts_root=ledger.receipts_root,
        next_validators=founding_validators(home.genesis).digest,
    )


class Decided(NamedTuple):
    """A height as a store takes it."""

    body: BodyRecord
    decision: DecisionRecord
    execution: Execution


@cache
def chain(heights: Height, txs: int, *, null: bool = False) -> tuple[Decided, ...]:
    """A decided chain from genesis: blocks of transfers, each member in turn.

    Args:
        heights: in all.
        txs: in each block; divides the number of members.
        null: of opaque transactions, in the plant with the null ledger.
    """
    home = null_plant() if null else plant()
    source = opaque if null else transfers
    genesis = home.genesis
    ledger = Ledger.from_genesis(genesis)
    parent = genesis.digest
    quorum = founding_validators(genesis).quorum.vote
    made = []
    turns = MEMBERS // txs
    for height in range(1, heights + 1):
        nonce, part = divmod(height - 1, turns)
        block = source(nonce)[part * txs : (part + 1) * txs]
        header = header_over(ledger, parent, ORIGIN_MS + height, block)
        parent = header.digest()
        votes, proposal = (
            sign_bytes(tag, genesis.digest, 0, 0, height, parent)
            for tag in (TAG_COMMIT, TAG_PROPOSAL)
        )
        certificate = assemble(
            CertificateKind.COMMIT, 0, 0, height, parent,
            {i: key.sign(votes) for i, key in enumerate(home.replicas[:quorum])}, REPLICAS, quorum,
        )  # fmt: skip
        leader = home.replicas[0].sign(proposal)
        body = BodyRecord(parent, height, 0, header.encode(), block, leader)
        execution = ledger.execute(header, block)
        made.append(Decided(body, DecisionRecord(height, parent, certificate), execution))
    return tuple(made)

"""A plant whose nodes have decided a long chain, made in one process instead of in a year.

``python -m tests.store.long_chain --blocks 50000 --out DIR`` writes a testnet of four nodes with
real keys, signatures and executions in every store, but for the last node's, which is as ``vppd
testnet`` left it.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec

from vppd.cli.testnet import OPENING_BALANCE, Testnet, write_testnet
from vppd.config.genesis import AccountEntry, ConsensusRules
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.config.keys import load_key
from vppd.config.peers import render_peers
from vppd.consensus.boundary import BodyRecord, DecisionRecord, PreparedRecord, Record, VoteRecord
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import CertificateKind
from vppd.consensus.profile import founding_validators
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes
from vppd.crypto import SigningKey, sha256
from vppd.ledger.block import make_header
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.store.guard import Guard, Mark, guard_file
from vppd.store.rows import ExecutionRow
from vppd.store.safety import SafetyRow
from vppd.store.writer import Writer
from vppd.types import Height

NODES = 4
TXS = 3
"""Transfers in each block."""
AT_ONCE = 256
"""Blocks in one transaction of the database."""
BEGUN_MS = 1_750_000_000_000
STEP_MS = 60_000
LIFETIME = 1_000


def long_chain(
    out: Path,
    blocks: Height,
    *,
    base_port: int,
    nodes: int = NODES,
    accounts: int = 0,
    rules: ConsensusRules | None = None,
) -> Testnet:
    """Write the plant.

    Args:
        out: must not exist.
        blocks: to decide.
        base_port: of the first node.
        nodes: in all; the last one's store stays empty.
        accounts: besides those of the nodes, so that the state has some size.
        rules: of the plant.
    """
    made = write_testnet(
        out, nodes, base_port=base_port, consensus=rules, transport="plain", seed=7
    )
    made = _with_accounts(made, accounts)
    first, *others = made.nodes[:-1]
    _fill(first.home / "chain.db", made, blocks)
    for member in others:
        for file in (first.home / "chain.db", guard_file(first.home / "chain.db")):
            shutil.copyfile(file, member.home / file.name)
    return made


def _with_accounts(made: Testnet, count: int) -> Testnet:
    """The same plant with more members."""
    genesis = made.genesis
    extra = (
        AccountEntry(
            name=f"member-{i}",
            key=SigningKey(sha256(b"member %d" % i)).public_key,
            balance=OPENING_BALANCE,
        )
        for i in range(count)
    )
    text = render_genesis(
        name=genesis.name,
        consensus=genesis.consensus,
        market=genesis.market,
        validators=genesis.validators,
        accounts=(*genesis.accounts, *extra),
        meters=genesis.meters,
    )
    genesis = parse_genesis(text.encode(), made.out / "genesis.toml")
    peers = msgspec.structs.replace(made.peers, genesis_digest=genesis.digest)
    for member in made.nodes:
        (member.home / "genesis.toml").write_text(text)
        (member.home / "peers.toml").write_text(
            render_peers(chain_name=genesis.name, genesis_digest=genesis.digest, peers=peers.peers)
        )
        with closing(sqlite3.connect(member.home / "chain.db")) as connection, connection:
            connection.execute(
                "UPDATE meta SET value = ? WHERE key = 'chain_id'", (genesis.digest,)
            )
    return msgspec.structs.replace(made, genesis=genesis, peers=peers)


def _fill(path: Path, made: Testnet, blocks: Height) -> None:
    genesis = made.genesis
    keys = [load_key(member.home / "node.key") for member in made.nodes]
    validators = founding_validators(genesis)
    ledger = Ledger.from_genesis(genesis)
    parent, quorum = genesis.digest, validators.quorum.vote
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        safety = SafetyRow.load(connection)
        writer = Writer(0, safety)
        writer.seed(connection, ledger.entries())
        records: list[BodyRecord | DecisionRecord] = []
        rows: list[ExecutionRow] = []
        for height in range(1, blocks + 1):
            payer, payee = keys[height % len(keys)], keys[(height + 1) % len(keys)]
            nonce = ledger.nonce(payer.public_key) or 0
            txs = tuple(
                make_transaction(
                    payer, genesis.digest, nonce + i, height + LIFETIME,
                    [Transfer(payee.public_key, 1)],
                )
                for i in range(TXS)
            )  # fmt: skip
            header = make_header(
                chain_id=genesis.digest,
                epoch=0,
                height=height,
                parent=parent,
                time_ms=BEGUN_MS + STEP_MS * height,
                proposer=keys[0].public_key,
                txs=txs,
                state_root=ledger.state_root,
                receipts_root=ledger.receipts_root,
                next_validators=validators.digest,
            )
            parent = header.digest()
            signed = sign_bytes(TAG_COMMIT, genesis.digest, 0, 0, height, parent)
            votes = {i: key.sign(signed) for i, key in enumerate(keys[:quorum])}
            certificate = assemble(
                CertificateKind.COMMIT, 0, 0, height, parent, votes, len(keys), quorum
            )
            done = ledger.execute(header, txs)
            records += [
                BodyRecord(parent, height, 0, header.encode(), txs, b""),
                DecisionRecord(height, parent, certificate),
            ]
            rows.append(ExecutionRow.of(done))
            if len(rows) == AT_ONCE or height == blocks:
                writer.write(connection, records, rows)
                records.clear()
                rows.clear()
        # What each of them signed last: without it they would take themselves for forgetful.
        message = sign_bytes(TAG_VOTE, genesis.digest, 0, 0, blocks, parent)
        votes = {i: key.sign(message) for i, key in enumerate(keys[:quorum])}
        prepared = assemble(
            CertificateKind.PREPARED, 0, 0, blocks, parent, votes, len(keys), quorum
        )
        promised: list[Record] = [VoteRecord(0, 0, blocks, parent), PreparedRecord(prepared)]
        writer.write(connection, promised, ())
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    guard = Guard.open(path)
    guard.note(Mark(safety.generation, blocks, safety.checksum))
    guard.sync()
    guard.close()


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=50_000)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--base-port", type=int, default=17_440)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    begun = time.perf_counter()
    long_chain(asked.out, asked.blocks, base_port=asked.base_port, accounts=asked.accounts)
    seconds = time.perf_counter() - begun
    print(  # noqa: T201 - a script's output
        f"{asked.blocks} blocks in {seconds:.1f} s: {asked.blocks / seconds:.0f} a second"
    )


if __name__ == "__main__":
    main()

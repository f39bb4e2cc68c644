"""Exporting blocks from a node's store, which is only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from vppd.config.genesis_file import load_genesis
from vppd.day.audit.blocks import audit_blocks
from vppd.day.audit.report import AuditReport, ExportedBlock
from vppd.store.rows import decode_list
from vppd.store.schema import identify, opening, require_file

_QUERY = """
SELECT bodies.header, bodies.txs, executions.receipts
FROM decisions JOIN bodies USING (digest) LEFT JOIN executions
ON executions.height = decisions.height
ORDER BY decisions.height
"""


def audit_store(store: Path, genesis_file: Path) -> AuditReport:
    """Audit all decided blocks of a node that has stopped.

    Args:
        store: its ``chain.db``.
        genesis_file: what the plant agreed on.

    Raises:
        UserError: E250, no store; E251, of another chain; E252…E256, it cannot be read.
        ConfigError: the genesis file cannot be used.
    """
    genesis = load_genesis(genesis_file)
    require_file(store)
    name = f"{store.absolute().as_uri()}?mode=ro"
    with opening(store), closing(sqlite3.connect(name, uri=True)) as connection:
        identify(connection, store, genesis.digest)
        blocks = list(export_blocks(connection))
    return audit_blocks(genesis, blocks)


def export_blocks(connection: sqlite3.Connection) -> Iterator[ExportedBlock]:
    """Decided blocks from height 1 on; one that was never executed has no receipts.

    Raises:
        Malformed: the file is damaged.
    """
    for header, txs, receipts in connection.execute(_QUERY):
        executed = () if receipts is None else decode_list(receipts)
        yield ExportedBlock(header, decode_list(txs), executed)

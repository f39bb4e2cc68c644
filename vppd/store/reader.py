"""Everything that reads: plain functions over a connection, one query each where possible."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from vppd.codec import Decoder, Malformed, encode
from vppd.consensus.boundary import BodyRecord, DecisionRecord, EvidenceRecord, Record
from vppd.consensus.evidence import CHARGES_PER_SIGNER, charge_of
from vppd.consensus.messages import Certificate, DecidedBlock, EraLink
from vppd.crypto import sha256
from vppd.era import Era
from vppd.header import decode_header
from vppd.merkle import merkle_root
from vppd.store.rows import (
    PRUNED,
    Certified,
    Resume,
    StoredExecution,
    decode_certificate,
    decode_era,
    decode_list,
)
from vppd.store.safety import SafetyRow, body_of
from vppd.store.schema import MISTYPED, reading
from vppd.types import Digest, Height

_decode_evidence = Decoder(EvidenceRecord)

_BLOCKS_BYTES = 1 + 5
"""MessagePack around a list of blocks: the message's array, the list's array."""
_BLOCK_BYTES = 1 + 3
"""Around one block's stored parts: its array, the header's length."""


def decided(connection: sqlite3.Connection) -> Height:
    """Highest decision; 0: none."""
    return _height(connection, "SELECT coalesce(max(height), 0) FROM decisions")


def executed(connection: sqlite3.Connection) -> Height:
    """Highest execution; 0: none."""
    return _height(connection, "SELECT coalesce(max(height), 0) FROM executions")


def _height(connection: sqlite3.Connection, query: str) -> Height:
    height: int = connection.execute(query).fetchone()[0]
    return height


def seeded(connection: sqlite3.Connection) -> bool:
    """Whether the state of genesis is there."""
    query = "SELECT 1 FROM meta WHERE key = 'genesis_state'"
    return connection.execute(query).fetchone() is not None


def base(connection: sqlite3.Connection) -> Height:
    """The height this store begins with instead of genesis; 0: it begins with genesis."""
    if not _has(connection, "base"):
        return 0
    return _height(connection, "SELECT coalesce(max(height), 0) FROM base")


def after_base(connection: sqlite3.Connection) -> Certified | None:
    """Header and certificate of the height after the base, as they came with it.

    Raises:
        Malformed: damaged.
    """
    if not _has(connection, "base"):
        return None
    row = connection.execute("SELECT header, certificate FROM base").fetchone()
    return None if row is None else Certified(row[0], decode_certificate(row[1]))


def pruned(connection: sqlite3.Connection) -> Height:
    """Up to here transactions and receipts have been removed; 0: none have."""
    if not _has(connection, "pruned"):
        return 0
    return _height(connection, "SELECT coalesce(max(through), 0) FROM pruned")


def first_block(connection: sqlite3.Connection) -> Height:
    """The lowest height whose transactions are here."""
    return max(base(connection), pruned(connection)) + 1


def _has(connection: sqlite3.Connection, table: str) -> bool:
    """Whether the file has this table; versions 1 and 2 lack some."""
    query = "SELECT 1 FROM sqlite_master WHERE name = ?"
    return connection.execute(query, (table,)).fetchone() is not None


def certified(connection: sqlite3.Connection, height: Height) -> Certified | None:
    """Header and certificate of a decided height, also where it is pruned.

    Raises:
        Malformed: damaged.
    """
    row = connection.execute(
        "SELECT digest, header, certificate FROM decisions JOIN bodies USING (digest) "
        "WHERE decisions.height = ?",
        (height,),
    ).fetchone()
    if row is None:
        return None
    digest, header, raw = row
    if sha256(header) != digest:
        raise Malformed(f"the header {digest.hex()[:16]} is damaged")
    return Certified(header, decode_certificate(raw))


def eras(connection: sqlite3.Connection) -> tuple[Era, ...]:
    """Every era after genesis that is known, ascending.

    Raises:
        Malformed: damaged.
    """
    if not _has(connection, "eras"):
        return ()
    found: list[Era] = []
    rows = connection.execute("SELECT epoch, first, record FROM eras ORDER BY epoch")
    for epoch, first, record in rows:
        era = decode_era(record)
        if (era.epoch, era.first) != (epoch, first) or epoch != len(found) + 1:
            raise Malformed(f"the record of epoch {epoch} is damaged")
        found.append(era)
    return tuple(found)


def era_links(connection: sqlite3.Connection, epoch: int, max_bytes: int) -> tuple[EraLink, ...]:
    """Steps into ``epoch`` and those after it whose last header is decided, as many as fit.

    Raises:
        Malformed: damaged.
    """
    found: list[EraLink] = []
    for era in eras(connection)[max(epoch, 1) - 1 :]:
        last = certified(connection, era.first - 1) or _link(connection, era.epoch)
        if last is None:
            break
        link = EraLink(era, *last)
        max_bytes -= len(encode(link))
        if max_bytes < 0:
            break
        found.append(link)
    return tuple(found)


def _link(connection: sqlite3.Connection, epoch: int) -> Certified | None:
    """The last header before an epoch, where it lies below the base."""
    row = connection.execute(
        "SELECT header, certificate FROM links WHERE epoch = ?", (epoch,)
    ).fetchone()
    return None if row is None else Certified(row[0], decode_certificate(row[1]))


def body(connection: sqlite3.Connection, digest: Digest) -> BodyRecord | None:
    """A body by digest, decided or not; ``None``: not here, or its transactions are not.

    Raises:
        Malformed: damaged.
    """
    row = connection.execute(
        "SELECT height, view, header, txs, proposal_sig FROM bodies WHERE digest = ?", (digest,)
    ).fetchone()
    if row is None or row[3] == PRUNED:
        return None
    height, view, header, encoded, proposal_sig = row
    txs = _intact(digest, header, encoded)
    return BodyRecord(digest, height, view, header, txs, proposal_sig)


def _intact(digest: Digest, header: bytes, encoded: bytes) -> tuple[bytes, ...]:
    """The transactions of a body that is still what its digest says.

    SQLite keeps no checksum over its pages, and a rotten body would be voted on, executed, or
    sent to a peer that takes us for a liar.

    Raises:
        Malformed: damaged.
    """
    txs = decode_list(encoded)
    if sha256(header) != digest or merkle_root(txs) != decode_header(header).tx_root:
        raise Malformed(f"the body {digest.hex()[:16]} is damaged")
    return txs


def block(connection: sqlite3.Connection, height: Height) -> DecidedBlock | None:
    """The decided block at ``height``.

    Raises:
        Malformed: damaged.
    """
    found = blocks_from(connection, height, 0)
    return found[0] if found and found[0].certificate.height == height else None


def blocks_from(
    connection: sqlite3.Connection, first: Height, max_bytes: int
) -> tuple[DecidedBlock, ...]:
    """Consecutive decided blocks whose ``Blocks`` message stays within ``max_bytes``, or one.

    All of one epoch: only who has executed it knows whose signatures those of the next are. None if
    ``first`` is pruned. Ends at a gap, which only damage can leave: what lies beyond cannot be told
    to follow.

    Raises:
        Malformed: damaged.
    """
    rows = connection.execute(
        "SELECT digest, header, txs, certificate FROM decisions JOIN bodies USING (digest) "
        "WHERE decisions.height >= ? ORDER BY decisions.height",
        (first,),
    )
    found: list[DecidedBlock] = []
    room = max_bytes - _BLOCKS_BYTES
    for digest, header, txs, raw in rows:
        if txs == PRUNED:
            break
        room -= _BLOCK_BYTES + len(header) + len(txs) + len(raw)
        if found and room < 0:
            break
        made = DecidedBlock(header, _intact(digest, header, txs), decode_certificate(raw))
        last = found[-1].certificate if found else None
        if last is not None and made.certificate.height != last.height + 1:
            break
        if last is not None and made.certificate.epoch != last.epoch:
            break
        found.append(made)
        if room <= 0:
            break
    return tuple(found)


def certificate(connection: sqlite3.Connection, height: Height) -> Certificate | None:
    """What decided ``height``.

    Raises:
        Malformed: damaged.
    """
    row = connection.execute(
        "SELECT certificate FROM decisions WHERE height = ?", (height,)
    ).fetchone()
    return None if row is None else decode_certificate(row[0])


def execution(connection: sqlite3.Connection, height: Height) -> StoredExecution | None:
    """What executing ``height`` gave.

    Raises:
        Malformed: damaged.
    """
    row = connection.execute(
        "SELECT state_root, receipts_root, receipts, next_due_ms FROM executions WHERE height = ?",
        (height,),
    ).fetchone()
    if row is None:
        return None
    state_root, receipts_root, receipts, next_due_ms = row
    return StoredExecution(height, state_root, receipts_root, decode_list(receipts), next_due_ms)


def state_entries(connection: sqlite3.Connection) -> Iterator[tuple[bytes, bytes]]:
    """All keys and values of the state, ascending by key."""
    yield from connection.execute("SELECT key, value FROM state ORDER BY key")


def resume(connection: sqlite3.Connection) -> Resume:
    """The log for ``Engine.start``: what a replica must know to go on where it stopped.

    Raises:
        Malformed: damaged.
    """
    slots = SafetyRow.load(connection).records
    height = decided(connection)
    last = connection.execute(
        "SELECT digest, certificate FROM decisions WHERE height = ?", (height,)
    ).fetchone()
    bodies: list[Record] = []
    decisions: list[DecisionRecord] = []
    wanted: dict[Digest, None] = {}
    if last is not None:
        digest, encoded = last
        with reading("the last decision"):
            row = DecisionRecord(height, digest, decode_certificate(encoded))
            if (row.certificate.height, row.certificate.digest) != (height, digest):
                raise Malformed(f"the certificate of height {height} is for another block")
            head = body(connection, digest) or _bare(connection, height)
            if head is None:
                raise Malformed(f"the body of decided height {height} is missing")
        bodies.append(head)
        decisions.append(row)
    for slot in slots:
        referred = body_of(slot)
        if referred is not None:
            wanted[referred[1]] = None
    for held in decisions:
        wanted.pop(held.digest, None)
    with reading("the blocks of the safety record"):
        for digest in wanted:
            found = body(connection, digest)
            if found is not None:
                bodies.append(found)
    with reading("the evidence"):
        proof = evidence(connection)
    return Resume((*bodies, *decisions, *slots, *proof), height, executed(connection))


def _bare(connection: sqlite3.Connection, height: Height) -> BodyRecord | None:
    """The block a store begins with: its header is all there is, and all that is needed of it."""
    last = certified(connection, height)
    if last is None or base(connection) != height:
        return None
    at = last.certificate
    return BodyRecord(at.digest, height, at.view, last.header, (), b"")


def dangling(connection: sqlite3.Connection, safety: SafetyRow) -> str:
    """Which block the safety record refers to and is not there; empty: none.

    Blocks at or below the last decision may be gone, if they lost.
    """
    height = decided(connection)
    for slot in safety.records:
        referred = body_of(slot)
        if referred is None or referred[0] <= height:
            continue
        try:
            missing = body(connection, referred[1]) is None
        except (Malformed, *MISTYPED):
            missing = True
        if missing:
            return f"the block of its {type(slot).__name__} at height {referred[0]} is missing"
    return ""


def evidence(connection: sqlite3.Connection) -> tuple[Record, ...]:
    """Proof against other replicas, in a fixed order, as much per signer as anybody counts.

    Raises:
        Malformed: damaged.
    """
    rows = connection.execute(
        "SELECT signer, kind, epoch, view, height, record FROM (SELECT *, row_number() OVER "
        "(PARTITION BY signer ORDER BY epoch, height, view, kind) AS nth FROM evidence) "
        "WHERE nth <= ? ORDER BY signer, nth",
        (CHARGES_PER_SIGNER,),
    )
    found: list[EvidenceRecord] = []
    for *charge, encoded in rows:
        record = _decode_evidence(encoded)
        if charge_of(record.proof) != tuple(charge):
            raise Malformed(f"the evidence against replica {charge[0]} is damaged")
        found.append(record)
    return tuple(found)

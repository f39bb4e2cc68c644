"""The index of transactions: runs of shortened ids, in the order in which they were executed.

A row of ``places`` is a run: the first :data:`PREFIX` bytes of the id of every transaction of the
heights it covers, and how many each height has. A block appends one run, and runs are joined where
a height is a multiple of :data:`SPANS`, so what a block costs does not depend on how much is there.
To find an id, the runs are searched from the newest to the oldest; what is found counts if the
block there holds a transaction with that very id (docs/adr/0018).
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from sys import byteorder
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.ledger.codes import Status
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import decode_transaction, statement_in, transaction_id
from vppd.store.rows import TxLocation, decode_list
from vppd.types import Digest, Height

PREFIX = 8
"""Bytes kept of an id: nobody can make two that agree in so many with one of somebody else's."""
SPANS = (64, 4_096)
"""At a height that one of them divides, the runs of so many heights become one, ..."""
MOST_BYTES = 1 << 20
"""... if that has no more bytes of ids: joining costs milliseconds and delays no promise."""
_COUNT_BYTES = 4


class Run(NamedTuple):
    """A row of ``places``."""

    first: Height
    last: Height
    ids: bytes
    """:data:`PREFIX` bytes for each transaction: see :func:`mark`; zeros for a refused one."""
    counts: bytes
    """Transactions of each height from ``first`` to ``last``, u32 big-endian."""


class Wrong(NamedTuple):
    """Where the index is not what the blocks make it."""

    height: Height
    what: str


def mark(tx_id: Digest) -> bytes:
    """What stands for an id: its first bytes; never zeros, those are of what was refused."""
    prefix = tx_id[:PREFIX]
    return prefix if any(prefix) else (1).to_bytes(PREFIX, "big")


def marks(tx_ids: Sequence[Digest], refused: Collection[int]) -> bytes:
    """What stands for the transactions of a block, in order.

    Args:
        tx_ids: of all of them.
        refused: positions of those that are not to be found.
    """
    parts = [tx_id[:PREFIX] for tx_id in tx_ids]
    if bytes(PREFIX) in parts:
        parts = [mark(tx_id) for tx_id in tx_ids]
    for position in refused:
        parts[position] = bytes(PREFIX)
    return b"".join(parts)


def id_of(raw: bytes) -> Digest:
    """The id by which execution names what a block holds, be it a transaction or not."""
    try:
        return transaction_id(raw)
    except Malformed:
        return sha256(raw)


# ---------------------------------------------------------------- writing


def append(
    connection: sqlite3.Connection,
    height: Height,
    tx_ids: Sequence[Digest],
    refused: Collection[int],
) -> None:
    """Add an executed block, in the transaction under way; every height comes once, in order."""
    _append(connection, height, len(tx_ids), marks(tx_ids, refused))


def _append(connection: sqlite3.Connection, height: Height, count: int, ids: bytes) -> None:
    if count:
        _insert(connection, Run(height, height, ids, count.to_bytes(_COUNT_BYTES, "big")))
    for span in SPANS:
        if height % span == 0:
            _join(connection, height - span + 1, height)


def _insert(connection: sqlite3.Connection, run: Run) -> None:
    connection.execute("INSERT INTO places (first, last, ids, counts) VALUES (?, ?, ?, ?)", run)


def _join(connection: sqlite3.Connection, first: Height, last: Height) -> None:
    """Make one run of those between two heights, if there are several and all of them fit."""
    found = connection.execute(
        "SELECT id, length(ids) FROM places WHERE last BETWEEN ? AND ? AND first >= ? "
        "ORDER BY last",
        (first, last, first),
    ).fetchall()
    if len(found) < 2 or sum(size for _, size in found) > MOST_BYTES:
        return
    whole = "SELECT first, last, ids, counts FROM places WHERE id = ?"
    runs = [Run(*connection.execute(whole, (row,)).fetchone()) for row, _ in found]
    counts = bytearray()
    for run in runs:
        counts += bytes(_COUNT_BYTES * (run.first - runs[0].first) - len(counts))
        counts += run.counts
    ids = b"".join(run.ids for run in runs)
    _insert(connection, Run(runs[0].first, runs[-1].last, ids, bytes(counts)))
    connection.executemany("DELETE FROM places WHERE id = ?", [(row,) for row, _ in found])


def prune(connection: sqlite3.Connection, through: Height) -> None:
    """Remove what lies at or below a height, in the transaction that has marked it as pruned."""
    found = connection.execute(
        "SELECT first, last, ids, counts FROM places WHERE first <= ? AND last > ?",
        (through, through),
    ).fetchone()
    if found is not None:
        run = Run(*found)
        gone = through + 1 - run.first
        below = PREFIX * sum(_counts(run.counts)[:gone])
        upper = Run(through + 1, run.last, run.ids[below:], run.counts[_COUNT_BYTES * gone :])
        _insert(connection, upper)
    connection.execute("DELETE FROM places WHERE first <= ?", (through,))


def build(connection: sqlite3.Connection, schema: str = "main") -> None:
    """Fill ``places`` from the index of schema versions 1 to 3, in the transaction under way.

    Args:
        connection: whose main database has the blocks and their executions.
        schema: the database that has the old table.

    Raises:
        Malformed: damaged.
    """
    for height, count, ids in _old_index(connection, schema, heal=True):
        _append(connection, height, count, ids)


def _old_index(
    connection: sqlite3.Connection, schema: str = "main", first: Height = 1, *, heal: bool
) -> Iterator[tuple[Height, int, bytes]]:
    """Each executed height that is here, its transactions, and what stands for them.

    The old index told of every transaction where it was executed first. What it does not tell of
    was refused, or had been executed before: receipts say which.

    Args:
        connection: whose main database has the blocks.
        schema: the database that has the old table.
        first: height to begin with.
        heal: put in what is missing and leave out what is of no transaction. Else what is missing
            stays so, unless it is told of at an earlier place, and what is too much is an error.

    Raises:
        Malformed: damaged.
    """
    entries = connection.execute(
        f"SELECT height, position, id FROM {schema}.transactions "  # noqa: S608 - two constants
        "WHERE height >= ? ORDER BY height, position",
        (first,),
    )
    entry = next(entries, None)
    blocks = connection.execute(
        "SELECT d.height, b.header, length(b.txs) "
        "FROM decisions d JOIN bodies b ON b.digest = d.digest "
        "WHERE d.height BETWEEN ? AND (SELECT coalesce(max(height), 0) FROM executions) "
        "AND length(b.txs) > 0 ORDER BY d.height",
        (first,),
    )
    for height, header, size in blocks:
        count = decode_header(header).tx_count
        if count > size:  # nothing vouches for a header here, and memory is taken for each
            raise Malformed(f"height {height}: {count} transactions in {size} bytes")
        parts = [bytes(PREFIX)] * count
        told = 0
        while entry is not None and entry[0] <= height:
            _, position, tx_id = entry
            if entry[0] == height and position < count:
                parts[position] = mark(tx_id)
                told += 1
            elif not heal:
                raise Malformed(f"an entry for transaction {position} of height {entry[0]}")
            entry = next(entries, None)
        if told < count:
            for position, tx_id in _executed_again(connection, height, parts):
                if heal or _told_before(connection, schema, tx_id, (height, position)):
                    parts[position] = mark(tx_id)
        yield height, count, b"".join(parts)
    if entry is not None and not heal:
        raise Malformed(f"an entry for transaction {entry[1]} of height {entry[0]}")


def _told_before(
    connection: sqlite3.Connection, schema: str, tx_id: Digest, place: tuple[Height, int]
) -> bool:
    """Whether the old index tells of a transaction at a place before this one."""
    found = connection.execute(
        f"SELECT height, position FROM {schema}.transactions WHERE id = ?",  # noqa: S608 - constants
        (tx_id,),
    ).fetchone()
    return found is not None and found < place


def _executed_again(
    connection: sqlite3.Connection, height: Height, parts: Sequence[bytes]
) -> list[tuple[int, Digest]]:
    """Of the transactions that the old index does not tell of, those that were not refused."""
    (encoded,) = connection.execute(
        "SELECT receipts FROM executions WHERE height = ?", (height,)
    ).fetchone() or (b"",)
    receipts, txs = decode_list(encoded), _block(connection, height)
    if not len(parts) == len(txs) == len(receipts) - 1:
        raise Malformed(
            f"height {height}: {len(parts)} transactions in its header, {len(txs)} in its body, "
            f"{len(receipts) - 1} receipts"
        )
    return [
        (position, id_of(txs[position]))
        for position, part in enumerate(parts)
        if not any(part) and decode_receipt(receipts[position + 1]).status != Status.REFUSED
    ]


# ---------------------------------------------------------------- reading


def find(connection: sqlite3.Connection, tx_id: Digest) -> TxLocation | None:
    """Where a transaction was executed first.

    A nonce is used once, so what a member or meter has signed is executed once and the search ends
    there. What proves itself, without a nonce, can be executed again once its effect is gone.

    Raises:
        Malformed: a block that is looked at is damaged.
    """
    wanted = mark(tx_id)
    found: TxLocation | None = None
    runs = connection.execute("SELECT id, first, ids FROM places ORDER BY last DESC")
    for row, first, ids in runs:
        for place in reversed(_places(connection, row, first, _hits(ids, wanted))):
            txs = _block(connection, place.height)
            if place.position < len(txs) and id_of(txs[place.position]) == tx_id:
                found = place
                if not _may_be_repeated(txs[place.position]):
                    return found
    return found


def _hits(ids: bytes, wanted: bytes) -> list[int]:
    """Which transactions of a run have these first bytes, ascending."""
    found: list[int] = []
    at = ids.find(wanted)
    while at >= 0:
        if at % PREFIX == 0:
            found.append(at // PREFIX)
        at = ids.find(wanted, at + 1)
    return found


def _places(
    connection: sqlite3.Connection, row: int, first: Height, numbers: Sequence[int]
) -> list[TxLocation]:
    """Where the transactions with these numbers in a run are."""
    if not numbers:
        return []
    (encoded,) = connection.execute("SELECT counts FROM places WHERE id = ?", (row,)).fetchone()
    ends = list(accumulate(_counts(encoded)))
    found: list[TxLocation] = []
    for number in numbers:
        at = bisect_right(ends, number)
        if at < len(ends):
            found.append(TxLocation(first + at, number - (ends[at - 1] if at else 0)))
    return found


def _block(connection: sqlite3.Connection, height: Height) -> tuple[bytes, ...]:
    """The transactions of a decided block; none, if it is not here."""
    row = connection.execute(
        "SELECT txs FROM decisions JOIN bodies USING (digest) WHERE decisions.height = ?",
        (height,),
    ).fetchone()
    return decode_list(row[0]) if row is not None and row[0] else ()


def _may_be_repeated(raw: bytes) -> bool:
    try:
        return statement_in(decode_transaction(raw)) is not None
    except Malformed:
        return False


def _counts(encoded: bytes) -> array[int]:
    """Transactions of each height of a run."""
    counts = array("I", encoded[: len(encoded) // _COUNT_BYTES * _COUNT_BYTES])
    if byteorder == "little":
        counts.byteswap()
    return counts


# ---------------------------------------------------------------- checking


class Walk:
    """Goes through the runs beside the blocks, once, and compares.

    Args:
        connection: to a store, also of an earlier schema version.
        first: the height to begin with.
    """

    def __init__(self, connection: sqlite3.Connection, first: Height) -> None:
        self._connection = connection
        self._runs = _runs(connection, first)
        self._run: Run | None = None
        self._counts: Sequence[int] = ()
        self._at = 0
        """Bytes of the run's ids that were compared."""
        self._ended = first - 1
        """Last height of the run before."""
        self._begins = first

    def compare(
        self, height: Height, tx_ids: Sequence[Digest], refused: Collection[int]
    ) -> Wrong | None:
        """The next height against its block.

        Args:
            height: one above the last.
            tx_ids: of its transactions.
            refused: positions of those that are not to be found.
        """
        if self._run is None:
            wrong = self._take(height)
            if wrong is not None:
                return wrong
        run = self._run
        if run is None or height < run.first:
            return Wrong(height, "its transactions are missing") if tx_ids else None
        count = self._counts[height - run.first]
        if count != len(tx_ids):
            return Wrong(height, f"{count} entries for {len(tx_ids)} transactions")
        expected = marks(tx_ids, refused)
        held = run.ids[self._at : self._at + len(expected)]
        self._at += len(expected)
        if held != expected:
            return _difference(height, held, expected)
        if height == run.last:
            self._ended, self._run = run.last, None
            if self._at != len(run.ids):
                return Wrong(height, f"{len(run.ids) - self._at} bytes of no transaction")
        return None

    def end(self, last: Height, begins: Height = 0) -> Wrong | None:
        """What is left over.

        Args:
            last: the last height that was executed, and compared.
            begins: up to here there should be nothing.
        """
        if begins and _below(self._connection, begins):
            return Wrong(begins, "entries of blocks whose transactions are not here")
        try:
            more = self._run is not None or next(self._runs, None) is not None
        except Malformed as err:
            return Wrong(last, str(err))
        return Wrong(last, "entries of blocks that were not executed") if more else None

    def _take(self, height: Height) -> Wrong | None:
        """The next run, as far as it can be one."""
        try:
            run = next(self._runs, None)
        except Malformed as err:  # of the index of an older version
            return Wrong(height, str(err))
        if run is None:
            return None
        if run.last < run.first:
            return Wrong(max(run.last, height), f"a run from {run.first} to {run.last}")
        if len(run.counts) != _COUNT_BYTES * (run.last - run.first + 1):
            at = max(min(run.first, run.last), height)
            return Wrong(at, f"{len(run.counts)} bytes of counts for {run.first} to {run.last}")
        if run.first <= self._ended and self._ended >= self._begins:
            return Wrong(run.first, "entries that are there already")
        self._run, self._counts = run, _counts(run.counts)
        # Where a run begins below the range, what is below is not looked at.
        self._at = PREFIX * sum(self._counts[: max(0, height - run.first)])
        return None


def _runs(connection: sqlite3.Connection, first: Height) -> Iterator[Run]:
    """The runs that reach a height, ascending, also of a store that has none yet."""
    if has_runs(connection):
        # The longest first: what is told a second time, inside of it, is then named where it is.
        query = (
            "SELECT first, last, ids, counts FROM places WHERE last >= ? ORDER BY first, last DESC"
        )
        yield from map(Run._make, connection.execute(query, (first,)))
        return
    for height, count, ids in _old_index(connection, first=first, heal=False):
        yield Run(height, height, ids, count.to_bytes(_COUNT_BYTES, "big"))


def has_runs(connection: sqlite3.Connection, schema: str = "main") -> bool:
    """Whether a database has this index, and not that of schema versions 1 to 3."""
    query = f"SELECT 1 FROM {schema}.sqlite_master WHERE name = 'places'"  # noqa: S608 - two constants
    return connection.execute(query).fetchone() is not None


def _below(connection: sqlite3.Connection, height: Height) -> bool:
    """Whether a run begins at or below a height."""
    query = "SELECT 1 FROM places WHERE first <= ?"
    if not has_runs(connection):
        query = "SELECT 1 FROM transactions WHERE height <= ?"
    return connection.execute(query, (height,)).fetchone() is not None


def _difference(height: Height, held: bytes, expected: bytes) -> Wrong:
    """Which transaction's entry is another one, or none."""
    at = next(i for i, byte in enumerate(expected) if held[i : i + 1] != bytes([byte])) // PREFIX
    refused = not any(expected[PREFIX * at : PREFIX * (at + 1)])
    what = "was refused, and is there" if refused else "is missing"
    return Wrong(height, f"transaction {at} {what}")

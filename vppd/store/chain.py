"""The chain store: what a node has promised, what was decided, and what executing it did.

One SQLite database, one writer. Promises go through :meth:`ChainStore.persist`, one synced
transaction per call. Executions promise nothing, since a decided block can be executed again: they
wait in memory and ride in the next ``persist``, or go by themselves after :data:`FLUSH_S` without
one. So a block costs the syncs of its promises and not one more.

Reads have a connection of their own and never wait for the writer. Executions still waiting are
answered from memory.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from vppd.codec import Malformed
from vppd.consensus.boundary import BodyRecord, Record
from vppd.consensus.messages import Certificate, DecidedBlock, EraLink
from vppd.era import Era
from vppd.errors import LocalFault, UserError
from vppd.ledger.transaction import NOBODY, decode_transaction
from vppd.store import places, reader
from vppd.store.connection import SqliteThread
from vppd.store.guard import Guard, Mark
from vppd.store.lock import StoreLock
from vppd.store.pace import Pace, is_small
from vppd.store.rows import (
    Base,
    Certified,
    ExecutionRow,
    Resume,
    StoredExecution,
    TxLocation,
)
from vppd.store.safety import SafetyRow
from vppd.store.schema import (
    MISTYPED,
    Synchronous,
    lay_out,
    opening,
    require_file,
    require_settled,
)
from vppd.store.start import checkpoint, prepare
from vppd.store.writer import Busy, Writer, transaction
from vppd.types import Digest, Height

__all__ = ["ChainStore", "ExecutionRow", "Resume", "StoredExecution", "Synchronous", "TxLocation"]

T = TypeVar("T")

FLUSH_S = 0.1
"""How long an execution waits for a ``persist`` to ride in."""


class ChainStore:
    """One node's ``chain.db``; made by :meth:`create`, used after :meth:`open`, once per process.

    Every method may raise :class:`~vppd.errors.LocalFault`: the disk failed, or what it returned
    is damaged. After a failed write the store refuses all further ones, and the node must stop.
    """

    def __init__(
        self,
        path: Path,
        lock: StoreLock,
        writing: SqliteThread,
        reading: SqliteThread,
        writer: Writer,
        guard: Guard,
        executed: Height,
        *,
        seeded: bool,
    ) -> None:
        self._path = path
        self._lock = lock
        self._writing = writing
        self._reading = reading
        self._writer = writer
        self._guard = guard
        self._decided = writer.decided
        self._executed = executed
        self._seeded = seeded
        self._queue: list[ExecutionRow] = []
        """Not yet handed to the writer."""
        self._unsaved: dict[Height, ExecutionRow] = {}
        """Not yet on disk: the queue, and what the writer is busy with."""
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False
        self._pace = Pace()
        self._order = asyncio.Lock()
        """Promises are written in the order they were handed in, wherever that is done."""

    # ------------------------------------------------------------ making, opening, closing

    @classmethod
    async def create(cls, path: Path, chain_id: Digest) -> None:
        """Make an empty store with an empty safety record; never overwrites.

        Args:
            path: the database file to make.
            chain_id: SHA-256 of the genesis file.

        Raises:
            UserError: E255, there is one already; E254, E256, it cannot be made.
        """
        await asyncio.to_thread(_create, path, chain_id)

    @classmethod
    async def open(cls, path: Path, chain_id: Digest, synchronous: Synchronous = "full") -> Self:
        """Open an existing store and take its lock.

        Before it returns, the log is checkpointed and emptied and the safety record is written
        again, synced: after a failed sync a page can be readable in the cache and not be on disk
        (protocol.md, §4, Start 2). A safety record that is lost, damaged or older than what was
        promised is replaced by one that never votes: the log of :meth:`resume` says so.

        Args:
            path: the database file.
            chain_id: SHA-256 of the genesis file.
            synchronous: ``full``, but for benches.

        Raises:
            UserError: E250, there is none; E251, of another chain; E252, by a newer vppd; E253,
                damaged beyond the safety record; E254, in use; E256, cannot be opened; E261, a
                recovery was interrupted.
        """
        # Log, guard and lock are beside the file, not beside a link to it.
        path = await asyncio.to_thread(path.resolve)
        lock = await asyncio.to_thread(_claim, path)
        opened: list[SqliteThread] = []
        guards: list[Guard] = []
        try:
            with opening(path):
                writing = await SqliteThread.open(path, "rw")
                opened.append(writing)
                writer, guard = await writing.run(lambda c: prepare(c, path, chain_id, synchronous))
                guards.append(guard)
                reading = await SqliteThread.open(path, "ro")
                opened.append(reading)
                executed, seeded = await reading.run(
                    lambda c: (reader.executed(c), reader.seeded(c))
                )
        except BaseException:
            for connection in opened:
                await connection.close()
            for guard in guards:
                guard.close()
            lock.release()
            raise
        return cls(path, lock, writing, reading, writer, guard, executed, seeded=seeded)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what waits, empty the log into the database, let go; a second call does nothing.

        After a failed write nothing more is written.

        Raises:
            LocalFault: what waited could not be written; the store is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        self._disarm()
        try:
            if not self._writer.broken:
                await self._flush()
            await self._reading.close()
            if not self._writer.broken:
                await self._on_writer(checkpoint)
                await self._on_writer(lambda _: self._guard.sync())
        finally:
            await self._reading.close()
            await self._writing.close()
            self._guard.close()
            self._lock.release()

    # ------------------------------------------------------------ writing

    async def persist(self, records: Sequence[Record]) -> None:
        """Make records durable: one synced transaction; returns when the disk has it.

        Slots of the safety record are replaced, a body is written once, decisions are appended
        height by height and remove the bodies that lost. Executions that wait go with them. Calls
        are served in their order; one that is cancelled may have been written or not.

        Raises:
            LocalFault: not allowed, and then nothing of it was written; or the disk failed, and
                then nobody knows before the next start.
        """
        if records:
            await self._write(records)

    def put_execution(self, row: ExecutionRow) -> None:
        """Keep an execution; readable at once, written with the next ``persist`` or soon.

        Raises:
            LocalFault: not the next height, not decided, the state of genesis is missing, or the
                store has failed.
        """
        if self._writer.broken or self._closed:
            raise LocalFault(f"{self._path} takes no more writes")
        if not self._seeded:
            raise LocalFault(f"{self._path} has no state of genesis yet: seed_state comes first")
        if row.height != self._executed + 1 or row.height > self._decided:
            raise LocalFault(
                f"execution {row.height} after {self._executed}, decided is {self._decided}"
            )
        self._executed = row.height
        self._queue.append(row)
        self._unsaved[row.height] = row
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_soon)

    async def seed_state(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Store the state of genesis, once, before the first execution; later calls do nothing.

        Raises:
            LocalFault: not durable.
        """
        if not self._seeded:
            pairs = list(entries)
            await self._on_writer(lambda c: self._writer.seed(c, pairs))
            self._seeded = True

    async def install(self, base: Base, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Begin with a verified snapshot instead of genesis: one synced transaction.

        Args:
            base: the snapshot's block, what proves its state, and the epochs up to it.
            entries: the whole state after that block.

        Raises:
            LocalFault: something was decided here before, or it is not durable.
        """
        pairs = list(entries)
        await self._on_writer(lambda c: self._writer.install(c, base, pairs))
        self._decided = self._executed = self._writer.decided
        self._seeded = True

    async def prune(self, through: Height) -> None:
        """Remove transactions, receipts and their index up to a height that is executed on disk.

        Raises:
            LocalFault: it is not, or it is the last one; or the disk failed.
        """
        await self._flush()
        await self._on_writer(lambda c: self._writer.prune(c, through))

    async def _write(self, records: Sequence[Record]) -> None:
        async with self._order:
            await self._write_next(records)

    async def _write_next(self, records: Sequence[Record]) -> None:
        if self._pace.is_quick and is_small(records, self._queue):
            await asyncio.sleep(0)  # what is to be sent leaves before this thread waits
        rows, self._queue = self._queue, []
        self._disarm()
        here = self._pace.is_quick and self._writing.idle and is_small(records, rows)
        await self._on_writer(lambda c: self._writer.write(c, records, rows), here=here)
        self._decided = self._writer.decided
        for row in rows:
            del self._unsaved[row.height]

    async def _on_writer(
        self, work: Callable[[sqlite3.Connection], object], *, here: bool = False
    ) -> None:
        try:
            if here:
                with suppress(Busy):  # then the thread waits for whoever writes
                    self._writing.run_here(self._pace.timed(work))
                    return
            await self._writing.run(self._pace.timed(work))
        except Exception as err:
            if isinstance(err, Busy):
                self._writer.broken = True
            raise LocalFault(f"{self._path}: not written: {err}") from err

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_soon(self) -> None:
        self._timer = None
        self._flushing = asyncio.get_running_loop().create_task(self._flush_idle())

    async def _flush_idle(self) -> None:
        try:
            await self._write(())
        except LocalFault:
            # Nobody waits for this write. The writer is broken now, so whoever promises next
            # hears of it before anything leaves.
            return

    async def _flush(self) -> None:
        """Write the executions that wait; returns when those already under way are written too."""
        if self._flushing is not None:
            await self._flushing
        if self._unsaved:
            await self._write(())

    # ------------------------------------------------------------ reading

    async def resume(self) -> Resume:
        """What a restart finds; the log of a fresh store is empty.

        Raises:
            UserError: E253, damaged.
        """
        with opening(self._path):
            return await self._reading.run(reader.resume)

    async def decided(self) -> Height:
        """Highest durable decision; 0: none."""
        return self._decided

    async def executed(self) -> Height:
        """Highest execution, waiting ones included; 0: none."""
        return self._executed

    async def block(self, height: Height) -> DecidedBlock | None:
        """The decided block at ``height``."""
        return await self._read(lambda c: reader.block(c, height))

    async def blocks_from(self, first: Height, max_bytes: int) -> tuple[DecidedBlock, ...]:
        """Decided blocks from ``first`` on, as many as a ``Blocks`` message of ``max_bytes`` holds.

        At least one, if there is one.
        """
        return await self._read(lambda c: reader.blocks_from(c, first, max_bytes))

    async def first_block(self) -> Height:
        """The lowest height whose transactions are here: 1, unless pruned or begun later."""
        return await self._read(reader.first_block)

    async def base(self) -> Height:
        """The height this store begins with instead of genesis; 0: it begins with genesis."""
        return await self._read(reader.base)

    async def certified(self, height: Height) -> Certified | None:
        """Header and certificate of a decided height, also where it is pruned."""
        return await self._read(lambda c: reader.certified(c, height))

    async def eras(self) -> tuple[Era, ...]:
        """Every era after genesis that is known, ascending."""
        return await self._read(reader.eras)

    async def era_links(self, epoch: int, max_bytes: int) -> tuple[EraLink, ...]:
        """Proof of each epoch from ``epoch`` on, as many as fit."""
        return await self._read(lambda c: reader.era_links(c, epoch, max_bytes))

    async def body(self, digest: Digest) -> BodyRecord | None:
        """A body by digest, decided or not."""
        return await self._read(lambda c: reader.body(c, digest))

    async def certificate(self, height: Height) -> Certificate | None:
        """What decided ``height``."""
        return await self._read(lambda c: reader.certificate(c, height))

    async def execution(self, height: Height) -> StoredExecution | None:
        """What executing ``height`` gave, waiting ones included."""
        row = self._unsaved.get(height)
        if row is not None:
            return StoredExecution(
                height, row.state_root, row.receipts_root, row.receipts, row.next_due_ms
            )
        return await self._read(lambda c: reader.execution(c, height))

    async def tx_location(self, tx_id: Digest) -> TxLocation | None:
        """Where a transaction was executed first, waiting executions included.

        Those are looked at before the index, for who asks has often just sent it. Only a statement
        can be executed twice, and so may be in the index as well.
        """
        waiting = self._place_of_unsaved(tx_id)
        if waiting is not None:
            block = await self.block(waiting.height)
            if block is not None and _has_nonce(block.txs[waiting.position]):
                return waiting
        return await self._read(lambda c: places.find(c, tx_id)) or waiting

    def _place_of_unsaved(self, tx_id: Digest) -> TxLocation | None:
        for row in self._unsaved.values():
            if tx_id in row.tx_ids:
                for other, position in row.places():
                    if other == tx_id:
                        return TxLocation(row.height, position)
        return None

    async def state_entries(self) -> tuple[tuple[bytes, bytes], ...]:
        """All keys and values of the state after :meth:`executed`, ascending by key.

        Writes the executions that wait first: this is for starting up and for snapshots.
        """
        await self._flush()
        return await self._read(lambda c: tuple(reader.state_entries(c)))

    async def size_bytes(self) -> int:
        """Bytes on disk, with the log."""
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return await self._read(lambda _: sum(os.stat(f).st_size for f in files if f.exists()))

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._reading.run(work)
        except (sqlite3.Error, OSError, Malformed, *MISTYPED) as err:
            # Malformed blames a peer; what our own disk returns is our own fault.
            raise LocalFault(f"{self._path}: not readable: {err}") from err


def _claim(path: Path) -> StoreLock:
    require_settled(path)
    require_file(path)
    return StoreLock(path)


def _create(path: Path, chain_id: Digest) -> None:
    lock = StoreLock(path)
    try:
        with opening(path):
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError as err:
                raise UserError(
                    "E255",
                    "there is a chain store already",
                    facts={"store": str(path)},
                    hint="a store is never overwritten: it holds what this node has promised",
                ) from err
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                guard = Guard.create(path)  # before the tables: no store is without one
                try:
                    with transaction(connection):
                        lay_out(connection, chain_id)
                        row = SafetyRow()
                        row.save(connection)
                    checkpoint(connection)
                    guard.note(Mark(row.generation, 0, row.checksum))
                    guard.sync()
                finally:
                    guard.close()
            finally:
                connection.close()
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        lock.release()


def _has_nonce(raw: bytes) -> bool:
    """Whether a transaction can be executed but once, as far as that can be told."""
    try:
        return decode_transaction(raw).sender != NOBODY
    except Malformed:
        return False

"""``vppd db export`` and ``import``: a chain as a stream of MessagePack objects (docs/archive.md).

Written and read with the ``msgpack`` library alone, so that the file says nothing that only this
project's own codec would understand. A stream is imported whole or not at all, and every block of
it is verified and executed like one that came from a stranger.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgpack  # type: ignore[import-untyped]

from vppd.codec import Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import Applied, BodyRecord, DecisionRecord
from vppd.consensus.chain import Head, follows
from vppd.consensus.messages import Certificate
from vppd.crypto import Verify, verify
from vppd.errors import PeerFault, UserError
from vppd.header import HEADER_BYTES, Header
from vppd.ledger.block import check_body
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.transaction import Transaction, check_stateless
from vppd.store import reader
from vppd.store.connection import uri
from vppd.store.epochs import Epochs
from vppd.store.lock import StoreLock
from vppd.store.owner import give_to_folders_owner
from vppd.store.rows import ExecutionRow, decode_certificate
from vppd.store.safety import SafetyRow
from vppd.store.schema import (
    SCHEMA_VERSION,
    identify,
    opening,
    require_file,
    require_settled,
)
from vppd.store.start import Noted, why_unfit
from vppd.store.writer import Writer
from vppd.types import Digest, Height

FORMAT = 1
MAGIC = "vppd-archive"
READ_BYTES = 1 << 20
MAX_OBJECT_BYTES = 4 << 20
"""A block of 1 MiB with everything around it; more is no block."""
BLOCKS_AT_ONCE = 64
AT_ONCE_BYTES = 1 << 20
CACHE_KIB = 64 * 1024
"""Of SQLite, while importing: entries of the state go all over their table."""

Progress = Callable[[Height, Height], None]
"""Called with each height done and the last one."""


class Moved(NamedTuple):
    """What went out or came in."""

    first: Height
    last: Height
    size_bytes: int


# ---------------------------------------------------------------- export


def export_chain(
    path: Path, genesis: Genesis, out: BinaryIO, progress: Progress = lambda *_: None
) -> Moved:
    """Write every decided block, also of a running node, as it is at this moment.

    Args:
        path: the database file.
        genesis: of its chain.
        out: where the stream goes.
        progress: of writing.

    Raises:
        UserError: E250–E256, as opening the store; E265, it does not have every block.
        OSError: ``out`` cannot be written.
    """
    require_file(path)
    require_settled(path.resolve())
    pack = msgpack.Packer(use_bin_type=True).pack
    summary = hashlib.sha256()
    size = 0

    def write(*parts: object) -> None:
        nonlocal size
        data = pack(list(parts))
        out.write(data)
        summary.update(data)
        size += len(data)

    with opening(path), closing(sqlite3.connect(uri(path, "ro"), uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        identify(connection, path, genesis.digest)
        begins = reader.first_block(connection)
        if begins > 1:
            raise UserError(
                "E265",
                f"this store has the blocks from {begins} on, and an archive begins with block 1",
                facts={"store": str(path)},
                hint="export from a node that keeps every block: retention_blocks = 0, and not "
                "begun with a snapshot",
            )
        last = reader.decided(connection)
        write(MAGIC, FORMAT, genesis.digest, genesis.name, 1, last)
        height = 0
        while height < last:
            for block in reader.blocks_from(connection, height + 1, AT_ONCE_BYTES):
                height = block.certificate.height
                write("block", height, block.header, list(block.txs), _plain(block.certificate))
                progress(height, last)
        count, digest = last, summary.digest()
        write("end", count, digest)
    return Moved(1, last, size)


def _plain(certificate: Certificate) -> list[object]:
    c = certificate
    return [c.kind, c.epoch, c.view, c.height, c.digest, c.signers, list(c.signatures)]


# ---------------------------------------------------------------- import


class _Objects:
    """Objects of a stream one by one, with the hash of the bytes before the current one."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._unpacker = msgpack.Unpacker(
            raw=False, use_list=True, max_buffer_size=MAX_OBJECT_BYTES + READ_BYTES
        )
        self._pending = bytearray()
        self._sum = hashlib.sha256()
        self.at = 0
        """Bytes before the current object."""
        self.height: Height = 0
        """Of the last block that was taken."""

    def next(self) -> list[Any]:
        """The next object, an array that begins with a word.

        Raises:
            UserError: E266, the stream ends or is damaged there.
        """
        self._sum.update(self._pending[: self._unpacker.tell() - self.at])
        del self._pending[: self._unpacker.tell() - self.at]
        self.at = self._unpacker.tell()
        while True:
            try:
                found: Any = self._unpacker.unpack()
            except msgpack.OutOfData:
                data = self._source.read(READ_BYTES)
                if not data:
                    raise self.damaged("the file ends here") from None
                self._feed(data)
                continue
            except (ValueError, msgpack.UnpackException, msgpack.BufferFull) as err:
                raise self.damaged(f"not MessagePack: {err}") from err
            if not isinstance(found, list) or not found or not isinstance(found[0], str):
                raise self.damaged("not an object of an archive")
            return found

    def _feed(self, data: bytes) -> None:
        try:
            self._unpacker.feed(data)
        except msgpack.BufferFull as err:
            raise self.damaged(f"an object of more than {MAX_OBJECT_BYTES} bytes") from err
        self._pending += data

    @property
    def taken(self) -> int:
        """Bytes up to the end of the current object."""
        return int(self._unpacker.tell())

    def digest(self) -> Digest:
        """SHA-256 of every byte before the current object."""
        return self._sum.digest()

    def require_end(self) -> None:
        """Nothing follows the current object.

        Raises:
            UserError: E266, something does.
        """
        if len(self._pending) > self._unpacker.tell() - self.at or self._source.read(1):
            raise self.damaged("there is more after the end")

    def damaged(self, why: str) -> UserError:
        """E266 at the current object."""
        return UserError(
            "E266",
            "the archive is damaged or cut short",
            facts={
                "where": f"byte {self.at}, after block {self.height}",
                "why": why,
            },
            hint="copy or export it again; nothing was imported",
        )


def import_chain(
    path: Path,
    genesis: Genesis,
    source: BinaryIO,
    progress: Progress = lambda *_: None,
    verifier: Verify = verify,
) -> Moved:
    """Verify and execute a whole archive into a node's empty store, or change nothing.

    What the node has promised stays as it is: to it, these blocks are as if it had caught up.

    Args:
        path: the database file of a node that does not run.
        genesis: of its chain.
        source: the stream.
        progress: of importing.
        verifier: the signature check.

    Raises:
        UserError: E250–E256, E261 as opening the store; E266, the archive is damaged or cut short;
            E267, it is another chain's, or of a format this build does not know; E268, the store
            is not empty; E269, a block in it does not hold; E264, the store cannot be written.
    """
    path = path.resolve()
    require_settled(path)
    require_file(path)
    lock = StoreLock(path)
    made = path.with_name(path.name + ".importing")
    try:
        _remove(made)
        _require_empty(path, genesis)
        objects = _Objects(source)
        last = _open(objects, genesis)
        try:
            shutil.copyfile(path, made)
            made.chmod(0o600)
            with closing(sqlite3.connect(made, isolation_level=None)) as connection:
                # Nobody looks at this file before it is whole and synced.
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                _fill(connection, genesis, objects, last, progress, verifier)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _put_in_place(made, path)
        except (OSError, sqlite3.Error) as err:
            raise UserError(
                "E264",
                "the store cannot be written",
                facts={"store": str(path), "reason": str(err)},
                hint="check permissions and free space of the folder; nothing was imported",
            ) from err
        finally:
            _remove(made)
    finally:
        lock.release()
    return Moved(1, last, objects.taken)


def _require_empty(path: Path, genesis: Genesis) -> None:
    """The store is sound, without any block, and its log is emptied into it."""
    with (
        opening(path),
        closing(sqlite3.connect(uri(path, "rw"), uri=True, isolation_level=None)) as connection,
    ):
        version = identify(connection, path, genesis.digest)
        decided = reader.decided(connection)
        unfit = why_unfit(connection, path, decided, Noted.read(path))
        if decided or version != SCHEMA_VERSION or unfit:
            why = f"it has block {decided}" if decided else unfit or "an earlier vppd made it"
            raise UserError(
                "E268",
                "an archive is only imported into a store without blocks",
                facts={"store": str(path), "why": why},
                hint="vppd init makes a new node's; a running node fetches what it lacks by itself",
            )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _open(objects: _Objects, genesis: Genesis) -> Height:
    """The header object; the last height it promises."""
    head = objects.next()
    if head[0] != MAGIC or len(head) < 2 or head[1] != FORMAT:
        raise UserError(
            "E267",
            "not an archive that this build can read",
            facts={"format": repr(head[1]) if head[0] == MAGIC and len(head) > 1 else "none"},
            hint=f"vppd db export writes format {FORMAT}",
        )
    match head[2:]:
        case [bytes(chain_id), str(name), 1, int(last)] if last >= 0:
            pass
        case _:
            raise objects.damaged("its header object has other fields")
    if chain_id != genesis.digest:
        raise UserError(
            "E267",
            "the archive is another chain's",
            facts={"its chain": f"{name}, {chain_id.hex()}", "genesis": genesis.digest.hex()},
            hint="use the genesis.toml of that plant, in a node's folder of its own",
        )
    return last


class _Chain:
    """Verifies blocks one after the other.

    Args:
        genesis: the chain.
        verifier: the signature check.
    """

    def __init__(self, genesis: Genesis, verifier: Verify) -> None:
        self.ledger = Ledger.from_genesis(genesis)
        self._genesis = genesis
        self._verify = verifier
        self._epochs = Epochs(genesis)
        self._head = Head(0, genesis.digest, 0, None)

    def take(
        self, raw: bytes, txs: tuple[bytes, ...], certificate: Certificate
    ) -> tuple[Header, Execution]:
        """Verify and execute the next block.

        Raises:
            PeerFault: it does not hold.
        """
        header = self._epochs.check_decided(raw, certificate, self._verify)
        ledger, head = self.ledger, self._head
        term = self._epochs.at(header.height)
        following = self._epochs.at(header.height + 1).validators.digest
        applied = Applied(head.height, ledger.state_root, ledger.receipts_root)
        wrong = follows(header, head, applied, term.epoch, following)
        if wrong:
            raise Malformed(wrong)
        chain_id, signed, verify = self._genesis.digest, self._genesis.ledger.signed, self._verify
        opened: list[Transaction] = []

        def ids() -> Iterator[Digest]:  # only once hashes have vouched for the bytes
            for raw in txs:
                tx = check_stateless(
                    raw, chain_id, header.height, term.rules, verify, signed=signed
                )
                opened.append(tx)
                yield tx.id

        check_body(header, txs, term.rules, ids())
        done = ledger.execute(header, txs, opened)
        if done.era is not None:
            self._epochs.add(done.era)
        self._head = Head(header.height, certificate.digest, header.time_ms, certificate)
        return header, done


def _fill(
    connection: sqlite3.Connection,
    genesis: Genesis,
    objects: _Objects,
    last: Height,
    progress: Progress,
    verifier: Verify,
) -> None:
    chain = _Chain(genesis, verifier)
    writer = Writer(0, SafetyRow.load(connection))
    if not reader.seeded(connection):
        writer.seed(connection, chain.ledger.entries())
    records: list[BodyRecord | DecisionRecord] = []
    rows: list[ExecutionRow] = []
    for height, raw, txs, certificate in _blocks(objects, last):
        try:
            _, done = chain.take(raw, txs, certificate)
        except PeerFault as err:
            raise UserError(
                "E269",
                f"block {height} of the archive does not hold",
                facts={"where": f"byte {objects.at}", "why": str(err)},
                hint="whoever made this archive is broken or lies; nothing was imported",
            ) from err
        objects.height = height
        body = BodyRecord(certificate.digest, height, certificate.view, raw, txs, b"")
        records += [body, DecisionRecord(height, certificate.digest, certificate)]
        rows.append(ExecutionRow.of(done))
        if len(rows) == BLOCKS_AT_ONCE:
            writer.write(connection, records, rows)
            records, rows = [], []
        progress(height, last)
    writer.write(connection, records, rows)


def _blocks(
    objects: _Objects, last: Height
) -> Iterator[tuple[Height, bytes, tuple[bytes, ...], Certificate]]:
    """Blocks 1 to ``last``, and the end that vouches for every byte before it."""
    for height in range(1, last + 1):
        found = objects.next()
        match found:
            case ["block", number, bytes(header), [*txs], [*parts]] if number == height:
                pass
            case ["end", *_]:
                raise objects.damaged(f"it ends, and promised blocks up to {last}")
            case _:
                raise objects.damaged(f"no block {height}")
        if len(header) != HEADER_BYTES or not all(isinstance(tx, bytes) for tx in txs):
            raise objects.damaged(f"no block {height}")
        yield height, header, tuple(txs), _certificate(objects, parts)
    match objects.next():
        case ["end", count, bytes(digest)] if count == last and digest == objects.digest():
            objects.require_end()
        case ["end", *_]:
            raise objects.damaged("its blocks are not those that were written: another sum")
        case _:
            raise objects.damaged("no end where it promised one")


def _certificate(objects: _Objects, parts: list[Any]) -> Certificate:
    try:
        return decode_certificate(encode(parts))
    except (Malformed, TypeError, OverflowError) as err:
        raise objects.damaged(f"no certificate: {err}") from err


def _put_in_place(made: Path, path: Path) -> None:
    fd = os.open(made, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    give_to_folders_owner(made)
    for suffix in ("-wal", "-shm"):  # of the store without blocks, emptied before
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    made.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove(made: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            made.with_name(made.name + suffix).unlink()

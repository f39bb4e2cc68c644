"""Checks a stored chain from genesis, trusting nothing but the genesis file.

What was signed is checked against the signatures, what was hashed against the hashes, and what
was computed is computed again; where blocks to begin with are missing (a base, pruning), see
:mod:`.verify_part`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from vppd.codec import encode
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import Applied, BodyRecord, DecisionRecord
from vppd.consensus.chain import Head, follows
from vppd.crypto import Verify, verify
from vppd.errors import PeerFault
from vppd.header import Header
from vppd.ledger.execution import Execution, Ledger
from vppd.store import reader
from vppd.store.connection import uri
from vppd.store.epochs import Epochs
from vppd.store.rows import decode_certificate
from vppd.store.schema import MISTYPED, identify, opening, require_file
from vppd.store.soundness import Bad, Checks, Contents, Failure, Part, Stored
from vppd.store.verify_part import PartCheck
from vppd.types import Digest, Height, TimeMs

__all__ = ["Failure", "Part", "VerifyReport", "sound_blocks", "stored_blocks", "verify_chain"]


class VerifyReport(NamedTuple):
    """What was checked and what came out of it."""

    first: Height
    last: Height
    """Highest height that is in order; ``first − 1`` if none is."""
    transactions: int
    """Checked with their signatures."""
    executed: Height
    """Height whose receipts and state were compared last; 0: none."""
    failure: Failure | None
    begins: Height = 0
    """0: every block from 1 on was executed again. Else the height before the first whose
    transactions are here: headers, certificates, receipts and the latest state were checked, and
    nothing could be executed."""

    @property
    def ok(self) -> bool:
        """Whether everything in the range is in order."""
        return self.failure is None

    @property
    def problem(self) -> str | None:
        """The failure in words: height, part, what is wrong."""
        return None if self.failure is None else str(self.failure)


def verify_chain(
    path: Path,
    genesis: Genesis,
    first: Height = 1,
    last: Height | None = None,
    progress: Callable[[Height, Height], None] | None = None,
    *,
    verifier: Verify = verify,
) -> VerifyReport:
    """Check heights ``first`` to ``last`` of a store; reads only, also beside a running daemon.

    Per height: header, body, transactions with their signatures, certificate, and, as far as the
    store has executed, receipts, roots and transaction index against executing it again. Below
    ``first`` only what executing needs is checked: headers and bodies against their hashes. If
    the range reaches the last execution, the state is compared entry by entry; if it is the whole
    chain, also that nothing is left over in the index, and the safety record's checksum with that
    of the new views.

    All of it is one snapshot of the database, so the daemon's log grows until this returns.

    Args:
        path: the database file.
        genesis: decides the chain, the validators and the opening state.
        first: lowest height to report on.
        last: highest; default: the last decision.
        progress: called with each height done and the last one.
        verifier: the signature check.

    Returns:
        The report; its failure is the first one met, in ascending height.

    Raises:
        UserError: E250–E256, as opening the store.
    """
    require_file(path)
    with opening(path), closing(sqlite3.connect(uri(path, "ro"), uri=True)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        version = identify(connection, path, genesis.digest)
        begins = reader.first_block(connection) - 1
        if begins:
            part = PartCheck(connection, genesis, verifier, begins)
            result = part.run(first, last, progress)
            return VerifyReport(first, *result, begins)
        check = _Check(connection, genesis, verifier, reader.executed(connection))
        return check.run(first, last, progress, new_views=version > 1)


class SoundBlock(NamedTuple):
    """A decided height that holds by itself and on all below it."""

    body: BodyRecord
    decision: DecisionRecord
    execution: Execution
    """Done again."""


def sound_blocks(
    connection: sqlite3.Connection, genesis: Genesis, verifier: Verify = verify
) -> Generator[SoundBlock, None, Failure | None]:
    """Decided heights from 1 on, with everything checked that :func:`verify_chain` checks of them.

    Nothing that was stored about executing them is read: that is done again. The file may be
    damaged in any way.

    Returns:
        What is wrong with the first height that does not hold; ``None``: the chain ends there.
    """
    return (yield from _Check(connection, genesis, verifier, executed=0).sound())


def stored_blocks(
    path: Path, genesis: Genesis, verifier: Verify = verify
) -> Generator[SoundBlock, None, Failure | None]:
    """:func:`sound_blocks` of a store's file; reads only, also beside a running daemon.

    Raises:
        UserError: E250–E256, as opening the store.
    """
    require_file(path)
    with opening(path), closing(sqlite3.connect(uri(path, "ro"), uri=True)) as connection:
        identify(connection, path, genesis.digest)
        return (yield from sound_blocks(connection, genesis, verifier))


class _Check(Checks):
    """One pass from genesis upwards.

    Args:
        connection: to the store.
        genesis: of the chain.
        verifier: the signature check.
        executed: highest execution that counts as stored.
    """

    def __init__(
        self, connection: sqlite3.Connection, genesis: Genesis, verifier: Verify, executed: Height
    ) -> None:
        super().__init__(connection, genesis, Epochs(genesis), verifier)
        self._ledger = Ledger.from_genesis(genesis, verify=verifier)
        self._parent: Digest = genesis.digest
        self._parent_time_ms: TimeMs = 0
        self._executed = executed
        self._compared = 0

    def run(
        self,
        first: Height,
        last: Height | None,
        progress: Callable[[Height, Height], None] | None,
        *,
        new_views: bool,
    ) -> VerifyReport:
        decided = reader.decided(self.connection)
        end = decided if last is None else min(last, decided)
        done = first - 1
        failure: Failure | None = None
        try:
            if self._executed == 0 and first == 1 and reader.seeded(self.connection):
                self._check_state(0)
            for stored in self._rows(end):
                height = stored.height
                report = height >= first
                contents = self.contents(stored, report=report)
                if report:
                    self._check_header(contents.header, stored)
                    self.check_certificate(stored)
                self._execute(contents, report=report)
                if first <= height == self._executed:
                    self._check_state(height)
                done = max(done, height)
                if progress is not None:
                    progress(height, end)
            if (first, end) == (1, decided):
                self._check_rest(decided)
                if new_views:
                    self.check_new_views(decided)
        except Bad as bad:
            failure = bad.failure
        return VerifyReport(first, done, self.transactions, self._compared, failure)

    def _rows(self, end: Height) -> Iterator[Stored]:
        """Decided heights from 1 on, without a gap."""
        rows = self.connection.execute(
            "SELECT d.height, d.digest, d.certificate, b.height, b.view, b.header, b.txs, "
            "b.proposal_sig FROM decisions d LEFT JOIN bodies b ON b.digest = d.digest "
            "WHERE d.height <= ? ORDER BY d.height",
            (end,),
        )
        expected = 1
        for row in rows:
            if row[0] != expected:
                raise Bad(expected, Part.DECISION, f"missing; the next one is {row[0]}")
            if row[3] is None:
                raise Bad(expected, Part.BODY, f"no body with digest {row[1].hex()[:16]}")
            yield Stored(*row)
            expected += 1

    def _check_header(self, header: Header, stored: Stored) -> None:
        height, ledger = stored.height, self._ledger
        head = Head(height - 1, self._parent, self._parent_time_ms, None)
        applied = Applied(height - 1, ledger.state_root, ledger.receipts_root)
        epoch, following = self.epochs.at(height).epoch, self.epochs.at(height + 1).validators
        wrong = follows(header, head, applied, epoch, following.digest) or self.place(header)
        if wrong:
            raise Bad(height, Part.HEADER, wrong)
        self.check_proposal(header, stored)

    def sound(self) -> Generator[SoundBlock, None, Failure | None]:
        """See :func:`sound_blocks`."""
        for height in itertools.count(1):
            try:
                stored = self._row(height)
                if stored is None:
                    return None
                contents = self.contents(stored)
                self._check_header(contents.header, stored)
                self.check_certificate(stored)
            except Bad as bad:
                return bad.failure
            except (sqlite3.Error, PeerFault, *MISTYPED) as err:
                return Failure(height, Part.DECISION, f"not readable: {err}")
            execution = self._run(contents)
            body = BodyRecord(
                stored.digest, height, stored.view, stored.header, contents.txs, stored.proposal_sig
            )
            certificate = decode_certificate(stored.certificate)
            yield SoundBlock(body, DecisionRecord(height, stored.digest, certificate), execution)
        return None  # pragma: no cover - count has no end

    def _row(self, height: Height) -> Stored | None:
        """A decided height by itself; its body is looked for without the index, too."""
        row = self.connection.execute(
            "SELECT digest, certificate FROM decisions WHERE height = ?", (height,)
        ).fetchone()
        if row is None:
            return None
        for source in ("bodies", "bodies NOT INDEXED"):
            with suppress(sqlite3.DatabaseError):
                body = self.connection.execute(
                    f"SELECT height, view, header, txs, proposal_sig FROM {source} "  # noqa: S608 - two constants
                    "WHERE digest = ?",
                    row[:1],
                ).fetchone()
                if body is not None:
                    return Stored(height, *row, *body)
        raise Bad(height, Part.BODY, f"no body with digest {row[0].hex()[:16]}")

    def _run(self, contents: Contents) -> Execution:
        header, txs, opened = contents
        execution = self._ledger.execute(header, txs, opened)
        self._parent, self._parent_time_ms = header.digest(), header.time_ms
        if execution.era is not None:
            self.epochs.add(execution.era)
        return execution

    def _execute(self, contents: Contents, *, report: bool) -> None:
        execution = self._run(contents)
        height = execution.height
        if report and height <= self._executed:
            self.check_index(height, execution.tx_ids, execution.refused)
            self._check_execution(height, execution)

    def _check_execution(self, height: Height, execution: Execution) -> None:
        row = self.connection.execute(
            "SELECT state_root, receipts_root, receipts, next_due_ms FROM executions "
            "WHERE height = ?",
            (height,),
        ).fetchone()
        if row is None:
            raise Bad(height, Part.RECEIPTS, "no execution is stored")
        state_root, receipts_root, receipts, next_due_ms = row
        if receipts != encode(execution.receipts):
            raise Bad(height, Part.RECEIPTS, "not what executing the block again gives")
        if receipts_root != execution.receipts_root:
            raise Bad(height, Part.RECEIPTS, "their stored root is not that of the receipts")
        if state_root != execution.state_root:
            raise Bad(height, Part.STATE, "the stored root is not what executing again gives")
        if execution.era is not None:
            stored = reader.eras(self.connection)[execution.era.epoch - 1 :][:1]
            if stored != (execution.era,):
                raise Bad(height, Part.ERA, f"the record of epoch {execution.era.epoch} is wrong")
        if next_due_ms != execution.next_due_ms:
            raise Bad(
                height, Part.STATE, f"next due at {next_due_ms}, should be {execution.next_due_ms}"
            )
        self._compared = height

    def _check_state(self, height: Height) -> None:
        """The state table against the ledger, entry by entry."""
        stored = reader.state_entries(self.connection)
        for key, value in self._ledger.entries():
            entry = next(stored, None)
            if entry != (key, value):
                raise Bad(height, Part.STATE, f"the entry {key.hex()} is missing or different")
        surplus = next(stored, None)
        if surplus is not None:
            raise Bad(height, Part.STATE, f"the entry {surplus[0].hex()} should not be there")

    def _check_rest(self, decided: Height) -> None:
        """What belongs to no single height: nothing beyond the chain, nothing left over.

        Damage below a range would show here too, so it takes the whole chain.
        """
        if self._executed > decided:
            raise Bad(decided + 1, Part.RECEIPTS, "an execution of a block that is not decided")
        if len(reader.eras(self.connection)) != self.epochs.latest:
            raise Bad(self._executed, Part.ERA, "eras that no block has scheduled")
        self.check_index_end(self._executed)
        self.check_safety(decided)

"""Checks a stored chain from genesis, trusting nothing but the genesis file.

What was signed is checked against the signatures, what was hashed against the hashes, and what
was computed is computed again.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from vppd.codec import Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import Applied, BodyRecord, DecisionRecord
from vppd.consensus.certificate import check_certificate
from vppd.consensus.chain import Head, follows
from vppd.consensus.profile import decisive, founding_validators
from vppd.consensus.signing import TAG_PROPOSAL, sign_bytes
from vppd.crypto import Verify, sha256, verify
from vppd.errors import PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.block import check_body
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.transaction import check_stateless, transaction_id
from vppd.store import reader
from vppd.store.connection import uri
from vppd.store.rows import TxLocation, decode_certificate, decode_list
from vppd.store.safety import SafetyRow
from vppd.store.schema import MISTYPED, identify, opening, require_file
from vppd.types import Digest, Height, TimeMs


class Part(StrEnum):
    """Which part of the stored chain is wrong."""

    DECISION = "decision"
    BODY = "body"
    HEADER = "header"
    CERTIFICATE = "certificate"
    RECEIPTS = "receipts"
    STATE = "state"
    INDEX = "transaction index"
    SAFETY = "safety record"


class Failure(NamedTuple):
    """The first thing that is wrong."""

    height: Height
    part: Part
    what: str

    def __str__(self) -> str:
        return f"height {self.height}: {self.part}: {self.what}"


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

    @property
    def ok(self) -> bool:
        """Whether everything in the range is in order."""
        return self.failure is None

    @property
    def problem(self) -> str | None:
        """The failure in words: height, part, what is wrong."""
        return None if self.failure is None else str(self.failure)


class _Bad(Exception):
    """Unwinds to the report."""

    def __init__(self, height: Height, part: Part, what: str) -> None:
        super().__init__(what)
        self.failure = Failure(height, part, what)


class _Stored(NamedTuple):
    """A decided height as stored."""

    height: Height
    digest: Digest
    certificate: bytes
    body_height: Height
    view: int
    header: bytes
    txs: bytes
    proposal_sig: bytes


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


class _Check:
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
        self._connection = connection
        self._genesis = genesis
        self._verify = verifier
        self._validators = founding_validators(genesis)
        self._ledger = Ledger.from_genesis(genesis, verify=self._verify)
        self._parent: Digest = genesis.digest
        self._parent_time_ms: TimeMs = 0
        self._executed = executed
        self._compared = 0
        self._transactions = 0
        self._indexed = 0

    def run(
        self,
        first: Height,
        last: Height | None,
        progress: Callable[[Height, Height], None] | None,
        *,
        new_views: bool,
    ) -> VerifyReport:
        decided = reader.decided(self._connection)
        end = decided if last is None else min(last, decided)
        done = first - 1
        failure: Failure | None = None
        try:
            if self._executed == 0 and first == 1 and reader.seeded(self._connection):
                self._check_state(0)
            for stored in self._rows(end):
                height = stored.height
                header, txs = self._contents(stored)
                if height >= first:
                    self._check_header(header, stored)
                    self._check_transactions(height, txs)
                    self._check_certificate(stored)
                self._execute(height, header, txs, report=height >= first)
                if first <= height == self._executed:
                    self._check_state(height)
                done = max(done, height)
                if progress is not None:
                    progress(height, end)
            if (first, end) == (1, decided):
                self._check_rest(decided)
                if new_views:
                    self._check_new_views(decided)
        except _Bad as bad:
            failure = bad.failure
        return VerifyReport(first, done, self._transactions, self._compared, failure)

    def _rows(self, end: Height) -> Iterator[_Stored]:
        """Decided heights from 1 on, without a gap."""
        rows = self._connection.execute(
            "SELECT d.height, d.digest, d.certificate, b.height, b.view, b.header, b.txs, "
            "b.proposal_sig FROM decisions d LEFT JOIN bodies b ON b.digest = d.digest "
            "WHERE d.height <= ? ORDER BY d.height",
            (end,),
        )
        expected = 1
        for row in rows:
            if row[0] != expected:
                raise _Bad(expected, Part.DECISION, f"missing; the next one is {row[0]}")
            if row[3] is None:
                raise _Bad(expected, Part.BODY, f"no body with digest {row[1].hex()[:16]}")
            yield _Stored(*row)
            expected += 1

    def _contents(self, stored: _Stored) -> tuple[Header, tuple[bytes, ...]]:
        """Header and transactions, as far as hashes vouch for them."""
        height = stored.height
        with _blamed(height, Part.HEADER):
            header = decode_header(stored.header)
        if header.digest() != stored.digest:
            raise _Bad(height, Part.HEADER, "its SHA-256 is not the digest that was decided")
        if header.height != height:
            raise _Bad(height, Part.HEADER, f"it says height {header.height}")
        if stored.body_height != height:
            raise _Bad(height, Part.BODY, f"its row says height {stored.body_height}")
        with _blamed(height, Part.BODY):
            txs = decode_list(stored.txs)
            _require_canonical(txs, stored.txs)
            check_body(header, txs, self._genesis.consensus)
        return header, txs

    def _check_header(self, header: Header, stored: _Stored) -> None:
        height, validators, ledger = stored.height, self._validators, self._ledger
        head = Head(height - 1, self._parent, self._parent_time_ms, None)
        applied = Applied(height - 1, ledger.state_root, ledger.receipts_root)
        wrong = follows(header, head, applied, validators.epoch, validators.digest)
        if not wrong and header.chain_id != self._genesis.digest:
            wrong = "another chain id"
        if not wrong and header.proposer not in validators.index:
            wrong = "its proposer is no validator"
        if wrong:
            raise _Bad(height, Part.HEADER, wrong)
        self._check_proposal(header, stored)

    def _check_proposal(self, header: Header, stored: _Stored) -> None:
        """The proposal's signature, where the block came with one: some leader's, of that view."""
        if not stored.proposal_sig:
            return
        message = sign_bytes(
            TAG_PROPOSAL,
            self._genesis.digest,
            header.epoch,
            stored.view,
            stored.height,
            stored.digest,
        )
        keys = [header.proposer, *self._validators.index]
        if not any(self._verify(key, message, stored.proposal_sig) for key in keys):
            raise _Bad(
                stored.height,
                Part.BODY,
                f"the proposal's signature for view {stored.view} is no validator's",
            )

    def _check_transactions(self, height: Height, txs: Sequence[bytes]) -> None:
        rules = self._genesis.consensus
        for position, raw in enumerate(txs):
            with _blamed(height, Part.BODY, f"transaction {position}: "):
                check_stateless(raw, self._genesis.digest, height, rules, self._verify)
        self._transactions += len(txs)

    def _check_certificate(self, stored: _Stored) -> None:
        height = stored.height
        with _blamed(height, Part.CERTIFICATE):
            certificate = decode_certificate(stored.certificate)
            _require_canonical(certificate, stored.certificate)
            if certificate.kind not in decisive(self._genesis):
                raise Malformed(f"kind {certificate.kind} decides nothing")
            if certificate.height != height:
                raise Malformed(f"it is for height {certificate.height}")
            if certificate.digest != stored.digest:
                raise Malformed("it is for another block")
            check_certificate(certificate, self._validators, self._genesis.digest, self._verify)

    def sound(self) -> Generator[SoundBlock, None, Failure | None]:
        """See :func:`sound_blocks`."""
        for height in itertools.count(1):
            try:
                stored = self._row(height)
                if stored is None:
                    return None
                header, txs = self._contents(stored)
                self._check_header(header, stored)
                self._check_transactions(height, txs)
                self._check_certificate(stored)
            except _Bad as bad:
                return bad.failure
            except (sqlite3.Error, PeerFault, *MISTYPED) as err:
                return Failure(height, Part.DECISION, f"not readable: {err}")
            execution = self._run(header, txs)
            body = BodyRecord(
                stored.digest, height, stored.view, stored.header, txs, stored.proposal_sig
            )
            certificate = decode_certificate(stored.certificate)
            yield SoundBlock(body, DecisionRecord(height, stored.digest, certificate), execution)
        return None  # pragma: no cover - count has no end

    def _row(self, height: Height) -> _Stored | None:
        """A decided height by itself; its body is looked for without the index, too."""
        row = self._connection.execute(
            "SELECT digest, certificate FROM decisions WHERE height = ?", (height,)
        ).fetchone()
        if row is None:
            return None
        for source in ("bodies", "bodies NOT INDEXED"):
            with suppress(sqlite3.DatabaseError):
                body = self._connection.execute(
                    f"SELECT height, view, header, txs, proposal_sig FROM {source} "  # noqa: S608 - two constants
                    "WHERE digest = ?",
                    row[:1],
                ).fetchone()
                if body is not None:
                    return _Stored(height, *row, *body)
        raise _Bad(height, Part.BODY, f"no body with digest {row[0].hex()[:16]}")

    def _run(self, header: Header, txs: Sequence[bytes]) -> Execution:
        execution = self._ledger.execute(header, txs)
        self._parent, self._parent_time_ms = header.digest(), header.time_ms
        return execution

    def _execute(
        self, height: Height, header: Header, txs: Sequence[bytes], *, report: bool
    ) -> None:
        execution = self._run(header, txs)
        if height <= self._executed:
            self._check_index(height, execution, report=report)
            if report:
                self._check_execution(height, execution)

    def _check_execution(self, height: Height, execution: Execution) -> None:
        row = self._connection.execute(
            "SELECT state_root, receipts_root, receipts, next_due_ms FROM executions "
            "WHERE height = ?",
            (height,),
        ).fetchone()
        if row is None:
            raise _Bad(height, Part.RECEIPTS, "no execution is stored")
        state_root, receipts_root, receipts, next_due_ms = row
        if receipts != encode(execution.receipts):
            raise _Bad(height, Part.RECEIPTS, "not what executing the block again gives")
        if receipts_root != execution.receipts_root:
            raise _Bad(height, Part.RECEIPTS, "their stored root is not that of the receipts")
        if state_root != execution.state_root:
            raise _Bad(height, Part.STATE, "the stored root is not what executing again gives")
        if next_due_ms != execution.next_due_ms:
            raise _Bad(
                height, Part.STATE, f"next due at {next_due_ms}, should be {execution.next_due_ms}"
            )
        self._compared = height

    def _check_index(self, height: Height, execution: Execution, *, report: bool) -> None:
        """Each transaction is found where it was executed first, a refused one not at all."""
        for position, tx_id in enumerate(execution.tx_ids):
            if position in execution.refused:
                continue
            found = reader.tx_location(self._connection, tx_id)
            if found == (height, position):
                self._indexed += 1
            elif report and not self._was_executed(found, tx_id, before=(height, position)):
                where = (
                    "missing" if found is None else f"said to be {found.position} of {found.height}"
                )
                raise _Bad(height, Part.INDEX, f"transaction {position} is {where}")

    def _was_executed(
        self, found: TxLocation | None, tx_id: Digest, before: tuple[Height, int]
    ) -> bool:
        """A transaction decided twice stays where it was first."""
        if found is None or found >= before:
            return False
        with suppress(PeerFault):
            block = reader.block(self._connection, found.height)
            if block is not None and found.position < len(block.txs):
                return transaction_id(block.txs[found.position]) == tx_id
        return False

    def _check_state(self, height: Height) -> None:
        """The state table against the ledger, entry by entry."""
        stored = reader.state_entries(self._connection)
        for key, value in self._ledger.entries():
            entry = next(stored, None)
            if entry != (key, value):
                raise _Bad(height, Part.STATE, f"the entry {key.hex()} is missing or different")
        surplus = next(stored, None)
        if surplus is not None:
            raise _Bad(height, Part.STATE, f"the entry {surplus[0].hex()} should not be there")

    def _check_rest(self, decided: Height) -> None:
        """What belongs to no single height: nothing beyond the chain, nothing left over.

        Damage below a range would show here too, so it takes the whole chain.
        """
        if self._executed > decided:
            raise _Bad(decided + 1, Part.RECEIPTS, "an execution of a block that is not decided")
        rows: int = self._connection.execute("SELECT count(*) FROM transactions").fetchone()[0]
        if rows != self._indexed:
            raise _Bad(
                self._executed, Part.INDEX, f"{rows} entries for {self._indexed} transactions"
            )
        with _blamed(decided, Part.SAFETY):
            SafetyRow.load(self._connection)

    def _check_new_views(self, decided: Height) -> None:
        for digest, record in self._connection.execute("SELECT digest, record FROM new_views"):
            if sha256(record) != digest:
                raise _Bad(decided, Part.SAFETY, "a new view is not what its hash says")


@contextmanager
def _blamed(height: Height, part: Part, where: str = "") -> Iterator[None]:
    """What a peer would be blamed for is, in one's own store, damage at that height."""
    try:
        yield
    except PeerFault as err:
        raise _Bad(height, part, f"{where}{err}") from err


def _require_canonical(value: object, stored: bytes) -> None:
    """Stored encodings are this build's own, so any other bytes have been touched.

    Raises:
        Malformed: they are others.
    """
    if encode(value) != stored:
        raise Malformed("not encoded as it was written")

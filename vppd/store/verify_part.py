"""Checks a store whose first blocks are not here: it began with a snapshot, or they were pruned.

Without the state below, nothing can be executed again. What remains is what a light client would
check, for every height: the chain of headers, the certificates by the validators of each epoch, and
for the blocks that are here transactions, signatures, receipts and index; and that the state is the
one whose root the plant has certified.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import NamedTuple

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.crypto import Verify
from vppd.header import Header
from vppd.ledger.buckets import Buckets
from vppd.ledger.codes import Status
from vppd.ledger.receipts import decode_receipt, receipts_root
from vppd.store import reader
from vppd.store.epochs import Epochs
from vppd.store.rows import PRUNED, StoredExecution
from vppd.store.soundness import Bad, Checks, Contents, Failure, Part, Stored, blamed
from vppd.types import Digest, Height

ALL_LINKS_BYTES = 2**62


class Result(NamedTuple):
    """See :class:`~vppd.store.verify.VerifyReport`."""

    last: Height
    transactions: int
    executed: Height
    failure: Failure | None


class PartCheck(Checks):
    """One pass over the heights that are here.

    Args:
        connection: to the store.
        genesis: of the chain.
        verifier: the signature check.
        begins: the height before the first whose transactions are here.
    """

    def __init__(
        self, connection: sqlite3.Connection, genesis: Genesis, verifier: Verify, begins: Height
    ) -> None:
        super().__init__(connection, genesis, Epochs(genesis), verifier)
        self._begins = begins
        self._base = reader.base(connection)
        self._executed = reader.executed(connection)
        self._before: Header | None = None
        self._roots: tuple[Digest, Digest] | None = None
        """State and receipts root after the height before, as stored."""

    def run(
        self,
        first: Height,
        last: Height | None,
        progress: Callable[[Height, Height], None] | None,
    ) -> Result:
        """Check the range; headers below it are checked as well."""
        decided = reader.decided(self.connection)
        end = decided if last is None else min(last, decided)
        done = first - 1
        failure: Failure | None = None
        try:
            self._learn_epochs()
            for stored in self._rows(end):
                self._check(stored, report=stored.height >= first)
                done = max(done, stored.height)
                if progress is not None:
                    progress(stored.height, end)
            if end == decided:
                self._check_state()
                if first <= max(self._base, 1):
                    self._check_rest(decided)
        except Bad as bad:
            failure = bad.failure
        return Result(done, self.transactions, min(self._executed, max(done, 0)), failure)

    def _learn_epochs(self) -> None:
        """Every era, each vouched for by the one before, as far as that is decided here."""
        with blamed(self._base, Part.ERA):
            for link in reader.era_links(self.connection, 1, ALL_LINKS_BYTES):
                self.epochs.cross(link, self.verify)
            for era in reader.eras(self.connection)[self.epochs.latest :]:
                self.epochs.add(era)

    def _rows(self, end: Height) -> Iterator[Stored]:
        """Decided heights from the base on, without a gap."""
        rows = self.connection.execute(
            "SELECT d.height, d.digest, d.certificate, b.height, b.view, b.header, b.txs, "
            "b.proposal_sig FROM decisions d LEFT JOIN bodies b ON b.digest = d.digest "
            "WHERE d.height <= ? ORDER BY d.height",
            (end,),
        )
        expected = max(self._base, 1)
        for row in rows:
            if row[0] != expected:
                raise Bad(expected, Part.DECISION, f"missing; the next one is {row[0]}")
            if row[3] is None:
                raise Bad(expected, Part.BODY, f"no body with digest {row[1].hex()[:16]}")
            yield Stored(*row)
            expected += 1

    def _check(self, stored: Stored, *, report: bool) -> None:
        height = stored.height
        pruned = height <= self._begins
        contents = None
        if pruned:
            header = self.header(stored)
            if stored.txs != PRUNED:
                raise Bad(height, Part.BODY, "its transactions should have been pruned")
        else:
            contents = self.contents(stored, report=report)
            header = contents.header
        self._check_place(header)
        self._before = header
        if report:
            self.check_proposal(header, stored)
            self.check_certificate(stored)
        with blamed(height, Part.RECEIPTS):
            execution = reader.execution(self.connection, height)
        self._roots = None
        if execution is not None:
            self._roots = (execution.state_root, execution.receipts_root)
        elif not pruned and height <= self._executed:
            raise Bad(height, Part.RECEIPTS, "no execution is stored")
        if execution is not None and contents is not None:
            self._check_execution(execution, contents)

    def _check_place(self, header: Header) -> None:
        """The header stands on the one before, and names the roots that are stored after it."""
        height, before = header.height, self._before
        wrong = self.place(header)
        if header.epoch != self.epochs.at(height).epoch:
            wrong = f"epoch {header.epoch}, in force is {self.epochs.at(height).epoch}"
        elif header.next_validators != self.epochs.at(height + 1).validators.digest:
            wrong = "another next validator set"
        elif header.parent != self._parent_of(header):
            wrong = "another parent"
        elif before is not None and header.time_ms <= before.time_ms:
            wrong = f"time {header.time_ms} not after the parent's {before.time_ms}"
        if wrong:
            raise Bad(height, Part.HEADER, wrong)
        if self._roots not in (None, (header.state_root, header.receipts_root)):
            raise Bad(height - 1, Part.STATE, "the stored roots are not those of the next header")

    def _parent_of(self, header: Header) -> Digest:
        """What a header must stand on; the base's own parent is not here."""
        if self._before is not None:
            return self._before.digest()
        return self.genesis.digest if header.height == 1 else header.parent

    def _check_execution(self, execution: StoredExecution, contents: Contents) -> None:
        height, txs = execution.height, contents.txs
        if receipts_root(execution.receipts) != execution.receipts_root:
            raise Bad(height, Part.RECEIPTS, "their stored root is not that of the receipts")
        if len(execution.receipts) != len(txs) + 1:
            raise Bad(height, Part.RECEIPTS, f"{len(execution.receipts)} for {len(txs)}")
        with blamed(height, Part.RECEIPTS):
            statuses = [decode_receipt(raw).status for raw in execution.receipts[1:]]
        refused = {i for i, status in enumerate(statuses) if status == Status.REFUSED}
        if contents.opened is not None:
            self.check_index(height, [tx.id for tx in contents.opened], refused)

    def _check_state(self) -> None:
        """The state is the one after the last execution; the base's was certified."""
        height = self._executed
        with blamed(height, Part.STATE):
            self._check_base()
        buckets = Buckets()
        buckets.apply(reader.state_entries(self.connection))
        execution = reader.execution(self.connection, height)
        if execution is None or execution.state_root != buckets.root:
            raise Bad(height, Part.STATE, "its entries do not give the root stored for it")

    def _check_base(self) -> None:
        after = reader.after_base(self.connection)
        if after is None:
            return
        header = self.epochs.check_decided(after.header, after.certificate, self.verify)
        block = reader.certified(self.connection, self._base)
        execution = reader.execution(self.connection, self._base)
        if block is None or header.parent != block.certificate.digest:
            raise Malformed("the header after the base stands on another block")
        if execution is not None and (execution.state_root, execution.receipts_root) != (
            header.state_root,
            header.receipts_root,
        ):
            raise Malformed("the base is not what the header after it certifies")

    def _check_rest(self, decided: Height) -> None:
        if self._executed > decided:
            raise Bad(decided + 1, Part.RECEIPTS, "an execution of a block that is not decided")
        self.check_index_end(self._executed, self._begins)
        self.check_safety(decided)
        self.check_new_views(decided)

"""What a stored height must be, by itself: hashes, proposal, transactions, certificate, index."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from vppd.codec import Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.certificate import check_certificate
from vppd.consensus.signing import TAG_PROPOSAL, sign_bytes
from vppd.crypto import Verify, sha256
from vppd.errors import PeerFault
from vppd.header import Header, decode_header
from vppd.ledger.block import check_body
from vppd.ledger.transaction import Transaction, check_stateless
from vppd.store.epochs import Epochs
from vppd.store.places import Walk, Wrong
from vppd.store.rows import decode_certificate, decode_list
from vppd.store.safety import SafetyRow
from vppd.types import Digest, Height


class Part(StrEnum):
    """Which part of the stored chain is wrong."""

    DECISION = "decision"
    BODY = "body"
    HEADER = "header"
    CERTIFICATE = "certificate"
    RECEIPTS = "receipts"
    STATE = "state"
    INDEX = "transaction index"
    ERA = "era"
    SAFETY = "safety record"


class Failure(NamedTuple):
    """The first thing that is wrong."""

    height: Height
    part: Part
    what: str

    def __str__(self) -> str:
        return f"height {self.height}: {self.part}: {self.what}"


class Bad(Exception):
    """Unwinds to the report."""

    def __init__(self, height: Height, part: Part, what: str) -> None:
        super().__init__(what)
        self.failure = Failure(height, part, what)


class Stored(NamedTuple):
    """A decided height as stored."""

    height: Height
    digest: Digest
    certificate: bytes
    body_height: Height
    view: int
    header: bytes
    txs: bytes
    proposal_sig: bytes


class Contents(NamedTuple):
    """A block as stored."""

    header: Header
    txs: tuple[bytes, ...]
    opened: list[Transaction] | None
    """The same, decoded, where each was checked."""


class Checks:
    """What can be said of a stored height by itself, whether it can be executed again or not.

    Args:
        connection: to the store.
        genesis: of the chain.
        epochs: who decided what; may grow meanwhile.
        verifier: the signature check.
    """

    def __init__(
        self, connection: sqlite3.Connection, genesis: Genesis, epochs: Epochs, verifier: Verify
    ) -> None:
        self.connection = connection
        self.genesis = genesis
        self.epochs = epochs
        self.verify = verifier
        self.transactions = 0
        """Checked with their signatures."""
        self._index: Walk | None = None

    def contents(self, stored: Stored, *, report: bool = True) -> Contents:
        """Header and transactions, as far as hashes vouch for them.

        Args:
            stored: the height.
            report: also whether each transaction could stand there, and its sender signed it.
        """
        header = self.header(stored)
        opened: list[Transaction] = []
        with blamed(stored.height, Part.BODY):
            txs = decode_list(stored.txs)
            _require_canonical(txs, stored.txs)
            # Ids are asked for last: until then, the hashes have vouched for every byte.
            ids = self._open(stored.height, txs, opened) if report else None
            check_body(header, txs, self.epochs.at(stored.height).rules, ids)
        return Contents(header, txs, opened if report else None)

    def _open(
        self, height: Height, txs: Sequence[bytes], opened: list[Transaction]
    ) -> Iterator[Digest]:
        """The id of each transaction that is in order; decoded, they go to ``opened``."""
        rules, chain_id, verify = self.epochs.at(height).rules, self.genesis.digest, self.verify
        signed = self.genesis.ledger.signed
        try:
            for raw in txs:
                tx = check_stateless(raw, chain_id, height, rules, verify, signed=signed)
                opened.append(tx)
                yield tx.id
        except PeerFault as err:
            raise Bad(height, Part.BODY, f"transaction {len(opened)}: {err}") from err
        self.transactions += len(txs)

    def header(self, stored: Stored) -> Header:
        """The header, as far as hashes vouch for it."""
        height = stored.height
        with blamed(height, Part.HEADER):
            header = decode_header(stored.header)
        if header.digest() != stored.digest:
            raise Bad(height, Part.HEADER, "its SHA-256 is not the digest that was decided")
        if header.height != height:
            raise Bad(height, Part.HEADER, f"it says height {header.height}")
        if stored.body_height != height:
            raise Bad(height, Part.BODY, f"its row says height {stored.body_height}")
        return header

    def place(self, header: Header) -> str:
        """Why a header cannot stand at its height, whatever is below; empty: it can."""
        term = self.epochs.at(header.height)
        if header.chain_id != self.genesis.digest:
            return "another chain id"
        if header.proposer not in term.validators.index:
            return "its proposer is no validator"
        return ""

    def check_proposal(self, header: Header, stored: Stored) -> None:
        """The proposal's signature, where the block came with one: some leader's, of that view."""
        if not stored.proposal_sig:
            return
        message = sign_bytes(
            TAG_PROPOSAL,
            self.genesis.digest,
            header.epoch,
            stored.view,
            stored.height,
            stored.digest,
        )
        keys = [header.proposer, *self.epochs.at(stored.height).validators.index]
        if not any(self.verify(key, message, stored.proposal_sig) for key in keys):
            raise Bad(
                stored.height,
                Part.BODY,
                f"the proposal's signature for view {stored.view} is no validator's",
            )

    def check_certificate(self, stored: Stored) -> None:
        """The epoch's validators decided exactly this."""
        height = stored.height
        term = self.epochs.at(height)
        with blamed(height, Part.CERTIFICATE):
            certificate = decode_certificate(stored.certificate)
            _require_canonical(certificate, stored.certificate)
            if certificate.kind not in term.decisive:
                raise Malformed(f"kind {certificate.kind} decides nothing")
            if certificate.height != height:
                raise Malformed(f"it is for height {certificate.height}")
            if certificate.digest != stored.digest:
                raise Malformed("it is for another block")
            check_certificate(certificate, term.validators, self.genesis.digest, self.verify)

    def check_index(
        self, height: Height, tx_ids: Sequence[Digest], refused: Collection[int]
    ) -> None:
        """Each transaction is found where it was executed, a refused one not at all.

        Args:
            height: at the first call any, then one above the last.
            tx_ids: of the block's transactions.
            refused: positions.
        """
        if self._index is None:
            self._index = Walk(self.connection, height)
        _accept(self._index.compare(height, tx_ids, refused))

    def check_index_end(self, executed: Height, begins: Height = 0) -> None:
        """The index tells of nothing but the heights that were checked: all above ``begins``."""
        walk = self._index or Walk(self.connection, begins + 1)
        _accept(walk.end(executed, begins))

    def check_new_views(self, decided: Height) -> None:
        """Each content is what it is named by."""
        for digest, record in self.connection.execute("SELECT digest, record FROM new_views"):
            if sha256(record) != digest:
                raise Bad(decided, Part.SAFETY, "a new view is not what its hash says")

    def check_safety(self, decided: Height) -> None:
        """The safety record's checksum."""
        with blamed(decided, Part.SAFETY):
            SafetyRow.load(self.connection)


def _accept(wrong: Wrong | None) -> None:
    if wrong is not None:
        raise Bad(wrong.height, Part.INDEX, wrong.what)


@contextmanager
def blamed(height: Height, part: Part, where: str = "") -> Iterator[None]:
    """What a peer would be blamed for is, in one's own store, damage at that height."""
    try:
        yield
    except PeerFault as err:
        raise Bad(height, part, f"{where}{err}") from err


def _require_canonical(value: object, stored: bytes) -> None:
    """Stored encodings are this build's own, so any other bytes have been touched.

    Raises:
        Malformed: they are others.
    """
    if encode(value) != stored:
        raise Malformed("not encoded as it was written")

"""Headers, roots and senders: whether it is one chain, and each transaction its sender's."""

from __future__ import annotations

from vppd.codec import Malformed
from vppd.config.genesis import Genesis
from vppd.crypto import sha256, verify
from vppd.day.audit.findings import Findings
from vppd.day.audit.report import ExportedBlock
from vppd.day.audit.rules import tree_root
from vppd.header import Header, decode_header
from vppd.ledger.codes import Status
from vppd.ledger.transaction import Transaction, signature_holds, statement_in
from vppd.types import Digest, Height, PublicKey, TimeMs


class Chain:
    """Follows the links from genesis.

    Args:
        genesis: where the chain begins.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, findings: Findings) -> None:
        self.height: Height = 0
        self.head: Digest = genesis.digest
        self._chain_id = genesis.digest
        self._findings = findings
        self._time_ms: TimeMs = 0
        self._receipts_root = tree_root(())

    def link(self, block: ExportedBlock) -> Header | None:
        """The header of the next block, compared with the block before and its own contents.

        ``None``: it cannot be read, so that nothing can be said about the block.
        """
        findings = self._findings
        findings.enter(self.height + 1)
        try:
            header = decode_header(block.header)
        except Malformed as err:
            findings.add(f"the header cannot be read: {err}")
            return None
        findings.same("the height in the header", header.height, self.height + 1)
        if header.chain_id != self._chain_id:
            findings.add("the header is of another chain than this genesis")
        if header.parent != self.head:
            findings.add("the header does not link to the block before")
        if header.time_ms <= self._time_ms:
            findings.add(f"the block's time {header.time_ms} is not after the one before")
        if header.receipts_root != self._receipts_root:
            findings.add(
                "the header has another receipts root than the receipts of the block before"
            )
        if header.tx_root != tree_root(block.txs):
            findings.add("the header has another transaction root than the block's transactions")
        if len(block.receipts) != 1 + len(block.txs):
            findings.add(
                f"there are {len(block.receipts)} receipts, {1 + len(block.txs)} are needed"
            )
        self.height = header.height
        self.head = sha256(block.header)
        self._time_ms = header.time_ms
        self._receipts_root = tree_root(block.receipts)
        return header


class Senders:
    """Who may send, and that each transaction counts once.

    Args:
        genesis: names accounts and meters.
        findings: takes objections.
    """

    def __init__(self, genesis: Genesis, findings: Findings) -> None:
        self._chain_id = genesis.digest
        self._findings = findings
        keys = [account.key for account in genesis.accounts] + [m.key for m in genesis.meters]
        self._next = dict.fromkeys(keys, 0)

    def opened(self, account: PublicKey) -> None:
        """A new validator has an account from now on."""
        self._next.setdefault(account, 0)

    def replaced(self, old: PublicKey, new: PublicKey) -> None:
        """A meter has another key."""
        self._next.pop(old, None)
        self._next.setdefault(new, 0)

    def executed(self, tx: Transaction, status: int) -> None:
        """A transaction was executed; only a refused one may have a wrong sender or nonce."""
        if not signature_holds(tx, self._chain_id, verify):
            self._findings.add("the signature does not hold")
        if status == Status.REFUSED or statement_in(tx) is not None:
            return
        expected = self._next.get(tx.sender)
        if expected is None:
            self._findings.add("the sender is neither a member nor a meter")
            return
        self._findings.same(f"the nonce of {self._findings.name(tx.sender)}", tx.nonce, expected)
        self._next[tx.sender] = tx.nonce + 1

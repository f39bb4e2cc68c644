"""Opaque transactions of a null ledger: kept, each once, and nothing else.

They are the whole work of a plant that measures (:mod:`vppd.bench`), so a run of them is executed
without a record each: nonces are counted beside the state and written back when the run ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.ledger.records import Account
from vppd.ledger.state import ACCOUNT, State
from vppd.ledger.transaction import Opaque, Transaction
from vppd.types import PublicKey

KEPT = Receipt(Status.OK, ErrorCode.NONE, (), ())
"""Of every opaque transaction that is kept: one object, so that it is encoded and hashed once."""
KEPT_BYTES = encode_receipt(KEPT)


def encoded(receipts: Sequence[Receipt]) -> Iterable[bytes]:
    """Their bytes; the one of what is kept is there already."""
    if receipts.count(KEPT) == len(receipts):
        return repeat(KEPT_BYTES, len(receipts))
    return [KEPT_BYTES if receipt is KEPT else encode_receipt(receipt) for receipt in receipts]


class Run:
    """Opaque transactions one after the other.

    Args:
        state: whose members send.
    """

    __slots__ = ("_accounts", "_due", "_state")

    def __init__(self, state: State) -> None:
        self._state = state
        self._accounts: dict[PublicKey, Account] = {}
        self._due: dict[PublicKey, int] = {}

    def keep(self, txs: Sequence[Transaction | bytes], first: int) -> int:
        """Use the nonces of opaque transactions, one after the other from ``first`` on.

        Returns:
            The position of the first that is not kept, or the end. What is refused, and what holds
            anything that is not opaque, is left to the general rules.
        """
        due, accounts = self._due, self._accounts
        for position in range(first, len(txs)):
            tx = txs[position]
            if isinstance(tx, bytes):
                return position
            sender, ops = tx.sender, tx.ops
            if sender not in due:
                account = self._state.get(ACCOUNT, sender)
                if account is None:
                    return position
                accounts[sender], due[sender] = account, account.nonce
            nonce = due[sender]
            if tx.nonce != nonce or type(ops[0]) is not Opaque:
                return position
            if len(ops) > 1 and any(type(op) is not Opaque for op in ops):
                return position
            due[sender] = nonce + 1
        return len(txs)

    def end(self) -> None:
        """Write the nonces back; the state is what one after the other would have left."""
        for sender, due in self._due.items():
            account = self._accounts[sender]
            if due != account.nonce:
                after = Account(due, account.balance, account.escrow, account.credit, account.bus)
                self._state.put(ACCOUNT, after, sender)
        self._due.clear()
        self._accounts.clear()

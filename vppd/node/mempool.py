"""Transactions waiting for a block: bounded, strict in nonces, oldest first.

An entry is *executable* when its nonce is the account's next one, or follows executable ones
without a gap. A small gap is kept (messages overtake each other); what waits behind it is not
work, so nobody can keep the plant busy with transactions that can never run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vppd.ledger.transaction import Transaction
from vppd.types import Digest, Height, PublicKey

MAX_TXS = 5_000
MAX_BYTES = 8 * 1024 * 1024
MAX_PER_ACCOUNT = 64
MAX_GAP = 16
"""So many nonces may be missing before a transaction that is kept."""
BROADCAST_AFTER_MS = 500
"""An own transaction still undecided after this goes to everybody (protocol.md, §5)."""
REMIND_AFTER_MS = 2_000
"""And again to the leader each time so long after: a full queue or a restart may have lost it."""
REMINDERS = 64
"""At a time, oldest first."""


class Refused(Exception):
    """The mempool does not take this transaction; the text says why and is for its sender."""


@dataclass(slots=True)
class Entry:
    """One waiting transaction."""

    tx: Transaction
    received_ms: int
    own: bool
    """Received from a client here (not from another node): this node looks after it."""
    remind_ms: int
    """When to send it again."""
    broadcast: bool = False


class Mempool:
    """Waiting transactions of one node.

    Args:
        next_nonce: the ledger's view: an account's next nonce, ``None`` for no such account.
    """

    def __init__(self, next_nonce: Callable[[PublicKey], int | None]) -> None:
        self._next_nonce = next_nonce
        self._entries: dict[Digest, Entry] = {}
        self._by_account: dict[PublicKey, dict[int, Entry]] = {}
        self._raw: set[bytes] = set()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, tx_id: Digest) -> bool:
        return tx_id in self._entries

    @property
    def size_bytes(self) -> int:
        """Sum of the transactions' lengths."""
        return self._bytes

    def holds(self, raw: bytes) -> bool:
        """Whether exactly these bytes wait here, so that they need not be checked again."""
        return raw in self._raw

    def waiting(self, account: PublicKey) -> int:
        """How many transactions of an account wait without a gap before them.

        The account's next unused nonce, as far as this node knows, is that much further.
        """
        mine = self._by_account.get(account)
        due = self._next_nonce(account) if mine else None
        if mine is None or due is None:
            return 0
        free = due
        while free in mine:
            free += 1
        return free - due

    def get(self, tx_id: Digest) -> Transaction | None:
        """A waiting transaction."""
        entry = self._entries.get(tx_id)
        return entry.tx if entry is not None else None

    def add(self, tx: Transaction, now_ms: int, *, own: bool) -> bool:
        """Take a checked transaction.

        Returns:
            False if it is waiting here already.

        Raises:
            Refused: replayed or unusable nonce, unknown account, another transaction with that
                nonce, or no room.
        """
        known = self._entries.get(tx.id)
        if known is not None:
            known.own = known.own or own
            known.remind_ms = min(known.remind_ms, now_ms) if own else known.remind_ms
            return False
        due = self._next_nonce(tx.sender)
        if due is None:
            raise Refused("the sender has no account on this chain")
        if tx.nonce < due:
            raise Refused(f"nonce {tx.nonce} is used, the account's next is {due} (a replay?)")
        mine = self._by_account.get(tx.sender, {})
        if tx.nonce in mine:
            raise Refused(f"another transaction with nonce {tx.nonce} is waiting")
        if len(mine) >= MAX_PER_ACCOUNT:
            raise Refused(f"{MAX_PER_ACCOUNT} transactions of this account are waiting")
        following = due + self.waiting(tx.sender)
        if tx.nonce > following + MAX_GAP:
            raise Refused(f"nonce {tx.nonce} is too far ahead, the account's next is {following}")
        if len(self._entries) >= MAX_TXS or self._bytes + len(tx.raw) > MAX_BYTES:
            raise Refused("the mempool is full")
        entry = Entry(tx, now_ms, own, now_ms + BROADCAST_AFTER_MS)
        self._by_account.setdefault(tx.sender, mine)[tx.nonce] = self._entries[tx.id] = entry
        self._raw.add(tx.raw)
        self._bytes += len(tx.raw)
        return True

    def _executable(self) -> Iterable[Entry]:
        """In order of arrival, but for nonces; an entry waits for its predecessor."""
        due: dict[PublicKey, int] = {}
        for entry in self._entries.values():
            sender = entry.tx.sender
            expected = due.get(sender)
            if expected is None:
                expected = self._next_nonce(sender) or 0
            if entry.tx.nonce > expected:
                due[sender] = expected
                continue
            mine = self._by_account[sender]
            while expected in mine:
                yield mine[expected]
                expected += 1
            due[sender] = expected

    def pending_since_ms(self) -> int | None:
        """When the oldest executable transaction arrived; ``None`` without one."""
        return min((entry.received_ms for entry in self._executable()), default=None)

    def take(
        self, height: Height, max_txs: int, max_bytes: int, max_lifetime: int
    ) -> tuple[bytes, ...]:
        """The raw transactions for a block at ``height``; they stay here until decided."""
        taken: list[bytes] = []
        room = max_bytes
        blocked: set[PublicKey] = set()
        for entry in self._executable():
            tx = entry.tx
            if tx.sender in blocked:
                continue
            if not height <= tx.expiry_height <= height + max_lifetime or len(tx.raw) > room:
                blocked.add(tx.sender)
                continue
            taken.append(tx.raw)
            room -= len(tx.raw)
            if len(taken) == max_txs:
                break
        return tuple(taken)

    def settle(self, decided: Iterable[Digest], height: Height) -> list[Transaction]:
        """Drop what block ``height`` decided, overtook or let expire.

        Returns:
            Transactions that were not decided and never will be.
        """
        for tx_id in decided:
            entry = self._entries.get(tx_id)
            if entry is not None:
                self._drop(entry)
        gone = [e for e in self._entries.values() if e.tx.expiry_height <= height]
        for sender, mine in self._by_account.items():
            due = self._next_nonce(sender) or 0
            gone += [e for n, e in mine.items() if n < due and e.tx.expiry_height > height]
        for entry in gone:
            self._drop(entry)
        return [entry.tx for entry in gone]

    def _drop(self, entry: Entry) -> None:
        tx = entry.tx
        if self._entries.pop(tx.id, None) is None:
            return
        self._bytes -= len(tx.raw)
        self._raw.discard(tx.raw)
        mine = self._by_account[tx.sender]
        mine.pop(tx.nonce, None)
        if not mine:
            del self._by_account[tx.sender]

    def own(self) -> list[Transaction]:
        """What this node looks after, oldest first."""
        return [entry.tx for entry in self._entries.values() if entry.own]

    def overdue(self, now_ms: int) -> tuple[list[Transaction], list[Transaction]]:
        """Own transactions undecided for too long.

        Returns:
            Those to send to everybody, once, after 500 ms; and those to send to the leader again.
        """
        everybody: list[Transaction] = []
        leader: list[Transaction] = []
        for entry in self._entries.values():
            if not entry.own or now_ms < entry.remind_ms:
                continue
            (leader if entry.broadcast else everybody).append(entry.tx)
            entry.broadcast = True
            entry.remind_ms = now_ms + REMIND_AFTER_MS
            if len(everybody) + len(leader) == REMINDERS:
                break
        return everybody, leader

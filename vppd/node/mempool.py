"""Transactions waiting for a block: bounded, strict in nonces, fair between accounts.

An entry is *ready* when its nonce is the account's next one, or follows ready ones without a gap. A
small gap is kept (messages overtake each other); what waits behind it is not work, so nobody can
keep the plant busy with transactions that can never run.

Two rules keep one account's flood from being everybody's (reliability.md, Part 2, row 18):

* Accounts take turns in a block, one transaction each, and whoever had a turn comes last the next
  time.
* When there is no room, the account that holds most gives up what it sent last; only to such an
  account the mempool is full.

Statements (:mod:`vppd.ledger.statements`) belong to no account. They wait in a small place of their
own, one for each thing they would change, and only while they would change it; they go first.

Nothing here walks over what waits, but for one look at each *account* per decided block: a full
mempool costs a turn of the event loop no more than an empty one. Statements are few.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from vppd.ledger.codes import MEANING
from vppd.ledger.context import Failed
from vppd.ledger.statements import MOST_STATEMENTS, Effect
from vppd.ledger.transaction import NOBODY, Transaction, is_new, statement_in
from vppd.types import Digest, Height, PublicKey

MAX_TXS = 10_000
MAX_BYTES = 8 * 1024 * 1024
MAX_PER_ACCOUNT = 64
MAX_GAP = 16
"""So many nonces may be missing before a transaction that is kept."""
BROADCAST_AFTER_MS = 500
"""An own transaction still undecided after this goes to everybody (protocol.md, §5)."""
REMIND_AFTER_MS = 2_000
"""And again to the leader each time so long after: a full queue or a restart may have lost it."""
RELAY_AFTER_MS = 1_000
"""Somebody else's goes to the leader, once, when it has been executable so long."""
MAX_STATEMENTS = 64
REMINDERS = 64
"""At a time, oldest first."""
PLACE_BYTES = MAX_BYTES // MAX_TXS
"""A transaction takes one place for each so many bytes it has begun; there are ``MAX_TXS`` places.

One measure for both caps: what is within it is within ``MAX_TXS`` and ``MAX_BYTES``.
"""


class Judge(Protocol):
    """The ledger's view of statements: :meth:`~vppd.ledger.execution.Ledger.judge_statement`."""

    def __call__(self, tx: Transaction, *, proved: bool = False) -> Effect:
        """What it would change in the next block; raises ``Failed`` if nothing."""


class Refused(Exception):
    """The mempool does not take this transaction; the text says why and is for its sender."""


def places(tx: Transaction) -> int:
    """How much of the mempool a transaction takes, in places."""
    return -(-len(tx.raw) // PLACE_BYTES)


class Entry(msgspec.Struct, eq=False, gc=False):
    """One waiting transaction."""

    tx: Transaction
    own: bool
    """Received from a client here (not from another node): this node looks after it."""
    remind_ms: int
    """When to send it again."""
    broadcast: bool = False


@dataclass(slots=True, eq=False)
class Account:
    """What waits of one sender."""

    key: PublicKey
    due: int
    """Its next nonce, by the ledger."""
    free: int
    """The first nonce from ``due`` on that does not wait here: those before it are ready."""
    by_nonce: dict[int, Entry] = field(default_factory=dict)
    places: int = 0


class Mempool:
    """Waiting transactions of one node.

    Args:
        next_nonce: the ledger's view: an account's next nonce, ``None`` for no such account.
        judge: the ledger's view of statements.
    """

    def __init__(self, next_nonce: Callable[[PublicKey], int | None], judge: Judge) -> None:
        self._next_nonce = next_nonce
        self._judge = judge
        self._statements: dict[Digest, Effect] = {}
        """What each waiting statement would change, oldest first."""
        self._entries: dict[Digest, Entry] = {}
        self._accounts: dict[PublicKey, Account] = {}
        self._by_raw: dict[bytes, Transaction] = {}
        self.known: Callable[[bytes], Transaction | None] = self._by_raw.get
        """The transaction in exactly these bytes, if it waits here: it was checked before."""
        self._bytes = 0
        self._places = 0
        self._holders: dict[int, dict[PublicKey, Account]] | None = None
        """Accounts by the places they hold, no level empty; kept while there is little room."""
        self._turns: OrderedDict[PublicKey, Account] = OrderedDict()
        """Accounts with something ready, in the order in which they are served."""
        self._ready: dict[Digest, int] = {}
        """Since when each ready transaction could have been executed, longest first."""
        self._expiring: defaultdict[Height, dict[Digest, Entry]] = defaultdict(dict)
        self._own: dict[Digest, Entry] = {}
        self._evicted: list[Transaction] = []
        """Since the last block, for the sake of others."""
        self.readable_by_all = False
        """Take nothing that the release before cannot read: some node is of it."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, tx_id: Digest) -> bool:
        return tx_id in self._entries

    @property
    def size_bytes(self) -> int:
        """Sum of the transactions' lengths."""
        return self._bytes

    def waiting(self, key: PublicKey) -> int:
        """How many transactions of an account wait without a gap before them.

        The account's next unused nonce, as far as this node knows, is that much further.
        """
        account = self._accounts.get(key)
        return account.free - account.due if account is not None else 0

    def get(self, tx_id: Digest) -> Transaction | None:
        """A waiting transaction."""
        entry = self._entries.get(tx_id)
        return entry.tx if entry is not None else None

    # ------------------------------------------------------------ in

    def admit(self, tx: Transaction, ahead: int = 0) -> None:
        """Whether :meth:`add` would take this transaction; cheap, so ask before verifying it.

        Of a statement this checks all its signatures: only the state knows whose they are.

        Args:
            tx: well formed, not expired.
            ahead: transactions of the same sender that will be added before it.

        Raises:
            Refused: replayed or unusable nonce, unknown account, another transaction with that
                nonce, or no room that this account could have; a statement that proves or changes
                nothing, or only what another one does.
        """
        if tx.id in self._entries:
            return
        if self.readable_by_all and is_new(tx):
            raise Refused("some node is of the release before, and could not read a block with it")
        if tx.sender == NOBODY and statement_in(tx) is not None:
            self._effect_of(tx)  # what costs nothing first
            self._effect_of(tx, proved=False)
            return
        self._admit(tx, ahead)

    def _admit(self, tx: Transaction, ahead: int = 0) -> Account:
        """The account that a transaction which is no statement would go to.

        Of one with something waiting, ``settle`` has kept the next nonce in step with the ledger.
        """
        account = self._accounts.get(tx.sender)
        if account is None:
            due = self._next_nonce(tx.sender)
            if due is None:
                raise Refused("the sender has no account on this chain")
            account = Account(tx.sender, due, due)
        nonce = tx.nonce
        if nonce < account.due:
            raise Refused(f"nonce {nonce} is used, the account's next is {account.due} (a replay?)")
        if nonce in account.by_nonce:
            raise Refused(f"another transaction with nonce {nonce} is waiting")
        if len(account.by_nonce) + ahead >= MAX_PER_ACCOUNT:
            raise Refused(f"{MAX_PER_ACCOUNT} transactions of this account are waiting")
        if nonce > account.free + ahead + MAX_GAP:
            raise Refused(f"nonce {nonce} is too far ahead, the account's next is {account.free}")
        wanted = places(tx)
        if self._places + wanted > MAX_TXS and wanted + account.places >= max(self._crowd()):
            raise Refused("the mempool is full, and nobody holds more of it than this account")
        return account

    def add(self, tx: Transaction, now_ms: int, *, own: bool) -> bool:
        """Take a checked transaction.

        Args:
            tx: well formed, signed, not expired.
            now_ms: monotonic.
            own: from a client of this node.

        Returns:
            False if it is waiting here already.

        Raises:
            Refused: as :meth:`admit`.
        """
        known = self._entries.get(tx.id)
        if known is not None:
            if own:
                known.own = True
                known.remind_ms = min(known.remind_ms, now_ms)
                self._own[tx.id] = known
            return False
        if self.readable_by_all:
            self.admit(tx)
        elif tx.sender == NOBODY and statement_in(tx) is not None:
            self._statements[tx.id] = self._effect_of(tx)
            self._remember(Entry(tx, own, now_ms + BROADCAST_AFTER_MS))
            self._ready[tx.id] = now_ms
            return True
        account = self._admit(tx)
        wanted = places(tx)
        if self._places + wanted > MAX_TXS:
            self._make_room(wanted)
        self._accounts[tx.sender] = account
        entry = Entry(tx, own, now_ms + BROADCAST_AFTER_MS)
        account.by_nonce[tx.nonce] = entry
        self._remember(entry)
        self._hold(account, wanted)
        if tx.nonce == account.free:
            self._extend(account, now_ms)
        return True

    def keep_readable(self, wanted: bool) -> bool:
        """Whether some node is of the release before: what it cannot read leaves, and is refused.

        A block of another that holds such a transaction is voted for all the same.

        Returns:
            Whether anything left.
        """
        self.readable_by_all = wanted
        leaving = [e for e in self._entries.values() if wanted and is_new(e.tx)]
        for entry in leaving:
            self._drop(entry)
            self._evicted.append(entry.tx)
        return bool(leaving)

    def _effect_of(self, tx: Transaction, *, proved: bool = True) -> Effect:
        """What a statement would change that no waiting one does.

        Raises:
            Refused: nothing, or there is no room.
        """
        if len(self._statements) >= MAX_STATEMENTS:
            raise Refused(f"{MAX_STATEMENTS} statements are waiting")
        try:
            effect = self._judge(tx, proved=proved)
        except Failed as failed:
            raise Refused(MEANING[failed.code][0]) from failed
        if effect in self._statements.values():
            raise Refused("a statement that comes to the same is waiting")
        return effect

    def _remember(self, entry: Entry) -> None:
        """In the books that all entries are in."""
        tx = entry.tx
        self._entries[tx.id] = entry
        self._expiring[tx.expiry_height][tx.id] = entry
        if entry.own:
            self._own[tx.id] = entry
        self._by_raw[tx.raw] = tx
        self._bytes += len(tx.raw)

    def _make_room(self, wanted: int) -> None:
        """Evict from whoever holds most, newest nonce first: no gap is torn by it.

        Never from the sender: ``admit`` has seen that somebody holds more than it will, and until
        enough is free, somebody still holds more than it does.
        """
        while self._places + wanted > MAX_TXS:
            holders = self._crowd()
            largest = holders[max(holders)]
            victim = next(iter(largest.values()))
            newest = victim.by_nonce[max(victim.by_nonce)]
            self._drop(newest)
            self._evicted.append(newest.tx)

    # ------------------------------------------------------------ out

    def pending_since_ms(self) -> int | None:
        """Since when the oldest ready transaction could have been executed; ``None`` without one.

        What waited behind a gap counts from when the gap was filled: nobody can make a leader look
        as if it had passed something over by holding the first of two transactions back.
        """
        return next(iter(self._ready.values()), None)

    def take(
        self, height: Height, max_txs: int, max_bytes: int, max_lifetime: int
    ) -> tuple[bytes, ...]:
        """The raw transactions for a block at ``height``; they stay here until decided."""
        taken: list[bytes] = []
        served: dict[PublicKey, None] = {}
        room = max_bytes
        for tx_id in self._statements:
            tx = self._entries[tx_id].tx
            if len(taken) == min(max_txs, MOST_STATEMENTS):
                break
            if height <= tx.expiry_height <= height + max_lifetime and len(tx.raw) <= room:
                taken.append(tx.raw)
                room -= len(tx.raw)
        lines = [(account, account.due) for account in self._turns.values()]
        while lines and len(taken) < max_txs:
            left: list[tuple[Account, int]] = []
            for account, nonce in lines:
                tx = account.by_nonce[nonce].tx
                if not height <= tx.expiry_height <= height + max_lifetime or len(tx.raw) > room:
                    continue  # and with it everything of this account that comes after it
                taken.append(tx.raw)
                served[account.key] = None
                room -= len(tx.raw)
                if len(taken) == max_txs:
                    break
                if nonce + 1 < account.free:
                    left.append((account, nonce + 1))
            lines = left
        for key in served:
            self._turns.move_to_end(key)
        return tuple(taken)

    def settle(self, decided: Iterable[Digest], height: Height, now_ms: int) -> list[Transaction]:
        """Drop what block ``height`` decided, overtook or let expire.

        Args:
            decided: ids of the transactions that have used their nonce.
            height: of the block.
            now_ms: monotonic.

        Returns:
            Transactions that this node does not wait for any more although they were not decided:
            they never can be, or they have made room for others since the last block.
        """
        gone, self._evicted = self._evicted, []
        if not self._entries:
            return gone
        ids = frozenset(decided)
        for account in tuple(self._accounts.values()):
            due = self._next_nonce(account.key) or 0
            if due == account.due:
                continue
            account.due, account.free = due, max(account.free, due)
            for nonce in [nonce for nonce in account.by_nonce if nonce < due]:
                entry = account.by_nonce[nonce]
                self._drop(entry)
                if entry.tx.id not in ids:
                    gone.append(entry.tx)
            self._extend(account, now_ms)
        for tx_id in tuple(self._statements):
            entry = self._entries[tx_id]
            if tx_id in ids:
                self._drop(entry)
            elif not self._still_counts(entry.tx):
                self._drop(entry)
                gone.append(entry.tx)
        for expiry in [expiry for expiry in self._expiring if expiry <= height]:
            for entry in tuple(self._expiring[expiry].values()):
                self._drop(entry)
                gone.append(entry.tx)
        return gone

    def _still_counts(self, tx: Transaction) -> bool:
        try:
            self._judge(tx, proved=True)
        except Failed:
            return False
        return True

    # ------------------------------------------------------------ books

    def _crowd(self) -> dict[int, dict[PublicKey, Account]]:
        """Accounts by the places they hold; asked for only when there is no room."""
        if self._holders is None:
            self._holders = {}
            for account in self._accounts.values():
                self._holders.setdefault(account.places, {})[account.key] = account
        return self._holders

    def _hold(self, account: Account, more: int) -> None:
        """An account holds so many places more, or fewer."""
        before = account.places
        self._places += more
        account.places += more
        holders = self._holders
        if holders is None:
            return
        if self._places <= MAX_TXS // 2:
            self._holders = None
            return
        if before:
            level = holders[before]
            del level[account.key]
            if not level:
                del holders[before]
        if account.places:
            holders.setdefault(account.places, {})[account.key] = account

    def _extend(self, account: Account, now_ms: int) -> None:
        """What follows the ready ones without a gap is ready from now on."""
        while (entry := account.by_nonce.get(account.free)) is not None:
            self._ready[entry.tx.id] = now_ms
            account.free += 1
        if account.free > account.due:
            self._turns.setdefault(account.key, account)
        else:
            self._turns.pop(account.key, None)

    def _drop(self, entry: Entry) -> None:
        """Forget a transaction; those of its account behind it are no longer ready."""
        tx = entry.tx
        del self._entries[tx.id]
        del self._by_raw[tx.raw]
        self._own.pop(tx.id, None)
        expiring = self._expiring[tx.expiry_height]
        del expiring[tx.id]
        if not expiring:
            del self._expiring[tx.expiry_height]
        self._bytes -= len(tx.raw)
        self._ready.pop(tx.id, None)
        if self._statements.pop(tx.id, None) is None:
            self._leave_account(tx)

    def _leave_account(self, tx: Transaction) -> None:
        account = self._accounts[tx.sender]
        del account.by_nonce[tx.nonce]
        self._hold(account, -places(tx))
        if account.due <= tx.nonce < account.free:
            for nonce in range(tx.nonce + 1, account.free):
                del self._ready[account.by_nonce[nonce].tx.id]
            account.free = tx.nonce
        if account.free == account.due:
            self._turns.pop(account.key, None)
        if not account.by_nonce:
            del self._accounts[account.key]

    # ------------------------------------------------------------ looking after one's own

    def own(self) -> list[Transaction]:
        """What this node looks after, oldest first."""
        return [entry.tx for entry in self._own.values()]

    def overdue(self, now_ms: int) -> tuple[list[Transaction], list[Transaction]]:
        """Own transactions undecided for too long.

        Somebody else's executable ones go to the leader once: whoever shows them to everybody but
        the leader would make all others lose patience with it.

        Returns:
            Those to send to everybody, once, after 500 ms; and those to send to the leader again.
        """
        everybody: list[Transaction] = []
        leader: list[Transaction] = []
        for entry in self._own.values():
            if now_ms < entry.remind_ms:
                continue
            (leader if entry.broadcast else everybody).append(entry.tx)
            entry.broadcast = True
            entry.remind_ms = now_ms + REMIND_AFTER_MS
            if len(everybody) + len(leader) == REMINDERS:
                break
        for tx_id, since_ms in self._ready.items():  # what has waited longest first
            if now_ms - since_ms < RELAY_AFTER_MS or len(leader) >= REMINDERS:
                break
            entry = self._entries[tx_id]
            if not entry.own and not entry.broadcast:
                entry.broadcast = True
                leader.append(entry.tx)
        return everybody, leader

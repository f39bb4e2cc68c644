"""A small plant with a ledger, and an auditor that re-adds every posting of every block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Genesis,
    MarketRules,
    MarketRulesSection,
    MeterEntry,
    Tariff,
)
from vppd.crypto import SigningKey, sha256
from vppd.header import Header
from vppd.ledger.block import make_header
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.contracts.engine import contract_purse
from vppd.ledger.events import FUND, GRID, Posted, Purse
from vppd.ledger.execution import Execution, Ledger
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.ledger.state import ACCOUNT, FUND_ACCOUNT, GRID_ACCOUNT, METER, TABLES
from vppd.ledger.transaction import Op, PlaceOrder, Reading, make_transaction
from vppd.market.auction import Side
from vppd.types import Micro, PublicKey, Slot, TimeMs

E = TypeVar("E")

ORIGIN_MS = 1_000_000
SLOT_MS = 10_000
RETAIL, FEED_IN = 500_000, 300_000
OPENING = 10_000_000
ANN, BOB, CAT = (SigningKey(sha256(name)) for name in (b"ann", b"bob", b"cat"))
ANN_METER, BOB_METER = (SigningKey(sha256(name)) for name in (b"ann meter", b"bob meter"))
STRANGER = SigningKey(sha256(b"stranger"))
PROPOSER = bytes(31) + b"\x01"


def market(**changes: Any) -> MarketRulesSection:
    """Slots of 10 s; open 30 s ahead, gate 2 s ahead, readings for 5 s, corrections for 20 s."""
    fields: dict[str, Any] = {
        "origin_ms": ORIGIN_MS,
        "slot_ms": SLOT_MS,
        "open_lead_ms": 30_000,
        "gate_lead_ms": 2_000,
        "metering_ms": 5_000,
        "dispute_slots": 2,
        "max_quantity_wh": 1_000_000,
        "max_price": 10_000_000,
        "tariffs": (
            Tariff(start_minute=0, end_minute=1440, retail_price=RETAIL, feed_in_price=FEED_IN),
        ),
    }
    return MarketRulesSection(**(fields | changes))


def genesis(section: MarketRulesSection | None = None, **changes: Any) -> Genesis:
    """Ann and Bob with a meter each, Cat without; 10.00 each."""
    fields: dict[str, Any] = {
        "name": "test",
        "digest": sha256(b"test plant"),
        "consensus": ConsensusRules(),
        "market": section or market(),
        "validators": (),
        "accounts": tuple(
            AccountEntry(name=name, key=key.public_key, balance=OPENING, bus=bus)
            for bus, (name, key) in enumerate((("ann", ANN), ("bob", BOB), ("cat", CAT)))
        ),
        "meters": (
            MeterEntry(key=ANN_METER.public_key, account="ann", import_wh=100, export_wh=50),
            MeterEntry(key=BOB_METER.public_key, account="bob"),
        ),
    }
    return Genesis(**(fields | changes))


def start_of(slot: Slot) -> TimeMs:
    """Delivery of ``slot`` begins."""
    return ORIGIN_MS + slot * SLOT_MS


def offer(slot: Slot, wh: int, price: int, reserve: int | None = None) -> PlaceOrder:
    return PlaceOrder(slot, Side.OFFER, wh, price, price if reserve is None else reserve, 0)


def bid(slot: Slot, wh: int, price: int, reserve: int | None = None) -> PlaceOrder:
    return PlaceOrder(slot, Side.BID, wh, price, price if reserve is None else reserve, 0)


class Auditor:
    """Knows genesis and receipts only, and says what everybody must own."""

    def __init__(self, plant: Genesis) -> None:
        self.purses: Counter[tuple[PublicKey, int]] = Counter()
        for entry in plant.accounts:
            self.purses[entry.key, Purse.BALANCE] = entry.balance

    def read(self, receipt: Receipt) -> None:
        postings = [event for event in receipt.events if isinstance(event, Posted)]
        assert sum(p.delta for p in postings) == 0, "a receipt's postings add up to zero"
        assert all(p.delta for p in postings), "nothing is said about nothing"
        for posting in postings:
            self.purses[posting.account, posting.purse] += posting.delta

    def check(self, ledger: Ledger) -> None:
        for key in ledger.account_keys():
            account = ledger.account(key)
            assert account is not None
            assert account.balance == self.purses[key, Purse.BALANCE]
            assert account.escrow == self.purses[key, Purse.ESCROW]
        assert grid_of(ledger) == self.purses[GRID, Purse.GRID]
        held = {contract_purse(n): c.held for n, c in ledger.contracts() if c.held}
        purses = {key: micro for (key, purse), micro in self.purses.items() if micro and purse == 3}
        assert held == purses
        assert fund_of(ledger) == self.purses[FUND, Purse.FUND]


def grid_of(ledger: Ledger) -> Micro:
    """What lies on the grid account."""
    value = dict(ledger.entries())[GRID_ACCOUNT.key()]
    return GRID_ACCOUNT.decode(value).balance


def fund_of(ledger: Ledger) -> Micro:
    """What lies in the fund."""
    value = dict(ledger.entries()).get(FUND_ACCOUNT.key())
    return 0 if value is None else FUND_ACCOUNT.decode(value).balance


class Chain:
    """A ledger fed block by block; each block is audited.

    Args:
        plant: genesis; the default one if left out.
        rules: which auction.
    """

    def __init__(self, plant: Genesis | None = None, rules: MarketRules = "production") -> None:
        self.genesis = plant or genesis(market(rules=rules))
        self.ledger = Ledger.from_genesis(self.genesis)
        self.total = self.ledger.total_micro()
        self.auditor = Auditor(self.genesis)
        self.blocks: list[tuple[Header, tuple[bytes, ...]]] = []
        self.last: Execution | None = None
        self._nonces: dict[PublicKey, int] = {}

    def tx(self, key: SigningKey, *ops: Op, nonce: int | None = None) -> bytes:
        """A transaction with the key's next nonce."""
        if nonce is None:
            due = self.ledger.nonce(key.public_key) or 0
            nonce = self._nonces.get(key.public_key, due)
            self._nonces[key.public_key] = nonce + 1
        return make_transaction(key, self.genesis.digest, nonce, 1_000, ops)

    def header(self, time_ms: TimeMs, txs: Sequence[bytes]) -> Header:
        """Of the next block."""
        return make_header(
            chain_id=self.genesis.digest,
            epoch=0,
            height=self.ledger.height + 1,
            parent=self.blocks[-1][0].digest() if self.blocks else self.genesis.digest,
            time_ms=time_ms,
            proposer=PROPOSER,
            txs=txs,
            state_root=self.ledger.state_root,
            receipts_root=self.ledger.receipts_root,
            next_validators=bytes(32),
        )

    def block(self, time_ms: TimeMs, *txs: bytes) -> list[Receipt]:
        """Execute the next block: the block's own receipt, then one per transaction."""
        header = self.header(time_ms, txs)
        self.blocks.append((header, txs))
        self.last = self.ledger.execute(header, txs)
        self._nonces.clear()
        for key, value in self.last.changes:
            if value is not None:
                TABLES[key[0]].decode(value)  # what is kept can be loaded again
        receipts = [decode_receipt(raw) for raw in self.last.receipts]
        assert len(receipts) == 1 + len(txs)
        for receipt in receipts:
            self.auditor.read(receipt)
        self.auditor.check(self.ledger)
        assert self.ledger.total_micro() == self.total
        return receipts

    def do(self, time_ms: TimeMs, key: SigningKey, *ops: Op) -> Receipt:
        """One transaction in a block of its own; its receipt."""
        return self.block(time_ms, self.tx(key, *ops))[1]

    def ok(self, time_ms: TimeMs, key: SigningKey, *ops: Op) -> Receipt:
        """As :meth:`do`, and it must succeed."""
        receipt = self.do(time_ms, key, *ops)
        assert receipt.status == Status.OK, ErrorCode(receipt.code)
        return receipt

    def fails(
        self, time_ms: TimeMs, key: SigningKey, *ops: Op
    ) -> tuple[ErrorCode, tuple[int, ...]]:
        """As :meth:`do`, and it must fail, changing nothing but the sender's nonce.

        Returns:
            Why, and the receipt's detail after the operation's number.
        """
        twin = self.reloaded()
        receipt = self.do(time_ms, key, *ops)
        assert receipt.status == Status.FAILED
        assert receipt.events == ()
        twin.execute(self.blocks[-1][0], ())
        table = ACCOUNT if self.ledger.account(key.public_key) else METER
        assert self.ledger.nonce(key.public_key) == (twin.nonce(key.public_key) or 0) + 1
        own = table.key(key.public_key)
        left, right = dict(self.ledger.entries()), dict(twin.entries())
        sender, before = (table.decode(entries.pop(own)) for entries in (left, right))
        assert left == right
        assert replace(sender, nonce=before.nonce) == before
        assert self.ledger.next_due_ms == twin.next_due_ms
        return ErrorCode(receipt.code), receipt.detail[1:]

    def reloaded(self) -> Ledger:
        """The same ledger, from what a store would have kept."""
        header = self.blocks[-1][0] if self.blocks else None
        entries = self.ledger.entries()
        return Ledger.load(
            self.genesis, self.ledger.height, entries, header, self.ledger.receipts_root
        )

    def balance(self, key: SigningKey) -> Micro:
        account = self.ledger.account(key.public_key)
        assert account is not None
        return account.balance

    def escrow(self, key: SigningKey) -> Micro:
        account = self.ledger.account(key.public_key)
        assert account is not None
        return account.escrow


def events(receipt: Receipt, kind: type[E]) -> list[E]:
    """Events of one kind, in order."""
    return [event for event in receipt.events if isinstance(event, kind)]


def reading(slot: Slot, import_wh: int, export_wh: int = 0) -> Reading:
    return Reading(slot, import_wh, export_wh)

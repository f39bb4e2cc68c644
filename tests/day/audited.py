"""A day with everything in it, for the audit to read, and ways to change one thing of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, get_args

from msgspec.structs import asdict, replace

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    OPENING,
    Chain,
    bid,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.genesis import Genesis, MarketRules, Tariff, ValidatorEntry
from vppd.day.audit import AuditReport, ExportedBlock, audit_blocks
from vppd.header import decode_header
from vppd.ledger.events import Event
from vppd.ledger.receipts import Receipt, decode_receipt, encode_receipt
from vppd.ledger.transaction import Transfer
from vppd.merkle import merkle_root
from vppd.types import Role

Blocks: TypeAlias = list[ExportedBlock]
Edit: TypeAlias = Callable[[Event], Sequence[Event]]

ALL_RULES: tuple[MarketRules, ...] = get_args(MarketRules)
TARIFFS = (
    Tariff(start_minute=1_380, end_minute=15, retail_price=380_000, feed_in_price=240_001),
    Tariff(start_minute=15, end_minute=30, retail_price=570_001, feed_in_price=380_003),
    Tariff(start_minute=30, end_minute=1_380, retail_price=860_007, feed_in_price=650_000),
)
"""One for each of the slots 0, 1 and 2; the first wraps around midnight."""
CREDIT = {"ann": 900_000, "bob": 700_000, "cat": 333_333}


def plant(rules: MarketRules = "production") -> Genesis:
    """Ann, an operator, and Bob, a DER, with unequal credit and a meter each; Cat with neither."""
    base = genesis(market(rules=rules, tariffs=TARIFFS))
    return replace(
        base,
        accounts=tuple(replace(a, credit=CREDIT[a.name]) for a in base.accounts),
        validators=(
            ValidatorEntry(name="ann", role=Role.OPERATOR, key=ANN.public_key),
            ValidatorEntry(name="bob", role=Role.DER, key=BOB.public_key),
        ),
    )


class Day(Chain):
    """A chain that keeps what the audit reads."""

    def __init__(self, plant: Genesis) -> None:
        super().__init__(plant)
        self.exported: Blocks = []

    def block(self, time_ms: int, *txs: bytes) -> list[Receipt]:
        receipts = super().block(time_ms, *txs)
        assert self.last is not None
        header = self.blocks[-1][0].encode()
        self.exported.append(ExportedBlock(header, txs, self.last.receipts))
        return receipts

    def audit(self) -> AuditReport:
        return audit_blocks(self.genesis, self.exported)


def play(rules: MarketRules = "production") -> Day:
    """:func:`play_on` a chain with these rules."""
    return play_on(plant(rules))


def play_on(genesis: Genesis) -> Day:
    """A day with everything in it that may happen to a slot.

    Slot 0 trades in both rounds and is metered in time. Slot 1 trades, misses a reading at its
    deadline, is estimated, and corrected when the reading comes. Slot 2 has readings only, one of
    them corrected, the other of unknown energy until slot 1's comes. A transaction fails, one is
    refused.
    """
    day = Day(genesis)
    opened = start_of(0) - 20_000
    day.ok(opened, ANN, offer(0, 3_001, 300_001, 250_001), offer(0, 2_003, 520_003, 300_007))
    day.ok(opened + 1, BOB, bid(0, 1_007, 400_009, 450_001), bid(1, 901, 600_000, 700_000))
    day.ok(opened + 2, CAT, bid(0, 3_333, 310_005, 420_007))
    day.ok(opened + 3, CAT, Transfer(ANN.public_key, 77_777))
    day.do(opened + 4, CAT, Transfer(ANN.public_key, 10 * OPENING))
    day.block(opened + 5, day.tx(BOB, Transfer(CAT.public_key, 1), nonce=99))
    day.ok(opened + 6, ANN, offer(1, 1_500, 555_555, 444_444))
    day.block(start_of(0) - 2_000)
    day.ok(start_of(1) + 1, ANN_METER, reading(0, 103, 4_777))
    day.ok(start_of(1) + 2, BOB_METER, reading(0, 1_500, 20))
    day.block(start_of(1) + 5_000)
    day.block(start_of(2) + 5_000)
    day.ok(start_of(2) + 6_000, ANN_METER, reading(1, 110, 5_999))
    day.ok(start_of(3) + 1, ANN_METER, reading(2, 400, 6_000))
    day.ok(start_of(3) + 2, BOB_METER, reading(2, 3_600, 21))
    day.block(start_of(3) + 5_000)
    late = day.tx(BOB_METER, reading(1, 2_501, 20))
    corrected = day.tx(ANN_METER, reading(2, 399, 6_100))
    day.block(start_of(3) + 5_001, late, corrected)
    day.block(start_of(40))
    return day


def every_event(blocks: Blocks) -> Iterator[tuple[int, int, Event]]:
    """Block index, receipt index and event."""
    for index, block in enumerate(blocks):
        for position, raw in enumerate(block.receipts):
            for event in decode_receipt(raw).events:
                yield index, position, event


def reseal(genesis: Genesis, blocks: Blocks) -> Blocks:
    """The same blocks with headers that fit, so that only what they say is wrong."""
    parent, receipts_root = genesis.digest, merkle_root(())
    sealed = []
    for block in blocks:
        header = decode_header(block.header)._replace(
            parent=parent,
            receipts_root=receipts_root,
            tx_root=merkle_root(block.txs),
            tx_count=len(block.txs),
        )
        parent, receipts_root = header.digest(), merkle_root(block.receipts)
        sealed.append(block._replace(header=header.encode()))
    return sealed


def edited(day: Day, edits: dict[int, Edit]) -> list[str]:
    """Findings after the events with these numbers, counted over the chain, are replaced."""
    number = 0
    blocks = []
    for block in day.exported:
        receipts = []
        for raw in block.receipts:
            receipt = decode_receipt(raw)
            events: list[Event] = []
            for event in receipt.events:
                events += edits[number](event) if number in edits else [event]
                number += 1
            receipts.append(encode_receipt(replace(receipt, events=tuple(events))))
        blocks.append(block._replace(receipts=tuple(receipts)))
    return audit_blocks(day.genesis, reseal(day.genesis, blocks)).findings


def number_of(day: Day, kind: type[Event], nth: int = 0, /, **wanted: int | bytes) -> int:
    """Number of the ``nth`` event of this kind with these fields."""
    found = [
        number
        for number, (_, _, event) in enumerate(every_event(day.exported))
        if isinstance(event, kind) and wanted.items() <= asdict(event).items()
    ]
    return found[nth]


def changing(**changes: int | bytes) -> Edit:
    return lambda event: [replace(event, **changes)]


def adding(field: str, delta: int) -> Edit:
    return lambda event: [replace(event, **{field: getattr(event, field) + delta})]


def dropped(_: Event) -> Sequence[Event]:
    return []


def doubled(event: Event) -> Sequence[Event]:
    return [event, event]

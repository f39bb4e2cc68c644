"""The second opinion: silent about a clean chain, outspoken about every single change to it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

import vppd
from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    CAT,
    OPENING,
    STRANGER,
    Chain,
    bid,
    genesis,
    market,
    offer,
    reading,
    start_of,
)
from vppd.codec import I64, Message
from vppd.config.genesis import Genesis, MarketRules, MarketRulesSection, Tariff, ValidatorEntry
from vppd.config.genesis_file import parse_genesis, render_genesis
from vppd.consensus.boundary import BodyRecord, DecisionRecord
from vppd.consensus.messages import Certificate, CertificateKind
from vppd.crypto import SigningKey, sha256
from vppd.day.audit import AuditReport, ExportedBlock, audit_blocks, audit_store
from vppd.day.audit.rules import (
    RULE_SETS,
    Calendar,
    Phase,
    RuleSet,
    amount,
    owed_to_grid,
    reference_price,
    set_aside,
    standing_price,
    trade_price,
    tree_root,
)
from vppd.errors import UserError
from vppd.header import Header, decode_header
from vppd.ledger.receipts import (
    GRID,
    Event,
    OrderAccepted,
    Posted,
    Purse,
    ReadingAccepted,
    Reason,
    Receipt,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    Status,
    Traded,
    decode_receipt,
    encode_receipt,
)
from vppd.ledger.slots import due_ms, phase_at
from vppd.ledger.slots import Phase as LedgerPhase
from vppd.ledger.transaction import Op, PlaceOrder, Transfer, decode_transaction, make_transaction
from vppd.market.auction import RULES
from vppd.market.tariff import tariff_for
from vppd.merkle import merkle_root
from vppd.store.chain import ChainStore, ExecutionRow
from vppd.types import Role

E = TypeVar("E", bound=Event)

TARIFFS = (
    Tariff(start_minute=1_380, end_minute=15, retail_price=380_000, feed_in_price=240_001),
    Tariff(start_minute=15, end_minute=30, retail_price=570_001, feed_in_price=380_003),
    Tariff(start_minute=30, end_minute=1_380, retail_price=860_007, feed_in_price=650_000),
)
DUE = {
    "gate": start_of(0) - 2_000,
    "settled": start_of(1) + 5_000,
}


def plant(rules: MarketRules = "production") -> Genesis:
    """Ann, an operator, and Bob, a DER, with unequal credit and a meter each; Cat with neither."""
    base = genesis(market(rules=rules, tariffs=TARIFFS))
    credits = {"ann": 900_000, "bob": 700_000, "cat": 333_333}
    return replace(
        base,
        accounts=tuple(replace(a, credit=credits[a.name]) for a in base.accounts),
        validators=(
            ValidatorEntry(name="ann", role=Role.OPERATOR, key=ANN.public_key),
            ValidatorEntry(name="bob", role=Role.DER, key=BOB.public_key),
        ),
    )


class Day(Chain):
    """A chain that keeps what the audit reads."""

    def __init__(self, rules: MarketRules = "production") -> None:
        super().__init__(plant(rules))
        self.exported: list[ExportedBlock] = []

    def block(self, time_ms: int, *txs: bytes) -> list[Receipt]:
        receipts = super().block(time_ms, *txs)
        assert self.last is not None
        self.exported.append(
            ExportedBlock(self.blocks[-1][0].encode(), txs, self.last.receipts)
        )
        return receipts

    def audit(self) -> AuditReport:
        return audit_blocks(self.genesis, self.exported)


def play(rules: MarketRules = "production") -> Day:
    """Three slots with everything in them that may happen to a slot.

    Slot 0 trades in both rounds and is metered; slot 1 trades and misses its readings until
    after its deadline; slot 2 is corrected, by two meters' readings of which none is traded on.
    """
    day = Day(rules)
    open_0, open_1 = start_of(0) - 20_000, start_of(1) - 20_000
    day.ok(open_0, ANN, offer(0, 3_001, 300_001, 250_001), offer(0, 2_003, 520_003, 300_007))
    day.ok(open_0 + 1, BOB, bid(0, 1_007, 400_009, 450_001), bid(1, 901, 600_000, 700_000))
    day.ok(open_0 + 2, CAT, bid(0, 3_333, 310_005, 420_007))
    day.ok(open_0 + 3, CAT, Transfer(ANN.public_key, 77_777))
    day.do(open_0 + 4, CAT, Transfer(ANN.public_key, 10 * OPENING))
    day.block(open_0 + 5, day.tx(BOB, Transfer(CAT.public_key, 1), nonce=99))
    day.ok(open_1, ANN, offer(1, 1_500, 555_555, 444_444))
    day.block(DUE["gate"])
    day.block(start_of(1) + 1, day.tx(ANN_METER, reading(0, 103, 4_777)))
    day.ok(start_of(1) + 2, BOB_METER, reading(0, 1_500, 20))
    day.block(DUE["settled"])
    day.block(start_of(2) + 5_000)
    day.ok(start_of(2) + 6_000, ANN_METER, reading(1, 110, 5_999))
    day.ok(start_of(3) + 1, ANN_METER, reading(2, 400, 6_000))
    day.ok(start_of(3) + 2, BOB_METER, reading(2, 3_600, 21))
    day.block(start_of(3) + 5_000)
    day.block(
        start_of(3) + 5_001,
        day.tx(BOB_METER, reading(1, 2_501, 20)),
        day.tx(ANN_METER, reading(2, 399, 6_100), reading(3, 500, 6_200))
        if False
        else day.tx(ANN_METER, reading(2, 399, 6_100)),
    )
    day.block(start_of(40))
    return day


def test_debug() -> None:
    for rules in RULE_SETS:
        day = play(rules)
        report = day.audit()
        print(rules, report)
        for block in day.exported:
            for raw in block.receipts:
                r = decode_receipt(raw)
                print(decode_header(block.header).height, Status(r.status), r.code, [type(e).__name__ for e in r.events])

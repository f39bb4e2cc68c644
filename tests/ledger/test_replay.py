"""Whoever executes the same blocks, from wherever, gets the same: roots, receipts, changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import get_args

import pytest

import vppd
from tests.ledger.chain import ANN, BOB, Chain, bid, offer, start_of
from tests.ledger.stream import Stream, run
from vppd.config.genesis import MarketRules
from vppd.errors import LocalFault
from vppd.ledger.codes import ErrorCode
from vppd.ledger.events import Settled, Traded
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.state import METER, ORDER, REGISTER, SETTLEMENT, SLOT, TRADE

RULES: tuple[MarketRules, ...] = get_args(MarketRules)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_money_is_conserved_and_every_posting_accounted_for(rules: MarketRules, seed: int) -> None:
    """The chain audits each block; see tests/ledger/chain.py."""
    chain = run(seed, 80, rules)
    assert chain.ledger.total_micro() == chain.total


@pytest.mark.parametrize("seed", range(3))
def test_blocks_from_genesis_give_equal_results(seed: int) -> None:
    chain = run(seed, 60)
    ledger = Ledger.from_genesis(chain.genesis)
    for header, txs in chain.blocks:
        assert (header.state_root, header.receipts_root) == (
            ledger.state_root,
            ledger.receipts_root,
        )
        ledger.execute(header, txs)
    assert (ledger.state_root, ledger.receipts_root) == (
        chain.ledger.state_root,
        chain.ledger.receipts_root,
    )
    assert ledger.entries() == chain.ledger.entries()


@pytest.mark.parametrize("rules", RULES)
def test_a_ledger_loaded_at_any_height_goes_on_the_same(rules: MarketRules) -> None:
    """Above all its books: one is restored before each block and must trade alike."""
    chain = Chain(rules=rules)
    stream = Stream(Random(11))
    for _ in range(100):
        loaded = chain.reloaded()
        assert loaded.state_root == chain.ledger.state_root
        assert loaded.receipts_root == chain.ledger.receipts_root
        assert loaded.next_due_ms == chain.ledger.next_due_ms
        assert loaded.time_ms == chain.ledger.time_ms
        stream.block(chain)
        assert loaded.execute(*chain.blocks[-1]) == chain.last


def test_changes_are_the_difference_between_two_states() -> None:
    chain = Chain()
    stream = Stream(Random(5))
    kept = dict(chain.ledger.entries())
    for _ in range(80):
        stream.block(chain)
        assert chain.last is not None
        assert list(chain.last.changes) == sorted(chain.last.changes)
        for key, value in chain.last.changes:
            assert kept.get(key) != value
            if value is None:
                del kept[key]
            else:
                kept[key] = value
        assert sorted(kept.items()) == chain.ledger.entries()


def test_the_stream_reaches_every_rule() -> None:
    """Else the tests above would show little."""
    codes: Counter[ErrorCode] = Counter()
    kinds: Counter[type] = Counter()
    versions: Counter[int] = Counter()
    tables: Counter[int] = Counter()
    for seed in range(8):
        chain = Chain()
        stream = Stream(Random(seed))
        for _ in range(120):
            stream.block(chain)
            assert chain.last is not None
            tables.update(key[0] for key, _ in chain.last.changes)
            for raw in chain.last.receipts:
                receipt = decode_receipt(raw)
                codes[ErrorCode(receipt.code)] += 1
                kinds.update(map(type, receipt.events))
                versions.update(e.version for e in receipt.events if isinstance(e, Settled))
    never = {code for code in ErrorCode if code < ErrorCode.NOT_A_GOVERNOR} - set(codes)
    assert never <= {
        ErrorCode.PRICE_OUT_OF_RANGE,
        ErrorCode.TOO_MANY_ORDERS,
        ErrorCode.ENERGY_OUT_OF_RANGE,
        ErrorCode.BEFORE_FIRST_SLOT,
    }
    assert kinds[Traded] > 50
    assert max(versions) > 2
    for table in (METER, SLOT, ORDER, TRADE, REGISTER, SETTLEMENT):
        assert tables[table.number] > 20


@pytest.mark.slow
def test_hash_randomisation_changes_nothing() -> None:
    root = Path(vppd.__file__).parent.parent
    printed = {
        subprocess.run(
            [sys.executable, "-m", "tests.ledger.stream", "7", "120"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(printed) == 1
    assert printed.pop().strip() != ""


def test_a_header_of_another_height_is_refused() -> None:
    chain = run(1, 3)
    header = chain.blocks[0][0]
    with pytest.raises(LocalFault, match="state of height 3 with the header of 1"):
        Ledger.load(chain.genesis, 3, chain.ledger.entries(), header)


def test_a_restored_book_trades_with_what_was_left() -> None:
    chain = Chain()
    now = start_of(5) - 20_000
    chain.ok(now, ANN, offer(5, 1_000, 400_000))
    chain.ok(now + 1, BOB, bid(5, 300, 400_000))
    loaded = chain.reloaded()
    book = loaded.book(5)
    assert book is not None
    assert book.remaining(0) == 700
    chain.ok(now + 2, BOB, bid(5, 900, 400_000))
    loaded.execute(*chain.blocks[-1])
    assert [t.quantity_wh for _, t in loaded.trades(5)] == [300, 700]

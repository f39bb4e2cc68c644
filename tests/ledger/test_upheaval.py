"""However members, rules, votes and crimes come, everybody's ledger says the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

import vppd
from tests.ledger.test_producers import Republic
from tests.ledger.upheaval import Upheaval, founding, run
from vppd.consensus.terms import validators_of
from vppd.era import Era
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.eras import KEPT
from vppd.ledger.execution import Ledger
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.state import TABLES

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_eras_are_always_such_that_a_plant_can_live_in_them(seed: int) -> None:
    republic = Republic(founding(seed))
    upheaval = Upheaval(Random(seed))
    for _ in range(120):
        before = republic.ledger.eras
        upheaval.block(republic)
        eras, height = republic.ledger.eras, republic.ledger.height
        assert len(eras) <= KEPT, seed
        assert [e.epoch for e in eras] == list(range(eras[0].epoch, eras[-1].epoch + 1)), seed
        assert all(a.first < b.first for a, b in pairwise(eras)), seed
        assert republic.last is not None
        era = republic.last.era
        if era is None:
            assert eras == before, seed
            continue
        assert eras[-1] == era, seed
        assert (era.epoch, era.first) == (before[-1].epoch + 1, height + 2), seed
        assert 1 <= len(validators_of(era).members) <= 256, seed
        if "dpos" not in (era.engine, before[-1].engine):
            assert _changed(before[-1], era) <= 2 * max(1, _f(before[-1])), seed


def _changed(old: Era, new: Era) -> int:
    """Members gone and come; one re-keyed is both."""
    before, after = ({(m.key, m.nonce) for m in era.members} for era in (old, new))
    return len(before ^ after)


def _f(era: Era) -> int:
    return validators_of(era).quorum.f


@pytest.mark.parametrize("seed", SEEDS)
def test_a_ledger_loaded_at_any_height_goes_on_the_same(seed: int) -> None:
    republic = Republic(founding(seed))
    upheaval = Upheaval(Random(seed))
    for _ in range(60):
        loaded = republic.reloaded()
        republic.ledger.validators_view()  # looking changes nothing
        upheaval.block(republic)
        done = loaded.execute(*republic.blocks[-1])
        assert done == republic.last, seed
        assert loaded.eras == republic.ledger.eras, seed


@pytest.mark.parametrize("seed", range(2))
def test_blocks_from_genesis_give_equal_results(seed: int) -> None:
    republic = run(seed, 80)
    ledger = Ledger.from_genesis(republic.genesis)
    for header, txs in republic.blocks:
        assert header.state_root == ledger.state_root
        ledger.execute(header, txs)
    assert ledger.entries() == republic.ledger.entries()


def test_another_process_with_another_hash_seed_gets_the_same_roots() -> None:
    root = Path(vppd.__file__).parent.parent
    said = set()
    for hash_seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.ledger.upheaval", "5", "80"],
            capture_output=True, text=True, check=True, cwd=root,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        said.add(done.stdout)
    assert len(said) == 1
    epoch = int(said.pop().split()[2])
    assert epoch > 5, "else it would show little"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_refused_statement_and_a_failed_change_leave_no_trace(seed: int) -> None:
    """Executing a block without what it refused gives the same state."""
    republic = Republic(founding(seed))
    upheaval = Upheaval(Random(seed))
    for _ in range(40):
        twin = republic.reloaded()
        upheaval.block(republic)
        header, txs = republic.blocks[-1]
        assert republic.last is not None
        kept = [raw for i, raw in enumerate(txs) if i not in republic.last.refused]
        assert twin.execute(header, kept).state_root == republic.ledger.state_root, seed


def test_the_upheaval_reaches_every_rule() -> None:
    """Else the tests above would show little."""
    codes: Counter[ErrorCode] = Counter()
    kinds: Counter[str] = Counter()
    tables: set[int] = set()
    for seed in range(9):
        republic = Republic(founding(seed))
        upheaval = Upheaval(Random(seed))
        for _ in range(120):
            upheaval.block(republic)
            assert republic.last is not None
            tables |= {key[0] for key, _ in republic.last.changes}
            for raw in republic.last.receipts:
                receipt = decode_receipt(raw)
                codes[ErrorCode(receipt.code)] += 1
                kinds.update(type(event).__name__ for event in receipt.events)
                assert receipt.status in Status.__members__.values()
    governed = range(ErrorCode.NOT_A_GOVERNOR, ErrorCode.UNKNOWN_KIND)
    never = {code for code in ErrorCode if code in governed} - set(codes)
    assert len(never) <= 5, never
    assert min(kinds[name] for name in (
        "EraScheduled", "Approved", "AccountOpened", "ReadyNoted", "Convicted", "Punished", "Voted",
    )) > 2, kinds  # fmt: skip
    assert tables >= set(range(10, 18))
    assert set(range(1, 19)) <= set(TABLES)

"""Fees and rewards on chain: net energy, versions, the fund, and nobody else's money."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.ledger.chain import (
    ANN,
    ANN_METER,
    BOB,
    BOB_METER,
    OPENING,
    PROPOSER,
    Chain,
    bid,
    events,
    fund_of,
    genesis,
    grid_of,
    market,
    offer,
    reading,
    start_of,
)
from vppd.config.billing import FeeRules
from vppd.config.genesis import AccountEntry, Genesis
from vppd.crypto import SigningKey, sha256
from vppd.header import Header
from vppd.ledger.context import MOST_MICRO
from vppd.ledger.events import FUND, GRID, FeesCharged, Posted, Purse, Reason
from vppd.ledger.receipts import Receipt
from vppd.ledger.state import FEE

DEADLINE = start_of(1) + 5_000
FEES = FeeRules(grid_fee=80_000, levy=10_000, block_reward=500)


def plant(fees: FeeRules = FEES, *members: AccountEntry, **changes: Any) -> Genesis:
    base = genesis(market(fees=fees, **changes))
    return replace(base, accounts=(*base.accounts, *members))


def charged(receipt: Receipt) -> list[FeesCharged]:
    return events(receipt, FeesCharged)


def posted(receipt: Receipt, reason: Reason) -> list[tuple[bytes, int, int]]:
    found = events(receipt, Posted)
    return [(e.account, e.purse, e.delta) for e in found if e.reason == reason]


def traded(chain: Chain) -> Chain:
    """Ann sells 800 Wh to Bob at 0.42."""
    chain.ok(start_of(0) - 20_000, ANN, offer(0, 1_000, 400_000))
    chain.ok(start_of(0) - 19_000, BOB, bid(0, 800, 440_000, 450_000))
    return chain


def test_who_takes_energy_pays_the_grid_and_the_fund() -> None:
    chain = traded(Chain(plant()))
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))
    chain.ok(start_of(1), BOB_METER, reading(0, 1_000))
    own = chain.block(DEADLINE)[0]
    assert charged(own) == sorted(
        (
            FeesCharged(0, BOB.public_key, 1, 1_000, 80_000, 10_000, 80_000, 10_000),
            FeesCharged(0, ANN.public_key, 1, 0, 80_000, 10_000, 0, 0),
        ),
        key=lambda event: event.account,
    )
    bob = BOB.public_key
    assert posted(own, Reason.GRID_FEE) == [
        (bob, Purse.BALANCE, -80_000),
        (GRID, Purse.GRID, 80_000),
    ]
    assert posted(own, Reason.LEVY) == [(bob, Purse.BALANCE, -10_000), (FUND, Purse.FUND, 10_000)]
    assert chain.balance(BOB) == OPENING - 336_000 - 100_000 - 90_000
    assert (fund_of(chain.ledger), grid_of(chain.ledger)) == (10_000, 70_000 + 80_000)


def test_energy_bought_and_sold_again_is_charged_once() -> None:
    """Bob buys 800 Wh and sells 300 of them; his meter says 500."""
    chain = traded(Chain(plant()))
    chain.ok(start_of(0) - 18_000, BOB, offer(0, 300, 400_000))
    chain.ok(start_of(0) - 17_000, ANN, bid(0, 300, 410_000))
    chain.ok(start_of(1), BOB_METER, reading(0, 500))
    own = chain.block(DEADLINE)[0]
    (bob,) = (e for e in charged(own) if e.account == BOB.public_key)
    assert (bob.net_wh, bob.grid_fee, bob.levy) == (500, 40_000, 5_000)


def test_an_estimated_slot_is_charged_by_contract_and_a_late_reading_pays_back() -> None:
    chain = traded(Chain(plant()))
    own = chain.block(DEADLINE)[0]
    (bob,) = (e for e in charged(own) if e.account == BOB.public_key)
    assert (bob.net_wh, bob.grid_fee, bob.levy) == (800, 64_000, 8_000)
    receipt = chain.ok(DEADLINE + 1, BOB_METER, reading(0, 500))
    (late,) = charged(receipt)
    assert late == FeesCharged(0, BOB.public_key, 2, 500, 80_000, 10_000, 40_000, 5_000)
    assert posted(receipt, Reason.GRID_FEE)[0] == (BOB.public_key, Purse.BALANCE, 24_000)
    assert posted(receipt, Reason.LEVY) == [
        (BOB.public_key, Purse.BALANCE, 3_000),
        (FUND, Purse.FUND, -3_000),
    ]
    assert fund_of(chain.ledger) == 5_000


def test_a_correction_of_the_neighbouring_slot_is_charged_too() -> None:
    chain = Chain(plant())
    chain.ok(start_of(1), BOB_METER, reading(0, 500))
    chain.ok(start_of(2), BOB_METER, reading(1, 900))
    chain.block(start_of(2) + 5_000)
    receipt = chain.ok(start_of(2) + 5_001, BOB_METER, reading(0, 600))
    assert [(e.slot, e.version, e.net_wh) for e in charged(receipt)] == [(0, 2, 600), (1, 2, 300)]


def test_a_correction_that_changes_no_fee_says_nothing() -> None:
    chain = traded(Chain(plant()))
    chain.ok(start_of(1), ANN_METER, reading(0, 100, 950))
    chain.block(DEADLINE)
    receipt = chain.ok(DEADLINE + 1, ANN_METER, reading(0, 100, 951))
    assert charged(receipt) == []


def test_what_was_paid_leaves_the_state_with_the_slot() -> None:
    chain = traded(Chain(plant()))
    chain.block(DEADLINE)
    kept = [key for key, _ in chain.ledger.entries() if key[0] == FEE.number]
    assert len(kept) == 2
    chain.block(DEADLINE + 20_000)
    assert [key for key, _ in chain.ledger.entries() if key[0] == FEE.number] == []


def test_without_the_table_nothing_of_it_is_there() -> None:
    chain = traded(Chain())
    own = chain.block(DEADLINE)[0]
    assert charged(own) == []
    assert {key[0] for key, _ in chain.ledger.entries()} < set(range(1, 20))


def test_a_reloaded_ledger_corrects_the_same() -> None:
    chain = traded(Chain(plant()))
    chain.block(DEADLINE)
    chain.ledger = chain.reloaded()
    chain.ok(DEADLINE + 1, BOB_METER, reading(0, 500))
    assert fund_of(chain.ledger) == 5_000


# ------------------------------------------------------------ rewards

PACKER = SigningKey(sha256(b"packer"))


class Packed(Chain):
    """All its blocks are packed by one member."""

    packer = PACKER.public_key

    def header(self, time_ms: int, txs: Any) -> Header:
        return super().header(time_ms, txs)._replace(proposer=self.packer)


def test_who_packs_a_block_is_paid_from_the_fund() -> None:
    packer = AccountEntry(name="packer", key=PACKER.public_key)
    chain = Packed(plant(FEES, packer))
    chain.ok(start_of(1), BOB_METER, reading(0, 120))
    chain.block(DEADLINE)
    assert (chain.balance(PACKER), fund_of(chain.ledger)) == (0, 1_200)
    own = chain.block(DEADLINE + 1)[0]
    assert posted(own, Reason.REWARD) == [
        (FUND, Purse.FUND, -500),
        (PACKER.public_key, Purse.BALANCE, 500),
    ]
    chain.block(DEADLINE + 2)
    chain.block(DEADLINE + 3)
    assert (chain.balance(PACKER), fund_of(chain.ledger)) == (1_200, 0), (
        "the fund gives what it has"
    )
    assert chain.block(DEADLINE + 4)[0].events == ()


def test_a_packer_without_an_account_is_not_paid() -> None:
    chain = Chain(plant())
    assert chain.ledger.account(PROPOSER) is None
    chain.ok(start_of(1), BOB_METER, reading(0, 120))
    chain.block(DEADLINE)
    chain.block(DEADLINE + 1)
    assert fund_of(chain.ledger) == 1_200


def test_no_purse_leaves_its_limits() -> None:
    """Absurd as they are, a decided block with them is executed, and exactly."""
    rich = AccountEntry(name="rich", key=PACKER.public_key, balance=MOST_MICRO - 3 * OPENING)
    chain = Packed(plant(FEES, rich))
    chain.ok(start_of(1), BOB_METER, reading(0, 120))
    chain.block(DEADLINE)
    chain.block(DEADLINE + 1)
    assert chain.balance(PACKER) == MOST_MICRO - 3 * OPENING + 500

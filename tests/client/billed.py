"""Two days of a plant with fees and reviews, certified, and somebody who serves its blocks."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.store.real_chain import GENESIS, KEYS, METER, SLOT_MS, START_MS, Maker
from vppd.client.bill_fetch import Days
from vppd.client.client import RequestFailed
from vppd.config.billing import CreditRules, FeeRules
from vppd.config.genesis import Genesis, MeterEntry
from vppd.consensus.messages import EraLink
from vppd.crypto import SigningKey, sha256
from vppd.ledger.rating_views import day_view
from vppd.ledger.transaction import PlaceOrder, Reading, Transfer
from vppd.net.requests import DecidedView, Failure, FailureCode
from vppd.types import Epoch, Height

OTHER_METER = SigningKey(sha256(b"der-2's meter"))
SLOTS = 4
"""A day's."""


def plant(**changes: Any) -> Genesis:
    """Days of four slots; der-1 has METER, der-2 another."""
    fields: dict[str, Any] = {
        "market_slot_minutes": 360,
        "fees": FeeRules(grid_fee=80_000, levy=10_000, block_reward=700),
        "credit": CreditRules(rule="level"),
        "open_lead_ms": 4 * SLOT_MS,
    }
    meters = (*GENESIS.meters, MeterEntry(key=OTHER_METER.public_key, account="der-2"))
    return replace(GENESIS, market=replace(GENESIS.market, **(fields | changes)), meters=meters)


def played(genesis: Genesis) -> Maker:
    """Day 0: der-1 sells der-2 twice in slot 2, der-2's meter is silent until day 1.

    Day 1: one more trade in slot 5, a correction of slot 2, transfers on both days.
    """
    maker = Maker(genesis)
    seller, buyer = KEYS[1], KEYS[2]
    maker.add(
        maker.sign(seller, PlaceOrder(2, 0, 1_000, 400_000, 390_000, 0)),
        maker.sign(buyer, PlaceOrder(2, 1, 800, 500_000, 550_000, 0)),
        maker.sign(buyer, PlaceOrder(2, 1, 150, 500_001, 550_000, 0)),
        maker.sign(KEYS[3], Transfer(buyer.public_key, 12_345)),
    )
    for height in range(2, 22):
        txs = []
        if height == 4:  # slot 1 has ended
            txs = [maker.sign(METER, Reading(1, 0, 0)), maker.sign(OTHER_METER, Reading(1, 50, 0))]
        if height == 6:
            txs = [maker.sign(METER, Reading(2, 0, 930))]
        if height == 7:
            txs = [
                maker.sign(seller, PlaceOrder(5, 0, 400, 450_000, 450_000, 0)),
                maker.sign(buyer, PlaceOrder(5, 1, 400, 450_000, 450_000, 0)),
            ]
        if height == 11:  # day 0 is reviewed at second 9
            txs = [
                maker.sign(OTHER_METER, Reading(2, 1_100, 0)),
                maker.sign(buyer, Transfer(KEYS[3].public_key, 500)),
            ]
        maker.add(*txs)
    return maker


class Serves:
    """A chain's blocks, as a node would answer; and what it does not have."""

    def __init__(self, maker: Maker, lost: Height = 0) -> None:
        self._maker = maker
        self._lost = lost

    async def block(self, height: Height) -> DecidedView:
        if height <= self._lost or height > len(self._maker.blocks):
            raise RequestFailed(Failure(FailureCode.NOT_FOUND, "no such block"))
        block = self._maker.blocks[height - 1]
        return DecidedView(
            block.header.encode(), block.txs, block.certificate, block.execution.receipts
        )

    async def view(self, name: str, argument: str = "") -> Any:
        if name == "day":
            return day_view(self._maker.ledger.calendar, self._maker.ledger.state, int(argument))
        height = len(self._maker.blocks)
        return {"executed": height, "height": height}

    async def links(self, epoch: Epoch) -> tuple[EraLink, ...]:  # noqa: ARG002 - none
        return ()


def day(maker: Maker, number: int) -> Days:
    said = day_view(maker.ledger.calendar, maker.ledger.state, number)
    return Days(**{name: said[name] for name in Days._fields})


def second(maker: Maker, height: Height) -> int:
    """Block time after the start, in seconds."""
    return (maker.blocks[height - 1].header.time_ms - START_MS) // 1_000

"""Transactions that come from other nodes, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tests.node.plant import KEYS, Host, payment
from vppd.ledger.transaction import Transaction
from vppd.net.gate import BadSignature, Gate
from vppd.node.intake import Intake
from vppd.node.mempool import MAX_GAP


class Slow:
    """Verifies when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def check(self, gate: Gate, txs: Sequence[Transaction]) -> list[BadSignature | None]:
        await self.go.wait()
        return gate.check_senders(txs)


async def test_what_comes_while_those_before_it_are_verified_is_not_too_far_ahead() -> None:
    host = Host(0)
    host.start()
    slow = Slow()
    intake = Intake(host.machine, slow, lambda: None)
    raws = [payment(1, nonce) for nonce in range(3 * (MAX_GAP + 1))]
    third = MAX_GAP + 1
    hearing = [
        asyncio.create_task(intake.hear_many(raws[first : first + third]))
        for first in range(0, len(raws), third)
    ]
    await asyncio.sleep(0)
    assert len(host.machine.mempool) == 0
    slow.go.set()
    assert await asyncio.gather(*hearing) == [0, 0, 0]
    assert host.machine.mempool.waiting(KEYS[1].public_key) == len(raws)


async def test_bad_signatures_are_counted_and_the_others_taken() -> None:
    host = Host(0)
    host.start()
    slow = Slow()
    slow.go.set()
    woken: list[None] = []
    intake = Intake(host.machine, slow, lambda: woken.append(None))
    forged = [payment(2, nonce, chain=bytes(32)) for nonce in range(3)]
    assert await intake.hear_many([payment(1, 0), *forged, b"\xc1", payment(1, 1)]) == 3
    assert len(host.machine.mempool) == 2
    assert woken
    assert await intake.hear_many(forged) == 3, "nothing of them was remembered"

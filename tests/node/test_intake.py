"""Transactions that come from other nodes, many at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, Host, payment
from vppd.codec import Decoder, encode
from vppd.config.genesis import TX_BYTES_LIMIT, LedgerRules
from vppd.consensus.messages import CAP, Equivocation, Txs, Type
from vppd.ledger.proofs import Accuse
from vppd.ledger.transaction import (
    Envelope,
    Transaction,
    Transfer,
    make_statement,
    make_transaction,
    open_envelope,
)
from vppd.net.gate import BadSignature, Gate
from vppd.node.beats import in_frames
from vppd.node.intake import Intake
from vppd.node.mempool import MAX_GAP, Refused


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


async def test_a_copy_under_another_signature_is_verified_whatever_waits() -> None:
    """What waits under its id when it comes may have made room when its batch is taken."""
    host = Host(0)
    host.start()
    machine = host.machine
    slow = Slow()
    intake = Intake(machine, slow, lambda: None)
    good = payment(1, 0)
    forged = encode(Envelope(open_envelope(good).body, b"\x66" * 64))
    waiting = machine.submit(good, 0, own=False)
    hearing = asyncio.create_task(intake.hear_many([forged]))
    await asyncio.sleep(0)
    machine.mempool._drop(machine.mempool._entries[waiting.id])
    slow.go.set()
    assert await hearing == 1
    assert machine.mempool.known(forged) is None
    assert len(machine.mempool) == 0


async def test_what_expires_while_it_is_verified_is_not_taken() -> None:
    host = Host(0)
    host.start()
    slow = Slow()
    intake = Intake(host.machine, slow, lambda: None)
    raw = make_transaction(KEYS[1], GENESIS.digest, 0, 1, (Transfer(KEYS[0].public_key, 1),))
    taking = asyncio.create_task(intake.take([raw], own=False))
    await asyncio.sleep(0)
    host.machine.ledger.height = 1  # a block was decided meanwhile
    slow.go.set()
    (outcome,) = await taking
    assert isinstance(outcome, Refused)
    assert "expired" in str(outcome)


async def test_where_nobody_signs_a_statement_is_asked_for_its_proof() -> None:
    for signed in (True, False):
        rules = LedgerRules(kind="null", signed=signed)
        host = Host(0, genesis=replace(GENESIS, ledger=rules))
        host.start()
        slow = Slow()
        slow.go.set()
        fabricated = Equivocation(1, 0, 0, 1, 2, bytes(32), bytes(64), b"\1" * 32, bytes(64))
        intake = Intake(host.machine, slow, lambda: None)
        (outcome,) = await intake.take([make_statement(50, Accuse(fabricated))], own=False)
        assert isinstance(outcome, Refused), f"signed: {signed}"
        assert len(host.machine.mempool) == 0


@given(st.lists(st.integers(64, TX_BYTES_LIMIT), max_size=40))
def test_frames_of_transactions_are_within_their_cap(sizes: list[int]) -> None:
    raws = [bytes(size) for size in sizes]
    frames = in_frames((1,), raws)
    assert all(len(frame.payload) <= CAP[Type.TXS] for frame in frames)
    assert [raw for frame in frames for raw in Decoder(Txs)(frame.payload).raws] == raws


def test_small_ones_before_a_large_one_are_within_the_cap() -> None:
    raws = [bytes(113)] * 579 + [bytes(TX_BYTES_LIMIT)]
    assert all(len(frame.payload) <= CAP[Type.TXS] for frame in in_frames((1,), raws))

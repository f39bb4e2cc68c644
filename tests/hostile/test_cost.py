"""What a message is charged for is what the gate verifies for it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.hostile.scene import Actor, play
from tests.ledger.council import NODES, Crimes
from tests.ledger.test_producers import Republic, dpos
from tests.node.plant import GENESIS
from vppd.codec import Malformed
from vppd.consensus.messages import Block, Reply, Tx, Txs, Type
from vppd.consensus.terms import Terms
from vppd.crypto import verify
from vppd.ledger.proofs import Accuse
from vppd.ledger.transaction import Transfer, make_statement
from vppd.net.gate import Gate, decode_message
from vppd.net.sync import SYNC_TYPES
from vppd.types import PublicKey


class Counting:
    """The verifier, and how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return verify(key, message, signature)


def test_every_type_is_charged_what_it_costs() -> None:
    counting = Counting()
    machine = Actor(2).machine
    gate = Gate(GENESIS.digest, machine.terms, counting, lambda _: None)
    charged: dict[Type, int] = {}
    for _, frame in play().said:
        message = decode_message(frame.type, frame.payload)
        counting.count = 0
        cost = gate.cost(message)
        if isinstance(message, Tx):
            gate.check_transaction(message.raw, 1)
        elif isinstance(message, Txs):
            for raw in message.raws:
                gate.check_transaction(raw, 1)
        elif not isinstance(message, Reply):  # only checked for who wants a proof, later
            gate.check(message)
        verified = counting.count
        assert verified <= cost <= verified + 1, f"{message}: {verified} verified, {cost} charged"
        charged[frame.type] = max(cost, charged.get(frame.type, 0))
    assert set(charged) == set(Type) - SYNC_TYPES
    free = {kind for kind, cost in charged.items() if cost == 0}
    quiet = {Type.REPLY, Type.STATUS, Type.GET_BLOCK, Type.GET_BLOCKS, Type.PING}
    assert free == quiet


def test_a_block_that_comes_again_costs_its_proposal_and_its_vote() -> None:
    counting = Counting()
    gate = Gate(GENESIS.digest, Actor(2).machine.terms, counting, lambda _: None)
    blocks = [decode_message(frame.type, frame.payload) for _, frame in play().said
              if frame.type is Type.BLOCK]  # fmt: skip
    block = next(message for message in blocks if isinstance(message, Block) and message.txs)
    gate.check(block)
    first = counting.count
    assert first == 2 + len(block.txs)
    assert gate.cost(block) == 2
    gate.check(block)
    assert counting.count == first + 2
    with pytest.raises(Malformed, match="other transactions"):
        gate.check(replace(block, txs=(block.txs[0][:-1] + b"x", *block.txs[1:])))


def test_transactions_that_wait_here_are_free() -> None:
    actor = Actor(2)
    frames = [frame for _, frame in play().said if frame.type is Type.TX]
    message = decode_message(frames[0].type, frames[0].payload)
    assert isinstance(message, Tx)
    gate = actor.machine.gate
    assert gate.cost(message) == 1
    actor.machine.submit(message.raw, 0, own=False)
    assert gate.cost(message) == 0


def test_a_statement_is_charged_for_all_the_signatures_in_it() -> None:
    """What admission verifies of the longest proofs is at most what their sender pays."""
    council = Republic(dpos(10, 10))
    council.idle(3)
    crimes = Crimes(council)
    skip = crimes.skip(1, 3, NODES[:7])
    gate = Gate(council.genesis.digest, Terms(council.genesis), verify, lambda _: None)
    for op, signatures in (
        (skip, 7),
        (Accuse(crimes.twice(NODES[1])), 2),
        (Accuse(crimes.hidden(NODES[1])), 2),
        (council.ready(NODES[0]), 1),
    ):
        cost = gate.cost(Tx(make_statement(100, op)))
        assert signatures <= cost <= 2 * signatures + 1, op
    pay = council.tx(NODES[0], *(Transfer(NODES[1].public_key, 1) for _ in range(60)))
    assert gate.cost(Tx(pay)) == 1, "of an ordinary one there is one"

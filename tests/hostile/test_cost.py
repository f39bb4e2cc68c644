"""What a message is charged for is what the gate verifies for it."""

from __future__ import annotations

from tests.hostile.scene import Actor, play
from tests.node.plant import GENESIS
from vppd.consensus.messages import Reply, Tx, Type
from vppd.crypto import verify
from vppd.net.gate import Gate, decode_message
from vppd.net.sync import SYNC_TYPES
from vppd.types import PublicKey


def test_every_type_is_charged_what_it_costs() -> None:
    count = 0

    def counting(key: PublicKey, message: bytes, signature: bytes) -> bool:
        nonlocal count
        count += 1
        return verify(key, message, signature)

    machine = Actor(2).machine
    gate = Gate(GENESIS.digest, machine.terms, counting, lambda _: False)
    charged: dict[Type, int] = {}
    for _, frame in play().said:
        message = decode_message(frame.type, frame.payload)
        count = 0
        if isinstance(message, Tx):
            gate.check_transaction(message.raw, 1)
        elif not isinstance(message, Reply):  # only checked for who wants a proof, later
            gate.check(message)
        cost = gate.cost(message)
        assert count <= cost <= count + 1, f"{message}: {count} verified, {cost} charged"
        charged[frame.type] = max(cost, charged.get(frame.type, 0))
    assert set(charged) == set(Type) - SYNC_TYPES
    free = {kind for kind, cost in charged.items() if cost == 0}
    quiet = {Type.REPLY, Type.STATUS, Type.GET_BLOCK, Type.GET_BLOCKS, Type.PING}
    assert free == quiet


def test_transactions_that_wait_here_are_free() -> None:
    actor = Actor(2)
    frames = [frame for _, frame in play().said if frame.type is Type.TX]
    message = decode_message(frames[0].type, frames[0].payload)
    assert isinstance(message, Tx)
    gate = actor.machine.gate
    assert gate.cost(message) == 1
    actor.machine.submit(message.raw, 0, own=False)
    assert gate.cost(message) == 0

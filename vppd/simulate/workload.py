"""Members' behaviour in a simulated run: orders, readings, transfers, now and then a mistake."""

from __future__ import annotations

from random import Random

from vppd.config.genesis import Genesis
from vppd.ledger.transaction import Op, PlaceOrder, Reading, Transfer, make_transaction
from vppd.node.machine import Machine
from vppd.simulate.plant import SimKey, meter_key, node_key
from vppd.types import Slot, TimeMs

LIFETIME_BLOCKS = 60


class Member:
    """One account with its meter, submitting at its own node.

    It keeps no nonce of its own: it asks its node, like a wallet that was switched off.
    """

    def __init__(self, index: int, genesis: Genesis, rng: Random) -> None:
        self._market = genesis.market
        self._chain_id = genesis.digest
        self._n = len(genesis.validators)
        self._rng = rng
        self._index = index
        self._key = node_key(index)
        self._meter = meter_key(index)
        self._read_through: Slot = -1
        self._registers = [0, 0]

    def transactions(self, machine: Machine, unix_ms: TimeMs) -> list[bytes]:
        """What the member wants to submit now; possibly nothing."""
        market, rng = self._market, self._rng
        current = (unix_ms - market.origin_ms) // market.slot_ms
        made: list[bytes] = []
        if self._read_through < current - 1:
            self._read_through += 1
            self._registers[rng.randrange(2)] += rng.randrange(5_000)
            reading = Reading(self._read_through, *self._registers)
            made.append(self._sign(self._meter, machine, reading))
        kind = rng.randrange(4)
        if kind <= 1:
            side, slot = rng.randrange(2), current + 1 + rng.randrange(2)
            low, high = sorted(rng.randrange(380_000, 570_000) for _ in range(2))
            price, reserve = (high, low) if side == 0 else (low, high)
            order = PlaceOrder(slot, side, 1 + rng.randrange(4_000), price, reserve, 0)
            made.append(self._sign(self._key, machine, order))
        elif kind == 2:
            to = node_key(rng.randrange(self._n)).public_key
            amount = 1 + rng.randrange(300_000_000)  # often more than there is
            made.append(self._sign(self._key, machine, Transfer(to, amount)))
        return made

    def _sign(self, key: SimKey, machine: Machine, op: Op) -> bytes:
        nonce = (machine.ledger.nonce(key.public_key) or 0) + machine.mempool.waiting(
            key.public_key
        )
        expiry = machine.ledger.height + LIFETIME_BLOCKS
        return make_transaction(key, self._chain_id, nonce, expiry, (op,))

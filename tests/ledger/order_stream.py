"""A seeded stream of blocks: orders, cancellations, deals, urgent orders, signatures."""

from __future__ import annotations

from random import Random

from msgspec.structs import replace

from tests.ledger.chain import ANN, BOB, CAT, SLOT_MS, Chain, bid, genesis, market, offer, start_of
from vppd.codec import encode
from vppd.config.genesis import ConsentMode, Genesis, MarketRules, ValidatorEntry
from vppd.config.grid import Grid
from vppd.crypto import SigningKey
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.kinds.terms import (
    DEAL,
    STANDBY,
    THREE_PARTY,
    URGENT,
    DealTerms,
    StandbyTerms,
    Take,
    ThreePartyTerms,
    UrgentTerms,
)
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.state import CONTRACT, ORDER
from vppd.ledger.transaction import Op
from vppd.types import Role, Slot

MEMBERS = (ANN, BOB, CAT)
OPERATOR = ValidatorEntry(name="cat", role=Role.OPERATOR, key=CAT.public_key)


def plant(
    consent: ConsentMode = "signature",
    rules: MarketRules = "production",
    grid: Grid | None = None,
) -> Genesis:
    """Cat is an operator."""
    section = market(consent=consent, rules=rules, max_orders=20, max_quantity_wh=20_000)
    return genesis(section, validators=(OPERATOR,), grid=grid)


class OrderStream:
    """Members who know what is on chain, and are sometimes wrong about it.

    Args:
        rng: decides everything.
        chain: to add blocks to.
    """

    def __init__(self, rng: Random, chain: Chain) -> None:
        self._rng = rng
        self._chain = chain
        self._now = start_of(2) - 25_000

    def block(self) -> None:
        """One more block of a few transactions."""
        rng = self._rng
        self._now += rng.choice([1, 400, 900, 900, 2_500])
        txs = []
        for _ in range(rng.randrange(1, 5)):
            key = rng.choice(MEMBERS)
            ops = [self._op(key) for _ in range(rng.choice([1, 1, 2]))]
            txs.append(self._chain.tx(key, *ops))
        self._chain.block(self._now, *txs)

    def _op(self, key: SigningKey) -> Op:
        rng = self._rng
        slot = (self._now - start_of(0)) // SLOT_MS + rng.choice([1, 1, 1, 2])
        kind = rng.random()
        if kind < 0.4:
            make = rng.choice([offer, bid])
            low, high = sorted(rng.randrange(30, 45) * 10_001 for _ in range(2))
            price, reserve = (high, low) if make is offer else (low, high)
            order = make(slot, rng.choice([400, 801, 1_203]), price, reserve)
            return replace(order, bus=MEMBERS.index(key))
        if kind < 0.6:
            return self._cancel(key, slot)
        if kind < 0.7:
            return SignTrades(slot, (rng.randrange(3),))
        return self._call() if kind < 0.85 else self._open(slot)

    def _cancel(self, key: SigningKey, slot: Slot) -> Op:
        rng, ctx = self._rng, self._chain.ledger._ctx
        own = [seq for seq, order in ctx.state.scan(ORDER, slot) if order.account == key.public_key]
        if own and rng.random() < 0.8:
            return CancelOrder(slot, rng.choice(own))
        return CancelOrder(slot, rng.randrange(30))

    def _call(self) -> Op:
        rng = self._rng
        numbers = [number for number, _ in self._chain.ledger._ctx.state.scan(CONTRACT)]
        number = rng.choice(numbers) if numbers else rng.randrange(3)
        take = encode(Take(rng.choice([400, 400, 401, 801])))
        return CallContract(number, rng.choice([0, 0, 0, 1]), rng.choice([take, take, b"", b"x"]))

    def _open(self, slot: Slot) -> Op:
        rng = self._rng
        price, wh = rng.randrange(30, 45) * 10_001, rng.choice([400, 801, 1_203])
        a, b = (key.public_key for key in rng.sample(MEMBERS, 2))
        match rng.randrange(5):
            case 0 | 1:
                deal = DealTerms(slot, rng.randrange(2), wh, price, rng.choice([None, None, a]))
                return OpenContract(DEAL, encode(deal))
            case 2:
                return OpenContract(STANDBY, encode(StandbyTerms(slot, wh, price)))
            case 3:
                return OpenContract(URGENT, encode(UrgentTerms(slot, wh, price + 50_000)))
            case _:
                asked = ThreePartyTerms(slot, a, b, wh, price, "pv", "")
                return OpenContract(THREE_PARTY, encode(asked))

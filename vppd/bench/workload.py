"""The transactions of a load, made and signed before it begins."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple

import msgspec

from vppd.codec import encode
from vppd.config.genesis import MarketRulesSection
from vppd.crypto import Signer, sha256
from vppd.errors import Exit, UserError
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.transaction import (
    NO_SIGNATURE,
    VERSION,
    Body,
    Envelope,
    Op,
    Opaque,
    PlaceOrder,
    Reading,
    Transfer,
    sign_bytes,
)
from vppd.market.auction import Side
from vppd.types import Digest, Height, PublicKey, Slot, TimeMs

MARGIN_MS = 60_000
"""Between the end of a run and the gate of the nearest slot that it has orders for."""
MID_PRICE, SPREAD = 500_000, 100_000
"""Micro-currency per kWh: bids and offers lie around the middle, so about half of them cross."""
QUANTITY_WH = 1_000
DEFAULT_BYTES = 200
"""Of a transaction in the null ledger."""

Kind = Literal["transfer", "order", "reading", "opaque"]


class Sender(NamedTuple):
    """Who signs, what for, and from which nonce on."""

    signer: Signer
    kind: Kind
    nonce: int


class Slots(msgspec.Struct, frozen=True):
    """Market slots that stay in their phase during the whole run."""

    first: Slot
    """First one that orders are taken for."""
    count: int
    metered: Slot
    """The latest one that has ended."""


def slots_during(market: MarketRulesSection, now_ms: TimeMs, lasts_ms: int) -> Slots:
    """Slots open from ``now_ms`` until ``lasts_ms`` later, with some margin; maybe none."""
    end_ms = now_ms + lasts_ms + MARGIN_MS
    first = (end_ms + market.gate_lead_ms - market.origin_ms) // market.slot_ms + 1
    last = (now_ms + market.open_lead_ms - market.origin_ms) // market.slot_ms
    metered = (now_ms - market.origin_ms) // market.slot_ms - 1
    while first <= last and end_ms >= due_ms(market, first, Phase.GATE_CLOSED):
        first += 1
    return Slots(first, max(0, last - first + 1), metered)


class Load(NamedTuple):
    """What is the same in every transaction of a client."""

    chain_id: Digest
    expiry: Height
    ops: int
    size: int | None
    """Bytes of one transaction, of kind ``opaque``."""
    unsigned: bool
    slots: Slots
    receivers: Sequence[PublicKey]
    """Of transfers."""


class Supply:
    """Transactions ready to be sent, one after the other in one piece of memory.

    Args:
        senders: take turns: transaction ``i`` is of sender ``i % len(senders)``.
        load: what they send.
        count: how many transactions.
        seed: decides prices, sides and opaque bytes.
    """

    def __init__(self, senders: Sequence[Sender], load: Load, count: int, seed: int) -> None:
        self.senders = len(senders)
        self.count = count
        self.offsets = array("Q", [0])
        """Where each begins; and the end."""
        chance = Random(seed)  # noqa: S311  # a load, not a secret
        padding = Padding(load, chance) if senders[0].kind == "opaque" else None
        joined, ids = bytearray(), bytearray()
        for i in range(count):
            turn, which = divmod(i, len(senders))
            sender = senders[which]
            nonce = sender.nonce + turn
            if padding is None:
                ops = tuple(_ops(sender.kind, load, turn, which, chance))
            else:
                ops = padding.ops(sender, nonce)
            raw, tx_id = seal(sender, load, nonce, ops)
            joined += raw
            ids += tx_id
            self.offsets.append(len(joined))
        self.tx_bytes = len(joined)
        self._joined = bytes(joined)
        self._ids = bytes(ids)

    def tx_id(self, i: int) -> Digest:
        """Of transaction ``i``."""
        return self._ids[32 * i : 32 * i + 32]

    def raws(self, which: Iterable[int]) -> tuple[bytes, ...]:
        """These transactions."""
        joined, offsets = self._joined, self.offsets
        return tuple(joined[offsets[i] : offsets[i + 1]] for i in which)


def _ops(kind: Kind, load: Load, turn: int, which: int, chance: Random) -> Iterator[Op]:
    for k in range(load.ops):
        step = turn * load.ops + k
        if kind == "transfer":
            yield Transfer(load.receivers[(which + 1) % len(load.receivers)], 1)
        elif kind == "reading":
            # Each later one of a meter corrects the one before: registers only ever rise.
            yield Reading(load.slots.metered, step + 1, 0)
        else:
            slot = load.slots.first + (step + which) % load.slots.count
            price = MID_PRICE + chance.randrange(-SPREAD, SPREAD)
            side = chance.choice((Side.OFFER, Side.BID))
            yield PlaceOrder(slot, side, QUANTITY_WH, price, price, 0)


class Padding:
    """Opaque operations that make a transaction exactly as long as it is to be.

    Args:
        load: says how long, and of how many operations.
        chance: for their content.
    """

    def __init__(self, load: Load, chance: Random) -> None:
        self._chance = chance
        self._wanted = load.size or DEFAULT_BYTES
        self._sizes = [0] * load.ops
        self._unsigned = load._replace(unsigned=True)  # as long, and nothing signed in vain

    def ops(self, sender: Sender, nonce: int) -> tuple[Op, ...]:
        """Of the sender's transaction with this nonce.

        Raises:
            UserError: E431, so many operations do not fit.
        """
        ops: tuple[Op, ...] = ()
        for _ in range(4):
            ops = tuple(Opaque(self._chance.randbytes(size)) for size in self._sizes)
            missing = self._wanted - len(seal(sender, self._unsigned, nonce, ops)[0])
            if missing == 0:
                return ops
            each, rest = divmod(sum(self._sizes) + missing, len(self._sizes))
            if each < 0:
                raise UserError(
                    "E431",
                    f"no run: {len(ops)} operations do not fit {self._wanted} bytes",
                    hint="fewer --ops, or more --bytes",
                    exit_code=Exit.USAGE,
                )
            self._sizes = [each] * len(self._sizes)
            self._sizes[0] += rest
        return ops  # a length that no encoding has: off by a byte


def seal(sender: Sender, load: Load, nonce: int, ops: tuple[Op, ...]) -> tuple[bytes, Digest]:
    """A transaction as it travels, and its id."""
    body = encode(Body(VERSION, sender.signer.public_key, nonce, load.expiry, ops))
    tx_id = sha256(body)
    sig = NO_SIGNATURE if load.unsigned else sender.signer.sign(sign_bytes(load.chain_id, tx_id))
    return encode(Envelope(body, sig)), tx_id

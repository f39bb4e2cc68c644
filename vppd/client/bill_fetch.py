"""Putting a bill together from what a node has: blocks found by time, receipts with their paths."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from vppd.client.bill import Asked, compose, concerns, payouts_of
from vppd.client.bill_proof import Bill, Proof, ProvedBlock, ProvedReceipt, hexed
from vppd.client.client import RequestFailed
from vppd.client.readings import moment_text
from vppd.codec import encode
from vppd.config.genesis import Genesis
from vppd.consensus.messages import EraLink
from vppd.errors import UserError
from vppd.header import Header, decode_header
from vppd.ledger.events import DayReviewed
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.merkle import merkle_path
from vppd.net.requests import DecidedView, FailureCode
from vppd.types import Epoch, Height, PublicKey, TimeMs


class Source(Protocol):
    """What a bill is fetched from: a :class:`~.client.Client`."""

    async def block(self, height: Height) -> DecidedView:
        """A decided block."""

    async def view(self, name: str, argument: str = "") -> Any:
        """A JSON view."""

    async def links(self, epoch: Epoch) -> tuple[EraLink, ...]:
        """Steps into an epoch."""


class Days(NamedTuple):
    """What a node says about a day; only where to look, nothing that a bill rests on."""

    day: int
    first_slot: int
    end_slot: int
    opens_ms: TimeMs
    """Orders for its first slot."""
    review_ms: TimeMs
    """Its last slot settles."""
    ends_ms: TimeMs
    """Its last slot ends."""
    reviews: bool
    """By the rules in force then."""


class Chain:
    """Reads a node's chain, each block once.

    Args:
        client: connected to it.
    """

    def __init__(self, client: Source) -> None:
        self._client = client
        self._headers: dict[Height, Header] = {}
        self.top: Height = 0
        """The last height whose receipts the next block proves."""

    async def begin(self) -> None:
        """See how far the chain is."""
        status: dict[str, Any] = await self._client.view("status")
        self.top = min(status["executed"], status["height"] - 1)

    async def block(self, height: Height) -> DecidedView:
        """A decided block.

        Raises:
            UserError: E531, the node has pruned it.
        """
        try:
            block = await self._client.block(height)
        except RequestFailed as err:
            if err.reason is not FailureCode.NOT_FOUND:
                raise
            raise UserError(
                "E531",
                f"this node no longer has block {height}, which the bill needs",
                hint="another node may: --home; or an archive: vppd db import",
            ) from err
        self._headers[height] = decode_header(block.header)
        return block

    async def first_since(self, time_ms: TimeMs) -> Height:
        """The first height with at least this block time; one above the top: none yet."""
        low, high = 1, self.top + 1
        while low < high:
            middle = (low + high) // 2
            if (await self.header(middle)).time_ms >= time_ms:
                high = middle
            else:
                low = middle + 1
        return low

    async def header(self, height: Height) -> Header:
        """A decided header."""
        if height not in self._headers:
            await self.block(height)
        return self._headers[height]


async def fetch_bill(client: Source, genesis: Genesis, key: PublicKey, day: Days) -> Bill:
    """A member's bill for a day, with its proof.

    Raises:
        UserError: E531, a block is gone; E532, nothing of the day has settled here yet.
        Contradiction: the node's receipts do not fit together.
    """
    asked = Asked(key, day.day, day.first_slot, day.end_slot)
    chain = Chain(client)
    await chain.begin()
    review = await _review_of(chain, day)
    last = chain.top if review is None else review[0]
    begin = await chain.first_since(day.opens_ms)
    kept: dict[Height, dict[int, bytes]] = {}
    if review is not None:
        kept[review[0]] = {0: review[1]}
        previous = review[2].previous_height
        if review[2].number == 1:
            begin = 1
        else:
            begin = min(begin, previous)
            kept.setdefault(previous, {})[0] = (await chain.block(previous)).receipts[0]
    receipts: dict[tuple[Height, int], Receipt] = {}
    blocks: dict[Height, DecidedView] = {}
    for height in range(max(1, begin), last + 1):
        block = await chain.block(height)
        own = kept.get(height, {})
        for index, raw in enumerate(block.receipts):
            receipt = decode_receipt(raw)
            if index in own or concerns(asked, receipt):
                receipts[height, index] = receipt
                blocks[height] = block
    body = compose(genesis, asked, receipts)
    proof = await _proof(client, chain, blocks, receipts)
    return Bill(bill=body, proof=proof)


async def _review_of(chain: Chain, day: Days) -> tuple[Height, bytes, DayReviewed] | None:
    """The block that reviewed the day, its own receipt, and the review."""
    height = await chain.first_since(day.review_ms)
    if height > chain.top:
        return None
    raw = (await chain.block(height)).receipts[0]
    for event in decode_receipt(raw).events:
        if isinstance(event, DayReviewed) and event.day == day.day:
            return height, raw, event
    return None


async def _proof(
    client: Source,
    chain: Chain,
    blocks: dict[Height, DecidedView],
    receipts: dict[tuple[Height, int], Receipt],
) -> Proof:
    proved, epoch = [], 0
    for height, block in sorted(blocks.items()):
        following = await chain.block(height + 1)
        epoch = max(epoch, decode_header(following.header).epoch)
        entries = tuple(
            ProvedReceipt(
                index=index,
                receipt=block.receipts[index].hex(),
                path=hexed(merkle_path(block.receipts, index)),
            )
            for at, index in sorted(receipts)
            if at == height
        )
        proved.append(
            ProvedBlock(
                header=block.header.hex(),
                next_header=following.header.hex(),
                certificate=encode(following.certificate).hex(),
                receipts=entries,
            )
        )
    links: list[str] = []
    while len(links) < epoch:
        steps = await client.links(len(links) + 1)
        if not steps:
            break
        links += [encode(link).hex() for link in steps]
    return Proof(links=tuple(links[:epoch]), blocks=tuple(proved))


async def fetch_payouts(client: Source, genesis: Genesis, day: Days) -> list[dict[str, Any]]:
    """What each member has more or less since the day before was reviewed, by name.

    Raises:
        UserError: E531, a block is gone; E532, the day is not reviewed yet.
    """
    chain = Chain(client)
    await chain.begin()
    review = await _review_of(chain, day)
    if review is None:
        raise await _no_review(chain, day)
    height, raw, event = review
    receipts = {(height, 0): decode_receipt(raw)}
    if event.number > 1:
        before = event.previous_height
        receipts[before, 0] = decode_receipt((await chain.block(before)).receipts[0])
    return payouts_of(genesis, day.day, receipts)


async def _no_review(chain: Chain, day: Days) -> UserError:
    """Why a day has no review, and what to do about it."""
    if not day.reviews:
        what = f"this chain reviews no days, so nothing states balances by day {day.day}"
        hint = (
            "vppd market bill MEMBER --day D adds up what is known; a review comes with "
            "[market.review] in genesis or with a credit rule:\n"
            "vppd market set credit.rule=level --from SLOT"
        )
        return UserError("E532", what, hint=hint)
    now = (await chain.header(chain.top)).time_ms if chain.top else 0
    facts = {"last block": moment_text(now)} if now else {}
    if now < day.ends_ms:
        what = f"day {day.day} is not over"
        facts["ends at"] = moment_text(day.ends_ms)
    else:
        what = f"day {day.day} is over, but not reviewed yet"
    facts["review at"] = moment_text(day.review_ms)
    hint = "again one block after the review, or an earlier day"
    return UserError("E532", what, facts=facts, hint=hint)

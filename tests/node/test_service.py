"""The service on a real store: what clients and peers are answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, payment, proposal_bytes
from tests.store.real_chain import Maker, write
from vppd.client.proofs import check_proof
from vppd.codec import Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.boundary import BodyRecord, Decision
from vppd.consensus.messages import CAP, BlockBody, Blocks, Type
from vppd.consensus.terms import Terms
from vppd.crypto import verify
from vppd.header import decode_header
from vppd.ledger.block import make_header
from vppd.ledger.transaction import Transfer, make_transaction, transaction_id
from vppd.net.requests import (
    Accepted,
    Ask,
    DecidedView,
    Document,
    Failure,
    FailureCode,
    FindBlock,
    Found,
    GetDecided,
    GetTx,
    Request,
    Result,
    Submit,
    SubmitMany,
    Subscribe,
    Subscribed,
    Taken,
    TxStage,
    TxState,
    View,
    decode_push,
)
from vppd.node.beats import Committed
from vppd.node.driver import Disk, Driver
from vppd.node.intake import INLINE, Intake, Verifier
from vppd.node.machine import Machine
from vppd.node.mempool import MAX_PER_ACCOUNT
from vppd.node.metrics import Metrics
from vppd.node.replies import Replies
from vppd.node.service import Service, committed_push
from vppd.node.trace import Trace
from vppd.node.views import Views
from vppd.store.chain import ChainStore

HEIGHT = 4


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(HEIGHT)
    return made


class Served:
    """A service, and the chain behind it."""

    def __init__(
        self, maker: Maker, store: ChainStore, folder: Path, genesis: Genesis = GENESIS
    ) -> None:
        self.maker = maker
        self.store = store
        self.machine = Machine(genesis, KEYS[1], verify, maker.ledger)
        metrics = Metrics(Terms(GENESIS))
        disk = Disk(folder, 0)
        self.driver = Driver(self.machine, store, lambda _: None, lambda *_: None, metrics, disk)
        replies = Replies(self.machine.gate, self.machine.terms)
        views = Views(self.machine, metrics, dict, "der-1", folder / "chain.db", Trace(0))
        self.verifier = Verifier()
        intake = Intake(self.machine, self.verifier, self.driver.wake)
        self.service = Service(self.machine, store, replies, views, self.driver, intake)

    async def ask(self, ask: Ask) -> Result:
        response, _ = await self.service.answer(encode(Request(7, ask)))
        assert response.id == 7
        return response.result

    async def fails(self, ask: Ask, code: FailureCode, words: str) -> None:
        result = await self.ask(ask)
        assert isinstance(result, Failure)
        assert FailureCode(result.code) is code
        assert words in result.text


@pytest.fixture
async def served(maker: Maker, tmp_path: Path) -> AsyncIterator[Served]:
    path = tmp_path / "chain.db"
    await write(path, maker)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        made = Served(maker, store, tmp_path)
        yield made
        made.verifier.close()


# ---------------------------------------------------------------- submit


async def test_a_transaction_is_accepted_and_then_waits(served: Served) -> None:
    raw = payment(2, served.machine.ledger.nonce(KEYS[2].public_key) or 0)
    assert await served.ask(Submit(raw)) == Accepted(transaction_id(raw))
    assert await served.ask(GetTx(transaction_id(raw))) == TxState(TxStage.ACCEPTED, raw)
    assert await served.ask(Submit(raw)) == Accepted(transaction_id(raw)), "asking twice is fine"
    assert len(served.machine.mempool) == 1


async def test_what_was_executed_is_refused_as_a_replay(served: Served) -> None:
    raw = served.maker.blocks[0].txs[0]
    await served.fails(Submit(raw), FailureCode.REFUSED, "(a replay?)")


async def test_what_can_never_be_executed_is_invalid(served: Served) -> None:
    for raw, words in (
        (b"\xc1", "not a"),
        (payment(2, 9, chain=bytes(32)), "signature does not hold"),
        (payment(2, 9, expiry=HEIGHT), "expired"),
    ):
        await served.fails(Submit(raw), FailureCode.INVALID, words)


@pytest.mark.parametrize("alone", [False, True])
async def test_what_no_frame_between_nodes_carries_is_refused_with_others(
    served: Served, tmp_path: Path, alone: bool
) -> None:
    """Its genesis says that a block may hold it, and so it may where nobody has to be told."""
    rules = replace(GENESIS.consensus, max_tx_bytes=100_000, max_tx_ops=4_096)
    validators = GENESIS.validators[1:2] if alone else GENESIS.validators
    genesis = replace(GENESIS, consensus=rules, validators=validators)
    large = Served(served.maker, served.store, tmp_path, genesis)
    nonce = large.machine.ledger.nonce(KEYS[1].public_key) or 0
    ops = [Transfer(KEYS[2].public_key, 1)] * 500
    raw = make_transaction(KEYS[1], GENESIS.digest, nonce, 1_000, ops)
    assert len(raw) > CAP[Type.TX]
    if alone:
        assert await large.ask(Submit(raw)) == Accepted(transaction_id(raw))
        assert await large.ask(SubmitMany((raw,))) == Taken((transaction_id(raw),), ())
    else:
        words = "from node to node go at most 16384"
        await large.fails(Submit(raw), FailureCode.INVALID, words)
        small = payment(1, nonce)
        taken = await large.ask(SubmitMany((small, raw, b"\xc1")))
        assert isinstance(taken, Taken)
        assert taken.ids == (transaction_id(small),)
        assert [each.position for each in taken.turned] == [1, 2]
        assert words in taken.turned[0].text


@pytest.mark.parametrize("each", [2, MAX_PER_ACCOUNT - 1], ids=["on the spot", "on threads"])
async def test_of_many_each_is_taken_or_turned_away_by_itself(served: Served, each: int) -> None:
    """In the order given, so that one sender's nonces may follow each other."""
    nonces = {who: served.machine.ledger.nonce(KEYS[who].public_key) or 0 for who in (0, 2, 3)}
    good = [payment(who, nonces[who] + i) for i in range(each) for who in nonces]
    count = len(good)
    assert (count <= INLINE) == (each == 2)
    forged = payment(1, served.machine.ledger.nonce(KEYS[1].public_key) or 0, chain=bytes(32))
    replayed = served.maker.blocks[0].txs[0]
    raws = (*good[:2], b"\xc1", forged, *good[2:], replayed, good[0])
    taken = await served.ask(SubmitMany(raws))
    assert isinstance(taken, Taken)
    assert taken.ids == tuple(map(transaction_id, (*good, good[0]))), "twice is fine"
    said = [(turned.position, FailureCode(turned.code)) for turned in taken.turned]
    assert said == [
        (2, FailureCode.INVALID), (3, FailureCode.INVALID), (count + 2, FailureCode.REFUSED),
    ]  # fmt: skip
    reasons = ("not a", "does not hold", "(a replay?)")
    for turned, words in zip(taken.turned, reasons, strict=True):
        assert words in turned.text
    assert len(served.machine.mempool) == count


async def test_of_two_with_one_nonce_the_first_is_taken(served: Served) -> None:
    nonce = served.machine.ledger.nonce(KEYS[2].public_key) or 0
    one, other = payment(2, nonce, 1), payment(2, nonce, 2)
    taken = await served.ask(SubmitMany((one, other)))
    assert isinstance(taken, Taken)
    assert taken.ids == (transaction_id(one),)
    (turned,) = taken.turned
    assert (turned.position, turned.code) == (1, FailureCode.REFUSED)
    assert "another transaction" in turned.text


# ---------------------------------------------------------------- facts


async def test_every_executed_transaction_is_shown_with_its_receipt_and_a_proof(
    served: Served,
) -> None:
    for block in served.maker.blocks[:-1]:
        for index, raw in enumerate(block.txs):
            state = await served.ask(GetTx(transaction_id(raw)))
            assert isinstance(state, TxState)
            assert (state.stage, state.height) == (TxStage.COMMITTED, block.header.height)
            assert (state.index, state.raw) == (index, raw)
            assert state.receipt == block.execution.receipts[index + 1]
            proof = check_proof(transaction_id(raw), state, GENESIS)
            assert proof["proved_by"] == f"certificate of height {state.height + 1}"


async def test_a_block_that_was_pruned_is_said_to_be(served: Served) -> None:
    await served.store.prune(2)
    await served.fails(GetDecided(2), FailureCode.NOT_FOUND, "has those from 3 on")
    assert isinstance(await served.ask(GetDecided(3)), DecidedView)
    assert await served.service.blocks_from(2) is None
    gone = served.maker.blocks[0].txs[0]
    assert await served.ask(GetTx(transaction_id(gone))) == TxState(TxStage.UNKNOWN)


async def test_the_last_block_is_not_proved_yet(served: Served) -> None:
    raw = served.maker.blocks[-1].txs[0]
    state = await served.ask(GetTx(transaction_id(raw)))
    assert isinstance(state, TxState)
    assert state.stage == TxStage.COMMITTED
    assert "pending" in check_proof(transaction_id(raw), state, GENESIS)


async def test_a_transaction_nobody_knows(served: Served) -> None:
    assert await served.ask(GetTx(bytes(32))) == TxState(TxStage.UNKNOWN)


async def test_searches_for_many_unknown_ids_hold_nobody_else(served: Served) -> None:
    ended: list[str] = []

    async def ask(ask: Ask, what: str) -> None:
        await served.ask(ask)
        ended.append(what)

    searches = [ask(GetTx(bytes([i]) * 32), "search") for i in range(20)]
    await asyncio.gather(*searches, ask(GetDecided(1), "block"))
    assert "block" in ended[:3]
    assert ended.count("search") == 20


async def test_decided_blocks_by_height_and_by_digest(served: Served) -> None:
    for block in served.maker.blocks:
        height = block.header.height
        assert await served.ask(GetDecided(height)) == DecidedView(
            block.header.encode(), block.txs, block.certificate, block.execution.receipts
        )
        assert await served.ask(FindBlock(block.header.digest())) == Found(height)


async def test_blocks_that_are_not_there(served: Served) -> None:
    for height in (0, HEIGHT + 1, 2**63 - 1):
        words = f"no block {height}; the last one is {HEIGHT}"
        await served.fails(GetDecided(height), FailureCode.NOT_FOUND, words)
    await served.fails(FindBlock(bytes(32)), FailureCode.NOT_FOUND, "no decided block")


async def test_views_are_json_and_say_what_they_miss(served: Served) -> None:
    result = await served.ask(View("account", "der-1"))
    assert isinstance(result, Document)
    assert b'"name":"der-1"' in result.json
    await served.fails(View("poem"), FailureCode.UNKNOWN_VIEW, "no view 'poem'")
    await served.fails(View("account", "x"), FailureCode.NOT_FOUND, "no account 'x'")


async def test_only_a_subscription_asks_for_pushes(served: Served) -> None:
    response, subscribed = await served.service.answer(encode(Request(1, Subscribe())))
    assert (response.result, subscribed) == (Subscribed(HEIGHT), True)
    _, subscribed = await served.service.answer(encode(Request(2, View("market"))))
    assert not subscribed


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x92\x01\x91\x63", b"\x80", encode([1])])
async def test_what_is_no_request_is_the_client_s_fault(served: Served, payload: bytes) -> None:
    with pytest.raises(Malformed):
        await served.service.answer(payload)


def test_a_push_holds_the_block_and_what_it_ruled_out(maker: Maker) -> None:
    block = maker.blocks[1]
    header, digest = block.header.encode(), block.header.digest()
    decision = Decision(2, digest, header, block.txs, block.certificate)
    push = decode_push(committed_push(Committed(decision, block.execution), (bytes(32),)))
    assert (push.height, push.digest, push.header) == (2, digest, header)
    assert push.tx_ids == tuple(transaction_id(raw) for raw in block.txs)
    assert push.receipts == block.execution.receipts
    assert push.dropped == (bytes(32),)


# ---------------------------------------------------------------- peers


async def test_ranges_for_those_who_catch_up(served: Served) -> None:
    answer = await served.service.blocks_from(2)
    assert isinstance(answer, Blocks)
    assert [decode_header(b.header).height for b in answer.blocks] == [2, 3, 4]
    served.machine.gate.check(answer)
    assert await served.service.blocks_from(HEIGHT + 1) is None


async def test_an_undecided_body_is_answered_with_its_proposal(served: Served) -> None:
    raw = payment(2, 9)
    header = make_header(
        chain_id=GENESIS.digest,
        epoch=0,
        height=HEIGHT + 1,
        parent=served.maker.blocks[-1].header.digest(),
        time_ms=served.maker.blocks[-1].header.time_ms + 1,
        proposer=KEYS[0].public_key,
        txs=(raw,),
        state_root=served.machine.ledger.state_root,
        receipts_root=served.machine.ledger.receipts_root,
        next_validators=served.machine.validators.digest,
    )
    digest = header.digest()
    sig = KEYS[0].sign(proposal_bytes(HEIGHT + 1, digest))
    await served.store.persist([BodyRecord(digest, HEIGHT + 1, 0, header.encode(), (raw,), sig)])
    body = await served.service.body(digest)
    assert isinstance(body, BlockBody)
    assert (body.height, body.digest, body.txs, body.proposal_sig) == (5, digest, (raw,), sig)
    served.machine.gate.check(body)


async def test_a_decided_body_without_a_proposal_comes_with_its_certificate(
    served: Served,
) -> None:
    digest = served.maker.blocks[1].header.digest()
    answer = await served.service.body(digest)
    assert isinstance(answer, Blocks)
    assert decode_header(answer.blocks[0].header).digest() == digest
    assert await served.service.body(bytes(32)) is None

"""The client against a whole daemon, over its Unix socket and its port."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.client.daemon import Alone
from vppd.client.client import Client, Disconnected, RequestFailed, connect, connect_port
from vppd.codec import Malformed, encode
from vppd.crypto import SigningKey, key_text
from vppd.errors import UserError
from vppd.header import decode_header
from vppd.ledger.transaction import decode_transaction
from vppd.net.frames import REFUSE, RESPONSE, encode_frame
from vppd.net.hello import refuse_frame
from vppd.net.peers import MAX_CLIENTS
from vppd.net.requests import (
    Accepted,
    Committed,
    FailureCode,
    Response,
    TxStage,
    TxState,
)
from vppd.types import ZERO_DIGEST, Digest

pytestmark = pytest.mark.net


# ---------------------------------------------------------------- requests


async def test_any_number_of_requests_may_be_under_way(node: Alone) -> None:
    async with connect(node.socket) as client:
        answers = await asyncio.gather(
            *(client.view("account", key_text(node.key.public_key)) for _ in range(300)),
            *(client.tx(secrets.token_bytes(32)) for _ in range(300)),
        )
    assert {state.stage for state in answers[300:]} == {TxStage.UNKNOWN}
    assert {view["nonce"] for view in answers[:300]} == {0}


async def test_answers_find_their_requests_in_any_mixture(node: Alone) -> None:
    async def fails(ask: Awaitable[object]) -> FailureCode:
        with pytest.raises(RequestFailed) as caught:
            await ask
        return caught.value.reason

    async with connect(node.socket) as client:
        first, missing, status, second = await asyncio.gather(
            client.submit(node.sign(0)),
            fails(client.block(77)),
            client.view("status"),
            client.submit(node.sign(1)),
        )
    assert first == decode_transaction(node.sign(0)).id
    assert second == decode_transaction(node.sign(1)).id
    assert missing is FailureCode.NOT_FOUND
    assert status["name"] == "op-0"


async def test_a_transaction_is_accepted_then_committed_and_found(node: Alone) -> None:
    async with connect(node.socket) as client:
        tx_id = await node.pay(client)
        state = await client.wait(tx_id)
        assert (state.stage, state.height) == (TxStage.COMMITTED, 1)
        assert decode_transaction(state.raw).id == tx_id
        block = await client.block(1)
        digest = decode_header(block.header).digest()
        assert await client.find(digest) == 1
        assert block.txs[state.index] == state.raw
        assert block.receipts[state.index + 1] == state.receipt


async def test_many_wait_for_one_and_one_waits_for_many(node: Alone) -> None:
    async with connect(node.socket) as client, connect(node.socket) as other:
        waits = [
            asyncio.create_task(who.wait(decode_transaction(node.sign(nonce)).id))
            for nonce in range(20)
            for who in (client, client, other)
        ]
        for nonce in range(20):
            await client.submit(node.sign(nonce))
        states = await asyncio.gather(*waits)
    assert {state.stage for state in states} == {TxStage.COMMITTED}


async def test_a_wait_given_up_disturbs_no_other(node: Alone) -> None:
    tx_id = decoded_id(node)
    async with connect(node.socket) as client:
        patient, hasty = (asyncio.create_task(client.wait(tx_id)) for _ in range(2))
        assert (await client.tx(tx_id)).stage == TxStage.UNKNOWN  # both have asked
        hasty.cancel()
        await asyncio.wait({hasty})
        await client.submit(node.sign(0))
        assert (await patient).stage == TxStage.COMMITTED


def decoded_id(node: Alone) -> Digest:
    return decode_transaction(node.sign(0)).id


async def test_what_waits_for_a_gap_and_is_overtaken_is_given_up(node: Alone) -> None:
    """Its block height passes before its predecessor comes."""
    async with connect(node.socket) as client:
        stuck = await client.submit(node.sign(2, expiry=1))
        assert (await client.tx(stuck)).stage == TxStage.ACCEPTED
        waiting = asyncio.create_task(client.wait(stuck))
        assert (await client.tx(stuck)).stage == TxStage.ACCEPTED
        await client.wait(await client.submit(node.sign(0)))
        assert await waiting == TxState(TxStage.DROPPED, node.sign(2, expiry=1))
        assert (await client.tx(stuck)).stage == TxStage.UNKNOWN


async def test_what_was_dropped_before_the_first_look_is_given_up_too(node: Alone) -> None:
    async with connect(node.socket) as client, connect(node.socket) as late:
        raw = node.sign(2, expiry=1)
        stuck = await client.submit(raw)
        await client.wait(await client.submit(node.sign(0)))
        assert await late.wait(stuck, raw) == TxState(TxStage.DROPPED, raw)


async def test_a_wait_for_what_is_committed_already_ends_at_once(node: Alone) -> None:
    async with connect(node.socket) as client:
        tx_id = await node.pay(client)
        await client.wait(tx_id)
        assert (await client.wait(tx_id)).stage == TxStage.COMMITTED


@pytest.mark.parametrize(
    ("ask", "reason", "words"),
    [
        (lambda c, _: c.submit(b"x"), FailureCode.INVALID, "not a Envelope"),
        (lambda c, n: c.submit(n.sign(0, expiry=0)), FailureCode.INVALID, "expired at height 0"),
        (lambda c, n: c.submit(n.sign(99)), FailureCode.REFUSED, "nonce 99 is too far ahead"),
        (lambda c, _: c.find(ZERO_DIGEST), FailureCode.NOT_FOUND, "no decided block 0000"),
        (lambda c, _: c.view("poem"), FailureCode.UNKNOWN_VIEW, "no view 'poem'; there are"),
        (lambda c, _: c.view("account", "nobody"), FailureCode.NOT_FOUND, "nobody"),
        (lambda c, _: c.view("book", "soon"), FailureCode.NOT_FOUND, "'soon' is not a slot"),
        (lambda c, _: c.view("trades", "9" * 99), FailureCode.NOT_FOUND, "is not a slot number"),
    ],
)
async def test_a_refusal_has_a_code_and_words(
    node: Alone,
    ask: Callable[[Client, Alone], Awaitable[object]],
    reason: FailureCode,
    words: str,
) -> None:
    async with connect(node.socket) as client:
        with pytest.raises(RequestFailed, match="the node says: ") as caught:
            await ask(client, node)
        assert caught.value.reason is reason
        assert words in caught.value.what
        assert (await client.view("status"))["height"] == 0, "the connection goes on"


# ---------------------------------------------------------------- subscriptions


async def test_a_subscriber_gets_every_block_once_in_order(node: Alone) -> None:
    async with connect(node.socket) as client, connect(node.socket) as payer:
        assert await client.subscribe() == 0
        ids = [await node.pay(payer)]
        await payer.wait(ids[0])
        ids.append(await node.pay(payer))
        await payer.wait(ids[1])
        pushes = client.pushes()
        first, second = await anext(pushes), await anext(pushes)
        assert (first.height, second.height) == (1, 2)
        assert (first.tx_ids, second.tx_ids) == ((ids[0],), (ids[1],))
        assert decode_header(second.header).parent == first.digest
        block = await client.block(2)
        assert (block.header, block.receipts) == (second.header, second.receipts)


async def test_who_has_not_subscribed_gets_nothing(node: Alone) -> None:
    async with connect(node.socket) as client, connect(node.socket) as quiet:
        await client.wait(await node.pay(client))
        assert (await quiet.view("status"))["height"] == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await anext(quiet.pushes())


# ---------------------------------------------------------------- the end


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="E351") as caught:
        async with connect(tmp_path / "no.sock"):
            pass
    assert str(tmp_path / "no.sock") in str(caught.value)


async def test_a_node_that_stops_is_noticed_by_everyone_who_waits(node: Alone) -> None:
    async with connect(node.socket) as client:
        await client.subscribe()
        never = asyncio.create_task(client.wait(ZERO_DIGEST))
        listening = asyncio.create_task(first_push(client))
        assert (await client.tx(ZERO_DIGEST)).stage == TxStage.UNKNOWN  # both are under way
        await node.stop()
        for waiting in (never, listening):
            with pytest.raises(Disconnected, match="the node is stopping"):
                await waiting
        assert client.closed
        with pytest.raises(Disconnected):
            await client.view("status")
        with pytest.raises(Disconnected):
            await anext(client.pushes())


async def first_push(client: Client) -> Committed:
    return await anext(client.pushes())


async def test_a_node_that_comes_back_knows_what_was_committed(node: Alone) -> None:
    async with connect(node.socket) as client:
        tx_id = await node.pay(client)
        await client.wait(tx_id)
    await node.stop()
    await node.start()
    async with connect(node.socket) as client:
        assert (await client.wait(tx_id)).height == 1
        assert (await client.wait(await node.pay(client))).height == 2


async def test_one_client_too_many_is_told_so(node: Alone) -> None:
    async with connect(node.socket) as client, AsyncExitStack() as stack:
        assert await client.view("market")
        for _ in range(MAX_CLIENTS - 1):
            another = await stack.enter_async_context(connect(node.socket))
            assert await another.view("market")
        surplus = await stack.enter_async_context(connect(node.socket))
        with pytest.raises(Disconnected, match=f"{MAX_CLIENTS} clients are connected"):
            await surplus.view("market")
        assert await client.view("market")
    async with connect(node.socket) as client:
        assert await client.view("market")


# ---------------------------------------------------------------- over the port


async def test_the_port_serves_clients_too(node: Alone) -> None:
    key = SigningKey(secrets.token_bytes(32))
    async with connect_port(node.home.listen, key, node.genesis, None) as client:
        assert (await client.wait(await node.pay(client))).stage == TxStage.COMMITTED
        answers = await asyncio.gather(*(client.view("market") for _ in range(100)))
        assert len(answers) == 100


async def test_another_chain_is_refused_over_the_port(node: Alone) -> None:
    other = replace(node.genesis, digest=ZERO_DIGEST)
    key = SigningKey(secrets.token_bytes(32))
    with pytest.raises(UserError, match="E357"):
        async with connect_port(node.home.listen, key, other, None):
            pass


# ---------------------------------------------------------------- a node that misbehaves


@asynccontextmanager
async def liar(path: Path, *answers: bytes) -> AsyncIterator[Client]:
    """A client of somebody who answers each request with the next of these bytes."""

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            await reader.readexactly(length)
            writer.write(answer)
        await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        async with connect(path) as client:
            yield client
        await over.wait()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (struct.pack(">IB", 2 * 1024**3, RESPONSE), "announces a frame of 2147483648 bytes"),
        (bytes(5), "announces a frame of 0 bytes"),
        (encode_frame(RESPONSE, b"\xc1"), "not a Response"),
        (refuse_frame("go away"), "the node closed the connection: go away"),
        (encode_frame(REFUSE, b"\xc1"), "not a Refus"),
    ],
)
async def test_what_is_no_answer_ends_the_connection_with_its_reason(
    tmp_path: Path, answer: bytes, words: str
) -> None:
    async with liar(tmp_path / "liar.sock", answer) as client:
        with pytest.raises(Disconnected, match=words):
            await client.view("status")
        with pytest.raises(Disconnected, match=words):
            await client.view("status")


@pytest.mark.parametrize(
    "half", [b"", b"\x00\x00", encode_frame(RESPONSE, bytes(64))[:20]], ids=["none", "head", "body"]
)
async def test_who_is_hung_up_on_is_told_in_every_wait(tmp_path: Path, half: bytes) -> None:
    """The line ends between two answers, or in the middle of one."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        await asked.wait()
        writer.write(half)
        await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    async with server, connect(tmp_path / "s") as client:
        under_way = [
            asyncio.create_task(work)
            for work in (client.view("status"), client.tx(ZERO_DIGEST), client.submit(b"x"))
        ]
        waiting = asyncio.create_task(client.wait(ZERO_DIGEST))
        listening = asyncio.create_task(first_push(client))
        asked.set()
        for task in (*under_way, waiting, listening):
            with pytest.raises(Disconnected, match="the node closed the connection"):
                await task
        assert client.closed
        with pytest.raises(Disconnected, match="the node closed the connection"):
            await client.subscribe()
        await over.wait()


async def test_hanging_up_oneself_ends_what_is_under_way(tmp_path: Path) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        asked.set()
        await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        over.set()

    async with await asyncio.start_unix_server(serve, tmp_path / "s"):
        async with connect(tmp_path / "s") as client:
            asking = asyncio.create_task(client.view("status"))
            await asked.wait()
        with pytest.raises(Disconnected):
            await asking
        await over.wait()


async def test_an_answer_to_another_question_is_refused(tmp_path: Path) -> None:
    answer = encode_frame(RESPONSE, encode(Response(1, Accepted(ZERO_DIGEST))))
    async with liar(tmp_path / "liar.sock", answer) as client:
        with pytest.raises(Malformed, match="asked for TxState, the node sent Accepted"):
            await client.tx(ZERO_DIGEST)


async def test_an_answer_to_nobody_is_passed_over(tmp_path: Path) -> None:
    stray = encode_frame(RESPONSE, encode(Response(9, Accepted(bytes(32)))))
    right = encode_frame(RESPONSE, encode(Response(1, Accepted(ZERO_DIGEST))))
    async with liar(tmp_path / "liar.sock", stray + right) as client:
        assert await client.submit(b"") == ZERO_DIGEST

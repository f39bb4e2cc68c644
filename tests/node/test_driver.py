"""The driver on a real store: durable before sent, and stopped by a disk that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.e2e.plant import eventually_async
from tests.node.plant import GENESIS, KEYS, LEADER, payment
from tests.store.builders import raw_rows, raw_write
from vppd.consensus.boundary import ViewRecord
from vppd.consensus.messages import Block, Status, Type
from vppd.consensus.terms import Terms
from vppd.crypto import verify
from vppd.errors import LocalFault, UserError
from vppd.ledger.execution import Ledger
from vppd.net.gate import decode_message
from vppd.node.beats import Committed, Frame
from vppd.node.clock import now
from vppd.node.driver import Disk, Driver
from vppd.node.machine import Machine
from vppd.node.metrics import Metrics
from vppd.store.chain import ChainStore
from vppd.types import Digest

ALONE = replace(GENESIS, validators=GENESIS.validators[:1])
"""The same plant with one replica, which decides on its own vote."""


class Driven:
    """A driver with a real store, and what it wanted to send and to announce."""

    def __init__(self, path: Path, store: ChainStore, machine: Machine, min_free: int) -> None:
        self.path = path
        self.store = store
        self.machine = machine
        self.sent: list[Frame] = []
        self.announced: list[Committed] = []
        self.dropped: list[Digest] = []
        self.on_send: Callable[[Frame], None] = lambda _: None
        self.metrics = Metrics(Terms(GENESIS))
        self.driver = Driver(
            machine, store, self._transmit, self._announce, self.metrics,
            Disk(path.parent, min_free),
        )  # fmt: skip
        self.running: asyncio.Task[None] | None = None

    def _transmit(self, frame: Frame) -> None:
        self.on_send(frame)
        self.sent.append(frame)

    def _announce(self, block: Committed, dropped: tuple[Digest, ...]) -> None:
        self.announced.append(block)
        self.dropped += dropped

    async def start(self) -> None:
        kept = await self.store.resume()
        if kept.executed == 0:
            await self.store.seed_state(self.machine.ledger.entries())
        turn = self.machine.start(now(), kept.log, None, ())
        self.running = asyncio.create_task(self.driver.run(turn))

    def submit(self, raw: bytes) -> None:
        self.machine.submit(raw, now().monotonic_ms, own=True)
        self.driver.wake()

    def kinds(self) -> list[Type]:
        return [frame.type for frame in self.sent]

    async def stop(self) -> None:
        if self.running is not None and not self.running.done():
            self.running.cancel()
            with suppress(asyncio.CancelledError):
                await self.running


Make = Callable[..., Driven]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Drivers on one store each, stopped at the end."""
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    store = await ChainStore.open(path, GENESIS.digest)
    made: list[Driven] = []

    def one(*, alone: bool = True, min_free: int = 0) -> Driven:
        genesis = ALONE if alone else GENESIS
        machine = Machine(genesis, KEYS[LEADER], verify, Ledger.from_genesis(genesis))
        made.append(Driven(path, store, machine, min_free))
        return made[-1]

    yield one
    for driven in made:
        await driven.stop()
    with suppress(LocalFault):  # some tests break it
        await store.close()


async def voting(driven: Driven) -> None:
    """Once the others have said where they stand."""
    for peer in range(1, driven.machine.validators.quorum.n):
        driven.machine.receive(peer, Status(0, 0, 0, 0))
    driven.driver.wake()

    async def look() -> bool:
        return driven.machine.engine.status().voting

    await eventually_async(look, "it votes")


async def decided(driven: Driven, height: int) -> None:
    async def look() -> bool:
        assert driven.running is not None
        if driven.running.done():
            driven.running.result()
        return len(driven.announced) >= height

    await eventually_async(look, f"height {height}")


# ---------------------------------------------------------------- in order


async def test_a_transaction_is_decided_stored_and_announced(make: Make) -> None:
    driven = make()
    await driven.start()
    await voting(driven)
    driven.submit(payment(1))
    await decided(driven, 1)
    block = await driven.store.block(1)
    assert block is not None
    assert block.txs == (payment(1),)
    execution = await driven.store.execution(1)
    assert execution is not None
    assert execution.state_root == driven.machine.ledger.state_root
    assert [timing.height for timing in driven.metrics.timings] == [1]


async def test_a_proposal_and_its_vote_are_on_disk_before_they_are_sent(make: Make) -> None:
    driven = make(alone=False)
    at_send: list[tuple[Digest, bytes]] = []

    def look(frame: Frame) -> None:
        message = decode_message(frame.type, frame.payload)
        if isinstance(message, Block):
            [(record,)] = raw_rows(driven.path, "SELECT record FROM safety")
            bodies = raw_rows(driven.path, "SELECT digest FROM bodies")
            assert bodies == [(message.digest,)]
            assert isinstance(record, bytes)
            at_send.append((message.digest, record))

    driven.on_send = look
    await driven.start()
    await voting(driven)
    driven.submit(payment(1))

    async def sent() -> bool:
        assert driven.running is not None
        if driven.running.done():
            driven.running.result()
        return bool(at_send)

    await eventually_async(sent, "a proposal")
    digest, record = at_send[0]
    assert record.count(digest) == 2, "the proposal and the vote name it"


async def test_what_arrives_during_a_write_shares_the_next_one(make: Make) -> None:
    driven = make()
    await driven.start()
    await voting(driven)
    for nonce in range(20):
        driven.submit(payment(1, nonce))
    total = 0
    height = 0
    while total < 20:
        height += 1
        await decided(driven, height)
        total += len(driven.announced[height - 1].decision.txs)
    assert height <= 3


async def test_what_a_block_rules_out_is_announced_once(make: Make) -> None:
    driven = make()
    await driven.start()
    await voting(driven)
    driven.submit(payment(2, 1, expiry=1))
    driven.submit(payment(1))
    driven.submit(payment(1, 1))
    await decided(driven, 1)
    assert len(driven.dropped) == 1


# ---------------------------------------------------------------- a disk that fails


async def test_a_promise_that_cannot_be_written_is_not_sent_and_stops_the_node(
    make: Make,
) -> None:
    driven = make(alone=False)
    await driven.start()
    await voting(driven)
    driven.sent.clear()
    raw_write(driven.path, "DROP TABLE safety")
    driven.submit(payment(1))
    assert driven.running is not None
    with pytest.raises(LocalFault, match="not written"):
        await asyncio.wait_for(driven.running, 10)
    assert Type.BLOCK not in driven.kinds()
    assert driven.announced == []


async def test_a_store_that_has_failed_once_takes_no_more(make: Make) -> None:
    driven = make(alone=False)
    await driven.start()
    await voting(driven)
    raw_write(driven.path, "DROP TABLE safety")
    driven.submit(payment(1))
    assert driven.running is not None
    with pytest.raises(LocalFault):
        await asyncio.wait_for(driven.running, 10)
    with pytest.raises(LocalFault):
        await driven.store.persist([ViewRecord(0, 1, 0)])


async def test_a_full_disk_signs_nothing_but_says_where_it_stands(make: Make) -> None:
    driven = make(min_free=2**62)
    await driven.start()
    driven.submit(payment(1))

    async def spoken() -> bool:
        return driven.kinds().count(Type.STATUS) >= 3

    await eventually_async(spoken, "statuses")
    assert driven.driver.disk_low
    assert set(driven.kinds()) == {Type.STATUS}
    assert driven.announced == []
    assert raw_rows(driven.path, "SELECT digest FROM bodies") == []


async def test_a_disk_that_has_room_again_goes_on(make: Make) -> None:
    driven = make(min_free=2**62)
    await driven.start()
    driven.submit(payment(1))
    await asyncio.sleep(0)
    assert driven.driver.disk_low
    driven.driver._disk = Disk(driven.path.parent, 0)  # room cannot be made by a test
    await decided(driven, 1)
    assert not driven.driver.disk_low


# ---------------------------------------------------------------- the end


async def test_cancelling_stops_the_timers(make: Make) -> None:
    driven = make()
    await driven.start()
    await voting(driven)
    await driven.stop()
    before = len(driven.sent)
    for handle in driven.driver._timers.values():
        assert handle.cancelled()
    assert len(driven.sent) == before


async def test_what_announcing_raises_ends_the_node(make: Make) -> None:
    """A block that is not the one to be trusted (E314) is found there: nobody may vote on it."""
    driven = make()

    def announce(block: Committed, dropped: tuple[Digest, ...]) -> None:
        del block, dropped
        raise UserError("E314", "the block to be trusted is not of this node's chain", hint="-")

    driven.driver._announce = announce
    await driven.start()
    driven.submit(payment(0, 0))
    assert driven.running is not None
    with pytest.raises(UserError, match="E314"):
        await asyncio.wait_for(driven.running, 20)

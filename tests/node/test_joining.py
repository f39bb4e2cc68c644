"""The joiner beside peers that answer from real ledgers and stores, some of which lie or lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from tests.store import real_chain as real
from tests.store.real_chain import GENESIS, KEYS, Maker, write
from vppd.codec import Malformed, Message
from vppd.config.node import Trust
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import (
    Absent,
    Blocks,
    CertificateKind,
    Chunk,
    EraLink,
    Eras,
    GetBlocks,
    GetChunk,
    GetEras,
    GetSnapshot,
    SnapshotOffer,
)
from vppd.consensus.signing import TAG_COMMIT, sign_bytes
from vppd.consensus.terms import validators_of
from vppd.crypto import verify
from vppd.era import Era, EraMember
from vppd.errors import PeerFault, UserError
from vppd.ledger.block import make_header
from vppd.ledger.buckets import BUCKETS
from vppd.ledger.execution import Ledger
from vppd.node.joining import Joiner
from vppd.node.snapshots import Snapshots
from vppd.store.chain import ChainStore
from vppd.store.epochs import Epochs
from vppd.store.staging import Staging, staging_file
from vppd.store.verify import verify_chain
from vppd.types import Height, PeerNumber

FIRST, SECOND = 6, 9
"""Heights whose states peers keep."""
HEIGHTS = 12
Twist = Callable[[Message, Message], Message | None]
"""Changes an answer; its arguments are request and answer. ``None``: it says nothing at all."""


def honest(_: Message, answer: Message) -> Message:
    return answer


class Served:
    """A peer: a store with the whole chain, and the states of two heights."""

    def __init__(self, store: ChainStore, ledger: Ledger, twist: Twist = honest) -> None:
        self.snapshots = Snapshots(ledger, store)
        self.store = store
        self.twist = twist
        self.chunks = 0

    async def answer(self, request: Message) -> Message:
        if isinstance(request, GetBlocks):
            blocks = await self.store.blocks_from(request.first, 1 << 20)
            said: Message | None = Blocks(blocks)
        else:
            assert isinstance(request, GetSnapshot | GetChunk | GetEras)
            said = await self.snapshots.answer(request)
            self.chunks += isinstance(said, Chunk)
        assert said is not None
        twisted = self.twist(request, said)
        if twisted is None:
            raise TimeoutError
        return twisted


class Circle:
    """:class:`~vppd.node.joining.Peers` without sockets."""

    def __init__(self, *peers: Served) -> None:
        self.peers = dict(enumerate(peers))
        self.convicted: dict[PeerNumber, PeerFault] = {}
        self.said = dict.fromkeys(self.peers, HEIGHTS)

    def connected(self) -> tuple[PeerNumber, ...]:
        return tuple(i for i in self.peers if i not in self.convicted)

    def name(self, peer: PeerNumber) -> str:
        return f"peer-{peer}"

    def heights(self) -> dict[PeerNumber, Height]:
        return self.said

    def everybody_spoke(self) -> bool:
        return True

    async def ask(self, peer: PeerNumber, request: Message) -> Message:
        await asyncio.sleep(0)
        return await self.peers[peer].answer(request)

    def convict(self, peer: PeerNumber, fault: PeerFault) -> None:
        self.convicted[peer] = fault


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add_typical(HEIGHTS)
    return made


def ledger_with(maker: Maker, *heights: Height) -> Ledger:
    """That has kept its states at these heights."""
    ledger = Ledger.from_genesis(GENESIS)
    for block in maker.blocks:
        ledger.execute(block.header, block.txs)
        if block.header.height in heights:
            ledger.freeze()
    return ledger


@pytest.fixture
async def whole(tmp_path: Path, maker: Maker) -> AsyncIterator[ChainStore]:
    path = tmp_path / "whole.db"
    await write(path, maker)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        yield store


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[ChainStore]:
    path = tmp_path / "chain.db"
    await ChainStore.create(path, GENESIS.digest)
    async with await ChainStore.open(path, GENESIS.digest) as store:
        yield store


def joiner(store: ChainStore, circle: Circle, after: int = 3, trust: Trust | None = None) -> Joiner:
    return Joiner(GENESIS, store, circle, verify, mode="auto", snapshot_after=after, trust=trust)


async def join(
    store: ChainStore, circle: Circle, folder: Path, after: int = 3, trust: Trust | None = None
) -> bool:
    made = joiner(store, circle, after, trust)
    async with asyncio.timeout(10):
        return await made.run(lambda: Staging.open(folder / "chain.db", GENESIS.digest))


async def test_the_latest_certified_state_is_installed(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    peers = [Served(whole, ledger_with(maker, FIRST, SECOND)) for _ in range(3)]
    assert await join(empty, Circle(*peers), tmp_path)
    assert await empty.base() == SECOND
    await empty.close()
    report = verify_chain(tmp_path / "chain.db", GENESIS)
    assert (report.ok, report.last, report.begins) == (True, SECOND, SECOND)
    assert not staging_file(tmp_path / "chain.db").exists()


async def test_a_state_that_nobody_has_certified_yet_is_not_offered(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    assert await join(empty, Circle(Served(whole, ledger_with(maker, HEIGHTS))), tmp_path) is False
    assert await empty.decided() == 0


async def test_a_plant_that_is_not_far_ahead_is_replayed(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    circle = Circle(Served(whole, ledger_with(maker, SECOND)))
    assert await join(empty, circle, tmp_path, after=HEIGHTS) is False
    assert not staging_file(tmp_path / "chain.db").exists()


async def test_a_height_that_was_only_claimed_leads_to_no_snapshot(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    circle = Circle(Served(whole, ledger_with(maker, FIRST)))
    circle.said = {0: 10**9}
    circle.peers[0].twist = lambda _, answer: (
        Absent(1, 0) if isinstance(answer, SnapshotOffer) else answer
    )
    assert await join(empty, circle, tmp_path, after=10**6) is False


def _bent(offer: SnapshotOffer, **changes: object) -> SnapshotOffer:
    return msgspec.structs.replace(offer, **changes)


def _other_signature(offer: SnapshotOffer) -> SnapshotOffer:
    certificate = offer.next_certificate
    bad = (bytes(64), *certificate.signatures[1:])
    return _bent(offer, next_certificate=msgspec.structs.replace(certificate, signatures=bad))


LIES: dict[str, Callable[[SnapshotOffer], SnapshotOffer]] = {
    "another manifest": lambda o: _bent(o, hashes=bytes(32) + o.hashes[32:]),
    "a header of its own": lambda o: _bent(o, next_header=o.next_header[:-1] + b"\xff"),
    "a certificate of another height": lambda o: _bent(o, next_certificate=o.certificate),
    "a signature that does not hold": _other_signature,
    "headers that do not follow": lambda o: _bent(
        o, header=o.next_header, certificate=o.next_certificate
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_offer_that_is_not_certified_convicts_its_sender(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore, lie: str
) -> None:
    def twist(_: Message, answer: Message) -> Message:
        return LIES[lie](answer) if isinstance(answer, SnapshotOffer) else answer

    ledger = ledger_with(maker, FIRST)
    circle = Circle(Served(whole, ledger, twist), Served(whole, ledger))
    assert await join(empty, circle, tmp_path)
    assert list(circle.convicted) == [0]
    assert await empty.base() == FIRST


async def test_a_wrong_chunk_is_named_with_its_sender_and_range(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    def twist(_: Message, answer: Message) -> Message:
        if not isinstance(answer, Chunk):
            return answer
        filled = next(i for i, pairs in enumerate(answer.buckets) if pairs)
        buckets = list(answer.buckets)
        buckets[filled] = ()
        return Chunk(answer.height, answer.bucket, tuple(buckets))

    ledger = ledger_with(maker, FIRST)
    circle = Circle(Served(whole, ledger, twist), Served(whole, ledger))
    made = joiner(empty, circle)
    assert await made.run(lambda: Staging.open(tmp_path / "chain.db", GENESIS.digest))
    (liar,) = made.progress.liars
    assert liar.endswith("from peer-0 does not match the certified root")
    assert "chunk of buckets " in liar
    assert isinstance(circle.convicted[0], Malformed)
    await empty.close()
    assert verify_chain(tmp_path / "chain.db", GENESIS).ok


async def test_who_does_not_answer_is_passed_over(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    def mute(request: Message, answer: Message) -> Message | None:
        return None if isinstance(request, GetChunk) else answer

    ledger = ledger_with(maker, FIRST)
    circle = Circle(Served(whole, ledger, mute), Served(whole, ledger))
    assert await join(empty, circle, tmp_path)
    assert not circle.convicted, "a slow peer is no liar"


async def test_peers_of_an_earlier_release_are_replayed_from(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    circle = Circle(Served(whole, ledger_with(maker, FIRST), lambda *_: None))
    assert await join(empty, circle, tmp_path) is False


async def test_a_state_that_is_gone_is_followed_by_a_newer_one_and_same_buckets_stay(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    old = ledger_with(maker, FIRST)
    server = Served(whole, old)
    asked: list[int] = []

    def twist(request: Message, answer: Message) -> Message:
        if isinstance(request, GetChunk):
            asked.append(request.height)
            if asked == [FIRST]:
                # One bucket at a time; and then this state makes room for a newer one.
                assert isinstance(answer, Chunk)
                server.snapshots = Snapshots(ledger_with(maker, SECOND), whole)
                kept = next(i for i, pairs in enumerate(answer.buckets) if pairs)
                return Chunk(FIRST, answer.bucket, answer.buckets[: kept + 1])
        return answer

    server.twist = twist
    assert await join(empty, Circle(server), tmp_path)
    assert await empty.base() == SECOND
    assert asked[0] == FIRST
    assert set(asked[2:]) == {SECOND}


async def test_what_was_fetched_is_not_fetched_again_after_an_interruption(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    ledger = ledger_with(maker, FIRST)
    stuck = asyncio.Event()

    def one_chunk(_: Message, answer: Message) -> Message | None:
        if isinstance(answer, Chunk):
            if stuck.is_set():
                return None
            stuck.set()
            return Chunk(answer.height, answer.bucket, answer.buckets[: BUCKETS // 2])
        return answer

    running = asyncio.create_task(
        joiner(empty, Circle(Served(whole, ledger, one_chunk))).run(
            lambda: Staging.open(tmp_path / "chain.db", GENESIS.digest)
        )
    )
    await asyncio.wait_for(stuck.wait(), 5)
    await asyncio.sleep(0.2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    staging = await Staging.open(tmp_path / "chain.db", GENESIS.digest)
    held = sum(hash_ is not None for hash_ in await staging.held())
    await staging.close()
    assert held >= BUCKETS // 4
    server = Served(whole, ledger)
    assert await join(empty, Circle(server), tmp_path)
    assert server.chunks == 1, "the other half is one chunk"


async def test_a_staging_file_that_rotted_is_fetched_anew(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    staging_file(tmp_path / "chain.db").write_bytes(b"not a database" * 400)
    assert await join(empty, Circle(Served(whole, ledger_with(maker, FIRST))), tmp_path)


async def test_a_bucket_that_rotted_in_the_staging_file_is_fetched_anew(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    ledger = ledger_with(maker, FIRST)
    server = Served(whole, ledger)
    staging = await Staging.open(tmp_path / "chain.db", GENESIS.digest)
    frozen = ledger.snapshots[0].state
    wrong = list(ledger.snapshots[0].chunk(0))
    filled = next(i for i, pairs in enumerate(wrong) if pairs)
    wrong[filled] = ()
    await staging.keep(0, wrong, frozen.hashes)
    await staging.close()
    assert await join(empty, Circle(server), tmp_path)
    assert server.chunks >= 1
    await empty.close()
    assert verify_chain(tmp_path / "chain.db", GENESIS).ok


async def test_who_lacks_blocks_says_where_its_own_begin(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    asked = Snapshots(ledger_with(maker, FIRST), whole)
    assert await asked.below(1) is None, "it has them all"
    assert await asked.answer(GetChunk(SECOND, 0)) == Absent(1, FIRST), "not that state"
    await whole.prune(4)
    assert await asked.below(4) == Absent(5, FIRST)
    assert await asked.below(5) is None
    assert await join(empty, Circle(Served(whole, ledger_with(maker, FIRST))), tmp_path)
    begun = Snapshots(Ledger.from_genesis(GENESIS), empty)
    assert await begun.below(FIRST) == Absent(FIRST + 1, 0)


# ---------------------------------------------------------------- the block to be trusted


@pytest.mark.parametrize("height", [1, 4, FIRST, FIRST + 1, FIRST + 4])
async def test_a_block_to_be_trusted_is_found_below_at_and_above_the_snapshot(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore, height: int
) -> None:
    digest = maker.blocks[height - 1].header.digest()
    circle = Circle(Served(whole, ledger_with(maker, FIRST)))
    assert await join(empty, circle, tmp_path, trust=Trust(height, digest))


@pytest.mark.parametrize("height", [1, 4, FIRST, FIRST + 1, FIRST + 4, HEIGHTS + 5])
async def test_another_block_than_the_one_to_be_trusted_ends_the_join(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore, height: int
) -> None:
    circle = Circle(Served(whole, ledger_with(maker, FIRST)))
    with pytest.raises(UserError) as caught:
        await join(empty, circle, tmp_path, trust=Trust(height, bytes(32)))
    assert caught.value.code == "E314"
    assert await empty.decided() == 0


# ---------------------------------------------------------------- epochs


def era(epoch: int, first: Height, keys: int = 4) -> Era:
    members = tuple(EraMember(KEYS[i].public_key, i == 0, real.NAMES[i]) for i in range(keys))
    return Era(epoch, first, "pbft", None, None, members)


def test_an_epoch_is_only_entered_through_the_header_before_it(maker: Maker) -> None:
    block = maker.blocks[4]
    epochs = Epochs(GENESIS)
    link = EraLink(era(1, 6), block.header.encode(), block.certificate)
    with pytest.raises(Malformed, match="names other validators"):
        epochs.cross(link, verify)
    for wrong, words in (
        (EraLink(era(1, 7), link.header, link.certificate), "begins at 7, not after 5"),
        (EraLink(era(2, 6), link.header, link.certificate), "epoch 2 from height 6 after epoch 0"),
        (EraLink(era(1, 6), link.header, maker.blocks[5].certificate), "of another block"),
    ):
        with pytest.raises(Malformed, match=words):
            epochs.cross(wrong, verify)
    assert epochs.latest == 0
    assert epochs.at(10**6).epoch == 0


def test_every_epoch_is_crossed_by_the_votes_of_the_one_before() -> None:
    """Epoch 1 drops a member, epoch 2 another; each is named by a header of the one before."""
    eras = (era(1, 6, keys=4), era(2, 9, keys=3))
    epochs = Epochs(GENESIS)
    for number, coming in enumerate(eras):
        header = make_header(
            chain_id=GENESIS.digest,
            epoch=number,
            height=coming.first - 1,
            parent=bytes(32),
            time_ms=coming.first,
            proposer=KEYS[0].public_key,
            txs=(),
            state_root=bytes(32),
            receipts_root=bytes(32),
            next_validators=validators_of(coming).digest,
        )
        signed = sign_bytes(TAG_COMMIT, GENESIS.digest, number, 0, header.height, header.digest())
        votes = {i: key.sign(signed) for i, key in enumerate(KEYS)}
        quorum = epochs.at(header.height).validators.quorum.vote
        certificate = assemble(
            CertificateKind.COMMIT, number, 0, header.height, header.digest(), votes, 4, quorum
        )
        early = msgspec.structs.replace(coming, first=coming.first + 1)
        with pytest.raises(Malformed):
            epochs.cross(EraLink(early, header.encode(), certificate), verify)
        other = msgspec.structs.replace(coming, engine="dpos")
        with pytest.raises(Malformed, match="names other validators"):
            epochs.cross(EraLink(other, header.encode(), certificate), verify)
        epochs.cross(EraLink(coming, header.encode(), certificate), verify)
    assert [epochs.at(height).epoch for height in (1, 5, 6, 8, 9, 100)] == [0, 0, 1, 1, 2, 2]
    assert epochs.at(9).validators.quorum.n == 3


async def test_a_way_through_epochs_that_nobody_certified_convicts_its_sender(
    tmp_path: Path, maker: Maker, whole: ChainStore, empty: ChainStore
) -> None:
    block = maker.blocks[4]

    def twist(request: Message, answer: Message) -> Message:
        if isinstance(request, GetEras):
            return Eras((EraLink(era(1, 6), block.header.encode(), block.certificate),))
        return answer

    ledger = ledger_with(maker, FIRST)
    circle = Circle(Served(whole, ledger, twist), Served(whole, ledger))
    assert await join(empty, circle, tmp_path)
    assert list(circle.convicted) == [0]

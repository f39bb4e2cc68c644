"""Joining a long chain: a node without any block begins with a certified snapshot (docs/adr/0014).

Runs before the core exists, on a network of its own. Only genesis is trusted: it gives the first
validators, each epoch's last header names the next ones, and the header after a snapshot, which a
certificate decides, carries the root that every chunk is checked against. What a peer says beyond
that costs time at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

import structlog
from msgspec.structs import replace

from vppd.codec import Malformed, Message
from vppd.config.genesis import Genesis
from vppd.config.node import SyncMode, Trust
from vppd.consensus.messages import (
    Absent,
    Blocks,
    Chunk,
    EraLink,
    Eras,
    GetBlocks,
    GetChunk,
    GetEras,
    GetSnapshot,
    SnapshotOffer,
)
from vppd.crypto import Verify
from vppd.errors import LocalFault, PeerFault, UserError
from vppd.header import Header, decode_header
from vppd.ledger.buckets import BUCKETS
from vppd.ledger.execution import Ledger
from vppd.ledger.snapshot import missing, read_manifest, wrong_bucket
from vppd.store.chain import ChainStore
from vppd.store.epochs import Epochs
from vppd.store.rows import Base, Certified
from vppd.store.staging import Plan, Staging
from vppd.types import Digest, Height, PeerNumber

HEAR_S = 2.0
"""For peers to say where they stand, before replay is chosen."""
ASK_S = 5.0
"""For one answer."""
PAUSE_S = 0.5
"""Before asking all peers again, when none could help."""
UNANSWERED = 3
"""Times that nobody answers, before replay is chosen: releases before this one cannot."""
GATHER_S = 0.5
"""For the others to say where they stand, once it is clear that this node is far behind."""
LOOK_S = 0.02
"""Between two looks at what peers have said."""
SAY_S = 2.0
"""Between two lines of progress in the log."""

log = structlog.get_logger("vppd.sync")


class Peers(Protocol):
    """The other nodes, as a joiner needs them."""

    def connected(self) -> tuple[PeerNumber, ...]:
        """Those there are now."""
        ...

    def name(self, peer: PeerNumber) -> str:
        """For people."""
        ...

    def heights(self) -> dict[PeerNumber, Height]:
        """What those connected say they have decided."""
        ...

    def everybody_spoke(self) -> bool:
        """Whether every validator there is has said where it stands."""
        ...

    async def ask(self, peer: PeerNumber, request: Message) -> Message:
        """One request's answer.

        Raises:
            TimeoutError: none within :data:`ASK_S`.
            ConnectionError: it is gone.
        """
        ...

    def convict(self, peer: PeerNumber, fault: PeerFault) -> None:
        """Cut it for what it sent."""
        ...


class Stage(StrEnum):
    """What a joiner is doing."""

    LOOKING = "looking for the plant"
    CHUNKS = "fetching a snapshot"
    TRUST = "checking the block to be trusted"
    INSTALLING = "installing the snapshot"


class Progress(NamedTuple):
    """How far it is."""

    stage: Stage
    height: Height
    """Of the snapshot; 0: none is chosen yet."""
    buckets: int
    """That are here, of 4,096."""
    received_bytes: int
    """By this process."""
    seconds: float
    """Since the first chunk was asked for."""
    liars: tuple[str, ...]
    """Peers that are not asked any more, and why."""

    @property
    def mib_s(self) -> float:
        """Rate, MiB a second."""
        return self.received_bytes / 2**20 / self.seconds if self.seconds else 0.0


class _Fetch(NamedTuple):
    """A verified offer."""

    plan: Plan
    header: Header
    following: Header
    hashes: tuple[Digest, ...]
    epochs: Epochs


class Joiner:
    """Brings an empty store to a certified snapshot, unless replaying is better.

    Args:
        genesis: the chain.
        store: open, without any decision.
        peers: whom to ask.
        verify: the one verifier.
        mode: whether to take a snapshot.
        snapshot_after: with ``auto``, heights behind beyond which one is taken.
        trust: a block that the chain must have.
    """

    def __init__(
        self,
        genesis: Genesis,
        store: ChainStore,
        peers: Peers,
        verify: Verify,
        *,
        mode: SyncMode,
        snapshot_after: int,
        trust: Trust | None,
    ) -> None:
        self._genesis = genesis
        self._store = store
        self._peers = peers
        self._verify = verify
        self._mode = mode
        self._after = 0 if mode == "snapshot" else snapshot_after
        self._trust = trust
        self._banned: dict[PeerNumber, str] = {}
        self._stage = Stage.LOOKING
        self._replayable = False
        """Whether nobody offers a snapshot, and somebody has every block or none knows better."""
        self._unanswered = 0
        """Times in a row that nobody had an answer."""
        self._height: Height = 0
        self._held = 0
        self._received = 0
        self._begun: float | None = None
        self._said = 0.0

    @property
    def progress(self) -> Progress:
        """For status and log."""
        seconds = 0.0 if self._begun is None else time.monotonic() - self._begun
        return Progress(
            self._stage, self._height, self._held, self._received, seconds,
            tuple(self._banned.values()),
        )  # fmt: skip

    async def run(self, staging: Callable[[], Awaitable[Staging]]) -> bool:
        """Until a snapshot is installed, or replaying from genesis is the way.

        Args:
            staging: opens the file for what is fetched.

        Returns:
            Whether the store begins with a snapshot now.

        Raises:
            UserError: E314, the block to be trusted is not of this chain.
            LocalFault: the disk failed.
        """
        if not await self._is_far_behind():
            return False
        file = await staging()
        try:
            while True:
                fetch = await self._choose(await file.plan())
                if fetch is None:
                    if self._replayable:
                        log.info("replay", why="nobody has a snapshot to offer")
                        await file.discard()
                        return False
                elif await self._fetch(file, fetch) and await self._install(file, fetch):
                    await file.discard()
                    return True
                await asyncio.sleep(PAUSE_S)
        finally:
            await file.close()

    # ------------------------------------------------------------ whether

    async def _is_far_behind(self) -> bool:
        """Whether a peer says that the plant is further than replaying is worth.

        It may lie: only a certified offer is believed, and a false word costs the time to ask.
        """
        if self._mode == "replay":
            return False
        deadline = time.monotonic() + HEAR_S
        while True:
            heights = self._peers.heights()
            if any(height > self._after for height in heights.values()):
                await self._gather()
                return True
            late = self._mode == "auto" and time.monotonic() > deadline
            if late or self._peers.everybody_spoke():
                return False
            await asyncio.sleep(LOOK_S)

    async def _gather(self) -> None:
        """More peers know more snapshots, and share the work."""
        for _ in range(round(GATHER_S / LOOK_S)):
            if self._peers.everybody_spoke():
                return
            await asyncio.sleep(LOOK_S)

    # ------------------------------------------------------------ which

    async def _choose(self, planned: Plan | None) -> _Fetch | None:
        """The best snapshot that is offered: the one begun, if anybody still has it."""
        self._stage = Stage.LOOKING
        wanted = 0 if planned is None else decode_header(planned.offer.header).height
        offers: list[_Fetch] = []
        lowest: list[Height] = []
        heights = self._peers.heights()
        # Who has not said yet where it stands may well have the latest.
        asked = [i for i in self._usable() if heights.get(i, self._after + 1) > self._after]
        answers = await asyncio.gather(*(self._ask(i, GetSnapshot(wanted)) for i in asked))
        for peer, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Absent) and peer in heights:
                lowest.append(answer.first)
            elif isinstance(answer, SnapshotOffer):
                checked = await self._check_offer(peer, answer)
                if checked is not None and checked.header.height > self._after:
                    offers.append(checked)
        self._unanswered = 0 if lowest or offers else self._unanswered + 1
        self._replayable = not offers and (1 in lowest or self._unanswered >= UNANSWERED)
        best = max(offers, key=lambda f: (f.header.height == wanted, f.header.height), default=None)
        if best is None and lowest:
            self._say("no_snapshot_yet", asked=len(asked))
        return best

    def _usable(self) -> list[PeerNumber]:
        """Peers that are here and have not lied."""
        return [i for i in self._peers.connected() if i not in self._banned]

    async def _check_offer(self, peer: PeerNumber, offer: SnapshotOffer) -> _Fetch | None:
        """What an offer is worth, with the way through the epochs to it."""
        try:
            epochs, links = await self._cross(peer, decode_header(offer.next_header).epoch)
            header = epochs.check_decided(offer.header, offer.certificate, self._verify)
            following = epochs.check_decided(
                offer.next_header, offer.next_certificate, self._verify
            )
            if following.parent != header.digest() or following.height != header.height + 1:
                raise Malformed(f"headers {header.height} and {following.height} do not follow")
            hashes = read_manifest(offer.hashes, following.state_root)
            # Later ones are scheduled by blocks this node is going to execute.
            known = tuple(link for link in links if link.era.first <= header.height + 2)
        except PeerFault as err:
            self._ban(peer, f"the snapshot of {self._peers.name(peer)}: {err}", err)
            return None
        except (TimeoutError, ConnectionError):
            return None
        return _Fetch(Plan(offer, known), header, following, hashes, epochs)

    async def _cross(self, peer: PeerNumber, epoch: int) -> tuple[Epochs, list[EraLink]]:
        """Every epoch that ``peer`` can prove, from genesis on, at least up to ``epoch``."""
        epochs, links = Epochs(self._genesis), list[EraLink]()
        while True:
            answer = await self._peers.ask(peer, GetEras(epochs.latest + 1))
            if not isinstance(answer, Eras):
                raise Malformed("no answer to a question about epochs")
            for link in answer.links:
                epochs.cross(link, self._verify)
                links.append(link)
            if not answer.links:
                break
        if epochs.latest < epoch:
            raise Malformed(f"a header of epoch {epoch}, and no proof of the way to it")
        return epochs, links

    # ------------------------------------------------------------ chunks

    async def _fetch(self, file: Staging, fetch: _Fetch) -> bool:
        """Whether every bucket is here; else those who have this snapshot could not go on."""
        self._height = fetch.header.height
        await file.begin(fetch.plan, fetch.hashes)
        held = await file.held()
        todo = set(missing(fetch.hashes, held))
        self._held = BUCKETS - len(todo)
        self._stage = Stage.CHUNKS
        if self._begun is None:
            self._begun = time.monotonic()
        log.info("snapshot", height=self._height, buckets=len(todo))
        asked = self._usable()
        flying: set[int] = set()
        await asyncio.gather(
            *(
                self._work(file, fetch, peer, todo, flying, start=nth * BUCKETS // len(asked))
                for nth, peer in enumerate(asked)
            )
        )
        return not todo

    async def _work(
        self,
        file: Staging,
        fetch: _Fetch,
        peer: PeerNumber,
        todo: set[int],
        flying: set[int],
        start: int,
    ) -> None:
        """Fetch from one peer what nobody else fetches, until nothing is left or it fails."""
        while free := todo - flying:
            first = min(free, key=lambda i: (i - start) % BUCKETS)
            start = first
            flying.add(first)
            try:
                chunk = await self._ask(peer, GetChunk(self._height, first))
            finally:
                flying.discard(first)
            if isinstance(chunk, Absent):
                return  # it has a newer one: chosen when all have finished
            if not isinstance(chunk, Chunk):
                return
            if (chunk.height, chunk.bucket) != (self._height, first):
                self._ban(
                    peer, f"{self._peers.name(peer)} sent another chunk", Malformed("unasked chunk")
                )
                return
            wrong = wrong_bucket(fetch.hashes, first, chunk.buckets)
            name = self._peers.name(peer)
            if wrong is not None:
                last = first + len(chunk.buckets) - 1
                why = (
                    f"chunk of buckets {first}–{last} from {name} does not match the certified root"
                )
                log.error("bad_chunk", peer=name, first=first, last=last, bucket=wrong, why=why)
                self._ban(peer, why, Malformed(why))
                return
            await file.keep(first, chunk.buckets, fetch.hashes)
            todo.difference_update(range(first, first + len(chunk.buckets)))
            self._held = BUCKETS - len(todo)
            self._received += sum(len(k) + len(v) for b in chunk.buckets for k, v in b)
            self._say(
                "joining",
                height=self._height,
                percent=100 * self._held // BUCKETS,
                mib_s=round(self.progress.mib_s, 1),
            )

    # ------------------------------------------------------------ the end

    async def _install(self, file: Staging, fetch: _Fetch) -> bool:
        """Whether what was fetched is that state; if not, the staging file has rotted."""
        header, following = fetch.header, fetch.following
        if self._trust is not None:
            self._stage = Stage.TRUST
            await self._require_trusted(self._trust, fetch)
        self._stage = Stage.INSTALLING
        try:
            entries = await file.entries()
            ledger = await asyncio.to_thread(
                Ledger.load, self._genesis, header.height, entries, header,
                following.receipts_root,
            )  # fmt: skip
        except Malformed as err:
            raise LocalFault(f"the state after height {header.height}: {err}") from err
        if ledger.state_root != following.state_root:
            log.error("staging_rotten", height=header.height)
            await file.forget()
            return False
        # Of an era that the state knows, the state is certified in every field.
        certain = {era.epoch: era for era in ledger.eras}
        links = tuple(
            replace(link, era=certain.get(link.era.epoch, link.era)) for link in fetch.plan.links
        )
        offer = fetch.plan.offer
        base = Base(
            Certified(offer.header, offer.certificate),
            Certified(offer.next_header, offer.next_certificate),
            links,
            ledger.next_due_ms,
        )
        await self._store.install(base, entries)
        log.info(
            "snapshot_installed",
            height=header.height,
            entries=len(entries),
            seconds=round(self.progress.seconds, 2),
            mib=round(self._received / 2**20, 1),
        )
        return True

    async def _require_trusted(self, trust: Trust, fetch: _Fetch) -> None:
        """The block to be trusted and the snapshot's are on one chain of headers.

        Raises:
            UserError: E314, they are not.
        """
        snapshot = fetch.header
        ends = {
            snapshot.height: snapshot.digest(),
            fetch.following.height: fetch.following.digest(),
        }
        if trust.height not in ends:
            low, high = sorted((trust.height, snapshot.height))
            parent: Digest | None = None
            async for header in self._headers(low, high, fetch.epochs):
                if parent is not None and header.parent != parent:
                    raise self._not_trusted(trust, "the blocks between do not follow each other")
                parent = header.digest()
                if header.height in (trust.height, snapshot.height):
                    ends.setdefault(header.height, parent)
                    if ends[header.height] != parent:
                        raise self._not_trusted(
                            trust, "the plant's blocks lead to another snapshot"
                        )
        if ends.get(trust.height) != trust.digest:
            has = ends.get(trust.height)
            raise self._not_trusted(
                trust, "no peer could show it" if has is None else f"the plant has {has.hex()}"
            )

    async def _headers(self, low: Height, high: Height, epochs: Epochs) -> AsyncIterator[Header]:
        """Decided headers of a range, from whoever has them."""
        while low <= high:
            for peer in self._usable():
                answer = await self._ask(peer, GetBlocks(low))
                if isinstance(answer, Blocks) and answer.blocks:
                    break
            else:
                return
            for block in answer.blocks:
                header = epochs.check_decided(block.header, block.certificate, self._verify)
                if header.height != low or low > high:
                    break
                low += 1
                yield header

    def _not_trusted(self, trust: Trust, why: str) -> UserError:
        return UserError(
            "E314",
            "the block to be trusted is not of the chain that the plant offers",
            facts={"trust": str(trust), "why": why},
            hint="who gave you that block? if it is right, this plant's nodes show another\n"
            "history: do not join; if it is older than what they keep, ask for a newer one",
        )

    async def _ask(self, peer: PeerNumber, request: Message) -> Message | None:
        try:
            return await self._peers.ask(peer, request)
        except (TimeoutError, ConnectionError) as err:
            log.info("no_answer", peer=self._peers.name(peer), why=str(err) or type(err).__name__)
            return None

    def _ban(self, peer: PeerNumber, why: str, fault: PeerFault) -> None:
        self._banned[peer] = why
        log.error("liar", peer=self._peers.name(peer), why=why)
        self._peers.convict(peer, fault)

    def _say(self, event: str, **facts: object) -> None:
        now = time.monotonic()
        if now - self._said >= SAY_S:
            self._said = now
            log.info(event, **facts)

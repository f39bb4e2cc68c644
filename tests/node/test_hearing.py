"""Frames of transactions from peers: in order, bounded, and in nobody else's way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, cast

from vppd.net.link import Link
from vppd.node.hearing import HEARD_BYTES, Hearing
from vppd.node.intake import Intake


class Ears:
    """An intake that takes one frame when it is told to; as many bad signatures as it is told."""

    def __init__(self) -> None:
        self.heard: list[Sequence[bytes]] = []
        self.go = asyncio.Semaphore(0)
        self.bad = 0

    async def hear_many(self, raws: Sequence[bytes]) -> int:
        await self.go.acquire()
        self.heard.append(raws)
        return self.bad


class Wire:
    """Of a link what hearing knows."""

    def __init__(self) -> None:
        self.closed = False
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Room:
    """Hearing with a count of what it has running."""

    def __init__(self) -> None:
        self.ears, self.blamed = Ears(), 0
        self.tasks: list[asyncio.Task[None]] = []
        self.full = False
        self.hearing = Hearing(cast("Intake", self.ears), self._blame, self._spawn)

    def _blame(self, _: Link) -> None:
        self.blamed += 1

    def _spawn(self, _: Link, work: Coroutine[Any, Any, None]) -> bool:
        if self.full:
            work.close()
            return False
        self.tasks.append(asyncio.create_task(work))
        return True

    async def rest(self) -> None:
        for task in self.tasks:
            await task


async def test_a_link_has_one_of_the_slots_however_many_frames_it_brings() -> None:
    room, link = Room(), cast("Link", Wire())
    frames = [[b"%d" % i] for i in range(9)]
    for frame in frames:
        room.hearing.take(link, frame)
        room.ears.go.release()
    assert len(room.tasks) == 1
    await room.rest()
    assert room.ears.heard == frames
    room.hearing.take(link, [b"later"])
    room.ears.go.release()
    await room.rest()
    assert room.ears.heard[-1] == [b"later"]


async def test_who_brings_more_than_is_looked_at_is_not_read_from() -> None:
    room, wire = Room(), Wire()
    link = cast("Link", wire)
    for _ in range(3):
        room.hearing.take(link, [bytes(HEARD_BYTES // 2)])
    assert not wire.reading
    for _ in range(3):
        room.ears.go.release()
    await room.rest()
    assert wire.reading


async def test_each_bad_signature_is_its_link_s() -> None:
    room = Room()
    room.ears.bad = 2
    room.hearing.take(cast("Link", Wire()), [b"x"])
    room.ears.go.release()
    await room.rest()
    assert room.blamed == 2


async def test_without_a_slot_they_come_again_later() -> None:
    room, link = Room(), cast("Link", Wire())
    room.full = True
    room.hearing.take(link, [b"x"])
    room.full = False
    room.hearing.take(link, [b"y"])
    room.ears.go.release()
    await room.rest()
    assert room.ears.heard == [[b"y"]]


async def test_of_a_link_that_is_gone_nothing_more_is_taken() -> None:
    room, wire = Room(), Wire()
    link = cast("Link", wire)
    room.hearing.take(link, [b"x"])
    room.hearing.take(link, [b"y"])
    wire.closed = True
    room.ears.go.release()
    await room.rest()
    assert room.ears.heard == []

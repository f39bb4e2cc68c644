"""Long answers: one at a time, in order, with a rest."""

from __future__ import annotations

import asyncio

import pytest

from vppd.node.lane import REST, Lane


class Clock:
    """A loop's clock and sleep, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)
        monkeypatch.setattr("vppd.node.lane.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def test_after_a_long_answer_comes_a_longer_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lane = Clock(monkeypatch), Lane()

    async def read() -> str:
        clock.now += 2.0
        return "a block"

    assert await lane.run(read) == "a block"
    assert await lane.run(read) == "a block"
    assert clock.slept == [0.0, REST * 2.0]
    clock.now += 2 * REST * 2.0
    await lane.run(read)
    assert clock.slept[-1] == 0.0


async def test_one_at_a_time_in_order_of_arrival() -> None:
    lane, order, reading = Lane(), [], 0

    async def read(number: int) -> None:
        nonlocal reading
        reading += 1
        assert reading == 1
        await asyncio.sleep(0)
        reading -= 1
        order.append(number)

    await asyncio.gather(*(lane.run(lambda i=i: read(i)) for i in range(5)))  # type: ignore[misc]  # mypy has no type for a lambda's default
    assert order == [0, 1, 2, 3, 4]


async def test_a_failure_is_the_askers_and_the_lane_goes_on() -> None:
    lane = Lane()

    async def fail() -> None:
        raise LookupError("no such block")

    async def read() -> int:
        return 7

    with pytest.raises(LookupError):
        await lane.run(fail)
    assert await lane.run(read) == 7


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    lane, started = Lane(), asyncio.Event()

    async def read() -> None:
        started.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(lane.run(read))
    await started.wait()
    second = asyncio.create_task(lane.run(read))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    await asyncio.wait({first, second})

    async def quick() -> int:
        return 1

    assert await lane.run(quick) == 1

"""Waiting for what members that come and go lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.net.plant import HANGS, Node, Plant


async def until(plant: Plant, reached: Callable[[], bool]) -> None:
    """Wait for it; nothing tells when a socket is closed."""
    now = asyncio.get_running_loop().time
    deadline = now() + HANGS
    while not reached():
        assert now() < deadline, f"it never is; logged: {plant.log.lines}"
        await asyncio.sleep(0.005)


async def settled(plant: Plant, nodes: Sequence[Node]) -> None:
    """Until each has a link as a validator to each other, and no link besides."""
    others = len(nodes) - 1

    def look() -> bool:
        return all(
            len(node.network.connected()) == len(node.network._links) == others
            and not node.network.dismissed_by()
            for node in nodes
        )

    await until(plant, look)

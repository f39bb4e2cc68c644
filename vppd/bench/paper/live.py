"""Rounds on real daemons: one lone transaction after the other, from submission to decision.

A round is what P0's experiments count: the operator has something to agree on, and it is agreed.
The next one begins when the one before is decided everywhere, so that no round waits for another.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

from vppd.bench.paper.figure import Say
from vppd.cli.testnet import Testnet, write_testnet
from vppd.client.client import Client, Disconnected, RequestFailed, connect
from vppd.config.genesis import ConsensusRules, Engine, PathSetting
from vppd.config.keys import load_key
from vppd.crypto import key_text
from vppd.day.nodes import NodeProcess, all_answer
from vppd.day.run import Commit, commits_of, free_base_port
from vppd.errors import UserError
from vppd.ledger.transaction import Transfer, make_transaction

START_PATIENCE_S = 60.0
ROUND_PATIENCE_S = 20.0
"""A round that takes longer is none: ten times the view timeout of a plant as shipped."""
WARM_UP = 5
"""Rounds before the counted ones: connections, first use of code, an empty store."""
LIFETIME_BLOCKS = 9_000


class Way(NamedTuple):
    """How a plant agrees."""

    engine: str
    path: PathSetting = "auto"

    @property
    def rules(self) -> ConsensusRules:
        """As genesis has it; everything else as shipped."""
        return ConsensusRules(engine=Engine(self.engine), path=self.path)


BNCM, PBFT = Way("bncm"), Way("pbft")


class Rounds(NamedTuple):
    """What the rounds of one plant took."""

    round_ms: list[float]
    """From handing the transaction to the operator's node until that node pushes the decision."""
    commit_ms: list[float]
    """From the leader's proposal until the decision is durable at a quorum, by the nodes' marks."""
    fast_share: float | None
    """Of the operator's decisions in which it voted, those on first-round votes alone."""

    def summary(self) -> dict[str, Any]:
        """For the JSON, times in ms."""
        commit = {"commit_mean_ms": round(fmean(self.commit_ms), 3)} if self.commit_ms else {}
        return {
            "mean_ms": round(fmean(self.round_ms), 3),
            "p50_ms": round(median(self.round_ms), 3),
            "min_ms": round(min(self.round_ms), 3),
            "max_ms": round(max(self.round_ms), 3),
            **commit,
            "fast_share": self.fast_share,
            "rounds_ms": [round(ms, 3) for ms in self.round_ms],
        }


class Plant:
    """Running daemons, and the line to the operator's.

    Args:
        testnet: what was written.
        nodes: the processes that run.
        client: subscribed, at the operator's node.
        nonce: the next one of the last node's account, which sends.
    """

    def __init__(
        self, testnet: Testnet, nodes: Sequence[NodeProcess], client: Client, nonce: int
    ) -> None:
        self._testnet = testnet
        self._nodes = nodes
        self._client = client
        self._key = load_key(testnet.nodes[-1].home / "node.key")
        self._nonce = nonce
        self._decided = 0

    async def round(self) -> float | None:
        """One round in ms; ``None`` if it was not decided in time.

        Raises:
            UserError: E448, the operator's node refuses the transaction or is gone.
        """
        transfer = Transfer(self._testnet.nodes[0].key, 1)
        chain_id = self._testnet.genesis.digest
        raw = make_transaction(self._key, chain_id, self._nonce, LIFETIME_BLOCKS, (transfer,))
        self._nonce += 1
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ROUND_PATIENCE_S):
                tx_id = await self._client.submit(raw)
                async for block in self._client.pushes():
                    self._decided = block.height
                    if tx_id in block.tx_ids:
                        break
        except TimeoutError:
            return None
        except (RequestFailed, Disconnected) as err:
            raise did_not_run(f"the operator's node: {err}", self._nodes) from err
        return (time.perf_counter() - started) * 1e3

    async def level(self) -> None:
        """Wait until every running node has decided and executed what the operator has.

        Raises:
            UserError: E448, one does not come along.
        """
        height = self._decided
        came = await all_answer(
            self._nodes, lambda s: s["height"] >= height and s["executed"] >= height,
            START_PATIENCE_S,
        )  # fmt: skip
        if came is None:
            raise did_not_run("a node did not follow", self._nodes)

    async def run(self, count: int, warm_up: int = WARM_UP) -> Rounds:
        """Count rounds, after some that do not count.

        Raises:
            UserError: E448, a round was not decided.
        """
        taken = []
        first = 0
        for i in range(warm_up + count):
            if i == warm_up:
                await self.level()
                first = self._decided
            ms = await self.round()
            if ms is None:
                raise did_not_run(f"round {i + 1} was not decided", self._nodes)
            taken.append(ms)
        return await self.counted(taken[warm_up:], first)

    async def counted(self, round_ms: list[float], after: int) -> Rounds:
        """The rounds, with the nodes' own marks of the heights above ``after``."""
        await self.level()
        commits = [c.ms for c in await self._marks() if c.height > after]
        ways: dict[str, int] = (await self._client.view("status"))["decisions"]
        voted = sum(ways.values()) - ways.get("learnt", 0)
        fast = ways.get("fast", 0) + ways.get("fast_exit", 0)
        return Rounds(round_ms, commits, round(fast / voted, 4) if voted else None)

    async def _marks(self) -> tuple[Commit, ...]:
        return await commits_of(self._nodes)

    @property
    def decided(self) -> int:
        """The last height the operator has pushed."""
        return self._decided

    def signal(self, index: int, what: signal.Signals) -> None:
        """Send a signal to a running node."""
        pid = self._nodes[index].pid
        if pid is not None:
            os.kill(pid, what)


@asynccontextmanager
async def plant(n: int, way: Way, say: Say, *, missing: int = 0) -> AsyncIterator[Plant]:
    """A plant of one operator and n−1 DERs as processes on this machine, gone afterwards.

    Args:
        n: nodes that genesis names.
        way: how they agree.
        say: news.
        missing: so many DERs, the last ones, are never started.

    Raises:
        UserError: E448, a daemon does not come up or stay up; E421, no free ports.
    """
    folder = Path(tempfile.mkdtemp(prefix="vppd-paper-"))
    nodes: list[NodeProcess] = []
    try:
        testnet = await asyncio.to_thread(
            write_testnet, folder / "plant", n, base_port=free_base_port(n), consensus=way.rules
        )
        nodes = [NodeProcess(m.name, m.home, say) for m in testnet.nodes[: n - missing]]
        for node in nodes:
            await node.start()
        if await all_answer(nodes, _up(len(nodes)), START_PATIENCE_S) is None:
            raise did_not_run("not every daemon came up", nodes)
        async with connect(nodes[0].socket) as client:
            await client.subscribe()
            account = await client.view("account", key_text(testnet.nodes[-1].key))
            yield Plant(testnet, nodes, client, account["nonce"])
        died = [node.name for node in nodes if node.restarts]
        if died:
            raise did_not_run(f"{', '.join(died)} died on the way", nodes)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes), return_exceptions=True)
        shutil.rmtree(folder, ignore_errors=True)


def _up(running: int) -> Callable[[dict[str, Any]], bool]:
    """Accepts the status of a node that votes and is connected to all others that run."""

    def accept(status: dict[str, Any]) -> bool:
        connected = sum(bool(peer["connected"]) for peer in status["peers"])
        return bool(status["voting"]) and connected >= running - 1

    return accept


def did_not_run(what: str, nodes: Sequence[NodeProcess] = ()) -> UserError:
    """A measurement that came to nothing."""
    words = {node.name: node.last_words() for node in nodes}
    return UserError("E448", f"the experiment did not run: {what}", facts=words)

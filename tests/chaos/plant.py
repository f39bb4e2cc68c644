"""A plant of real processes under a proxy, a tap and a load, and what must hold of it."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.chaos.load import Load
from tests.chaos.proxy import Proxy, Rule
from tests.chaos.report import Figures
from tests.chaos.tap import Tap
from tests.e2e.plant import Node, Plant, eventually, free_base_port, vppd
from vppd.cli.testnet import OPENING_BALANCE, write_testnet
from vppd.config.genesis import ConsensusRules, Engine
from vppd.store.places import find
from vppd.types import Digest, Height

T = TypeVar("T")

ENGINE = ConsensusRules().engine
VIEW_TIMEOUT_MS = 1_000
"""T_view of these plants: half of the default, so that runs are shorter and limits stricter."""
PROGRESS_S = 20 * VIEW_TIMEOUT_MS / 1_000
"""Within 20 T_view of a healing the plant goes on (reliability.md, the liveness bar)."""
PROGRESS_HEIGHTS = 5
VERIFY_S = 600
BEHIND = 5
"""The nodes listen so many ports after where peers.toml says, which is where the proxy is."""

MIN_FREE = 'min_free = "1MiB"'
"""In node.toml."""


class Stage:
    """An event loop on a thread of its own, for what goes on while a test acts."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run it beside everything else."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], within_s: float = 60) -> T:
        """Run it and wait for it.

        Raises:
            TimeoutError: it takes too long.
        """
        return self.start(work).result(within_s)

    def call(self, work: Callable[[], T]) -> T:
        """Call a function on the loop's thread."""

        async def called() -> T:
            return work()

        return self.run(called())

    def close(self) -> None:
        """End whatever still runs, then the thread."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class ChaosPlant(Plant):
    """Five or so daemons, every frame between them under control, every signature heard.

    Attributes:
        proxy: what is done to frames.
        load: clients.
    """

    def __init__(
        self,
        out: Path,
        n: int,
        seed: int,
        synchronous: str = "full",
        operators: int = 1,
        engine: Engine = ENGINE,
    ) -> None:
        base = free_base_port(n, (0, BEHIND, BEHIND + 1))
        rules = ConsensusRules(engine=engine, view_timeout_ms=VIEW_TIMEOUT_MS)
        super().__init__(
            write_testnet(
                out, n, operators=operators, base_port=base, consensus=rules, transport="plain"
            )
        )
        self.seed = seed
        self.chance = random.Random(seed)
        self._begun = time.monotonic()
        self.names = [node.name for node in self.nodes]
        self._stage = Stage()
        logs = out.with_name(f"{out.name}-logs")  # not on a disk that faults are done to
        logs.mkdir()
        ways = {}
        for i, node in enumerate(self.nodes):
            front, back = (f"127.0.0.1:{base + 10 * i + beside}" for beside in (0, BEHIND))
            ways[node.name] = (front, back)
            node.log_file = logs / f"{node.name}.log"
            configure(node, f'listen = "{front}"', f'listen = "{back}"')
            configure(node, 'synchronous = "full"', f'synchronous = "{synchronous}"')
            configure(node, 'min_free = "512MiB"', MIN_FREE)
        keys = [node.key.public_key for node in self.nodes]
        self._tap = Tap(self.genesis.digest, keys)
        names = dict(zip(keys, self.names, strict=True))
        self.proxy = self._stage.call(lambda: Proxy(names, ways, self._tap.hear, seed))
        self.load = self._stage.call(
            lambda: Load(self.nodes, self.nodes[1:], self.genesis.digest, seed)
        )
        self._loading: Future[None] | None = None
        self._frozen: set[str] = set()

    def start(self) -> None:
        """All nodes, until every one votes and sees every other; then the clients."""
        self._stage.run(self.proxy.start())
        super().start()
        self._loading = self._stage.start(self.load.run())
        self.flow()

    def close(self) -> None:
        """End everything that is left."""
        for node in self.nodes:
            node.end()
        try:
            self._stage.run(self.proxy.stop())
        finally:
            self._stage.close()

    # ------------------------------------------------------------ what is done to it

    def rules(self, *rules: Rule) -> None:
        """From now on the proxy follows these; none: every frame passes."""
        self._stage.call(lambda: self.proxy.set_rules(rules))

    def freeze(self, node: Node) -> None:
        """SIGSTOP: it is there, and does not answer."""
        self._frozen.add(node.name)
        node.process.send_signal(signal.SIGSTOP)

    def thaw(self, node: Node) -> None:
        """SIGCONT: to it, no time has passed."""
        node.process.send_signal(signal.SIGCONT)
        self._frozen.discard(node.name)

    def flow(self) -> None:
        """Clients pay."""
        self._stage.call(self.load.flow)

    def pause(self) -> None:
        """Clients stop when what they have under way is acknowledged.

        Raises:
            TimeoutError: something that was accepted is not decided.
        """
        self._stage.run(self.load.pause(), PROGRESS_S)
        self._check_clients()

    # ------------------------------------------------------------ how it is

    def others(self, *nodes: Node) -> list[Node]:
        """All but these."""
        return [node for node in self.nodes if node not in nodes]

    def statuses(self) -> list[dict[str, Any]]:
        """Of the nodes that answer."""
        asked = [node for node in self.nodes if node.name not in self._frozen]
        return [status for node in asked if (status := node.status()) is not None]

    def leader(self) -> Node:
        """Of the highest view that anybody is in."""
        seen = self.statuses()
        latest = max(seen, key=lambda status: (status["view"], status["height"]))
        return next(node for node in self.nodes if node.name == latest["leader"])

    def highest(self) -> Height:
        """The greatest height that any node has."""
        return max((status["height"] for status in self.statuses()), default=0)

    def acknowledged(self) -> int:
        """Payments so far."""
        return len(self.load.acknowledged)

    def heard(self, look: Callable[[Tap], T]) -> T:
        """What the tap has heard, while it goes on listening."""
        return self._stage.call(lambda: look(self._tap))

    def figures(self) -> Figures:
        """What every run tells at its end."""
        signatures, changes, view = self.heard(
            lambda tap: (tap.signatures, tap.view_changes, tap.highest_view)
        )
        return {
            "minutes": f"{(time.monotonic() - self._begun) / 60:.1f}",
            "height": self.highest(),
            "acknowledged payments, all kept": self.acknowledged(),
            "times that a client gave up on a node": self.load.failovers,
            "signatures heard, no two clash": signatures,
            "view changes heard, highest view": f"{changes}, {view}",
        }

    def more_acknowledged(self, count: int, what: str) -> None:
        """Wait until clients have been told of so many more."""
        mark = self.acknowledged() + count
        eventually(
            lambda: self.acknowledged() >= mark, self.last_words(f"payments {what}"), PROGRESS_S
        )

    def progress(self, nodes: Sequence[Node], what: str, heights: int = PROGRESS_HEIGHTS) -> float:
        """Seconds until each of ``nodes`` is so many heights above where any node is now."""
        begun = time.monotonic()
        mark = self.highest() + heights

        def look() -> bool:
            self._check_clients()
            return all((s := node.status()) and s["height"] >= mark for node in nodes)

        eventually(look, self.last_words(f"height {mark} {what}"), PROGRESS_S)
        return time.monotonic() - begun

    def bring_back(self, node: Node) -> float:
        """Start it; seconds until it votes and has every height that the plant had just then."""
        begun = time.monotonic()
        mark = self.highest()
        node.start()
        self.catch_up(node, mark)
        return time.monotonic() - begun

    def catch_up(self, node: Node, mark: Height) -> None:
        """Wait until it votes and has that height."""

        def look() -> bool:
            if node.process.poll() is not None:
                pytest.fail(self.last_words(f"{node.name} has ended"))
            status = node.status()
            return bool(status and status["voting"] and status["height"] >= mark)

        eventually(look, self.last_words(f"{node.name} votes at height {mark}"))

    def last_words(self, what: str) -> str:
        """For a failure's text."""
        return f"{what} (seed {self.seed}); logs in {self.nodes[0].log_file.parent}"

    # ------------------------------------------------------------ what must hold

    def check_equal(self) -> Height:
        """With the clients at rest: one head everywhere, executed to the same state root."""
        self.pause()
        height, _ = self.wait_equal()
        if height:
            roots = eventually(lambda: self._roots(height), self.last_words("executions on disk"))
            assert len(roots) == 1, self.last_words(f"state roots at height {height}: {roots}")
        return height

    def check_promises(self) -> None:
        """No node has signed two things, seen anybody do so, or decided two things."""
        clashes, forged = self.heard(lambda tap: (tap.clashes(), tap.forged))
        assert not clashes, self.last_words("\n".join(clashes))
        assert forged == 0, self.last_words(f"{forged} signatures do not hold")
        failures = self.proxy.failures
        assert not failures, self.last_words(f"between the nodes: {failures}")
        for status in self.statuses():
            assert status["evidence"] == 0, self.last_words(f"evidence at {status['name']}")

    def check_accounts(self) -> None:
        """Every acknowledged payment was executed exactly once, and nothing else was."""
        for node in self.nodes:
            for payer in self.nodes[1:]:
                account = node.view("account", payer.name)
                paid = self.load.of(payer)
                assert (account["nonce"], account["balance_micro"]) == (
                    paid,
                    OPENING_BALANCE - paid,
                ), self.last_words(f"{payer.name} at {node.name}")

    def check_kept(self) -> None:
        """What was acknowledged is in every node's store, where its client was told it is."""
        told = {tx_id: ack.height for tx_id, ack in tuple(self.load.acknowledged.items())}
        for node in self.nodes:
            stored = heights_of(node, told)
            lost = [t.hex() for t, height in told.items() if stored.get(t) != height]
            assert not lost, self.last_words(
                f"{node.name}: {len(lost)} of {len(told)} acknowledged are lost: {lost[:3]}"
            )

    def check_stores(self) -> None:
        """``vppd block verify`` finds nothing at any node."""
        for node in self.nodes:
            report = vppd("block", "verify", "--home", node.home, seconds=VERIFY_S)
            assert report.code == 0, self.last_words(f"{node.name}: {report.err}")

    def check_all(self) -> Height:
        """Everything, with all nodes running; returns the height."""
        height = self.check_equal()
        self.check_promises()
        self.check_accounts()
        self.check_kept()
        self.check_stores()
        return height

    def _check_clients(self) -> None:
        """They end only when one of them was told something that must not be."""
        if self._loading is not None and self._loading.done():
            self._loading.result()

    def _roots(self, height: Height) -> set[Digest]:
        """State roots after ``height``, once every node has written its own down."""
        roots = "SELECT state_root FROM executions WHERE height = ?"
        found = [query(node, roots, height) for node in self.nodes]
        return {rows[0][0] for rows in found} if all(found) else set()


def configure(node: Node, old: str, new: str) -> None:
    """Change one line of a node's node.toml."""
    file = node.home / "node.toml"
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} is not once in {file}"
    file.write_text(text.replace(old, new))


def query(node: Node, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a node's store, whether it runs or not."""
    with closing(sqlite3.connect(f"{(node.home / 'chain.db').as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(text, values).fetchall()


def heights_of(node: Node, tx_ids: Iterable[Digest]) -> dict[Digest, Height]:
    """Where a node's store has these transactions, as far as it has them."""
    with closing(sqlite3.connect(f"{(node.home / 'chain.db').as_uri()}?mode=ro", uri=True)) as db:
        found = ((tx_id, find(db, tx_id)) for tx_id in tx_ids)
        return {tx_id: place.height for tx_id, place in found if place is not None}


@contextmanager
def chaos_plant(out: Path, n: int = 5, *, seed: int, **options: Any) -> Iterator[ChaosPlant]:
    """A written plant, not started; whatever of it runs at the end is killed."""
    plant = ChaosPlant(out, n, seed, **options)
    try:
        yield plant
    finally:
        plant.close()

"""New nodes of a plant with a long chain: ``python -m tests.chaos.joining --blocks 50000``.

Real daemons on loopback, each joiner with a folder of its own: by snapshot, by replaying every
block, killed at random moments until it is through, and with a liar among its peers that serves
chunks which are not what it offers. Whoever is through must stand where the plant stands, and its
store must hold.
"""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path

from tests.chaos import report
from tests.chaos.plant import query
from tests.chaos.report import Figures, say
from tests.e2e.plant import Node, Plant, eventually, free_base_port, vppd
from tests.store.long_chain import long_chain
from vppd.cli.loop import run_async
from vppd.cli.testnet import Member
from vppd.config.genesis import ConsensusRules
from vppd.config.keys import create_key
from vppd.config.node import render_node
from vppd.ledger.transaction import Transfer
from vppd.store.chain import ChainStore
from vppd.types import Height, Role

LIAR = "tests.chaos.lying_node"
WITHIN_S = 600.0
CHECK_S = 600.0
VALIDATORS = 4
AIMED = 0.7
"""Share of kills that wait until the joiner fetches."""
LONGEST_S = 0.25
"""So long after that at most: about what fetching and installing take."""
FETCHES = '"event": "snapshot"'
"""In the log, when chunks begin to be asked for."""
AFTER = 100
"""``snapshot_after`` of the joiners."""


class LongPlant(Plant):
    """Three of four nodes with the whole chain; the fourth is not there.

    Args:
        out: new folder.
        blocks: of the chain.
        accounts: beside the nodes' own, for the size of the state.
        checkpoint_blocks: of genesis.
    """

    def __init__(
        self, out: Path, blocks: Height, accounts: int, checkpoint_blocks: int = 128
    ) -> None:
        self.joiners = 0
        self._ports = free_base_port(VALIDATORS + 8)
        rules = ConsensusRules(checkpoint_blocks=checkpoint_blocks)
        super().__init__(
            long_chain(out, blocks, base_port=self._ports, accounts=accounts, rules=rules)
        )
        self.servers = self.nodes[:-1]

    def start(self) -> None:
        """The servers, until they vote and have decided three more blocks."""
        for node in self.servers:
            node.start()
        eventually(
            lambda: all((status := n.status()) and status["voting"] for n in self.servers),
            self.last_words("three of four vote"),
            WITHIN_S,
        )
        for _ in range(3):
            self.pay()

    def pay(self) -> None:
        """One more block."""
        before = self.height()
        raw = self.sign(self.servers[0], Transfer(self.servers[1].key.public_key, 1))
        self.servers[0].ask(lambda client: client.submit(raw))
        eventually(lambda: self.height() > before, self.last_words("one more block"))

    def height(self) -> Height:
        """Of the first server."""
        status = self.servers[0].status()
        return int(status["height"]) if status else 0

    def joiner(self, sync: str) -> Node:
        """A new observer: a folder, a key, an empty store."""
        self.joiners += 1
        name = f"new-{self.joiners}"
        home = self.testnet.out / name
        home.mkdir()
        key = create_key(home / "node.key")
        for file in ("genesis.toml", "peers.toml"):
            shutil.copyfile(self.nodes[0].home / file, home / file)
        addr = f"127.0.0.1:{self._ports + 10 * (VALIDATORS + self.joiners % 8)}"
        text = render_node(role=Role.OBSERVER, name=name, listen=addr, transport="plain")
        text += f'\n[sync]\nmode = "{sync}"\nsnapshot_after = {AFTER}\n'
        (home / "node.toml").write_text(text)
        run_async(ChainStore.create(home / "chain.db", self.genesis.digest))
        return Node(
            Member(
                name=name, role=Role.OBSERVER, home=home, addr=addr, key=key.public_key, meter=None
            )
        )

    def is_level(self, node: Node) -> bool:
        """Whether a node has executed what the first server has."""
        status = node.status()
        return bool(status and not status["joining"] and status["executed"] >= self.height() > 0)

    def wait_level(self, node: Node) -> float:
        """Seconds until it is level."""
        begun = time.monotonic()
        eventually(lambda: self.is_level(node), self.last_words(f"{node.name} is level"), WITHIN_S)
        return time.monotonic() - begun

    def close(self, node: Node) -> None:
        """Stop a joiner; its store must hold, and begin where its head says."""
        assert node.terminate() == 0, node.log
        checked = node.vppd("db", "check", seconds=CHECK_S)
        assert checked.code == 0, checked.err
        assert not (node.home / "chain.db.sync").exists()


@contextmanager
def long_plant(
    out: Path, blocks: Height, accounts: int, checkpoint_blocks: int = 128
) -> Iterator[LongPlant]:
    """A plant whose servers run; whatever of it runs at the end is killed."""
    plant = LongPlant(out, blocks, accounts, checkpoint_blocks)
    try:
        plant.start()
        yield plant
    finally:
        for node in plant.nodes:
            node.end()


@contextmanager
def joining(plant: LongPlant, sync: str) -> Iterator[Node]:
    """A joiner that is gone afterwards."""
    node = plant.joiner(sync)
    try:
        yield node
    finally:
        node.end()


def join_once(plant: LongPlant, sync: str) -> float:
    """Seconds from the start of one joiner until it is level."""
    with joining(plant, sync) as node:
        node.start()
        seconds = plant.wait_level(node)
        first = (node.status() or {})["first_block"]
        assert (first > 1) == (sync != "replay"), first
        plant.pay()
        plant.wait_level(node)
        plant.close(node)
    return seconds


class Killed(StrEnum):
    """Where a joiner was when it was killed."""

    BEFORE = "with nothing fetched"
    FETCHING = "with chunks fetched"
    AFTER = "with the snapshot installed"


def killed_at(node: Node) -> Killed:
    """As its files show."""
    if query(node, "SELECT 1 FROM base"):
        return Killed.AFTER
    begun = (node.home / "chain.db.sync").exists()
    return Killed.FETCHING if begun else Killed.BEFORE


def fetched(node: Node) -> int:
    """How often it has begun to fetch."""
    return node.log.count(FETCHES) if node.log_file.exists() else 0


def fetches_again(node: Node, said: int) -> bool:
    """Whether it has begun once more since then."""
    return fetched(node) > said


def join_with_kills(plant: LongPlant, kills: int, chance: random.Random) -> Counter[Killed]:
    """Joiners killed at random moments, each until it is through; where they were killed."""
    where: Counter[Killed] = Counter()
    while where.total() < kills:  # a joiner that got through makes room for the next
        with joining(plant, "snapshot") as node:
            state = Killed.BEFORE
            while where.total() < kills and state is not Killed.AFTER:
                said = fetched(node)
                node.start()
                if chance.random() < AIMED:
                    eventually(
                        partial(fetches_again, node, said),
                        plant.last_words("it fetches"),
                    )
                    time.sleep(chance.uniform(0.0, LONGEST_S))
                else:
                    time.sleep(chance.uniform(0.2, 3.0))
                node.kill()
                state = killed_at(node)
                where[state] += 1
            node.start()
            plant.wait_level(node)
            plant.close(node)
    return where


def join_beside_a_liar(plant: LongPlant) -> float:
    """One of the servers lies to joiners: it is named, left alone, and the join goes on."""
    liar = plant.servers[-1]
    liar.terminate()
    liar.program = (LIAR,)
    liar.start()
    eventually(lambda: plant.is_level(liar), plant.last_words("the liar is back"), WITHIN_S)
    for server in plant.servers[:-1]:
        eventually(lambda s=server: s.peer(liar.name).get("connected"), "the liar is there")  # type: ignore[misc]
    # It has kept the state it came back with: newer than what the others offer, so it is chosen.
    plant.pay()
    eventually(lambda: plant.is_level(liar), plant.last_words("the liar is level"), WITHIN_S)
    with joining(plant, "snapshot") as node:
        node.start()
        seconds = plant.wait_level(node)
        words = f"from {liar.name} does not match the certified root"
        assert words in node.log, f"nobody named the liar: {node.log}"
        plant.close(node)
    liar.terminate()
    liar.program = ("vppd",)
    liar.start()
    return seconds


def run(folder: Path, seed: int, blocks: Height, accounts: int, kills: int) -> Figures:
    """All of it, on one plant."""
    chance = random.Random(seed)
    with long_plant(folder, blocks, accounts) as plant:
        say(f"{blocks} blocks are there")
        by_snapshot = join_once(plant, "snapshot")
        say(f"by snapshot: {by_snapshot:.2f} s")
        killed = join_with_kills(plant, kills, chance)
        say(f"killed {kills} times: {dict(killed)}")
        beside = join_beside_a_liar(plant)
        say(f"beside a liar: {beside:.2f} s")
        by_replay = join_once(plant, "replay")
        say(f"by replay: {by_replay:.2f} s")
        archive = plant.testnet.out / "chain.vppd"
        exported = plant.servers[0].vppd("db", "export", archive, seconds=CHECK_S)
        assert exported.code == 0, exported.err
        target = plant.joiner("replay")
        imported = target.vppd("db", "import", archive, seconds=CHECK_S)
        assert imported.code == 0, imported.err
        plant.servers[0].terminate()
        pruned = vppd(
            "db", "prune", "--keep", 1_000, "--home", plant.servers[0].home, "-o", "json",
            seconds=CHECK_S,
        )  # fmt: skip
        assert pruned.code == 0, pruned.err
    return {
        "blocks": blocks,
        "accounts": accounts,
        "join by snapshot": f"{by_snapshot:.2f} s",
        "join by replay": f"{by_replay:.2f} s, {blocks / by_replay:.0f} blocks a second",
        "killed": ", ".join(f"{count} {where}" for where, count in sorted(killed.items())),
        "join beside a liar": f"{beside:.2f} s; it was named",
        "export": exported.err.strip(),
        "import": imported.err.strip(),
        "prune": f"{pruned.data['bytes_before']} bytes before, {pruned.data['bytes_after']} after",
    }


if __name__ == "__main__":
    arguments = report.parser(__doc__)
    arguments.add_argument("--blocks", type=int, default=50_000)
    arguments.add_argument("--accounts", type=int, default=20_000)
    arguments.add_argument("--kills", type=int, default=20)
    options = arguments.parse_args()
    report.main(
        options,
        lambda folder: run(folder, options.seed, options.blocks, options.accounts, options.kills),
    )

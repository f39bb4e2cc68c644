"""Members come and go under load: ``python -m tests.chaos.membership``.

Five nodes decide payments without a rest. Three more are made, started, and admitted one by one;
one of the eight gets another key; then four are voted out. Every step is the command a person
types. What counts is the longest pause between two decided heights, that the key that was replaced
and the nodes that were voted out decide nothing any more, and that no acknowledged payment is lost.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos import report
from tests.chaos.load import Load
from tests.chaos.plant import Stage, heights_of, query
from tests.chaos.report import Figures, say
from tests.e2e.plant import Node, Plant, eventually, free_base_port, vppd
from vppd.cli.testnet import Member, write_testnet
from vppd.config.genesis import ConsensusRules, Engine
from vppd.config.keys import load_key
from vppd.crypto import key_text
from vppd.header import decode_header
from vppd.types import Height, Role

N, JOIN, STAY = 5, 3, 4
APPROVERS = 3
"""As many as it takes with eight members: f + 1."""
VIEW_TIMEOUT_MS = 2_000
ADMITTED_S = 30.0
HEADERS = "SELECT header FROM bodies JOIN decisions USING (digest) ORDER BY decisions.height"


class Growing(Plant):
    """A plant whose nodes come and go, with clients that never stop.

    Args:
        out: new folder.
        seed: of the clients.
        engine: by which it decides.
    """

    def __init__(self, out: Path, seed: int, engine: str = "bncm") -> None:
        self.base = free_base_port(N + JOIN + 1)
        rules = ConsensusRules(engine=Engine(engine), view_timeout_ms=VIEW_TIMEOUT_MS)
        super().__init__(write_testnet(out, N, base_port=self.base, consensus=rules))
        self.out = out
        self._stage = Stage()
        stay = self.nodes[:STAY]
        # Not those who propose and approve: their accounts count those transactions, too.
        payers = stay[APPROVERS:]
        self.load = self._stage.call(lambda: Load(stay, payers, self.genesis.digest, seed))
        self._loading: Any = None
        self.gone: list[Node] = []

    def begin(self) -> None:
        """All nodes, then the clients."""
        self.start()
        self._loading = self._stage.start(self.load.run())
        self._stage.call(self.load.flow)

    def rest(self) -> None:
        """Clients stop when what they have under way is acknowledged."""
        self._stage.run(self.load.pause(), ADMITTED_S)
        if self._loading.done():
            self._loading.result()

    def close(self) -> None:
        """End everything that is left."""
        for node in (*self.nodes, *self.gone):
            node.end()
        self._stage.close()

    # ------------------------------------------------------------ what people type

    def make(self, name: str, number: int) -> Node:
        """A node that is in no genesis file: key, files, certificate; started."""
        first, home = self.nodes[0], self.out / name
        addr = f"127.0.0.1:{self.base + 10 * number}"
        typed(
            "init", "--role", "der", "--name", name, "--home", home,
            "--genesis", first.home / "genesis.toml", "--peers", first.home / "peers.toml",
            "--addr", addr,
        )  # fmt: skip
        typed("pki", "issue", name, "--hosts", "127.0.0.1", "--out", home, "--dir", self.out / "ca")
        file = home / "node.toml"
        file.write_text(file.read_text().replace("[store]", f'[net]\nlisten = "{addr}"\n\n[store]'))
        key = load_key(home / "node.key").public_key
        node = Node(Member(name=name, role=Role.DER, home=home, addr=addr, key=key, meter=None))
        node.start()
        return node

    def token(self, node: Node) -> str:
        """What ``vppd validator ready`` prints once the node has caught up."""

        def look() -> str:
            ran = node.vppd("validator", "ready")
            return ran.out.strip() if ran.code == 0 else ""

        return eventually(look, self.last_words(f"{node.name} is ready"), ADMITTED_S)

    def decide(self, *change: object) -> Height:
        """Propose, and approve until it is decided; the height from which on it holds."""
        ran = self.nodes[0].vppd("validator", *change, "-o", "json")
        assert ran.code == 0, self.last_words(ran.err)
        for node in self.nodes[1:APPROVERS]:
            if "first_height" in ran.data:
                break
            ran = node.vppd("validator", "approve", "-o", "json")
            assert ran.code == 0, self.last_words(ran.err)
        assert "first_height" in ran.data, self.last_words(f"{change}: {ran.out}")
        return int(ran.data["first_height"])

    def wait_members(self, names: Sequence[str]) -> None:
        """Until the first node counts just these, each of them votes, and all see each other."""

        def look() -> bool:
            said = self.nodes[0].view("validators")
            members = [m["name"] for m in said["era"]["members"]]
            return sorted(members) == sorted(names) and said["scheduled"] is None

        eventually(look, self.last_words(f"members {names}"), ADMITTED_S)
        for node in self.nodes:
            eventually(
                lambda node=node: (s := node.status()) and s["voting"],  # type: ignore[misc]
                self.last_words(f"{node.name} votes"),
                ADMITTED_S,
            )

    # ------------------------------------------------------------ how it went

    def pauses(self) -> list[int]:
        """Milliseconds of block time between each two heights, of the first node."""
        times = [decode_header(row[0]).time_ms for row in query(self.nodes[0], HEADERS)]
        return [after - before for before, after in itertools.pairwise(times)]

    def check_kept(self) -> None:
        """Every acknowledged payment is in every member's store, where its client was told."""
        told = {tx_id: ack.height for tx_id, ack in self.load.acknowledged.items()}
        for node in self.nodes:

            def look(node: Node = node) -> bool:
                stored = heights_of(node, told)
                return all(stored.get(tx_id) == height for tx_id, height in told.items())

            what = self.last_words(f"{node.name} has all {len(told)} acknowledged payments on disk")
            eventually(look, what)


def typed(*args: object) -> str:
    """A command that must succeed."""
    ran = vppd(*args)
    assert ran.code == 0, f"vppd {' '.join(map(str, args))}: {ran.err}"
    return ran.out


def run(folder: Path, seed: int, engine: str = "bncm") -> Figures:
    """Five, eight, eight with another key, four."""
    plant = Growing(folder, seed, engine)
    try:
        plant.begin()
        marks: dict[str, Height] = {}
        for number in range(N, N + JOIN):
            node = plant.make(f"der-{number}", number)
            marks[f"{node.name} admitted"] = plant.decide("add", plant.token(node))
            plant.nodes.append(node)
            plant.wait_members([n.name for n in plant.nodes])
            say(f"{len(plant.nodes)} members from height {marks[f'{node.name} admitted']} on")

        old = plant.nodes[-1]
        new = plant.make("der-new", N + JOIN)
        marks["re-keyed"] = plant.decide("rekey", old.name, plant.token(new))
        plant.nodes[-1] = new
        eventually(
            lambda: (s := old.status()) is not None and not s["voting"],
            plant.last_words(f"{old.name} has stopped voting"),
            ADMITTED_S,
        )
        plant.gone.append(old)
        say(f"{old.name} has another key from height {marks['re-keyed']} on")

        for node in reversed(plant.nodes[STAY:]):
            marks[f"{node.name} voted out"] = plant.decide("remove", key_text(node.key.public_key))
            plant.nodes.remove(node)
            plant.gone.append(node)
            say(f"{len(plant.nodes)} members from height {marks[f'{node.name} voted out']} on")
        last = max(marks.values())
        eventually(
            lambda: (s := plant.nodes[0].status()) is not None and s["height"] > last + 50,
            plant.last_words(f"50 heights after {last}"),
        )
        plant.rest()
        height, _ = plant.wait_equal()
        plant.check_kept()
        for node in plant.gone:
            status = node.status()
            assert status is None or not status["voting"], plant.last_words(f"{node.name} votes")
        for node in plant.nodes:
            checked = vppd("block", "verify", "--home", node.home, seconds=600)
            assert checked.code == 0, plant.last_words(f"{node.name}: {checked.err}")
        pauses = plant.pauses()
        worst = max(range(len(pauses)), key=pauses.__getitem__)
        assert pauses[worst] <= VIEW_TIMEOUT_MS, plant.last_words(
            f"{pauses[worst]} ms without a decision before height {worst + 2}; {marks}"
        )
        ordered = sorted(pauses)
        return {
            "engine": engine,
            "T_view": f"{VIEW_TIMEOUT_MS} ms",
            **{f"height: {what}": at for what, at in marks.items()},
            "height": height,
            "acknowledged payments, all kept": len(plant.load.acknowledged),
            "pause between two heights, median": f"{ordered[len(ordered) // 2]} ms",
            "longest pause": f"{pauses[worst]} ms, before height {worst + 2}",
        }
    finally:
        plant.close()


def main() -> None:
    """For ``make nightly``."""
    arguments: argparse.ArgumentParser = report.parser(__doc__)
    arguments.add_argument("--engine", default="bncm")
    options = arguments.parse_args()
    report.main(options, lambda folder: run(folder, options.seed, options.engine))


if __name__ == "__main__":
    main()

"""Writes the folders that later versions must open: ``python -m tests.store.make_previous``.

Two plants of real processes trade, pay and meter; the folders of three nodes go to
``tests/data/previous`` as they are: settings, keys, chain store. It only runs on the version whose
data they are (:data:`SCHEMA`, :data:`WIRE`): made by a later one they would show nothing.
"""

from __future__ import annotations

import io
import sqlite3
import sys
import tarfile
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.e2e.plant import Node, Plant, eventually, plant_of, vppd
from vppd.cli.testnet import scaled_market
from vppd.config.genesis import ConsensusRules
from vppd.config.keys import load_key
from vppd.ledger.transaction import Op, PlaceOrder, Reading, Transfer, make_transaction
from vppd.net.hello import VERSION
from vppd.store.schema import SCHEMA_VERSION

SCHEMA, WIRE = 2, 2
"""Of the version whose data these are."""
FOLDER = Path(__file__).parents[1] / "data" / "previous"
KEPT = ("chain.db", "chain.db-guard", "chain.db-wal", "genesis.toml", "node.key", "node.toml",
        "peers.toml")  # fmt: skip
BLOCKS = 40
SLOT_MS = 2_000
SEED = 2
OFFER, BID = 0, 1


def main() -> None:
    """Both plants."""
    if (SCHEMA_VERSION, VERSION) != (SCHEMA, WIRE):
        sys.exit(
            f"this vppd writes schema version {SCHEMA_VERSION} and speaks wire version {VERSION}; "
            f"the data are of schema version {SCHEMA} and wire version {WIRE}: run it there"
        )
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vppd-") as scrap:
        rules = ConsensusRules(view_timeout_ms=1_000)
        market = scaled_market(SLOT_MS, 15)
        with plant_of(
            Path(scrap) / "five", 5, seed=SEED, market=market, consensus=rules, transport="plain"
        ) as plant:
            plant.start()
            trade(plant)
            first, voter = plant.nodes[0], plant.nodes[2]
            first.terminate()
            keep(first, "leader")
            pay(voter, plant, 1)  # nobody leads: this takes a view change
            eventually(lambda: _has_new_view(voter), "a new view on disk")
            voter.kill()
            keep(voter, "voter")
        with plant_of(Path(scrap) / "one", 1, seed=SEED, transport="plain") as plant:
            plant.start()
            lone = plant.nodes[0]
            for amount in range(1, 13):
                pay(lone, plant, amount)
            slot = int(time.time() * 1_000) // plant.genesis.market.slot_ms + 8
            send(lone, plant.sign(lone, PlaceOrder(slot, OFFER, 1_000, 400_000, 390_000, 0)))
            lone.terminate()
            keep(lone, "lone")


def trade(plant: Plant) -> None:
    """Orders that trade, readings of what was delivered, and payments, for so many blocks."""
    seller, buyer = plant.nodes[1], plant.nodes[2]
    slot = int(time.time() * 1_000) // SLOT_MS + 3
    send(seller, plant.sign(seller, PlaceOrder(slot, OFFER, 1_000, 400_000, 390_000, 0)))
    send(buyer, plant.sign(buyer, PlaceOrder(slot, BID, 800, 500_000, 550_000, 0)))
    delivered = (slot + 1) * SLOT_MS
    while time.time() * 1_000 < delivered + 100:
        pay(buyer, plant, 1_000)
    for node, registers in ((seller, (0, 1_000)), (buyer, (800, 0))):
        meter = load_key(node.home / "meter.key")
        chain = plant.genesis.digest
        for nonce, (number, wh) in enumerate(((slot - 1, (0, 0)), (slot, registers))):
            reading: Op = Reading(number, *wh)
            send(node, make_transaction(meter, chain, nonce, 10_000, (reading,)))
    trades = plant.nodes[0].view("trades", str(slot))
    assert trades, "the orders have traded"
    settled = (slot + 6) * SLOT_MS
    while _height(plant.nodes[0]) < BLOCKS or time.time() * 1_000 < settled:
        pay(buyer, plant, 1_000)
    plant.wait_equal()


def pay(payer: Node, plant: Plant, amount: int) -> None:
    """A transfer to the first node's account, until it is decided."""
    send(payer, plant.sign(payer, Transfer(plant.nodes[-1].key.public_key, amount)))


def send(node: Node, raw: bytes) -> None:
    """Until it is decided, and it has to succeed."""
    done = vppd("tx", "send", "-", "--wait", "-o", "json", "--home", node.home, stdin=raw)
    assert done.code == 0, done.err


def keep(node: Node, name: str) -> None:
    """Its folder, packed; no dates or owners in it."""
    packed = FOLDER / f"{name}.tar.xz"
    with tarfile.open(packed, "w:xz", preset=9) as archive:
        for file in KEPT:
            path = node.home / file
            if path.exists():
                data = path.read_bytes()
                entry = tarfile.TarInfo(file)
                entry.size, entry.mode = len(data), 0o600
                archive.addfile(entry, io.BytesIO(data))
    print(f"{packed.name}: {packed.stat().st_size / 1024:.0f} KiB")  # noqa: T201 - for people


def _height(node: Node) -> int:
    status = node.status()
    return 0 if status is None else int(status["height"])


def _has_new_view(node: Node) -> bool:
    with closing(sqlite3.connect(f"file:{node.home / 'chain.db'}?mode=ro", uri=True)) as looking:
        return bool(looking.execute("SELECT count(*) FROM new_views").fetchone()[0])


if __name__ == "__main__":
    main()

"""Power cuts: nodes are killed while transactions flow, and come back with what they promised."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, eventually, eventually_async, plant_of, vppd
from vppd.client.client import Disconnected, RequestFailed, connect
from vppd.crypto import key_text
from vppd.errors import UserError
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.net.requests import TxStage
from vppd.types import Digest, Height

pytestmark = [pytest.mark.slow, pytest.mark.net]

EACH = 12
"""Transactions per member and stretch of a test."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with plant_of(tmp_path_factory.mktemp("crash") / "plant", 5) as made:
        made.start()
        yield made


async def pay(plant: Plant, node: Node, count: int, committed: dict[Digest, Height]) -> None:
    """Payments of one member, one after another, each seen committed; survives its node."""
    done = 0
    sent: Digest | None = None
    while done < count:
        try:
            async with connect(node.socket) as client:
                while done < count:
                    if sent is None:
                        account = await client.view("account", key_text(node.key.public_key))
                        raw = make_transaction(
                            node.key,
                            plant.genesis.digest,
                            account["nonce"],
                            account["height"] + 1_000,
                            (Transfer(plant.nodes[0].key.public_key, 1),),
                        )
                        sent = await client.submit(raw)
                    state = await client.wait(sent)
                    assert state.stage == TxStage.COMMITTED
                    committed[sent] = state.height
                    sent, done = None, done + 1
        except RequestFailed:
            raise
        except (UserError, Disconnected):
            await asyncio.sleep(0.05)


async def traffic(plant: Plant, payers: list[Node], count: int = EACH) -> dict[Digest, Height]:
    committed: dict[Digest, Height] = {}
    async with asyncio.TaskGroup() as group:
        for node in payers:
            group.create_task(pay(plant, node, count, committed))
    return committed


def assert_kept(plant: Plant, committed: dict[Digest, Height]) -> None:
    """Every transaction that anybody saw committed is so at every node, at the same height."""
    for node in plant.nodes:

        async def heights(node: Node = node) -> dict[Digest, Height]:
            async with connect(node.socket) as client:
                return {tx_id: (await client.tx(tx_id)).height for tx_id in committed}

        assert asyncio.run(heights()) == committed, node.name


def assert_all_verify(plant: Plant, height: Height) -> None:
    for node in plant.nodes:
        report = node.vppd("block", "verify", "-o", "json")
        assert report.code == 0, report.err
        assert report.data["last"] == height


def test_a_killed_der_catches_up_by_itself_and_nothing_is_lost(plant: Plant) -> None:
    victim, others = plant.nodes[3], [plant.nodes[i] for i in (1, 2, 4)]

    async def scenario() -> dict[Digest, Height]:
        flowing = asyncio.create_task(traffic(plant, [plant.nodes[i] for i in (1, 2)], 3 * EACH))

        async def height(node: Node) -> Height:
            with suppress(UserError, Disconnected):
                async with connect(node.socket) as client:
                    found: Height = (await client.view("status"))["height"]
                    return found
            return 0

        async def above(node: Node, mark: Height) -> Height:
            now = await height(node)
            return now if now > mark else 0

        begun = await eventually_async(lambda: above(victim, 3), "some blocks")
        victim.kill()
        missed = await eventually_async(lambda: above(others[0], begun + 5), "five blocks missed")
        victim.start()
        await eventually_async(lambda: above(victim, missed), "the victim catches up")
        return await flowing

    committed = asyncio.run(scenario())
    assert len(committed) == 2 * 3 * EACH
    # The victim itself votes and trades again, and its own transactions are committed too.
    plant.wait_complete()
    committed |= asyncio.run(traffic(plant, [victim, *others], 2))
    height, _ = plant.wait_equal()
    assert_kept(plant, committed)
    assert_all_verify(plant, height)


def leader_and_others(plant: Plant) -> tuple[Node, list[Node]]:
    status = plant.nodes[0].status()
    assert status is not None
    leader = next(node for node in plant.nodes if node.name == status["leader"])
    return leader, [node for node in plant.nodes if node is not leader]


def test_a_killed_leader_is_replaced_and_comes_back(plant: Plant) -> None:
    leader, others = leader_and_others(plant)
    payer = others[0]

    async def scenario() -> dict[Digest, Height]:
        flowing = asyncio.create_task(traffic(plant, others[:2], 2 * EACH))

        async def status() -> dict[str, Any]:
            async with connect(payer.socket) as client:
                found: dict[str, Any] = await client.view("status")
                return found

        before = await status()

        async def moved() -> bool:
            return bool((await status())["height"] > before["height"] + 2)

        async def replaced() -> bool:
            now = await status()
            return bool(now["leader"] != leader.name and now["view"] > before["view"])

        await eventually_async(moved, "some blocks")
        leader.kill()
        await eventually_async(replaced, "another leader")
        committed = await flowing  # to the end, without it
        leader.start()
        return committed

    committed = asyncio.run(scenario())
    plant.wait_complete()
    height, _ = plant.wait_equal()
    assert_kept(plant, committed)
    assert_all_verify(plant, height)


def test_what_was_accepted_when_the_leader_was_dead_is_decided_without_it(plant: Plant) -> None:
    leader, (payer, other, *_) = leader_and_others(plant)
    leader.kill()
    raw = plant.sign(payer, Transfer(other.key.public_key, 1))
    sent = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
    assert sent.data["status"] == "ok"
    leader.start()
    plant.wait_complete()
    height, _ = plant.wait_equal()
    assert_all_verify(plant, height)


def test_all_killed_at_once_and_restarted_lose_nothing(plant: Plant) -> None:
    committed = asyncio.run(traffic(plant, plant.nodes[1:], 2))
    for node in plant.nodes:
        node.process.kill()
    for node in plant.nodes:
        node.process.wait()
    plant.start()
    assert_kept(plant, committed)
    committed |= asyncio.run(traffic(plant, [plant.nodes[4]], 1))
    height, _ = plant.wait_equal()
    assert_all_verify(plant, height)


def test_sigterm_stops_cleanly_with_a_store_that_holds(plant: Plant) -> None:
    node = plant.nodes[2]
    asyncio.run(traffic(plant, [plant.nodes[1]], 2))
    height, head = plant.wait_equal()
    assert node.terminate() == 0
    assert '"stopped"' in node.log.splitlines()[-1]
    assert not node.socket.exists()
    assert not (node.home / "chain.db-wal").exists(), "the log is part of the database again"
    report = node.vppd("block", "verify", "-o", "json")
    assert (report.code, report.data["last"]) == (0, height)
    node.start()
    plant.wait_complete()
    assert plant.wait_equal() == (height, head)


def test_an_idle_plant_writes_no_blocks(plant: Plant) -> None:
    height, head = plant.wait_equal()
    # Two rounds of statuses have gone by when every peer's height has been heard again.
    eventually(lambda: all(_heard(node, height) for node in plant.nodes), "statuses")
    assert plant.wait_equal() == (height, head)


def _heard(node: Node, height: Height) -> bool:
    status = node.status()
    return bool(status and all(p["height"] == height for p in status["peers"]))


@pytest.fixture(scope="module")
def at_rest(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Height]:
    """A copy of a stopped node's folder, and its height."""
    asyncio.run(traffic(plant, [plant.nodes[1]], 4))
    height, _ = plant.wait_equal()
    node = plant.nodes[4]
    assert node.terminate() == 0
    copy = tmp_path_factory.mktemp("at-rest") / "home"
    shutil.copytree(node.home, copy)
    node.start()
    plant.wait_complete()
    return copy, height


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("bodies", "header"),
        ("bodies", "txs"),
        ("decisions", "certificate"),
        ("executions", "state_root"),
        ("executions", "receipts_root"),
        ("executions", "receipts"),
    ],
)
def test_one_changed_byte_is_found_at_its_height(
    at_rest: tuple[Path, Height], table: str, column: str, tmp_path: Path
) -> None:
    original, height = at_rest
    copy, wanted = tmp_path / "home", height - 2
    shutil.copytree(original, copy)
    with closing(sqlite3.connect(copy / "chain.db")) as database, database:
        query = f"SELECT {column} FROM {table} WHERE height = ?"  # noqa: S608 - names from above
        [value] = database.execute(query, (wanted,)).fetchone()
        changed = bytearray(value)
        changed[len(value) // 2] ^= 0x01
        # Whoever tampers owns the file, and what the daemon's triggers refuse does not stop him.
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        change = f"UPDATE {table} SET {column} = ? WHERE height = ?"  # noqa: S608 - names from above
        database.execute(change, (bytes(changed), wanted))
    assert_named(copy, wanted)


def test_one_changed_byte_of_the_file_is_found_at_its_height(
    at_rest: tuple[Path, Height], tmp_path: Path
) -> None:
    original, height = at_rest
    copy, wanted = tmp_path / "home", height - 2
    shutil.copytree(original, copy)
    file = copy / "chain.db"
    with closing(sqlite3.connect(file)) as database:
        query = "SELECT header FROM bodies WHERE height = ?"
        [header] = database.execute(query, (wanted,)).fetchone()
    data = bytearray(file.read_bytes())
    data[data.index(header) + 100] ^= 0x01
    file.write_bytes(data)
    assert_named(copy, wanted)


def assert_named(home: Path, height: Height) -> None:
    report = vppd("block", "verify", "--home", home, "-o", "json")
    assert report.code == 1
    assert report.data["problem"].startswith(f"height {height}: ")
    assert f"error[E257]: the stored chain does not hold: height {height}: " in report.err


def test_what_was_not_changed_holds(at_rest: tuple[Path, Height]) -> None:
    home, height = at_rest
    report = vppd("block", "verify", "--home", home, "-o", "json")
    assert (report.code, report.data["last"]) == (0, height)

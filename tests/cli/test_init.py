"""``vppd init``: key and safety record are born together, and only once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.config.plant import GENESIS, genesis, peers_text
from vppd.cli.init import UNUSED
from vppd.config.home import load_home
from vppd.config.keys import load_key
from vppd.config.node import load_node
from vppd.config.peers import load_peers
from vppd.crypto import key_text
from vppd.store.chain import ChainStore
from vppd.types import Role


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def test_key_settings_and_store_in_one_go(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    ran = vppd("init", "--role", "der", "--name", "der-4")
    assert ran.code == 0
    assert ran.out.startswith(key_text(load_key(tmp_path / "node.key").public_key) + "\n")
    assert "vppd start" in ran.out
    node = load_node(tmp_path / "node.toml")
    assert (node.role, node.name) == (Role.DER, "der-4")
    assert (tmp_path / "chain.db").exists()
    assert not (tmp_path / UNUSED).exists()


async def test_the_store_is_that_of_the_genesis_and_empty(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    ran = await asyncio.to_thread(vppd, "init", "--role", "der", "--name", "der-4")
    assert ran.code == 0
    store = await ChainStore.open(tmp_path / "chain.db", genesis().digest)
    try:
        resume = await store.resume()
    finally:
        await store.close()
    assert resume.decided == 0


def test_without_genesis_the_store_waits(vppd: Vppd, tmp_path: Path) -> None:
    first = vppd("init", "--role", "operator", "--home", "op")
    home = tmp_path / "op"
    assert first.code == 0
    assert "genesis.toml" in first.out
    assert not (home / "chain.db").exists()
    assert load_node(home / "node.toml").name == "op"
    before = files(home)

    waiting = vppd("init", "--home", "op")
    assert waiting.code == 2
    assert "waits for the plant's genesis.toml" in waiting.err
    assert files(home) == before

    (home / "genesis.toml").write_text(GENESIS)
    second = vppd("init", "--home", "op")
    assert second.code == 0
    assert second.out.splitlines()[0] == first.out.splitlines()[0]
    assert (home / "chain.db").exists()
    assert not (home / UNUSED).exists()


def test_nothing_is_overwritten(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    vppd("init", "--role", "der", "--name", "der-4")
    before = files(tmp_path)
    ran = vppd("init", "--role", "der", "--name", "der-4")
    assert ran.code == 1
    assert ran.err.startswith("error[E123]")
    assert files(tmp_path) == before


def test_a_lost_store_is_not_replaced_by_an_empty_one(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    vppd("init", "--role", "der", "--name", "der-4")
    (tmp_path / "chain.db").unlink()
    ran = vppd("init", "--role", "der", "--name", "der-4")
    assert ran.code == 1
    assert "sign against its own earlier votes" in ran.err
    assert not (tmp_path / "chain.db").exists()


def test_the_note_of_another_key_does_not_count(vppd: Vppd, tmp_path: Path) -> None:
    vppd("init", "--role", "der", "--home", "a")
    vppd("init", "--role", "der", "--home", "b")
    (tmp_path / "a" / UNUSED).write_bytes((tmp_path / "b" / UNUSED).read_bytes())
    (tmp_path / "a" / "genesis.toml").write_text(GENESIS)
    assert vppd("init", "--home", "a").err.startswith("error[E123]")


@pytest.mark.parametrize("name", ["node.toml", "chain.db", UNUSED])
def test_leftovers_of_a_node_whose_key_is_gone(vppd: Vppd, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    ran = vppd("init", "--role", "der", "--name", "der-4")
    assert ran.code == 1
    assert ran.err.startswith("error[E122]")
    assert set(files(tmp_path)) == {name}


def test_a_bad_genesis_makes_nothing(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text("schema = 1\n")
    assert vppd("init", "--role", "der", "--name", "der-4").code == 78
    assert set(files(tmp_path)) == {"genesis.toml"}


@pytest.mark.parametrize(
    "args",
    [(), ("--role", "boss"), ("--role", "der", "--name", "a b"), ("--role", "light")],
)
def test_usage(vppd: Vppd, tmp_path: Path, args: tuple[str, ...]) -> None:
    assert vppd("init", *args).code == 2
    assert files(tmp_path) == {}


# ------------------------------------------------------------ a node that joins


def write_files(plant: Path) -> None:
    """What somebody who joins is given."""
    plant.mkdir()
    (plant / "genesis.toml").write_text(GENESIS)
    (plant / "peers.toml").write_text(peers_text())


def test_a_node_joins_in_one_command(vppd: Vppd, tmp_path: Path) -> None:
    write_files(tmp_path / "plant")
    plant = tmp_path / "plant"
    ran = vppd(
        "init", "--role", "der", "--name", "der-9", "--home", "der-9", "--addr", "127.0.0.1:7999",
        "--genesis", plant / "genesis.toml", "--peers", plant / "peers.toml",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "vppd validator ready" in ran.out
    home = load_home(tmp_path / "der-9")
    assert (home.name, home.role, home.index) == ("der-9", Role.DER, None)
    assert home.listen == "127.0.0.1:7999"
    assert home.genesis == genesis()
    assert (tmp_path / "der-9" / "chain.db").exists()
    assert "der-9" not in (plant / "peers.toml").read_text(), "only its own copy names it"


def test_an_observer_does_not_join(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "genesis.toml").write_text(GENESIS)
    assert vppd("init", "--role", "observer", "--name", "obs-1").code == 0
    assert not load_node(tmp_path / "node.toml").joins


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--genesis", "nowhere.toml"), "E100"),
        (("--peers", "plant/genesis.toml"), "E10"),
        (("--addr", "127.0.0.1"), "E119"),
        (("--addr", "127.0.0.1:7999"), "E119"),
        (("--addr", "127.0.0.1:x", "--peers", "plant/peers.toml"), "E119"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    vppd: Vppd, tmp_path: Path, args: tuple[str, ...], code: str
) -> None:
    write_files(tmp_path / "plant")
    ran = vppd("init", "--role", "der", "--name", "der-9", "--home", "new", *args)
    assert ran.code != 0
    assert ran.err.startswith(f"error[{code}")
    assert not (tmp_path / "new").exists()


def test_another_genesis_in_the_folder_stays(vppd: Vppd, tmp_path: Path) -> None:
    write_files(tmp_path / "plant")
    (tmp_path / "genesis.toml").write_text(GENESIS + "# another\n")
    before = files(tmp_path / "plant")
    ran = vppd("init", "--role", "der", "--name", "a", "--genesis", "plant/genesis.toml")
    assert ran.code == 1
    assert ran.err.startswith("error[E371]")
    assert {path.name for path in tmp_path.iterdir()} == {"plant", "genesis.toml"}
    assert files(tmp_path / "plant") == before


def test_an_address_that_somebody_has_is_refused(vppd: Vppd, tmp_path: Path) -> None:
    write_files(tmp_path / "plant")
    taken = load_peers(tmp_path / "plant" / "peers.toml").peers[0].addr
    ran = vppd(
        "init", "--role", "der", "--name", "der-9", "--home", "new", "--addr", taken,
        "--genesis", "plant/genesis.toml", "--peers", "plant/peers.toml",
    )  # fmt: skip
    assert ran.code == 78
    assert taken in ran.err
    assert not (tmp_path / "new").exists()

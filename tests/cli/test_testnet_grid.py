"""A plant with a grid: ``vppd testnet --grid``, and who is dealt to which bus."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from tests.cli.conftest import Vppd
from vppd.cli.testnet import seated
from vppd.config.genesis import AccountEntry
from vppd.config.genesis_file import load_genesis
from vppd.config.grid_file import load_grid
from vppd.errors import Exit

STREET = Path(__file__).parents[2] / "config" / "grid.toml"
GRID, _ = load_grid(STREET.read_bytes(), STREET)


def test_ders_are_dealt_to_the_buses_and_the_grid_is_in_genesis(vppd: Vppd) -> None:
    ran = vppd("testnet", "-n", 4, "--out", "plant", "--grid", STREET, "--accounts", 2)
    assert ran.code == Exit.OK
    genesis = load_genesis(Path("plant/der-3/genesis.toml"))
    assert genesis.grid == GRID
    assert [(account.name, account.bus) for account in genesis.accounts] == [
        ("op-0", 0),
        ("der-1", 1),
        ("der-2", 2),
        ("der-3", 3),
        ("account-0", 4),
        ("account-1", 5),
    ]
    assert vppd("grid", "check", "plant/op-0/genesis.toml").code == Exit.OK
    assert "grid.line[6].open" in vppd("config", "show", "--home", "plant/op-0", "--origin").out


def test_who_has_a_place_keeps_it() -> None:
    accounts = [
        AccountEntry(name=name, key=bytes(32), bus=bus)
        for name, bus in (("a", 5), ("op", 3), ("b", 0), ("c", 77), ("d", 0))
    ]
    assert [entry.bus for entry in seated(accounts, {"op"}, GRID)] == [5, 0, 1, 2, 3]
    assert seated(accounts, {"op"}, None) == accounts
    alone = replace(GRID, buses=GRID.buses[:1], lines=())
    assert {entry.bus for entry in seated(accounts, (), alone)} == {0}


def test_a_grid_that_cannot_be_makes_no_plant(vppd: Vppd) -> None:
    Path("bad.toml").write_text(STREET.read_text(encoding="utf-8").replace("to = 6", "to = 5"))
    ran = vppd("testnet", "-n", 4, "--out", "plant", "--grid", "bad.toml")
    assert ran.code == Exit.BAD_CONFIG
    assert "E540" in ran.err
    assert not Path("plant").exists()

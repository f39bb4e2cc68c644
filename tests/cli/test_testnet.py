"""``vppd testnet`` and ``write_testnet``: folders that a node starts in."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.config.plugin import distributions, install
from vppd.cli import testnet as writer
from vppd.config.genesis import MarketRulesSection
from vppd.config.home import load_home
from vppd.config.keys import load_key
from vppd.config.values import parse_address
from vppd.errors import UserError
from vppd.store.chain import ChainStore
from vppd.types import Role


def write(out: Path, nodes: int = 4, **options: object) -> writer.Testnet:
    settings: dict[str, object] = {"seed": 7, "transport": "plain"} | options
    return writer.write_testnet(out, nodes, **settings)  # type: ignore[arg-type] # keywords


def test_every_folder_is_a_whole_home(tmp_path: Path) -> None:
    made = write(tmp_path / "plant", 5, operators=2)
    assert [m.name for m in made.nodes] == ["op-0", "op-1", "der-2", "der-3", "der-4"]
    for i, member in enumerate(made.nodes):
        home = load_home(member.home)
        assert (home.name, home.role, home.index) == (member.name, member.role, i)
        assert home.genesis == made.genesis
        assert home.peers == made.peers
        assert home.signer.public_key == member.key
        assert home.listen == member.addr == f"127.0.0.1:{7440 + 10 * i}"
        assert home.node.store.exists()


async def test_the_stores_are_empty_and_of_this_plant(tmp_path: Path) -> None:
    made = await asyncio.to_thread(write, tmp_path / "plant")
    for member in made.nodes:
        store = await ChainStore.open(member.home / "chain.db", made.genesis.digest)
        try:
            assert (await store.resume()).log == ()
        finally:
            await store.close()


def test_keys_are_secret(tmp_path: Path) -> None:
    made = write(tmp_path / "plant")
    keys = list((tmp_path / "plant").rglob("*.key"))
    assert len(keys) == 4 + 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert len({member.key for member in made.nodes}) == 4


def test_ders_have_accounts_and_meters_and_the_operator_an_account(tmp_path: Path) -> None:
    made = write(tmp_path / "plant")
    accounts = {a.name: a for a in made.genesis.accounts}
    assert [a.balance for a in accounts.values()] == [200_000_000] * 4
    assert [m.account for m in made.genesis.meters] == ["der-1", "der-2", "der-3"]
    for member, meter in zip(made.nodes[1:], made.genesis.meters, strict=True):
        assert load_key(member.home / "meter.key").public_key == member.meter == meter.key
    assert made.nodes[0].meter is None
    assert not (made.nodes[0].home / "meter.key").exists()


def test_the_tariffs_are_those_of_table_1(tmp_path: Path) -> None:
    tariffs = write(tmp_path / "plant").genesis.market.tariffs
    assert [(t.start_minute // 60, t.end_minute // 60) for t in tariffs] == [
        (23, 7),
        (7, 11),
        (11, 14),
        (14, 18),
        (18, 23),
    ]
    assert [t.retail_price for t in tariffs] == [380_000, 570_000, 860_000, 570_000, 800_000]
    assert [t.feed_in_price for t in tariffs] == [240_000, 380_000, 650_000, 380_000, 650_000]


def test_a_seed_gives_the_same_plant_again_and_another_another(tmp_path: Path) -> None:
    first, again = write(tmp_path / "a"), write(tmp_path / "b")
    assert first.genesis.digest == again.genesis.digest
    assert first.genesis.digest != write(tmp_path / "c", seed=8).genesis.digest
    fresh = [write(tmp_path / name, seed=None).genesis.digest for name in "de"]
    assert fresh[0] != fresh[1]


def test_nodes_are_dealt_to_hosts_with_ports_in_steps(tmp_path: Path) -> None:
    made = write(tmp_path / "plant", 5, hosts=["10.0.0.1", "10.0.0.2"], base_port=8000)
    assert [m.addr for m in made.nodes] == [
        "10.0.0.1:8000",
        "10.0.0.2:8000",
        "10.0.0.1:8010",
        "10.0.0.2:8010",
        "10.0.0.1:8020",
    ]
    assert load_home(made.nodes[2].home).listen == "0.0.0.0:8010", "a host may sit behind its name"


def test_a_market_of_the_callers_own(tmp_path: Path) -> None:
    market = writer.scaled_market(2_000, 60)
    made = write(tmp_path / "plant", market=market)
    assert made.genesis.market == market
    assert market.gate_lead_ms < market.slot_ms
    bare = write(tmp_path / "bare", market=MarketRulesSection(slot_ms=500))
    assert bare.genesis.market.tariffs == market.tariffs
    assert bare.genesis.market.slot_ms == 500


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "diary.txt").touch()
    with pytest.raises(UserError, match="not empty") as caught:
        write(tmp_path / "plant")
    assert caught.value.code == "E114"
    assert [p.name for p in (tmp_path / "plant").iterdir()] == ["diary.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "plant").touch()
    with pytest.raises(UserError) as caught:
        write(tmp_path / "plant")
    assert caught.value.code == "E120"


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": 0},
        {"operators": 0},
        {"operators": 5},
        {"hosts": []},
        {"hosts": ["a", "a"]},
        {"base_port": 65_530},
        {"base_port": 0},
        {"chain_name": "a plant"},
        {"hosts": ["a", "b", "c", "d", "e"]},
    ],
)
def test_numbers_that_make_no_plant(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        write(tmp_path / "plant", **options)  # type: ignore[arg-type] # keywords
    assert caught.value.code == "E117"
    assert not (tmp_path / "plant").exists()


@pytest.mark.parametrize("host", ["der-1.local", "host_name", "fd00::2", "192.168.10.2"])
def test_hosts_that_others_can_dial(tmp_path: Path, host: str) -> None:
    made = write(tmp_path / "plant", 1, hosts=[host], transport="tls")
    assert parse_address(made.nodes[0].addr) == (host, 7440)


def test_without_a_library_for_certificates_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vppd.net.x509", raising=False)
    monkeypatch.delattr("vppd.net.x509", raising=False)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(UserError) as caught:
        write(tmp_path / "plant", transport="tls")
    assert caught.value.code == "E150"
    assert not (tmp_path / "plant").exists()


@pytest.mark.slow
def test_the_command_writes_certificates_and_says_what_is_next(vppd: Vppd, tmp_path: Path) -> None:
    ran = vppd("testnet", "-n", 4, "--out", "plant", "--slot-seconds", 2)
    assert ran.code == 0
    assert ran.err == ""
    assert "vppd start --home plant/op-0" in ran.out
    for name in ("op-0", "der-1", "der-2", "der-3"):
        assert vppd("config", "check", "--home", tmp_path / "plant" / name).code == 0
        assert vppd("pki", "show", tmp_path / "plant" / name / "node.pem").code == 0
    assert load_home(tmp_path / "plant" / "op-0").genesis.market.slot_ms == 2_000
    secrets = [*(tmp_path / "plant").rglob("*.key")]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets)


@pytest.mark.slow
def test_a_seed_comes_with_a_warning_off_stdout(vppd: Vppd) -> None:
    ran = vppd("testnet", "-n", 2, "--operators", 2, "--out", "plant", "--seed", 1, "-o", "json")
    assert "whoever knows it can sign as any" in ran.err
    data = json.loads(ran.out)
    assert [node["role"] for node in data["nodes"]] == [Role.OPERATOR, Role.OPERATOR]
    assert data["genesis_sha256"] == load_home(Path("plant/op-1")).genesis.digest.hex()


@pytest.mark.parametrize(
    ("args", "engine", "path"),
    [
        ((), "bncm", "auto"),
        (("--path", "collect"), "bncm", "collect"),
        (("--engine", "bncm", "--path", "broadcast"), "bncm", "broadcast"),
        (("--engine", "pbft"), "pbft", "auto"),
    ],
    ids=["default", "collect", "broadcast", "pbft"],
)
def test_the_engine_and_its_path_stand_in_genesis(
    vppd: Vppd, tmp_path: Path, args: tuple[str, ...], engine: str, path: str
) -> None:
    assert vppd("testnet", "-n", 1, "--out", "plant", *args).code == 0
    genesis = load_home(tmp_path / "plant" / "op-0").genesis
    assert (genesis.consensus.engine, genesis.consensus.path) == (engine, path)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--engine", "raft"), "E412", "--engine bncm | pbft"),
        (("--engine", "bncm-paper"), "E412", "'bncm-paper'"),
        (("--path", "paper"), "E416", "--path auto | collect | broadcast"),
        (("--engine", "pbft", "--path", "collect"), "E416", "engine pbft has no path 'collect'"),
    ],
    ids=["engine", "published engine", "path", "path of pbft"],
)
def test_engines_and_paths_that_are_not_there(
    vppd: Vppd, tmp_path: Path, args: tuple[str, ...], code: str, said: str
) -> None:
    ran = vppd("testnet", "-n", 1, "--out", "plant", *args)
    assert ran.code == 2
    assert ran.err.startswith(f"error[{code}]")
    assert said in ran.err
    assert not (tmp_path / "plant").exists()


def test_a_plant_on_an_engine_that_another_distribution_brings(vppd: Vppd, tmp_path: Path) -> None:
    with distributions(install(tmp_path / "site", "last-first")):
        assert vppd("testnet", "-n", 1, "--out", "plant", "--engine", "last-first").code == 0
        check = vppd("config", "check", "--home", "plant/op-0", "-o", "json")
        assert "engine last-first, 1 validators" in check.data[0]["says"]
    missing = vppd("config", "check", "--home", "plant/op-0")
    assert missing.code == 78
    assert missing.err.startswith("error[E107]: no engine 'last-first' is installed here")
    assert "installed  bncm, pbft" in missing.err


def test_market_slots_are_whole_minutes(vppd: Vppd) -> None:
    ran = vppd("testnet", "-n", 2, "--out", "plant", "--market-slot-seconds", 90)
    assert ran.code == 2
    assert ran.err.startswith("error[E117]")


def test_further_accounts_are_funded_and_their_keys_are_beside_the_homes(vppd: Vppd) -> None:
    ran = vppd("testnet", "-n", 2, "--out", "plant", "--seed", 7, "--accounts", 3)
    assert ran.code == 0
    keys = sorted(Path("plant/accounts").glob("*.key"))
    assert [key.name for key in keys] == [f"account-{i}.key" for i in range(3)]
    assert all(stat.S_IMODE(key.stat().st_mode) == 0o600 for key in keys)
    accounts = {a.name: a for a in load_home(Path("plant/op-0")).genesis.accounts}
    for key in keys:
        assert accounts[key.stem].key == load_key(key).public_key
        assert accounts[key.stem].balance == writer.OPENING_BALANCE
    again = vppd("testnet", "-n", 2, "--out", "again", "--seed", 7, "--accounts", 3)
    assert again.code == 0
    assert load_key(Path("again/accounts/account-1.key")).public_key == accounts["account-1"].key


def test_without_further_accounts_there_is_no_folder_for_them(vppd: Vppd) -> None:
    assert vppd("testnet", "-n", 1, "--out", "plant").code == 0
    assert not Path("plant/accounts").exists()

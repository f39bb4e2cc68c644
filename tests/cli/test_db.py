"""``vppd db``: what people and programs read, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from vppd.cli.testnet import write_testnet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_testnet(tmp_path / "plant", 1).nodes[0].home


def test_a_sound_store(vppd: Vppd, home: Path) -> None:
    ran = vppd("db", "check", "--home", home)
    assert (ran.code, ran.err) == (0, "")
    assert "may vote" in ran.out
    assert "every hash, root and signature re-checked from genesis" in ran.out
    said = vppd("db", "check", "--home", home, "-o", "json").data
    assert (said["ok"], said["may_vote"], said["running"], said["problems"]) == (
        True, True, None, [],
    )  # fmt: skip


def test_damage_is_named_and_exits_1(vppd: Vppd, home: Path) -> None:
    with (home / "chain.db").open("r+b") as file:
        file.seek(100)
        file.write(bytes(3_000))
    ran = vppd("db", "check", "--home", home)
    assert ran.code == 1
    assert ran.out.splitlines()[1].startswith("damaged")
    assert ran.err.startswith("error[E380]: the chain store does not hold: ")
    assert "vppd recover" in ran.err
    ran = vppd("db", "check", "--home", home, "-o", "json")
    assert ran.code == 1
    assert not ran.data["ok"]
    assert all(problem["where"] and problem["what"] for problem in ran.data["problems"])


def test_backup_and_restore(vppd: Vppd, home: Path, tmp_path: Path) -> None:
    settings = home / "node.toml"
    settings.write_text(settings.read_text().replace("512MiB", "1MiB"))
    ran = vppd("db", "backup", "node.backup", "--home", home)
    assert ran.code == 0, ran.err
    assert "It cannot vote" in ran.out
    assert (tmp_path / "node.backup").stat().st_mode & 0o777 == 0o600
    assert vppd("db", "backup", "node.backup", "--home", home).err.startswith("error[E280]")
    said = vppd("db", "backup", "second.backup", "--home", home, "-o", "json").data
    assert said == {
        "file": "second.backup",
        "bytes": (tmp_path / "second.backup").stat().st_size,
        "height": 0,
    }
    looked = vppd("db", "check", "--store", "node.backup", "--home", home).out
    assert "it never votes: from a backup" in looked

    refused = vppd("db", "restore", "node.backup", "--home", home)
    assert refused.code == 1
    assert refused.err.startswith("error[E284]")
    assert "costs this node its vote" in refused.err
    ran = vppd("db", "restore", "node.backup", "--home", home, "--replace")
    assert ran.code == 0, ran.err
    assert "AN OBSERVER" in ran.out
    assert "THIS NODE'S VOTE" in ran.out
    assert str(home / "chain.db.replaced-1") in ran.out
    said = vppd("db", "restore", "node.backup", "--home", home, "--replace", "-o", "json").data
    assert (said["voting"], said["gave_up_vote"], len(said["nonce"])) == (False, False, 64)
    assert said["aside"][0] == str(home / "chain.db.replaced-2")
    looked = vppd("db", "check", "--home", home).out
    assert "it never votes: restored from a backup" in looked


def test_min_free_is_left_for_the_node(vppd: Vppd, home: Path, tmp_path: Path) -> None:
    settings = home / "node.toml"
    settings.write_text(settings.read_text().replace("512MiB", "1000TiB"))
    ran = vppd("db", "backup", "node.backup", "--home", home)
    assert (ran.code, ran.err.splitlines()[0]) == (
        1, "error[E281]: there is no room for the backup",
    )  # fmt: skip
    assert not (tmp_path / "node.backup").exists()


def test_without_a_backup(vppd: Vppd, home: Path) -> None:
    assert vppd("db", "restore", "no.backup", "--home", home).err.startswith("error[E283]")

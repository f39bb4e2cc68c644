"""``vppd config`` and ``vppd peers``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.config.plant import GENESIS, NAMES, peers_text, public, write_home

EXAMPLES = Path(__file__).parents[2] / "config"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = write_home(tmp_path / "home")
    (made / "node.toml").write_text('schema = 1\n[net]\ntransport = "plain"\n')
    return made


def test_check_names_every_file_and_the_node(vppd: Vppd, home: Path) -> None:
    rows = {
        row["file"]: row["says"]
        for row in vppd("config", "check", "--home", home, "-o", "json").data
    }
    assert "engine bncm, 4 validators, 2 accounts, 1 meters" in rows["genesis.toml"]
    assert "4 peers" in rows["peers.toml"]
    assert rows[str(home / "node.key")] == public("der-1")
    assert rows["node"] == "der-1, der, validator 1, listens on 10.0.0.1:7440"
    assert "vppd init" in rows[str(home / "chain.db")]


def test_check_misses_tls_files(vppd: Vppd, home: Path) -> None:
    (home / "node.toml").unlink()
    ran = vppd("config", "check", "--home", home)
    assert ran.code == 78
    assert ran.err.startswith("error[E118]")
    assert "node-tls.key" in ran.err
    for name in ("ca.pem", "node.pem", "node-tls.key"):
        (home / name).touch()
    assert vppd("config", "check", "--home", home).code == 0


def test_check_of_this_folder(vppd: Vppd, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert vppd("config", "check").code == 0


def test_check_tells_files_by_what_is_in_them(vppd: Vppd, tmp_path: Path) -> None:
    for name in ("genesis", "peers", "node"):
        (tmp_path / f"{name}.copy").write_bytes((EXAMPLES / f"{name}.toml").read_bytes())
    rows = vppd("config", "check", "genesis.copy", "peers.copy", "node.copy", "-o", "json").data
    assert [row["file"] for row in rows] == ["genesis.copy", "peers.copy", "node.copy"]
    assert "validators" in rows[0]["says"]
    assert "peers" in rows[1]["says"]
    assert "role" in rows[2]["says"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("genesis.toml", GENESIS.replace("slot_seconds", "slot_second")),
        ("peers.toml", peers_text().replace("addr", "adr")),
        ("node.toml", 'schema = 1\n[store]\nmin_fre = "1GiB"\n'),
    ],
)
def test_an_unknown_key_exits_78_with_a_suggestion(
    vppd: Vppd, home: Path, name: str, text: str
) -> None:
    (home / name).write_text(text)
    ran = vppd("config", "check", "--home", home)
    assert ran.code == 78
    assert ran.err.startswith("error[E102]")
    assert "did you mean" in ran.err
    assert vppd("config", "check", home / name).err == ran.err


def test_a_stranger_gets_the_text_of_the_manual(vppd: Vppd, home: Path) -> None:
    (home / "node.key").unlink()
    key = vppd("key", "gen", "--out", home / "node.key").out.strip()
    ran = vppd("config", "check", "--home", home)
    assert ran.code == 78
    assert ran.err.splitlines() == [
        "error[E104]: this node's key is not in peers.toml",
        f"  key  {key}  ({home / 'node.key'})     peers.toml: 4 peers, none match",
        f"  try  vppd peers add NAME {key} HOST:7440     then copy to every node",
    ]


def test_peers_list(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text(peers_text())
    heading, *lines = vppd("peers", "list").out.splitlines()
    assert heading.split() == ["NAME", "ADDR", "ID"]
    assert [line.split() for line in lines] == [
        [name, f"10.0.0.{i}:7440", public(name)] for i, name in enumerate(NAMES)
    ]
    rows = vppd("peers", "list", "-o", "json").data
    assert rows[1] == {"name": "der-1", "addr": "10.0.0.1:7440", "id": public("der-1")}


def test_peers_add(vppd: Vppd, tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text(peers_text())
    ran = vppd("peers", "add", "obs-1", public("obs-1"), "10.0.0.9:7440")
    assert ran.code == 0
    assert "5 peers" in ran.out
    assert vppd("peers", "list", "-o", "json").data[-1]["name"] == "obs-1"
    assert vppd("peers", "add", "obs-1", public("obs-2"), "10.0.0.10:7440").code == 78

"""``vppd start`` on files that are wrong, and typed as in the manual on files that are right."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.plant import Node, Plant, Ran, eventually, plant_of, vppd
from vppd.config.values import parse_address

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Two nodes' files; nobody runs."""
    with plant_of(tmp_path_factory.mktemp("written") / "plant", 2, chain_name="two") as plant:
        yield plant


@pytest.fixture
def home(written: Plant, tmp_path: Path) -> Path:
    """A copy of the DER's folder."""
    return Path(shutil.copytree(written.nodes[1].home, tmp_path / "der-1"))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Node]:
    """The one node of a plant, which decides on its own vote."""
    with plant_of(tmp_path / "plant", 1, chain_name="one") as plant:
        yield plant.nodes[0]


def start(home: Path, *args: object) -> Ran:
    """Expected to end by itself."""
    return vppd("start", "--home", home, *args, seconds=20)


def append(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


# ---------------------------------------------------------------- exit 78: bad configuration


@pytest.mark.parametrize("file", ["node.toml", "peers.toml", "genesis.toml"])
def test_an_unknown_key_is_named_with_its_file(home: Path, file: str) -> None:
    text = (home / file).read_text()
    (home / file).write_text(text.replace("schema = 1\n", "schema = 1\nview_timeot_ms = 2000\n", 1))
    ended = start(home)
    assert ended.code == 78
    assert ended.err.startswith("error[E1")
    assert "view_timeot_ms" in ended.err
    assert file in ended.err


def test_a_misspelt_key_is_met_with_the_right_one(home: Path) -> None:
    text = (home / "node.toml").read_text()
    assert "listen = " in text
    (home / "node.toml").write_text(text.replace("listen = ", "listten = ", 1))
    ended = start(home)
    assert ended.code == 78
    assert "listten" in ended.err
    assert "listen" in ended.err.replace("listten", "")


def test_a_file_that_is_no_toml_says_where(home: Path) -> None:
    append(home / "node.toml", "\n[net\n")
    ended = start(home)
    assert ended.code == 78
    assert "node.toml" in ended.err


def test_a_key_that_is_not_in_peers_toml_is_shown(home: Path) -> None:
    (home / "node.key").unlink()
    assert vppd("key", "gen", "--out", home / "node.key").code == 0
    own = vppd("key", "show", home / "node.key").out.strip()
    ended = start(home)
    assert ended.code == 78
    assert ended.err.startswith("error[E104]: this node's key is not in peers.toml")
    assert own in ended.err
    assert "vppd peers add" in ended.err


def test_the_genesis_of_another_plant_is_refused(home: Path, tmp_path: Path) -> None:
    with plant_of(tmp_path / "other", 2, chain_name="two") as other:
        shutil.copy(other.nodes[1].home / "genesis.toml", home / "genesis.toml")
    ended = start(home)
    assert ended.code == 78
    assert "genesis" in ended.err
    assert ended.err.startswith("error[E1")


def test_a_changed_genesis_is_refused(home: Path) -> None:
    append(home / "genesis.toml", "# a comment is a change: the file's hash is the chain\n")
    ended = start(home)
    assert ended.code == 78
    assert "genesis" in ended.err


def test_a_role_that_is_not_ours_is_refused(home: Path) -> None:
    ended = start(home, "--role", "operator")
    assert ended.code == 78
    assert "error[E116]" in ended.err
    assert "operator (--role)" in ended.err


@pytest.mark.parametrize("file", ["node.key", "peers.toml", "genesis.toml", "ca.pem", "node.pem"])
def test_a_missing_file_is_named(home: Path, file: str) -> None:
    (home / file).unlink()
    ended = start(home)
    assert ended.code == 78
    assert str(home / file) in ended.err


def test_a_key_that_others_may_read_is_refused(home: Path) -> None:
    (home / "node.key").chmod(0o644)
    ended = start(home)
    assert ended.code == 78
    assert "node.key" in ended.err


def test_a_missing_store_is_not_made_in_passing(home: Path) -> None:
    """A node that has lost its store must not vote as if it were new."""
    (home / "chain.db").unlink()
    ended = start(home)
    assert ended.code == 1
    assert "error[E250]" in ended.err
    assert not (home / "chain.db").exists()


def test_the_store_of_another_chain_is_refused(home: Path, tmp_path: Path) -> None:
    with plant_of(tmp_path / "other", 2) as other:
        shutil.copy(other.nodes[1].home / "chain.db", home / "chain.db")
    ended = start(home)
    assert ended.code == 1
    assert "error[E251]" in ended.err


# ---------------------------------------------------------------- exit 1: this machine


def test_a_taken_port_is_named(written: Plant, home: Path) -> None:
    addr = written.nodes[1].member.addr
    with closing(socket.create_server(parse_address(addr))):
        ended = start(home)
    assert ended.code == 1
    assert f"error[E301]: port {parse_address(addr)[1]} is taken" in ended.err
    assert "ss -ltnp" in ended.err


def test_a_taken_port_for_metrics_is_named(written: Plant, home: Path) -> None:
    host, number = parse_address(written.nodes[1].member.addr)
    with closing(socket.create_server((host, number + 1))):
        ended = start(home)
    assert ended.code == 1
    assert "error[E307]" in ended.err
    assert str(number + 1) in ended.err


def test_a_second_start_on_the_same_home_is_refused(alone: Node) -> None:
    alone.start()
    eventually(alone.status, "it answers")
    second = start(alone.home)
    assert second.code == 1
    assert "error[E254]" in second.err
    status = alone.status()
    assert status is not None
    assert alone.process.poll() is None
    assert alone.terminate() == 0


def test_a_disk_that_fails_stops_the_node_which_says_why(alone: Node) -> None:
    alone.start()
    wait_voting(alone)
    with closing(sqlite3.connect(alone.home / "chain.db")) as database:
        database.execute("DROP TABLE safety")
    asked = alone.vppd("market", "bid", 10, "0.3", "--wait")
    assert asked.code == 1
    assert "error[E358]: the node went away before it had answered" in asked.err
    assert alone.process.wait(20) == 1
    assert "error[E258]: the node has stopped rather than guess" in alone.log
    assert "not written: no such table: safety" in alone.log
    assert "Traceback" not in alone.log


# ---------------------------------------------------------------- right


def test_the_manual_s_line_joins_and_works(written: Plant) -> None:
    """``vppd start --role der --peers peers.toml``, verbatim, in a folder that testnet wrote."""
    operator, der = written.nodes
    operator.start()
    der.start("--role", "der", "--peers", "peers.toml", cwd=der.home)
    written.wait_complete()
    bid = vppd("market", "bid", 1500, "0.52", "--wait", "-o", "json", cwd=der.home)
    assert bid.code == 0, bid.err
    assert (bid.data["stage"], bid.data["status"]) == ("committed", "ok")
    height, _ = written.wait_equal()
    assert height >= 1
    assert der.terminate() == 0
    assert operator.terminate() == 0


def test_one_node_is_a_plant(alone: Node) -> None:
    alone.start()
    wait_voting(alone)
    shown = alone.vppd("status")
    assert shown.code == 0
    assert "1 of 1 replicas are here, 1 needed to decide: no further one may fail" in shown.out
    bid = alone.vppd("market", "bid", 10, "0.3", "--wait", "-o", "json")
    assert bid.data["status"] == "ok"
    assert alone.terminate() == 0


def wait_voting(node: Node) -> None:
    def voting() -> bool:
        status = node.status()
        return bool(status and status["voting"])

    eventually(voting, "it votes")

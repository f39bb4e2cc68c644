"""What the previous version has written opens, is verified, and is gone on with."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.plant import Node, eventually, free_base_port, vppd
from tests.store.builders import raw_rows
from vppd.cli.testnet import Member
from vppd.config.home import Home, load_home
from vppd.consensus.boundary import NewViewRecord, ObserverRecord, PreparedRecord, VoteRecord
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.store.chain import ChainStore
from vppd.store.safety import OBSERVER_GENERATION
from vppd.store.verify import verify_chain

PACKED = Path(__file__).parents[1] / "data" / "previous"
NAMES = ("leader", "voter", "lone")
HEIGHTS = {"leader": 40, "voter": 40, "lone": 13}
"""Each chain is at least so long."""
RECORD = "SELECT generation, record FROM safety"


def unpack(name: str, folder: Path) -> Path:
    """A node's folder, as it was."""
    folder.mkdir()
    with tarfile.open(PACKED / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def home(name: str, tmp_path: Path) -> Home:
    return load_home(unpack(name, tmp_path / name))


def record_of(home: Home, beside: Path) -> tuple[int, bytes]:
    """The safety record as it lies there, read from a copy: reading empties the log."""
    beside.mkdir()
    for file in home.node.store.parent.glob("chain.db*"):
        shutil.copy(file, beside)
    ((generation, record),) = raw_rows(beside / "chain.db", RECORD)
    assert isinstance(generation, int)
    assert isinstance(record, bytes)
    return generation, record


async def test_it_opens_and_keeps_every_promise(name: str, home: Home, tmp_path: Path) -> None:
    generation, record = record_of(home, tmp_path / "before")
    async with await ChainStore.open(home.node.store, home.genesis.digest) as store:
        kept = await store.resume()
        kinds = {type(held) for held in kept.log}
        assert ObserverRecord not in kinds, "nothing is lost: this node still votes"
        assert VoteRecord in kinds
        assert (PreparedRecord in kinds) is (name != "lone"), "a lone node locks on nothing"
        assert (NewViewRecord in kinds) is (name == "voter")
        assert kept.decided >= HEIGHTS[name]
        block, execution = await store.block(kept.executed), await store.execution(kept.executed)
        assert block is not None
        assert execution is not None
        ledger = Ledger.load(
            home.genesis, kept.executed, await store.state_entries(),
            decode_header(block.header), execution.receipts_root,
        )  # fmt: skip
        assert ledger.state_root == execution.state_root
    after = record_of(home, tmp_path / "after")
    assert after == (generation + 1, record), "the same promises, byte for byte"
    assert after[0] < OBSERVER_GENERATION


def test_every_hash_root_and_signature_holds(name: str, home: Home) -> None:
    report = verify_chain(home.node.store, home.genesis)
    assert report.ok, report.problem
    assert report.last >= HEIGHTS[name]
    unexecuted = 1 if name == "voter" else 0
    assert report.executed == report.last - unexecuted, "one died between deciding and executing"
    assert report.transactions >= report.last - 10, "most blocks have one; slots make the others"


def test_the_opening_state_is_what_it_was(home: Home) -> None:
    ((header,),) = raw_rows(
        home.node.store,
        "SELECT header FROM decisions JOIN bodies USING (digest) WHERE decisions.height = 1",
    )
    assert isinstance(header, bytes)
    assert Ledger.from_genesis(home.genesis).state_root in header


# ------------------------------------------------------------ real processes


@pytest.fixture
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Node]:
    """A folder of the previous version, ready to be started: only its ports are others."""
    folder = unpack(request.param, tmp_path / "home")
    base = free_base_port(5)
    ports: dict[str, str] = {}
    for file in ("peers.toml", "node.toml"):
        text = (folder / file).read_text()
        for addr in re.findall(r"127\.0\.0\.1:\d+", text):
            ports.setdefault(addr, f"127.0.0.1:{base + 10 * len(ports)}")
        for old, new in ports.items():
            text = text.replace(old, new)
        (folder / file).write_text(text)
    home = load_home(folder)
    made = Node(
        Member(
            name=home.name, role=home.role, home=folder, addr=home.listen,
            key=home.signer.public_key, meter=None,
        )
    )  # fmt: skip
    with ExitStack() as stack:
        stack.callback(made.end)
        yield made


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("node", ["lone"], indirect=True)
def test_a_daemon_goes_on_deciding(node: Node) -> None:
    home = load_home(node.home)
    before = verify_chain(home.node.store, home.genesis).last
    node.start()
    eventually(lambda: (node.status() or {}).get("voting"), f"it votes; log:\n{node.log_file}")
    account = node.view("account", node.name)
    for nonce in range(account["nonce"], account["nonce"] + 3):
        ops = (Transfer(node.key.public_key, 1),)
        raw = make_transaction(node.key, home.genesis.digest, nonce, before + 1_000, ops)
        sent = node.vppd("tx", "send", "-", "--wait", stdin=raw)
        assert sent.code == 0, sent.err
    assert node.terminate() == 0
    report = verify_chain(home.node.store, home.genesis)
    assert report.ok, report.problem
    assert report.last >= before + 3


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("node", ["leader", "voter"], indirect=True)
def test_a_daemon_stands_where_the_old_one_stopped(node: Node) -> None:
    head = load_home(node.home)
    checked = vppd("db", "check", "--home", node.home, "-o", "json")
    assert checked.code == 0, checked.err
    node.start()
    status = eventually(node.status, "it answers")
    assert status["observer"] in (None, ""), status
    assert node.terminate() == 0
    report = verify_chain(head.node.store, head.genesis)
    assert report.ok, report.problem
    assert report.last == status["height"] == status["executed"]

"""Members come and go on a plant of real processes, by the command line as people use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Node, Plant, eventually, free_base_port, plant_of, vppd
from vppd.cli.testnet import Member
from vppd.config.home import load_home
from vppd.ledger.transaction import Transfer

pytestmark = [pytest.mark.slow, pytest.mark.net]

N = 4


class Growing(Plant):
    """A testnet to which nodes are added with ``vppd init``."""

    def __init__(self, plant: Plant, stack: ExitStack) -> None:
        super().__init__(plant.testnet)
        self._stack = stack
        for node in self.nodes:
            stack.callback(node.end)

    def found(self, name: str, role: str = "der") -> Node:
        """A node that is not in genesis: its folder, with a certificate; not started."""
        home, out = self.testnet.out / name, self.testnet.out
        addr = f"127.0.0.1:{free_base_port(1)}"
        given = self.nodes[0].home
        made = vppd(
            "init", "--role", role, "--name", name, "--home", home, "--addr", addr,
            "--genesis", given / "genesis.toml", "--peers", given / "peers.toml",
        )  # fmt: skip
        assert made.code == 0, made.err
        issued = vppd(
            "pki", "issue", name, "--dir", out / "ca", "--hosts", "127.0.0.1", "--out", home
        )
        assert issued.code == 0, issued.err
        files = load_home(home)
        node = Node(
            Member(
                name=name, role=files.role, home=home, addr=addr,
                key=files.signer.public_key, meter=None,
            )
        )  # fmt: skip
        self._stack.callback(node.end)
        return node

    def pay(self, amount: int = 1) -> str:
        """A transfer, decided: the plant is alive; its hash."""
        payer = self.nodes[1]
        raw = self.sign(payer, Transfer(self.nodes[0].key.public_key, amount))
        sent = payer.vppd("tx", "send", "-", "--wait", "-o", "json", stdin=raw)
        assert sent.code == 0, sent.err
        paid: str = sent.data["hash"]
        return paid

    def proved(self, node: Node) -> str:
        """How a node proves a transfer from genesis on, once another block has followed it."""
        paid = self.pay()
        self.pay()
        shown = node.vppd("tx", "show", paid, "--wait", "--proof", "-o", "json")
        assert shown.code == 0, shown.err
        how: str = shown.data["proof"]["proved_by"]
        return how


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Growing]:
    with plant_of(tmp_path / "plant", N) as made, ExitStack() as stack:
        grown = Growing(made, stack)
        grown.start()
        grown.pay()
        yield grown


def agree(words: tuple[object, ...], *members: Node) -> dict[str, Any]:
    """The first proposes, the others approve; what the last one read."""
    said: dict[str, Any] = {}
    for count, member in enumerate(members):
        args = ("validator", *words) if count == 0 else ("validator", "approve")
        ran = member.vppd(*args, "-o", "json")
        assert ran.code == 0, ran.err + ran.out
        said = ran.data
        assert said["approvals"] == count + 1, said
    assert said["needed"] == len(members), said
    assert said["first_height"] == said["height"] + 2, said
    return said


def ready(node: Node) -> str:
    """The node's token, as soon as it has caught up."""

    def look() -> str:
        ran = node.vppd("validator", "ready")
        joining = ("E351", "E358", "E377")  # not up yet, between two lives, behind
        assert ran.code == 0 or any(f"error[{code}]" in ran.err for code in joining), ran.err
        return ran.out.strip()

    return eventually(look, f"{node.name} is ready; log:\n{node.log_file}")


def votes(node: Node) -> bool:
    status = node.status()
    return bool(status and status["voting"] and status["role"] != "observer")


def members(node: Node) -> list[str]:
    view = node.view("validators")
    return [member["name"] for member in (view["scheduled"] or view["era"])["members"]]


def test_the_whole_life_of_a_member(plant: Growing) -> None:
    op, one, two, three = plant.nodes
    late = plant.found("der-9")
    late.start()
    token = ready(late)

    proposed = op.vppd("validator", "add", token)
    assert proposed.code == 0, proposed.err
    assert proposed.out.startswith("1 of 2 approvals: needs 1 more: vppd validator approve ")
    short = proposed.out.split()[-1]
    listed = one.vppd("validator", "list")
    assert f"proposal {short}: add der-9 as der " in listed.out
    assert late_key(late) in listed.out
    approved = one.vppd("validator", "approve", short)
    assert approved.code == 0, approved.err
    assert approved.out.startswith("2 of 2 approvals: takes effect at height ")
    plant.pay()
    eventually(lambda: votes(late), f"it votes; logs in {plant.testnet.out}")
    assert members(op) == [op.name, one.name, two.name, three.name, "der-9"]
    everybody = [*plant.nodes, late]
    for node in everybody:
        eventually(
            lambda node=node: (
                all(p["connected"] for p in node.view("status")["peers"])  # type: ignore[misc]
                and len(node.view("status")["peers"]) == N
            ),
            f"{node.name} sees everybody",
        )

    fresh = plant.found("der-2b")
    fresh.start()
    agree(("rekey", two.name, ready(fresh)), op, late)
    plant.pay()
    eventually(lambda: votes(fresh), "the new key votes")
    gone = eventually(
        lambda: (two.status() or {}).get("dismissed"), f"the old key is told; {two.log_file}"
    )
    assert "no validator any more since height" in gone
    assert not votes(two)
    plant.pay()
    plant.wait_equal([op, one, two, three, late, fresh])

    agree(("remove", "der-9"), three, fresh)
    plant.pay()
    gone = eventually(lambda: (late.status() or {}).get("dismissed"), "the removed one is told")
    assert "no validator any more since height" in gone
    assert members(op) == [op.name, one.name, "der-2", three.name]
    plant.pay()
    plant.wait_equal([op, one, two, three, late, fresh])
    assert late.process.poll() is None, "it goes on as an observer"
    for node in (one, late):
        assert plant.proved(node).startswith("certificate of height")

    again = one.vppd("validator", "remove", "der-9")
    assert again.code == 2
    assert "error[E373]" in again.err
    for node in (op, fresh):
        checked = node.vppd("block", "verify")
        assert checked.code == 0, checked.err


def late_key(node: Node) -> str:
    shown = vppd("key", "show", node.home / "node.key")
    return shown.out.strip()


def test_rules_change_while_it_runs(plant: Growing) -> None:
    op, one, *_ = plant.nodes
    said = agree(
        ("set", "view_timeout_ms=3000", "clock_tolerance_ms=900", "max_tx_ops=3", "f=unset"),
        op,
        one,
    )
    plant.pay()
    eventually(
        lambda: op.view("validators")["era"]["first"] == said["first_height"], "the era begins"
    )
    assert op.view("validators")["era"]["rules"] == {
        "view_timeout_ms": 3000,
        "clock_tolerance_ms": 900,
        "max_tx_ops": 3,
    }
    assert op.view("status")["clock_tolerance_ms"] == 900
    slot = op.view("market")["open_slot"] - 12
    readings = "".join(f"{slot + i},{i},0\n" for i in range(7))
    pushed = one.vppd(
        "meter", "push", "-", "-o", "json", stdin=b"slot,import_wh,export_wh\n" + readings.encode()
    )
    assert pushed.code == 0, pushed.err
    assert len(pushed.data["transactions"]) == 3, "three readings fit a transaction now"
    plant.pay()
    plant.wait_equal()


def test_a_node_that_lost_its_memory_votes_again(plant: Growing) -> None:
    op, one, two, three = plant.nodes
    agree(("set", "view_timeout_ms=3000"), op, one)  # what is recovered spans two epochs
    plant.pay()
    plant.wait_equal()
    three.terminate()
    (three.home / "chain.db-guard").unlink()  # its last promises cannot be vouched for any more
    recovered = three.vppd("recover")
    assert recovered.code == 0, recovered.err
    three.start()
    token = ready(three)
    wrong = op.vppd("validator", "readmit", two.name, token)
    assert wrong.code == 1
    assert "error[E378]" in wrong.err
    agree(("readmit", three.name, token), op, one)
    plant.pay()
    eventually(lambda: votes(three), f"it votes again; {three.log_file}")
    plant.wait_equal()
    checked = three.vppd("block", "verify")
    assert checked.code == 0, checked.err


REFUSED: tuple[tuple[tuple[str, ...], int, str], ...] = (
    (("add", "vppd-ready:abc"), 2, "error[E372]"),
    (("remove", "der-33"), 2, "did you mean der-3?"),
    (("set", "f=-1"), 2, "error[E374]"),
    (("set", "f=9"), 1, "bad_quorum"),
    (("set", "engine=pbtf"), 1, "unknown_engine"),
    (("approve",), 2, "no proposal waits for approvals"),
    (("approve", "3fa9"), 2, "no proposal begins with 3fa9"),
    (("ready",), 1, "it votes already"),
    (("vote", "der-1"), 1, "not_dpos"),
    (("role", "op-0", "operator"), 1, "nothing_changes"),
)


def test_what_cannot_be_is_explained_and_changes_nothing(plant: Growing) -> None:
    node = plant.nodes[0]
    for words, code, says in REFUSED:
        ran = node.vppd("validator", *words)
        assert ran.code == code, (words, ran)
        assert says in ran.out + ran.err, (words, ran)
    view = node.view("validators")
    assert (view["proposals"], view["era"]["epoch"]) == ([], 0)


def test_nothing_changes_while_a_node_speaks_the_wire_of_the_release_before(
    plant: Growing,
) -> None:
    old = plant.nodes[3]
    old.terminate()
    file = old.home / "node.toml"
    file.write_text(file.read_text().replace("[net]\n", "[net]\nwire = 2\n"))
    old.start()
    plant.wait_complete()
    ran = plant.nodes[0].vppd("validator", "set", "view_timeout_ms=3000")
    assert ran.code == 1
    assert ran.err.startswith("error[E376]")
    assert old.name in ran.err

"""Views after members have changed: names, candidates, and who is what in the epoch in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.ledger.council import NODES, Council, Crimes, plant
from tests.ledger.test_producers import Republic, dpos
from tests.wire_samples import SIG, D
from vppd.consensus.messages import Prepare
from vppd.crypto import key_text, verify
from vppd.ledger.changes import Remove
from vppd.node.machine import Machine
from vppd.node.metrics import Metrics
from vppd.node.trace import Trace
from vppd.node.views import Views


def views_of(council: Council, node: int, folder: Path, trace: Trace | None = None) -> Views:
    machine = Machine(council.genesis, NODES[node], verify, council.ledger)
    metrics = Metrics(machine.terms)
    return Views(machine, metrics, dict, f"node-{node}", folder / "chain.db", trace or Trace(0))


async def names(views: Views) -> set[str]:
    return {row["name"] for row in await views.render("accounts", "")}


def grown() -> Council:
    """Node 4 is added as ``new``; node 1 continues under the key of node 5."""
    council = Council(plant(4))
    council.decide(council.add(NODES[4]))
    council.idle(2)
    council.decide(council.rekey(NODES[1], NODES[5]))
    council.idle(2)
    return council


async def test_accounts_of_new_members_have_names_that_find_them(tmp_path: Path) -> None:
    council = grown()
    views = views_of(council, 0, tmp_path)
    other = f"node-1~{NODES[5].public_key.hex()[:8]}"
    assert await names(views) == {"node-0", "node-1", "node-2", "node-3", "new", other}
    for name, node in (("new", 4), ("node-1", 1), (other, 5)):
        found = await views.render("account", name)
        assert (found["key"], found["name"]) == (key_text(NODES[node].public_key), name)


async def test_a_name_given_again_is_that_of_who_bears_it(tmp_path: Path) -> None:
    council = grown()
    council.decide(Remove(NODES[4].public_key))
    council.idle(2)
    former = f"new~{NODES[4].public_key.hex()[:8]}"
    assert former in await names(views_of(council, 0, tmp_path))
    council.decide(council.add(NODES[6]))
    council.idle(2)
    views = views_of(council, 0, tmp_path)
    assert {"new", former} <= await names(views)
    assert (await views.render("account", "new"))["key"] == key_text(NODES[6].public_key)


async def test_a_trace_names_nodes_by_who_they_are(tmp_path: Path) -> None:
    """Numbers of peers, which stay, are not the indices of the epoch in force."""
    council = Council(plant(4))
    council.decide(Remove(NODES[0].public_key))
    council.idle(2)
    council.decide(council.add(NODES[5]))
    council.idle(2)
    trace = Trace(4)
    views = views_of(council, 2, tmp_path, trace)
    for number in (0, 1, 4):
        trace.note(1, 9, number, (2,), Prepare(2, 0, 9, D, 0, SIG))
    rows = (await views.render("trace", "9"))["messages"]
    assert [row["sender"] for row in rows] == ["node-0", "node-1", "new"]
    assert [row["receiver"] for row in rows] == ["node-2"] * 3
    assert rows[2]["sender_key"] == key_text(NODES[5].public_key)


async def standing(council: Council, node: int, folder: Path) -> dict[str, Any]:
    status: dict[str, Any] = await views_of(council, node, folder).render("status", "")
    return status


async def test_a_candidate_that_does_not_produce_is_no_observer(tmp_path: Path) -> None:
    council = Republic(dpos(5, 4))
    council.all_ready()
    council.favour(4)
    council.to_election()
    council.idle(1)
    idle = next(i for i in range(5) if NODES[i].public_key not in council.members())
    said = await standing(council, idle, tmp_path)
    assert (said["role"], said["candidate"]) == ("der" if idle else "operator", True)
    assert (said["observer"], said["voting"]) == ("", False)
    era = council.latest
    assert (said["epoch"], said["epoch_first"]) == (era.epoch, era.first) == (1, era.first)
    assert said["next_election_height"] > council.ledger.height
    sits = await standing(council, 4, tmp_path)
    assert (sits["role"], sits["candidate"]) == ("der", False)
    assert sits["punished_until_epoch"] is None


async def test_who_was_skipped_says_until_when(tmp_path: Path) -> None:
    council = Republic(dpos(5, 4))
    council.all_ready()
    council.idle(1)
    council.said(Crimes(council).skip(1, 3, [NODES[i] for i in (0, 1, 3)]))
    council.to_election()
    council.idle(1)
    said = await standing(council, 2, tmp_path)
    assert (said["candidate"], said["punished_until_epoch"]) == (True, 3)


async def test_without_elections_there_is_none_to_come(tmp_path: Path) -> None:
    said = await standing(grown(), 0, tmp_path)
    assert (said["candidate"], said["next_election_height"]) == (False, None)
    assert (said["epoch"], said["n"], said["role"]) == (2, 5, "operator")
    gone = await standing(grown(), 1, tmp_path)
    assert (gone["role"], gone["candidate"]) == ("observer", False)

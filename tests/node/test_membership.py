"""Whom the network keeps links to, era by era."""

from __future__ import annotations

from tests.net.plant import KEYS
from tests.node.eras import FOUNDERS, GENESIS, PEERS, era, member, numbers
from vppd.node.membership import Membership, Plan
from vppd.types import Role

STRANGER = KEYS[7].public_key


def names(plan: Plan) -> list[tuple[int, str]]:
    return [(entry.index, entry.name) for entry in plan.entries]


def of(i: int) -> Membership:
    return Membership(KEYS[i].public_key, numbers().__getitem__, FOUNDERS, PEERS)


def test_without_eras_the_founders_are_the_members() -> None:
    plan = of(1).plan((), 0)
    assert names(plan) == [(0, "node-0"), (1, "node-1"), (2, "node-2")]
    assert [entry.addr for entry in plan.entries] == [
        "10.0.0.0:7440",
        "10.0.0.1:7440",
        "10.0.0.2:7440",
    ]
    assert all(entry.founder for entry in plan.entries)
    assert plan.own == plan.entries[1]
    assert plan.dismissed == {}


def test_a_new_member_is_there_from_the_decision_on_and_an_old_one_until_the_era_begins() -> None:
    membership, eras = of(0), (GENESIS, era(1, 12, 0, 1, 4))
    assert names(membership.plan(eras[:1], 9)) == [(0, "node-0"), (1, "node-1"), (2, "node-2")]
    decided = membership.plan(eras, 10)
    assert names(decided) == [(0, "node-0"), (1, "node-1"), (2, "node-2"), (3, "node-4")]
    assert decided.dismissed == {}
    begun = membership.plan(eras, 11)
    assert names(begun) == [(0, "node-0"), (1, "node-1"), (3, "node-4")]
    assert begun.dismissed == {KEYS[2].public_key: "no validator any more since height 12"}
    assert [entry.founder for entry in begun.entries] == [True, True, False]


def test_an_address_on_chain_goes_before_peers_toml() -> None:
    plan = of(0).plan((GENESIS, era(1, 3, 0, member(1, "der-1.local:7440"), 5, 6)), 5)
    assert {entry.name: entry.addr for entry in plan.entries} == {
        "node-0": "10.0.0.0:7440",
        "node-1": "der-1.local:7440",
        "node-5": "10.0.0.5:7440",
        "node-6": "",
    }


def test_numbers_stay_whoever_comes_and_goes() -> None:
    membership = of(0)
    eras = [GENESIS, era(1, 3, 0, 1, 2, 4), era(2, 5, 0, 4, 5), era(3, 7, 0, 1, 5)]
    seen = [names(membership.plan(eras[: k + 1], 2 * k + 1)) for k in range(4)]
    assert sorted(seen[-1]) == [(0, "node-0"), (1, "node-1"), (4, "node-5")]
    given = {(0, "node-0"), (1, "node-1"), (2, "node-2"), (3, "node-4"), (4, "node-5")}
    assert {pair for one in seen for pair in one} == given
    assert membership.role(0) is Role.OPERATOR
    assert membership.role(3) is Role.DER
    assert membership.role(99) is Role.OBSERVER
    gone = membership.member(3)
    assert gone is not None
    assert gone.name == "node-4"


def test_the_reason_names_the_height_since_when() -> None:
    eras = (GENESIS, era(1, 3, 0, 1, 2), era(2, 20, 0, 1), era(3, 30, 0, 2), era(4, 44, 0))
    dismissed = of(0).plan(eras, 50).dismissed
    assert dismissed == {
        KEYS[1].public_key: "no validator any more since height 30",
        KEYS[2].public_key: "no validator any more since height 44",
    }


def test_a_founder_gone_before_the_eras_still_known_is_dismissed_all_the_same() -> None:
    plan = of(0).plan((era(40, 900, 0, 1, 4), era(41, 950, 0, 1)), 960)
    assert plan.dismissed[KEYS[2].public_key] == "no validator any more"
    assert plan.dismissed[KEYS[4].public_key] == "no validator any more since height 950"


def test_a_key_that_is_replaced_goes_when_the_new_one_votes() -> None:
    membership = of(0)
    eras = (GENESIS, era(1, 12, 0, 1, member(6, name="node-2")))
    both = membership.plan(eras, 10)
    assert names(both) == [(0, "node-0"), (1, "node-1"), (2, "node-2"), (3, "node-2")]
    after = membership.plan(eras, 11)
    assert names(after) == [(0, "node-0"), (1, "node-1"), (3, "node-2")]
    assert set(after.dismissed) == {KEYS[2].public_key}


def test_candidates_stay_whoever_is_elected() -> None:
    candidates = [member(i) for i in range(3)]
    plan = of(2).plan((era(0, 1, 0, 1), era(1, 5, 1, 2), era(2, 9, 0, 1)), 20, candidates)
    assert names(plan) == [(0, "node-0"), (1, "node-1"), (2, "node-2")]
    assert plan.own is not None
    assert plan.dismissed == {}


def test_a_node_that_is_no_member_also_follows_whom_peers_toml_lists() -> None:
    membership = Membership(STRANGER, numbers().__getitem__, FOUNDERS, PEERS)
    plan = membership.plan((), 0)
    assert plan.own is None
    assert names(plan) == [(0, "node-0"), (1, "node-1"), (2, "node-2"), (3, "node-5")]
    assert membership.role(3) is Role.OBSERVER
    assert membership.member(3) is None

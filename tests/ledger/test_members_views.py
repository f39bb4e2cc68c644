"""Members, duties, projects and events as people see them."""

from __future__ import annotations

import json

import pytest

from tests.ledger.chain import ANN, BOB, BOB_METER, start_of
from tests.ledger.town import (
    AGG,
    NEW,
    OP,
    PRICE,
    RICH,
    WH_OF_KW,
    Town,
    answer,
    build,
    event,
    join,
    key,
    release,
    town,
)
from vppd.config.duties import DutyEntry
from vppd.config.genesis import Governance
from vppd.crypto import key_text
from vppd.ledger.changes import Bar, Grant
from vppd.ledger.registration.meters import PAUSED
from vppd.ledger.registration.ops import SetParameters
from vppd.ledger.registration.records import Duty
from vppd.ledger.registration.views import (
    events_view,
    parameters_view,
    people_view,
    permissions_view,
    projects_view,
)


@pytest.fixture
def chain() -> Town:
    return Town(town(duties=(DutyEntry(duty="aggregator", account="agg"),)))


def test_people_and_what_keeps_them_from_acting(chain: Town) -> None:
    chain.ok(chain.at(0), OP, chain.register(aggregator=key(AGG)))
    chain.ok(chain.at(0), OP, chain.standing(NEW, 1))
    chain.act(Bar(key(BOB), True, "x"))
    chain.ok(chain.at(1), OP, chain.control(BOB_METER, 5, PAUSED, every=4))
    rows = {row["name"]: row for row in chain.ledger.look(people_view)}
    json.dumps(rows)
    assert rows["newcomer"] == {
        "name": "newcomer", "key": key_text(key(NEW)), "aggregator": "agg",
        "standing": "suspended", "since_height": 2, "duties": [], "meters": [],
    }  # fmt: skip
    assert rows["bob"]["standing"] == "barred"
    assert rows["bob"]["meters"] == [
        {
            "key": key_text(key(BOB_METER)), "first_open_slot": 0, "interval_slots": 4,
            "pauses": [{"first_slot": 5, "next_slot": None}], "last_slot": None,
        }
    ]  # fmt: skip
    assert rows["ann"]["standing"] == "active"
    assert rows["agg"]["duties"] == ["aggregator"]
    assert rows["node-0"]["duties"] == ["commercial", "technical", "registrar"]


def test_who_has_which_duty_and_why(chain: Town) -> None:
    chain.act(Grant(key(BOB), Duty.TECHNICAL))
    assert chain.ledger.look(permissions_view) == [
        {"duty": "commercial", "account": "node-0", "granted": False},
        *sorted(
            [
                {"duty": "technical", "account": "bob", "granted": True},
                {"duty": "technical", "account": "node-0", "granted": False},
            ],
            key=lambda row: key(BOB) if row["account"] == "bob" else key(OP),
        ),
        {"duty": "registrar", "account": "node-0", "granted": False},
        {"duty": "aggregator", "account": "agg", "granted": True},
    ]


def test_an_authority_is_the_registrar() -> None:
    chain = Town(town(Governance(authority=(key(BOB),))))
    rows = chain.ledger.look(permissions_view)
    assert [r["account"] for r in rows if r["duty"] == "registrar"] == ["bob"]


def test_parameters_and_who_set_them(chain: Town) -> None:
    chain.ok(chain.at(0), BOB, SetParameters(key(BOB), (("phases", 3),)))
    chain.ok(chain.at(0), OP, SetParameters(key(BOB), (("phases", 1), ("maker", "acme"))))
    assert chain.ledger.look(lambda c, of: parameters_view(c, of, key(BOB))) == {
        "subject": key_text(key(BOB)),
        "version": 2,
        "parameters": {"maker": "acme", "phases": 1},
        "changes": [
            {"version": 1, "by": "bob", "height": 1, "set": {"phases": 3}},
            {"version": 2, "by": "node-0", "height": 2, "set": {"phases": 1, "maker": "acme"}},
        ],
    }
    none = chain.ledger.look(lambda c, of: parameters_view(c, of, key(ANN)))
    assert (none["version"], none["parameters"], none["changes"]) == (0, {}, [])
    with pytest.raises(LookupError, match="no account or meter"):
        chain.ledger.look(lambda c, of: parameters_view(c, of, key(NEW)))


def test_projects_and_events(chain: Town) -> None:
    chain.ok(chain.at(0), OP, build(), release())
    chain.ok(chain.at(0), ANN, join(auto=True))
    chain.ok(chain.at(0), OP, event(2, 3))
    chain.ok(chain.at(0), ANN, answer(1, opts_in=True))
    (shown,) = chain.ledger.look(projects_view)
    assert (shown["project"], shown["phase"], shown["owner"]) == (0, "released", "node-0")
    assert shown["members"] == [
        {
            "name": "ann", "key": key_text(key(ANN)), "capacity_w": 2_000, "auto": True,
            "agreed_version": 1, "since_height": 2,
        }
    ]  # fmt: skip
    (call,) = chain.ledger.look(events_view)
    deposit = 2 * WH_OF_KW * PRICE // 1_000
    assert (call["event"], call["phase"], call["issuer"]) == (1, "issued", "node-0")
    assert (call["next_ms"], call["held_micro"]) == (start_of(2), deposit)
    assert call["members"] == [
        {
            "name": "ann", "key": key_text(key(ANN)), "answer": "in", "auto": True,
            "target_w": 1_000, "until_slot": 4, "reserved_micro": deposit,
        }
    ]  # fmt: skip
    assert chain.balance(OP) == RICH - deposit

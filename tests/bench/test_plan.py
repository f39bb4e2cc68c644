"""Plans: what is refused, how they are written, and when transactions are due."""

from __future__ import annotations

import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import msgspec
import pytest

from tests.bench.made import read_plan
from vppd.bench.client import Job, due_times_ns
from vppd.bench.plan import Plan, check, check_limit, command, has_orders, line, parse_kill_at
from vppd.bench.plan import write_plan as write
from vppd.bench.wire import Entry
from vppd.bench.workload import Slots
from vppd.cli.tree import COMMANDS, load
from vppd.config.genesis import Engine
from vppd.errors import Exit, UserError

NAMES = ("op-0", "der-1", "der-2", "der-3")
FULL = Plan(
    engine=Engine("pbft"), nodes=7, rate=1234.5, arrival="constant", clients=3, accounts=12, ops=4,
    duration_s=2.5, warm_up_s=1.5, grace_s=1.0, runs=5, sync="off", transport="plain",
    entry="port", seed=9, fail=((3, 400_000),), delay_us=20_000, kill=((1, 1.25), (2, 0.5)),
)  # fmt: skip


def test_the_plan_that_nobody_changed_is_one() -> None:
    check(Plan())
    check(FULL)
    check(Plan(rate=None, closed=2))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"rate": 0.0}, "--rate is above zero"),
        ({"rate": -1.0}, "--rate is above zero"),
        ({"duration_s": 0.0}, "--duration is above zero"),
        ({"warm_up_s": -1.0}, "not below zero"),
        ({"grace_s": -1.0}, "not below zero"),
        ({"duration_s": 4_000.0}, "at most 3600 s"),
        ({"grace_s": 4_000.0}, "--grace is at most 3600 s"),
        ({"duration_s": float("nan")}, "--duration nan is no number"),
        ({"warm_up_s": float("nan")}, "--warm-up nan is no number"),
        ({"grace_s": float("inf")}, "--grace inf is no number"),
        ({"rate": float("nan")}, "--rate nan is no number"),
        ({"ops": 65}, "at most 64 operations"),
        ({"ledger": "null", "bytes": 16_385}, "at most 16384 bytes"),
        ({"kill": ((0, 12.0),)}, "--kill at 12 s: the load ends after 12 s"),
        ({"clients": 9, "accounts": 8}, "9 clients need as many accounts"),
        ({"unsigned": True}, "--unsigned is of --ledger null"),
        ({"bytes": 200}, "--bytes is of --ledger null"),
        ({"rate": None, "closed": 1}, "2 clients with 1 transactions outstanding"),
        ({"rate": 1e9}, "more than are made beforehand"),
        ({"peers": "peers.toml"}, "--peers and --keys go together"),
        ({"keys": "keys"}, "--peers and --keys go together"),
        ({"peers": "p", "keys": "k", "delay_us": 1}, "faults are for a plant that the bench"),
        ({"peers": "p", "keys": "k", "kill": ((0, 1.0),)}, "faults are for a plant"),
        ({"peers": "p", "keys": "k", "fail": ((0, 1),)}, "faults are for a plant"),
    ],
)
def test_what_makes_no_run_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match="no run") as caught:
        check(msgspec.structs.replace(Plan(), **changed))
    assert (caught.value.code, caught.value.exit_code) == ("E431", Exit.USAGE)
    assert why in caught.value.what


@pytest.mark.parametrize("p99_ms", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(p99_ms: float) -> None:
    with pytest.raises(UserError, match="no run: --limit"):
        check_limit(Plan(), p99_ms)
    check_limit(Plan(), 0.001)


def test_kills_are_of_a_node_by_name_or_index_and_of_a_time_in_seconds() -> None:
    assert parse_kill_at(["der-2@10s"], NAMES) == ((2, 10.0),)
    assert parse_kill_at(["0@1.5s, der-3@2s", "1@0s"], NAMES) == ((0, 1.5), (3, 2.0), (1, 0.0))
    assert parse_kill_at([], NAMES) == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("der-9@1s", "none of the 4 nodes"),
        ("4@1s", "none of the 4 nodes"),
        ("-1@1s", "none of the 4 nodes"),
        ("@1s", "none of the 4 nodes"),
        ("der-1", "is no time"),
        ("der-1@10", "is no time"),
        ("der-1@-1s", "is no time"),
        ("der-1@1e3s", "is no time"),
        ("der-1@١s", "is no time"),
        ("der-1@1s,1@2s", "killed already"),
    ],
)
def test_kills_that_are_none(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        parse_kill_at([text], NAMES)
    assert caught.value.code == "E433"


def test_a_plan_can_be_read_back(tmp_path: Path) -> None:
    for i, plan in enumerate((Plan(), FULL, Plan(rate=None, closed=8))):
        path = tmp_path / f"{i}.toml"
        write(path, plan, 'orders "and" readings', command(plan))
        assert read_plan(path) == plan
        document = tomllib.loads(path.read_text())
        assert document["command"] == command(plan)
        assert document["load"] == 'orders "and" readings'


@pytest.mark.parametrize("plan", [Plan(), FULL, Plan(rate=None, closed=8)])
def test_the_command_gives_the_same_values_again(plan: Plan) -> None:
    (entry,) = (entry for entry in COMMANDS if entry.path == "bench run")
    words = shlex.split(command(plan))
    assert words[:3] == ["vppd", "bench", "run"]
    given = load(entry).make_context("run", words[3:]).params
    for field, option in {
        "engine": "engine", "nodes": "n", "arrival": "arrival", "clients": "clients",
        "closed": "closed", "duration_s": "duration", "warm_up_s": "warm_up", "runs": "runs",
        "sync": "sync", "transport": "transport", "entry": "entry", "seed": "seed", "ops": "ops",
    }.items():  # fmt: skip
        assert given[option] == getattr(plan, field), field
    assert given["rate"] == (None if plan.rate in (None, Plan().rate) else plan.rate)
    assert list(given["kill"] or ()) == (["1@1.25s", "2@0.5s"] if plan.kill else [])
    assert list(given["fail"] or ()) == (["3=40%"] if plan.fail else [])


def test_the_first_line_has_every_parameter() -> None:
    for plan in (Plan(), FULL, Plan(rate=None, closed=8)):
        shown = line(plan)
        assert "\n" not in shown
        names = {word.partition("=")[0] for word in shlex.split(shown)}
        assert set(Plan.__struct_fields__) | {"load", "loop"} == names
    assert "closed loop, 8 outstanding" in line(Plan(rate=None, closed=8))
    assert "loop='open loop'" in line(Plan())


def test_slots_have_room_for_so_many_orders_and_no_more() -> None:
    assert has_orders(Plan(rate=1_000.0))
    assert not has_orders(Plan(rate=1_000_000.0, accounts=2))


def job(**changed: Any) -> Job:
    usual = Job(
        entry=Entry(kind="socket", where="s"), genesis="", keys=(), kinds=(), ops=1, size=None,
        unsigned=False, slots=Slots(0, 0, 0), clients=1, rate=100.0, arrival="constant", phase=0.0,
        closed=None, total_s=10.0, grace_s=1.0, seed=1, samples="",
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changed)


def test_constant_arrivals_of_two_clients_interleave() -> None:
    first, second = due_times_ns(job()), due_times_ns(job(phase=0.5))
    assert len(first) == len(second) == 1_000
    both = sorted([*first, *second])
    assert {b - a for a, b in pairwise(both)} == {5_000_000}


def test_poisson_arrivals_have_the_rate_and_its_spread() -> None:
    due = due_times_ns(job(rate=1_000.0, arrival="poisson", total_s=20.0))
    gaps = [b - a for a, b in pairwise(due)]
    assert abs(len(due) - 20_000) < 5 * 20_000**0.5
    assert mean(gaps) == pytest.approx(1e6, rel=0.05)
    assert stdev(gaps) == pytest.approx(1e6, rel=0.05), "exponential gaps spread as their mean"
    assert max(due) < 20_000_000_000


def test_arrivals_follow_from_the_seed() -> None:
    one = due_times_ns(job(arrival="poisson", seed=1))
    assert one == due_times_ns(job(arrival="poisson", seed=1))
    assert one != due_times_ns(job(arrival="poisson", seed=2))

"""``vppd status --probe``: whose clock is wrong, when nobody's is certain to be right."""

from __future__ import annotations

from tests.store.real_chain import GENESIS
from vppd.cli.probe import Sizes, clock_warnings, sizes_said


def node(name: str, clock_ms: int) -> dict[str, object]:
    return {"name": name, "ok": True, "clock_ms": clock_ms}


def test_clocks_that_agree_say_nothing() -> None:
    assert clock_warnings([node("a", 0), node("b", 400), node("c", -400)], 500) == []


def test_the_one_that_is_off_is_named() -> None:
    (line,) = clock_warnings([node("a", 1), node("b", 600_002), node("c", 3), node("d", 2)], 500)
    assert "WRONG CLOCK: b is 600.0 s ahead of the plant" in line


def test_when_all_others_agree_it_is_this_machine() -> None:
    (line,) = clock_warnings([node(name, -600_000) for name in "abcd"], 500)
    assert "WRONG CLOCK: this machine is 600.0 s ahead of the plant" in line


def test_nodes_that_do_not_answer_have_no_clock() -> None:
    assert clock_warnings([{"name": "a", "ok": False, "why": "connection refused"}], 500) == []


def test_of_two_that_differ_both_are_named() -> None:
    lines = clock_warnings([node("a", 0), node("b", 4_000)], 500)
    assert [line.split(" is ")[0] for line in lines] == [
        "WRONG CLOCK: a",
        "WRONG CLOCK: b",
        "WRONG CLOCK: this machine",
    ]


def test_how_many_it_takes_is_what_most_say_of_the_epoch_in_force() -> None:
    def says(epoch: int, n: int, quorum: int) -> dict[str, object]:
        return {"ok": True, "epoch": epoch, "n": n, "quorum": quorum, "clock_tolerance_ms": 500}

    behind, now, liar = says(1, 4, 3), says(2, 7, 5), says(9, 1, 1)
    assert sizes_said(GENESIS, [now, behind, now, liar]) == Sizes(2, 7, 5, 500)
    assert sizes_said(GENESIS, [behind, now]) == Sizes(2, 7, 5, 500)
    rules = GENESIS.consensus
    assert sizes_said(GENESIS, [{"ok": False}]) == Sizes(0, 4, 3, rules.clock_tolerance_ms)

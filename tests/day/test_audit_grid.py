"""The audit of a plant with a grid: a clean chain is clean, and nothing of it can change."""

from __future__ import annotations

import pytest
from msgspec.structs import asdict, replace

from tests.day.audited import (
    Day,
    Edit,
    adding,
    changing,
    doubled,
    dropped,
    edited,
    every_event,
    number_of,
    play,
)
from tests.ledger.chain import STRANGER, bid, offer
from tests.ledger.test_grid import NARROW, SLOT, WIDE, Slot, star
from vppd.ledger.events import Event, PathsHashed, TradeCut, Traded, TradeRouted

FIGURES = ("loss_mw", "lowest_ppm", "highest_ppm", "fullest_ppm")


@pytest.fixture(scope="module")
def day() -> Day:
    """A trade that is cut, three that come of it, and one that nothing happens to."""
    slot = Slot(
        NARROW,
        (0, offer(SLOT, 2_000, 400_000, 300_000)),
        (1, bid(SLOT, 2_000, 450_000)),
        (2, bid(SLOT, 300, 350_000)),
        (3, bid(SLOT, 300, 380_000, 390_000)),
        (3, offer(SLOT, 100, 360_000)),
        (2, bid(SLOT, 100, 360_000)),
    )
    slot.settle()
    return slot


def of_the_grid(day: Day) -> list[tuple[int, int, Event]]:
    kinds = (TradeCut, TradeRouted, PathsHashed)
    return [
        (number, index, event)
        for number, (index, _, event) in enumerate(every_event(day.exported))
        if isinstance(event, kinds) or (isinstance(event, Traded) and event.round == 3)
    ]


def test_a_clean_chain_leaves_nothing_to_find(day: Day) -> None:
    assert len(of_the_grid(day)) == 1 + 3 + 5 + 1
    assert edited(day, {}) == []


@pytest.mark.parametrize("edit", [dropped, doubled])
def test_no_event_of_the_grid_can_be_dropped_or_doubled(day: Day, edit: Edit) -> None:
    for number, index, event in of_the_grid(day):
        found = edited(day, {number: edit})
        assert any(f"height {index + 1}" in f for f in found), event


def test_no_field_of_them_can_change(day: Day) -> None:
    for number, index, event in of_the_grid(day):
        for field, value in asdict(event).items():
            match value:
                case bytes():
                    edit: Edit = changing(**{field: STRANGER.public_key})
                case int():
                    edit = adding(field, 10 if field in FIGURES else 1)
                case _:
                    edit = _longer(field, value)
            found = edited(day, {number: edit})
            assert any(f"height {index + 1}" in f for f in found), f"{field} of {event} is free"


def _longer(field: str, value: tuple[int, ...]) -> Edit:
    return lambda event: [replace(event, **{field: (*value, 7)})]


@pytest.mark.parametrize(
    ("kind", "wanted", "edit", "sentence"),
    [
        (TradeCut, {}, adding("quantity_wh", 1_000), "is cut from 2000 to"),
        (TradeCut, {}, changing(seq=99), "trade 99 of slot 5 is cut, which cannot be"),
        (TradeCut, {}, changing(quantity_wh=1_500, amount=637_500), "break limits of the grid"),
        (TradeRouted, {}, adding("loss_mwh", 1), "the path and loss of trade 0 of slot 5"),
        (TradeRouted, {}, changing(seq=9), "paths of trades that do not stand: [9]"),
        (PathsHashed, {}, adding("trades", 1), "the number of paths of slot 5 is 6"),
        (PathsHashed, {}, changing(flags=1), "holds without the trades of slot 5"),
        (PathsHashed, {}, adding("loss_mw", 9_999), "the loss in mW of slot 5 is"),
        (PathsHashed, {}, dropped, "the trades of slot 5 are not checked"),
        (Traded, {"round": 3}, changing(quantity_wh=2_000), "has left"),
    ],
)
def test_what_is_wrong_is_said(
    day: Day, kind: type[Event], wanted: dict[str, int], edit: Edit, sentence: str
) -> None:
    found = edited(day, {number_of(day, kind, **wanted): edit})
    assert any(sentence in finding for finding in found), found


def test_cutting_without_need_is_noticed() -> None:
    slot = Slot(
        star(WIDE, WIDE, WIDE), (0, offer(SLOT, 200, 400_000)), (1, bid(SLOT, 200, 400_000))
    )
    slot.settle()
    number = number_of(slot, TradeRouted)
    found = edited(slot, {number: lambda event: [TradeCut(SLOT, 0, 100, 40_000), event]})
    assert any("trades of slot 5 are cut that the grid carries" in f for f in found)


def test_a_match_again_needs_something_that_was_cut(day: Day) -> None:
    found = edited(day, {number_of(day, TradeCut): dropped})
    assert any("between orders that were not cut" in finding for finding in found)


def test_without_a_grid_its_events_cannot_be() -> None:
    plain = play()
    number = number_of(plain, Traded)
    hashed = PathsHashed(0, bytes(32), 0, 0, 0, 0, 0, 0)
    extra: list[Event] = [TradeCut(0, 0, 1, 1), TradeRouted(0, 0, (), 0), hashed]
    found = " ".join(edited(plain, {number: lambda event: [event, *extra]}))
    assert "is cut, which cannot be" in found
    assert "has a path without a grid" in found
    assert "is checked without a grid, or twice" in found

"""Files of readings: what is read, what is refused with its line, and what is left to send."""

from __future__ import annotations

from typing import Any

import pytest

from vppd.client.readings import Fate, ReadingsFile, Row, moment_text
from vppd.config.genesis import MarketRulesSection
from vppd.crypto import SigningKey, key_text
from vppd.errors import UserError
from vppd.types import Slot, TimeMs

METER = SigningKey(bytes(31) + b"m").public_key
OTHER = SigningKey(bytes(31) + b"o").public_key
MARKET = MarketRulesSection(slot_ms=900_000, max_quantity_wh=1_000, dispute_slots=10)
TOP = "slot,import_wh,export_wh\n"


def parse(text: str | bytes) -> ReadingsFile:
    data = text.encode() if isinstance(text, str) else text
    return ReadingsFile(data, "r.csv", MARKET, METER)


def after(slot: Slot) -> TimeMs:
    """A moment at which the slot has just ended."""
    return MARKET.slot_start(slot + 1)


def meter(start: tuple[int, int, int] = (0, 0, 0), *readings: tuple[int, int, int]) -> Any:
    """A meter's ``account`` view: its starting point and the readings of open slots."""
    slot, imported, exported = start
    return {
        "known_before_slot": slot,
        "import_wh": imported,
        "export_wh": exported,
        "readings": [
            {"slot": s, "import_wh": i, "export_wh": e, "version": 1} for s, i, e in readings
        ],
    }


# ---------------------------------------------------------------- the file


@pytest.mark.parametrize(
    "text",
    [
        "slot,import_wh,export_wh\n7,100,5\n8,150,5\n",
        "\ufeffSLOT, Import_Wh ,export_wh\r\n\r\n 7 , 100,5\r\n8,150,5",
        "export_wh,slot,import_wh\n5,7,100\n5,8,150\n",
        "end,import_wh,export_wh\n1970-01-01T02:00Z,100,5\n1970-01-01T03:15+01:00,150,5\n",
        f"slot,import_wh,export_wh,meter\n7,100,5,{key_text(METER)}\n8,150,5,{key_text(METER)}\n",
    ],
    ids=["plain", "spaces and marks", "any order", "by time", "with the meter"],
)
def test_what_is_read(text: str) -> None:
    assert [row[1:] for row in parse(text).rows] == [(7, 100, 5), (8, 150, 5)]


def test_a_row_knows_its_line() -> None:
    assert parse(TOP + "\n7,1,2\n\n\n8,3,4\n").rows == (Row(3, 7, 1, 2), Row(6, 8, 3, 4))


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        (b"", "E232", 1, "is empty"),
        (TOP, "E232", 1, "no readings"),
        (TOP.encode() + b"1,2,\xff\n", "E231", 1, "not CSV text in UTF-8"),
        (TOP + '1,"2,3\n', "E231", 2, "not CSV text"),
        ("slot,import,export_wh\n1,2,3\n", "E232", 1, "there is no column 'import'"),
        ("slot,import_wh\n1,2\n", "E232", 1, "the column export_wh is missing"),
        ("slot,slot,import_wh,export_wh\n", "E232", 1, "twice"),
        ("import_wh,export_wh\n1,2\n", "E232", 1, "one of the columns slot and end"),
        ("slot,end,import_wh,export_wh\n", "E232", 1, "not both"),
        (TOP + "1,2\n", "E233", 2, "2 cells, the header 3"),
        (TOP + "1,2,3\n2,3.5,4\n", "E233", 3, "import_wh '3.5' is no whole number"),
        (TOP + "1,-2,3\n", "E233", 2, "import_wh '-2' is below zero"),
        (TOP + "1,,3\n", "E233", 2, "import_wh '' is no whole number"),
        (TOP + "1,٣,3\n", "E233", 2, "is no whole number"),
        (TOP + f"1,2,{2**63}\n", "E233", 2, "is more than 2^63 - 1"),
        (TOP + f"{10**40},2,3\n", "E233", 2, "is more than 2^63 - 1"),
        ("end,import_wh,export_wh\nsoon,2,3\n", "E233", 2, "end 'soon'"),
        ("end,import_wh,export_wh\n1970-01-01T02:00,2,3\n", "E233", 2, "it has no zone"),
        ("end,import_wh,export_wh\n1970-01-01T02:01Z,2,3\n", "E233", 2, "no slot ends then"),
        ("end,import_wh,export_wh\n1970-01-01T00:00Z,2,3\n", "E233", 2, "no slot ends then"),
        (TOP + "2,2,3\n1,2,3\n", "E234", 3, "an earlier slot than line 2"),
        (TOP + "2,2,3\n\n2,2,3\n", "E234", 4, "the same slot as line 2"),
        (
            f"meter,{TOP}{key_text(OTHER)},1,2,3\n", "E239", 2, "a reading of another meter",
        ),
        (f"meter,{TOP}der-1,1,2,3\n", "E233", 2, "the column meter holds no key"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(
    text: str | bytes, code: str, line: int, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert caught.value.code == code
    assert caught.value.facts["file"] == "r.csv"
    assert caught.value.facts["line"] == str(line)
    assert words in str(caught.value)
    assert caught.value.hint


# ---------------------------------------------------------------- against the chain


def fates(text: str, view: Any, now_ms: TimeMs) -> dict[Fate, list[Slot]]:
    found = parse(TOP + text).sort_out(view, now_ms)
    return {fate: [row.slot for row in rows] for fate, rows in found.items() if rows}


def test_each_row_has_its_fate() -> None:
    chain = meter((5, 50, 0), (5, 60, 0), (6, 70, 0))
    text = "3,30,0\n4,50,0\n5,60,0\n6,75,0\n7,80,0\n9,90,0\n"
    assert fates(text, chain, after(9)) == {
        Fate.CLOSED: [3],
        Fate.RECORDED: [4, 5],
        Fate.CORRECTION: [6],
        Fate.NEW: [7, 9],
    }


def test_what_is_pushed_twice_is_recorded() -> None:
    text = "0,1,0\n1,2,0\n"
    assert fates(text, meter(), after(1)) == {Fate.NEW: [0, 1]}
    assert fates(text, meter((0, 0, 0), (0, 1, 0), (1, 2, 0)), after(1)) == {Fate.RECORDED: [0, 1]}
    assert fates(text, meter((2, 2, 0)), after(1)) == {Fate.CLOSED: [0], Fate.RECORDED: [1]}


def test_corrections_go_in_an_order_that_never_runs_backwards() -> None:
    """Each is checked on chain against what the others are at that moment."""
    raised = meter((0, 0, 0), (0, 10, 0), (1, 20, 0), (2, 30, 0))
    assert fates("0,25,0\n1,35,0\n2,45,0\n", raised, after(2)) == {Fate.CORRECTION: [2, 1, 0]}
    lowered = meter((0, 0, 0), (0, 25, 0), (1, 35, 0), (2, 45, 0))
    assert fates("0,10,0\n1,20,0\n2,30,0\n", lowered, after(2)) == {Fate.CORRECTION: [0, 1, 2]}


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("7,100,9\n8,99,9\n", "E235", 3, "slot 7: import 100 Wh, export 9 Wh (line 2)"),
        ("7,100,9\n8,100,8\n", "E235", 3, "slot 8: import 100 Wh, export 8 Wh"),
        ("7,59,0\n", "E235", 2, "slot 6: import 60 Wh, export 0 Wh (on chain)"),
        ("5,61,0\n", "E235", 2, "slot 6: import 60 Wh, export 0 Wh (on chain)"),
        ("3,51,0\n", "E235", 2, "slot 4: import 50 Wh, export 0 Wh (on chain)"),
        ("7,1061,0\n", "E236", 2, "1001 Wh is more than a meter may count"),
        ("8,2060,0\n9,3061,0\n", "E236", 3, "slot 8: import 2060 Wh, export 0 Wh (line 2)"),
        ("9,90,0\n10,100,0\n", "E237", 3, "slot 10 has not ended yet"),
        (f"{2**62},100,0\n", "E237", 2, "has not ended yet"),
        ("4,49,0\n", "E238", 2, "slot 4 is closed, with other registers"),
    ],
)
def test_what_the_chain_would_refuse_is_found_first(
    text: str, code: str, line: int, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse(TOP + text).sort_out(meter((5, 50, 0), (6, 60, 0)), after(9))
    assert caught.value.code == code
    assert caught.value.facts["line"] == str(line)
    assert words in str(caught.value)


def test_a_slot_that_closed_without_a_reading_takes_none() -> None:
    settled_and_closed = MARKET.metering_ms + MARKET.dispute_slots * MARKET.slot_ms
    assert fates("5,9,0\n", meter(), after(5) + settled_and_closed - 1) == {Fate.NEW: [5]}
    with pytest.raises(UserError, match="slot 5 is closed, and has no reading") as caught:
        fates("5,9,0\n", meter(), after(5) + settled_and_closed)
    assert caught.value.code == "E238"


def test_times_are_told_as_people_write_them() -> None:
    assert moment_text(7_200_000) == "1970-01-01T02:00:00Z"
    assert moment_text(2**80) == f"{2**80} ms after 1970"

"""Profiles files: what is read, what is refused and how it is said, who gets which column."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.day.profiles import Column, Kind, Profiles, assign, load_profiles, parse_profiles
from vppd.errors import Exit, UserError

DATA = resources.files("vppd.day").joinpath("data")


def rows(count: int) -> list[str]:
    return [f"{hour % 24},{hour},{2 * hour}" for hour in range(count)]


def text(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def good(*, slots: int = 24) -> list[str]:
    return ["hour_start,load_a_wh,pv_b_wh", *rows(slots)]


def refusal(data: bytes, *, slots: int = 24) -> UserError:
    with pytest.raises(UserError) as caught:
        parse_profiles(data, "day.csv", slots=slots)
    assert caught.value.hint
    assert caught.value.facts["file"] == "day.csv"
    assert caught.value.exit_code is Exit.FAILED
    return caught.value


def code_of(data: bytes) -> str | None:
    try:
        parse_profiles(data, "day.csv", slots=0)
    except UserError as error:
        return error.code
    return None


def with_line(number: int, line: str) -> bytes:
    """The good file with one line (counted from 1) replaced."""
    lines = good()
    lines[number - 1] = line
    return text(*lines)


# What is read


def test_columns_keep_file_order_kind_and_cells() -> None:
    profiles = parse_profiles(text(*good()), "day.csv")
    assert profiles.columns == (
        Column("load_a", Kind.LOAD, tuple(range(24))),
        Column("pv_b", Kind.PV, tuple(range(0, 48, 2))),
    )


def test_kind_is_the_prefix_wherever_the_column_stands() -> None:
    data = text("hour_start,pv_x_wh,load_pv_wh,pv_load_wh", *(f"{h},1,2,3" for h in range(24)))
    kinds = [column.kind for column in parse_profiles(data, "day.csv").columns]
    assert kinds == [Kind.PV, Kind.LOAD, Kind.PV]


@pytest.mark.parametrize(
    "data",
    [
        "\r\n".join(good()).encode(),
        b"\xef\xbb\xbf" + text(*good()),
        text(*good(), "", " , , "),
        text(*[line.replace(",", " , ") for line in good()]),
    ],
    ids=["crlf without final newline", "byte order mark", "blank lines", "spaces"],
)
def test_what_spreadsheets_write_is_read_alike(data: bytes) -> None:
    assert parse_profiles(data, "day.csv") == parse_profiles(text(*good()), "day.csv")


def test_more_rows_than_slots_are_kept() -> None:
    profiles = parse_profiles(text(*good(slots=49)), "day.csv", slots=24)
    assert {len(column.wh) for column in profiles.columns} == {49}


def test_a_short_day_needs_only_its_own_rows() -> None:
    parse_profiles(text(*good(slots=3)), "day.csv", slots=3)


def test_a_file_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(text(*good()))
    profiles = load_profiles(path)
    assert profiles.source == str(path)
    assert [column.name for column in profiles.columns] == ["load_a", "pv_b"]


# What is refused


def test_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(UserError, match=r"error\[E401\]") as caught:
        load_profiles(path)
    assert caught.value.facts == {"file": str(path), "why": "No such file or directory"}
    assert "--profiles" in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"error\[E401\]"):
        load_profiles(tmp_path)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00h", text(*good()) + b'"open', text(*good(), '24,"1"2,3')]
)
def test_bytes_that_are_not_csv(data: bytes) -> None:
    assert refusal(data).code == "E401"


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("hour,load_a_wh,pv_b_wh", "hour"),
        ("load_a_wh,hour_start,pv_b_wh", "load_a_wh"),
        ("hour_start,load_a_kwh,pv_b_wh", "load_a_kwh"),
        ("hour_start,load_a,pv_b_wh", "load_a"),
        ("hour_start,load_a_wh,wind_b_wh", "wind_b_wh"),
        ("hour_start,Load_a_wh,pv_b_wh", "Load_a_wh"),
        ("hour_start,load__wh,pv_b_wh", "load__wh"),
        ("hour_start,load_a b_wh,pv_b_wh", "load_a b_wh"),
        ("hour_start,load_ä_wh,pv_b_wh", "load_ä_wh"),
        ("hour_start,load_wh,pv_b_wh", "load_wh"),
        ("hour_start,load_a_wh,", "(none)"),
        ("hour_start,load_a_wh,load_a_wh", "load_a_wh"),
        ("hour_start;load_a_wh;pv_b_wh", "hour_start;load_a_wh;pv_b_wh"),
        ("hour_start", "hour_start"),
    ],
)
def test_wrong_header_names_the_column(header: str, column: str) -> None:
    error = refusal(with_line(1, header))
    assert (error.code, error.facts["line"], error.facts["column"]) == ("E402", "1", column)
    assert error.hint is not None
    assert "hour_start,load_NAME_wh" in error.hint


def test_header_line_is_counted_as_in_the_file() -> None:
    assert refusal(b"\n\nhour,load_a_wh\n").facts["line"] == "3"


def test_empty_file() -> None:
    assert refusal(b"").code == "E402"
    assert refusal(b"\n\n").code == "E402"


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("x", "'x' is not a whole number"),
        ("", "'' is not a whole number"),
        ("1.5", "'1.5' is not a whole number"),
        ("1e3", "'1e3' is not a whole number"),
        ("1_000", "'1_000' is not a whole number"),
        ("٣", "'٣' is not a whole number"),
        ("9" * 5_000, "is not a whole number"),
        ("-1", "-1 is negative"),
        ("1000000001", "1000000001 is more than 1000000000 Wh"),
    ],
)
def test_bad_cell_names_line_and_column(cell: str, says: str) -> None:
    error = refusal(with_line(7, f"5,10,{cell}"))
    assert (error.code, error.facts["line"], error.facts["column"]) == ("E403", "7", "pv_b_wh")
    assert says in error.what
    assert len(error.what) < 100


def test_largest_cell_is_accepted() -> None:
    profiles = parse_profiles(with_line(7, "5,10,1000000000"), "day.csv")
    assert profiles.columns[1].wh[5] == 1_000_000_000


@pytest.mark.parametrize(("line", "column"), [("5,10", "pv_b_wh"), ("5,10,20,30", "pv_b_wh")])
def test_ragged_row_names_the_line(line: str, column: str) -> None:
    error = refusal(with_line(7, line))
    assert (error.code, error.facts["line"], error.facts["column"]) == ("E403", "7", column)
    assert f"{line.count(',') + 1} cells" in error.what


def test_lines_are_counted_as_in_the_file() -> None:
    lines = good()
    lines.insert(3, "")
    lines[7] = "6,oops,1"
    assert refusal(text(*lines)).facts["line"] == "8"


@pytest.mark.parametrize(
    ("kept", "line", "missing"),
    [
        ([h for h in range(24) if h != 5], "7", 5),
        ([*range(6), 5, *range(6, 24)], "8", 6),
        ([*range(1, 24), 0], "2", 0),
        ([*range(25)], "26", 0),
    ],
    ids=["gap", "twice", "not from midnight", "no hour 24"],
)
def test_hours_run_from_midnight_without_gap(kept: list[int], line: str, missing: int) -> None:
    error = refusal(text("hour_start,load_a_wh,pv_b_wh", *(f"{hour},1,2" for hour in kept)))
    assert (error.code, error.facts["line"], error.facts["column"]) == ("E404", line, "hour_start")
    assert f"hour {missing} is missing" in error.what


@pytest.mark.parametrize(("have", "slots"), [(23, 24), (24, 25), (0, 24)])
def test_fewer_rows_than_slots(have: int, slots: int) -> None:
    error = refusal(text(*good(slots=have)), slots=slots)
    assert error.code == "E405"
    assert error.what == f"the profiles file ends after {have} rows; {slots} slots need {slots}"
    assert error.facts["line"] == str(have + 1)
    assert error.hint is not None
    assert (f"--slots {have}," in error.hint) == (have > 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_profiles_or_a_user_error(data: bytes) -> None:
    assert code_of(data) in {None, "E401", "E402", "E403", "E404", "E405"}


# Who gets which column


def profiles_of(kinds: str) -> Profiles:
    """``"LLP"`` → two loads and a PV plant, numbered in file order."""
    return Profiles(
        "day.csv",
        tuple(
            Column(f"{kind}{place}", Kind.LOAD if kind == "L" else Kind.PV, (0,))
            for place, kind in enumerate(kinds)
        ),
    )


@pytest.mark.parametrize(
    ("kinds", "order"),
    [
        ("LLLPPP", "L0 P3 L1 P4 L2 P5"),
        ("PPPLLL", "L3 P0 L4 P1 L5 P2"),
        ("LPLPLP", "L0 P1 L2 P3 L4 P5"),
        ("LLLPPPP", "L0 P3 L1 P4 L2 P5 P6"),
        ("LLLLP", "L0 P4 L1 L2 L3"),
        ("LLL", "L0 L1 L2"),
        ("PPP", "P0 P1 P2"),
    ],
)
def test_loads_and_pv_are_interleaved_in_file_order(kinds: str, order: str) -> None:
    profiles = profiles_of(kinds)
    names = order.split()
    for ders in range(len(kinds) + 1):
        assert [column.name for column in assign(profiles, ders)] == names[:ders]


def test_too_few_columns_says_how_many_and_both_ways_out() -> None:
    with pytest.raises(UserError) as caught:
        assign(profiles_of("LLLPPPP"), 8)
    error = caught.value
    assert error.code == "E400"
    assert error.what == "the profiles file has 7 columns; 8 DERs need 8"
    assert error.facts == {"file": "day.csv", "columns": "3 loads, 4 PV"}
    assert error.hint is not None
    assert "-n" in error.hint
    assert "--profiles FILE" in error.hint


# The packaged day


def test_packaged_day_is_a_whole_day_of_both_kinds() -> None:
    profiles = load_profiles()
    assert len(profiles.of(Kind.LOAD)) >= 6
    assert len(profiles.of(Kind.PV)) >= 6
    assert {len(column.wh) for column in profiles.columns} == {24}
    assert len({column.wh for column in profiles.columns}) == len(profiles.columns)


@pytest.mark.parametrize("ders", [4, 6, 10, 16])
def test_packaged_load_and_generation_are_alike(ders: int) -> None:
    columns = assign(load_profiles(), ders)
    load = sum(sum(column.wh) for column in columns if column.kind is Kind.LOAD)
    pv = sum(sum(column.wh) for column in columns if column.kind is Kind.PV)
    assert 0.8 < load / pv < 1.25


def test_packaged_sun_shines_by_day_only() -> None:
    for plant in load_profiles().of(Kind.PV):
        assert sum(plant.wh[:5]) == sum(plant.wh[22:]) == 0
        assert all(plant.wh[7:20])


def test_packaged_note_names_the_bytes() -> None:
    digest = hashlib.sha256(DATA.joinpath("day.csv").read_bytes()).hexdigest()
    assert re.findall(r"\b[0-9a-f]{64}\b", DATA.joinpath("README.md").read_text("utf-8")) == [
        digest
    ]

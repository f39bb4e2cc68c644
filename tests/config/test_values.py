"""Decimals, hours, sizes, addresses and names."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vppd.config.values import (
    DAY_MINUTES,
    format_address,
    format_decimal,
    format_hours,
    parse_address,
    parse_decimal,
    parse_hours,
    parse_name,
    parse_size,
)


@given(st.integers(0, 10**18))
def test_decimals_are_exact(micro: int) -> None:
    text = format_decimal(micro)
    assert parse_decimal(text) == micro
    assert Decimal(text) * 1_000_000 == micro


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0.38", 380_000), ("200", 200_000_000), ("0.000001", 1), ("007.5", 7_500_000)],
)
def test_decimals_people_write(text: str, micro: int) -> None:
    assert parse_decimal(text) == micro


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".5",
        "5.",
        "-1",
        "+1",
        "1e3",
        "1,5",
        " 1",
        "1\n",
        "0x1",
        "1_000",
        "٣",
        "0.0000001",
        "NaN",
    ],
)
def test_what_is_no_decimal(text: str) -> None:
    with pytest.raises(ValueError, match="decimal"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("0.380", "0.38"), ("200", "200.00"), ("1.5", "1.50"), ("0.123456", "0.123456")],
)
def test_decimals_shown(text: str, shown: str) -> None:
    assert format_decimal(parse_decimal(text)) == shown


@given(st.integers(0, DAY_MINUTES - 1), st.integers(0, DAY_MINUTES))
def test_hours_there_and_back(start: int, end: int) -> None:
    if start == end:
        with pytest.raises(ValueError, match="empty"):
            parse_hours(format_hours(start, end))
    else:
        assert parse_hours(format_hours(start, end)) == (start, end)


@pytest.mark.parametrize(
    "text",
    ["", "7:00-8:00", "07:00 - 08:00", "07:60-08:00", "24:00-01:00", "07:00-24:01", "07:00-99:00"],
)
def test_what_are_no_hours(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|no day has"):
        parse_hours(text)


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 512 * 2**20), ("1 GiB", 2**30), ("0B", 0), ("3KiB", 3072)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["512", "512MB", "-1B", "1.5GiB", "GiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.168.10.2:7440", ("192.168.10.2", 7440)),
        ("der-4.local:1", ("der-4.local", 1)),
        ("[fd00::2]:65535", ("fd00::2", 65_535)),
    ],
)
def test_addresses_there_and_back(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert format_address(*address) == text


@pytest.mark.parametrize(
    "text",
    ["", "host", ":7440", "host:", "host:0", "host:65536", "host:x", "fd00::2:7440", "a b:1"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        parse_address(text)


@pytest.mark.parametrize("text", ["der-1", "A", "plant_2.north", "x" * 64])
def test_names(text: str) -> None:
    assert parse_name(text) == text


@pytest.mark.parametrize("text", ["", "-x", ".", "..", "a/b", "a b", 'a"', "x" * 65, "é", "a\n"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        parse_name(text)

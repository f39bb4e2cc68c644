"""What people see of a node's settings, and what is said before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vppd


def test_show_prints_values_and_with_origin_where_they_come_from(vppd: Vppd) -> None:
    assert vppd("testnet", "-n", 4, "--out", "plant").code == 0
    plain = vppd("config", "show", "--home", "plant/der-1")
    assert plain.code == 0
    assert "ORIGIN" not in plain.out
    rows = vppd("config", "show", "--origin", "--home", "plant/der-1", "-o", "json").data
    by_key = {(row["file"], row["key"]): row for row in rows}
    assert by_key["node.toml", "store.synchronous"]["origin"].startswith("node.toml:")
    assert by_key["node.toml", "log.level"] == {
        "file": "node.toml",
        "key": "log.level",
        "value": "info",
        "origin": "default",
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("-n", 0), "at least one node"),
        (("-n", 257), "more than a certificate can name"),
        (("-n", 4, "--operators", 5), "cannot be operators"),
        (("-n", 4, "--slot-seconds", 99999999999), "slot_seconds"),
        (("-n", 4, "--market-slot-seconds", 61), "whole minutes"),
        (("-n", 4, "--market-slot-seconds", 6_000_000_000_000), "market_slot"),
        (("-n", 4, "--base-port", 65_530), "do not fit the ports"),
        (("-n", 4, "--base-port", -3), "do not fit the ports"),
        (("-n", 4, "--operators", 0), "cannot be operators"),
        (("-n", 4, "--hosts", "a,,b"), "'' is neither"),
        (("-n", 4, "--hosts", "a b"), "is neither an IP address nor a host name"),
        (("-n", 4, "--hosts", "a/b"), "is neither an IP address nor a host name"),
        (("-n", 4, "--hosts", "ü.example"), "is neither an IP address nor a host name"),
        (("-n", 4, "--hosts", "10.0.0.1:9"), "'10.0.0.1:9' does not appear to be an IPv4 or IPv6"),
        (("-n", 4, "--hosts", "999.1.1.1"), "'999.1.1.1' does not appear to be an IPv4 or IPv6"),
        (("-n", 4, "--hosts", "::"), "nobody can dial it"),
        (("-n", 4, "--hosts", "a,A"), "listed twice"),
        (("-n", 2, "--hosts", "a,b,c"), "3 hosts for 2 nodes"),
        (("-n", 4, "--hosts", "localhost,127.0.0.1"), "another machine to each host"),
        (("-n", 4, "--hosts", "192.168.10.2,127.0.0.1"), "another machine to each host"),
        (("-n", 4, "--chain-id", "a plant"), "is not a name"),
    ],
)
def test_numbers_that_make_no_plant_leave_nothing_behind(
    vppd: Vppd, tmp_path: Path, args: tuple[object, ...], says: str
) -> None:
    done = vppd("testnet", *args, "--out", "plant")
    assert done.code == 2
    assert "error[E117]" in done.err
    assert says in done.err
    assert not (tmp_path / "plant").exists()


def test_a_path_too_long_for_its_socket_is_said_before_anything_is_written(
    vppd: Vppd, tmp_path: Path
) -> None:
    deep = Path("a" * 60) / ("b" * 60)
    done = vppd("testnet", "-n", 4, "--out", deep)
    assert "error[E141]" in done.err
    assert not (tmp_path / deep).exists()
    made = vppd("init", "--role", "der", "--name", "der-1", "--home", deep)
    assert "error[E141]" in made.err
    assert not (tmp_path / deep).exists()


def test_a_short_socket_elsewhere_mends_it(vppd: Vppd, tmp_path: Path) -> None:
    vppd("testnet", "-n", 4, "--out", "plant")
    deep = tmp_path / ("a" * 100)
    (tmp_path / "plant" / "der-1").rename(deep)
    assert "error[E141]" in vppd("config", "check", "--home", deep).err
    config = deep / "node.toml"
    config.write_text(config.read_text().replace("[net]\n", '[net]\nsocket = "/tmp/vppd-s"\n'))
    assert vppd("config", "check", "--home", deep).code == 0


def test_bid_and_ask_take_the_same_options(vppd: Vppd) -> None:
    bid, ask = (vppd("market", side, "--help").out for side in ("bid", "ask"))
    assert (
        bid.split("Options:")[1].split("Examples:")[0]
        == (ask.split("Options:")[1].split("Examples:")[0])
    )

"""``vppd key``."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Vppd
from vppd.config.keys import load_key
from vppd.crypto import key_text


def test_gen_writes_a_key_and_prints_its_public_half(vppd: Vppd, tmp_path: Path) -> None:
    ran = vppd("key", "gen")
    assert ran.code == 0
    assert ran.out == key_text(load_key(tmp_path / "node.key").public_key) + "\n"


def test_show_prints_the_same(vppd: Vppd) -> None:
    made = vppd("key", "gen", "--out", "meter.key")
    assert vppd("key", "show", "meter.key").out == made.out
    shown = vppd("key", "show", "meter.key", "-o", "json").data
    assert shown == {"file": "meter.key", "id": made.out.strip()}


def test_gen_never_overwrites(vppd: Vppd) -> None:
    vppd("key", "gen")
    ran = vppd("key", "gen")
    assert ran.code == 1
    assert ran.err.startswith("error[E163]")


def test_a_readable_key_says_what_to_type(vppd: Vppd, tmp_path: Path) -> None:
    vppd("key", "gen")
    (tmp_path / "node.key").chmod(0o644)
    ran = vppd("key", "show")
    assert ran.code == 78
    assert ran.err.startswith("error[E160]")
    assert "chmod 600 node.key" in ran.err

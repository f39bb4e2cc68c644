"""``vppd meter`` where no node is needed: rows are checked before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from vppd.cli.testnet import write_testnet

TOP = "slot,import_wh,export_wh\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DER's folder; nobody runs."""
    out = tmp_path_factory.mktemp("meter") / "plant"
    return write_testnet(out, 2, transport="plain").nodes[1].home


def test_wrong_rows_are_named_before_anybody_is_asked(
    vppd: Vppd, home: Path, tmp_path: Path
) -> None:
    (tmp_path / "r.csv").write_text(TOP + "1,100,0\n2,1e3,0\n")
    ran = vppd("meter", "push", "r.csv", "--home", home)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "error[E233]: import_wh '1e3' is no whole number\n"
        "  file  r.csv\n"
        "  line  3\n"
        "  try   registers are whole Wh since the meter was built, without unit or sign\n"
    )


def test_right_rows_need_a_node(vppd: Vppd, home: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(TOP + "1,100,0\n")
    for command in (("push", "r.csv"), ("list",)):
        ran = vppd("meter", *command, "--home", home)
        assert ran.code == 1
        assert ran.err.startswith("error[E351]: no node answers here")
        assert f"vppd start --home {home}" in ran.err


def test_a_file_that_is_not_there(vppd: Vppd, home: Path) -> None:
    ran = vppd("meter", "push", "none.csv", "--home", home)
    assert ran.code == 1
    assert ran.err.startswith("error[E230]: the file of readings cannot be read")
    assert "none.csv" in ran.err
    assert "No such file" in ran.err


def test_a_meters_key_is_secret_too(vppd: Vppd, home: Path, tmp_path: Path) -> None:
    open_key = tmp_path / "meter.key"
    open_key.write_bytes((home / "meter.key").read_bytes())
    open_key.chmod(0o644)
    ran = vppd("meter", "push", "r.csv", "--home", home, "--key", open_key)
    assert ran.code == 78
    assert ran.err.startswith("error[E160]: others may read this secret key")
    assert f"chmod 600 {open_key}" in ran.err


def test_a_folder_without_a_meter_says_whose_key_is_missing(vppd: Vppd, home: Path) -> None:
    ran = vppd("meter", "push", "r.csv", "--home", home.parent / "op-0")
    assert ran.code == 78
    assert "error[E162]" in ran.err
    assert str(home.parent / "op-0" / "meter.key") in ran.err

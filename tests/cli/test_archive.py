"""``vppd db prune``, ``export`` and ``import``: what people read, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vppd
from tests.store.long_chain import long_chain
from vppd.cli import testnet
from vppd.config.genesis import ConsensusRules

BLOCKS = 60


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> testnet.Testnet:
    """Three stores with 60 blocks, the fourth without any."""
    out = tmp_path_factory.mktemp("archive") / "plant"
    rules = ConsensusRules(checkpoint_blocks=16)
    return long_chain(out, BLOCKS, base_port=17_440, rules=rules)


def test_pruning_says_what_went_and_what_it_freed(vppd: Vppd, written: testnet.Testnet) -> None:
    home = written.nodes[1].home
    kept = vppd("db", "prune", "--home", home)
    assert kept.code == 0, kept.err
    assert "nothing to remove" in kept.out, "a DER keeps 10,000"
    said = vppd("db", "prune", "--keep", 20, "--home", home, "-o", "json").data
    assert (said["height"], said["removed"], said["first_block"]) == (BLOCKS, 40, 41)
    assert said["bytes_after"] < said["bytes_before"]
    again = vppd("db", "prune", "--keep", 5, "--home", home).out
    assert "blocks 41..48: their headers and certificates stay" in again, "to the checkpoint"
    looked = vppd("db", "check", "--home", home)
    assert looked.code == 0
    assert "whole from block 49 to 60" in looked.out
    verified = vppd("block", "verify", "--home", home)
    assert "nothing was executed again" in verified.out
    assert vppd("block", "verify", "--home", home, "-o", "json").data["begins"] == 48
    refused = vppd("db", "export", "-", "--home", home)
    assert (refused.code, refused.err.startswith("error[E265]")) == (1, True)


def test_an_operator_is_only_pruned_on_purpose(vppd: Vppd, written: testnet.Testnet) -> None:
    refused = vppd("db", "prune", "--home", written.nodes[0].home)
    assert refused.code == 1
    assert refused.err.startswith("error[E360]: this node keeps every block: it is an operator")


def test_out_and_in_again(vppd: Vppd, written: testnet.Testnet, tmp_path: Path) -> None:
    full, empty = written.nodes[0].home, written.nodes[3].home
    made = vppd("db", "export", "chain.vppd", "--home", full)
    assert (made.code, made.out) == (0, "")
    assert made.err.startswith(f"blocks 1..{BLOCKS}, ")
    assert "blocks and" in made.err
    archive = (tmp_path / "chain.vppd").read_bytes()
    assert vppd("db", "export", "chain.vppd", "--home", full).err.startswith("error[E361]")
    assert (tmp_path / "chain.vppd").read_bytes() == archive, "nothing is overwritten"

    (tmp_path / "cut.vppd").write_bytes(archive[:-9])
    cut = vppd("db", "import", "cut.vppd", "--home", empty)
    assert (cut.code, cut.err.startswith("error[E266]")) == (1, True)
    assert f"after block {BLOCKS}" in cut.err
    assert vppd("db", "import", "none.vppd", "--home", empty).err.startswith("error[E362]")

    done = vppd("db", "import", "chain.vppd", "--home", empty)
    assert (done.code, done.out) == (0, ""), done.err
    assert vppd("db", "check", "--home", empty, "-o", "json").data["verified"] == BLOCKS
    assert vppd("db", "import", "chain.vppd", "--home", empty).err.startswith("error[E268]")


@pytest.mark.parametrize("trust", ["7", "0:" + "ab" * 32, "7:xyz", "x:" + "ab" * 32])
def test_what_is_no_block_to_be_trusted(vppd: Vppd, written: testnet.Testnet, trust: str) -> None:
    ran = vppd("start", "--home", written.nodes[2].home, "--trust", trust)
    assert (ran.code, ran.err.startswith("error[E363]")) == (2, True), ran.err
    assert "HEIGHT:HASH" in ran.err or "hexadecimal" in ran.err

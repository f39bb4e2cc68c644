"""A few of the mutants, and that the others still fit the source; ``make mutants`` runs all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, SURVIVORS
from tests.mutants.page import PAGE
from tests.mutants.run import ROOT, Bench, Mutant, patched

PORTION = ("vote-not-kept", "h0-open", "one-claim-too-many", "w-is-q", "certificate-unverified")
TARGETS = (
    *(f"consensus/{name}.py" for name in (
        "core", "flight", "fallback", "proposer", "viewchange", "selection", "safety", "quorum",
        "tally", "certificate", "screen", "missing", "terms", "replica", "recognise", "catchup",
        "schedule", "validators", "proving",
    )),
    "net/gate.py", "node/machine.py", "node/early.py", "node/statements.py",
    "node/intake.py", "store/places.py", "store/pace.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as made:
        yield made


def test_the_tests_of_a_mutant_run_on_the_copy(bench: Bench) -> None:
    assert bench.home_of_vppd() == bench.folder / "vppd"
    assert bench.folder != ROOT


@pytest.mark.parametrize("name", PORTION)
def test_a_mutant_is_noticed(name: str, bench: Bench) -> None:
    (mutant,) = (m for m in MUTANTS if m.name == name)
    assert bench.try_mutant(mutant, stages=()).killer


def test_a_change_that_changes_nothing_is_not(bench: Bench) -> None:
    """Else every mutant would seem to be killed."""
    same = Mutant("same", "consensus/quorum.py", "f + p + 1)", "1 + p + f)", _QUORUM)
    assert bench.try_mutant(same, stages=()).killer == ""


def test_the_copy_is_whole_again_after_each_mutant(bench: Bench) -> None:
    for path in TARGETS:
        assert (bench.folder / "vppd" / path).read_bytes() == (ROOT / "vppd" / path).read_bytes()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_still_changes_the_source(mutant: Mutant) -> None:
    assert patched(mutant) != Path(ROOT / "vppd" / mutant.path).read_text(encoding="utf-8")
    ast.parse(patched(mutant))


def test_there_are_mutants_of_every_part() -> None:
    assert len(MUTANTS) >= 30
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert {m.path for m in MUTANTS} == set(TARGETS)
    assert set(SURVIVORS) <= {m.name for m in MUTANTS}
    assert all(SURVIVORS.values())


def test_the_page_is_of_this_catalogue() -> None:
    """``make mutants`` writes it; a mutant that came or went since makes it old."""
    rows = [line.split("|") for line in PAGE.read_text(encoding="utf-8").splitlines()]
    told = {row[1].strip(): row[3].strip() for row in rows if len(row) == 5 and ".py`" in row[2]}
    assert list(told) == [m.name for m in MUTANTS]
    assert {name for name, said in told.items() if said.startswith("survives")} == set(SURVIVORS)


_QUORUM = "tests/consensus/test_quorum.py"

"""The quick part of ``make model``: shipped rules are safe in small plants, broken rules fork."""

from __future__ import annotations

import shutil

import pytest

from spec.__main__ import BEGIN, END, README, catches, page
from spec.explore import Explorer
from spec.jobs import SMALLEST, Bounds, Row, explore, jobs, synchronise, walk
from spec.rules import BROKEN, Rule, sizes
from spec.spin import BREAKS
from spec.spin import check as spin

SLOW = {Rule.COMMIT_AHEAD, Rule.DEFERRED_TO_VOTE}
"""Half a million states: left to ``make model``."""
QUICK = [rule for rule in BROKEN if rule not in SLOW]


@pytest.mark.parametrize(
    "bounds", [Bounds(1, 3), Bounds(2, 3), Bounds(3, 2), Bounds(4, 2), Bounds(5, 2)],
    ids=lambda bounds: bounds.words,
)  # fmt: skip
def test_the_shipped_rules_never_fork(bounds: Bounds) -> None:
    row = explore(Rule.SHIPPED, bounds)
    assert row.verdict == "safe", row


@pytest.mark.parametrize("rule", QUICK, ids=lambda rule: rule.slug)
def test_a_broken_rule_forks_and_the_page_tells_how(rule: Rule) -> None:
    row = explore(rule, SMALLEST[rule])
    assert row.verdict == "forks", row
    text = README.read_text(encoding="utf-8")
    for number, step in enumerate(row.tale, 1):
        assert f"{number}. {step}\n" in text, (
            f"python -m spec --write: {rule.slug} reads differently"
        )


def test_a_search_that_is_cut_short_does_not_pass_for_safe() -> None:
    found = Explorer(4, views=2).run(limit=100)
    assert not found.finished
    assert not found.fork


def test_names_of_replicas_and_digests_do_not_matter() -> None:
    """Symmetry hides no state: the same plant with three digests decides no more than two."""
    assert Explorer(3, views=2, digests=3).run().fork == ()
    forked = Explorer(4, views=2, digests=3, rule=Rule.CLAIMS_DROPPED).run()
    assert forked.fork == Explorer(4, views=2, rule=Rule.CLAIMS_DROPPED).run().fork


def test_counting_view_changes_for_exactly_one_view_deadlocks() -> None:
    row = synchronise(4, 2, exact=True)
    assert row.verdict == "no timer runs"
    assert row.good


def test_counting_view_changes_from_the_view_on_does_not() -> None:
    for n, views in ((3, 2), (4, 1)):
        row = synchronise(n, views, exact=False)
        assert row.good, row


@pytest.mark.parametrize("n", [4, 7, 10])
def test_walks(n: int) -> None:
    s = sizes(n)
    plant = (s.n, s.f, s.p)
    assert walk(Rule.SHIPPED, plant, 150).verdict == "nothing found"
    for rule in (Rule.CLAIMS_DROPPED, Rule.FAST_ONE_LESS, Rule.VOTE_BELOW_H0):
        row = walk(rule, plant, 300)
        assert row.caught, row


def test_a_walk_repeats_itself() -> None:
    once, again = (walk(Rule.AMNESIA, (10, 3, 0), 1000) for _ in range(2))
    assert once.caught
    assert once.tale == again.tale


def test_every_broken_rule_is_run_by_a_search() -> None:
    searched = {job.rule for job in jobs(with_spin=True) if job.model in {"explore", "Spin"}}
    assert set(BROKEN) <= searched
    assert set(BREAKS) <= set(BROKEN)


def test_a_rule_that_nothing_catches_is_named() -> None:
    row = Row("explore", "", Rule.AMNESIA.slug, "", "safe", 0.0, caught=False, good=False)
    assert dict(catches([row]))[Rule.AMNESIA.slug] == ""
    assert dict(catches([row._replace(caught=True)]))[Rule.AMNESIA.slug] == "explore"


def test_the_page_has_a_place_for_the_run() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    for rule in BROKEN:
        assert f"### `{rule.slug}`: {rule.words}" in text
    assert "## Last run" in page([])


def test_the_promela_model_knows_every_rule_it_is_asked_for() -> None:
    text = README.with_name("bncm.pml").read_text(encoding="utf-8")
    for rule in BREAKS:
        assert f"#ifdef {rule.slug.upper()}\n" in text or f"#ifndef {rule.slug.upper()}\n" in text
    assert "c_code" not in text
    assert "c_expr" not in text


def test_spin_at_two_views() -> None:
    """Where Spin is installed; ``make model`` insists on it."""
    if shutil.which("spin") is None or shutil.which("cc") is None:
        with pytest.raises((FileNotFoundError, RuntimeError)):
            spin(Rule.SHIPPED, 2)
        return
    assert not spin(Rule.SHIPPED, 2).forked
    assert spin(Rule.CLAIMS_DROPPED, 2).forked

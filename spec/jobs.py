"""What ``make model`` runs, and what each run has to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from spec import spin
from spec.explore import Explorer
from spec.rules import BROKEN, Rule, sizes
from spec.sync import Synchroniser
from spec.walk import walks


class Row(NamedTuple):
    """One line of the table."""

    model: str
    plant: str
    rule: str
    size: str
    """States seen, or walks made."""
    verdict: str
    seconds: float
    caught: bool
    """Something went wrong for the protocol: a fork, or nobody's timer running."""
    good: bool
    """The verdict is the one it has to be."""
    tale: tuple[str, ...] = ()


class Job(NamedTuple):
    """A run and the rule set it is about."""

    model: str
    rule: Rule | None
    """None: view synchronisation has rules of its own."""
    run: Callable[[], Row]


class Bounds(NamedTuple):
    """A plant for the explorer."""

    n: int
    views: int
    heights: int = 1
    digests: int = 2

    @property
    def words(self) -> str:
        """The plant as the table prints it."""
        s = sizes(self.n)
        slack = f" p={s.p}" if s.p else ""
        blocks = f", {self.digests} blocks" if self.digests > 2 else ""
        heights = f", {self.heights} heights" if self.heights > 1 else ""
        return f"n={s.n} f={s.f}{slack}, {self.views} views{heights}{blocks}"


SEARCHED = (
    Bounds(3, 3),
    Bounds(3, 2, 2),
    Bounds(4, 3),
    Bounds(4, 3, 1, 3),
    Bounds(4, 2, 2),
    Bounds(5, 3),
    Bounds(6, 2),
    Bounds(7, 2),
)
"""Where the shipped rules are searched to the end."""
DEFERRED = (Rule.DEFERRED_DECISION, Rule.DEFERRED_PAST_VIEW)
SMALLEST = {rule: Bounds(4, 2) for rule in BROKEN} | {
    Rule.CERTIFICATE_FIRST: Bounds(4, 3),
    Rule.DECISION_LOST: Bounds(4, 2, 2),
    Rule.COMMIT_AHEAD: Bounds(4, 2, 2),
    Rule.DEFERRED_TO_VOTE: Bounds(4, 2, 2),
}
"""The smallest plant in which each broken rule forks."""
WITH_SLACK = (
    Rule.FAST_ONE_LESS,
    Rule.CLAIM_ONE_LESS,
    Rule.CHANGE_ONE_LESS,
    Rule.SLACK_TOO_LARGE,
)
"""Broken sizes, tried at n=6 with p=1 too."""
WALKS = 3000
WALKED = (
    (2, 0, 0), (3, 0, 0), (4, 1, 0), (5, 1, 0), (6, 1, 1), (7, 2, 0), (7, 1, 1), (8, 2, 0),
    (9, 2, 1), (10, 3, 0), (10, 2, 1), (10, 1, 2),
)  # fmt: skip
"""n, f, p."""
TOO_RARE = frozenset({Rule.CERTIFICATE_FIRST, Rule.COMMIT_AHEAD, Rule.DEFERRED_TO_VOTE})
"""What so few walks do not come across; the searches do."""


def promela(rule: Rule, views: int = 3) -> Row:
    """Spin on spec/bncm.pml."""
    found = spin.check(rule, views)
    verdict = "forks" if found.forked else "safe"
    good = found.forked is not rule.safe
    plant = Bounds(4, views).words
    states = f"{found.states:,}"
    return Row("Spin", plant, rule.slug, states, verdict, found.seconds, found.forked, good)


def explore(rule: Rule, bounds: Bounds) -> Row:
    """The explicit-state search."""
    found = Explorer(
        bounds.n, views=bounds.views, heights=bounds.heights, digests=bounds.digests, rule=rule
    ).run()
    verdict = "forks" if found.fork else "safe" if found.finished else "not finished"
    return Row(
        "explore",
        bounds.words,
        rule.slug,
        f"{found.states:,}",
        verdict,
        found.seconds,
        bool(found.fork),
        verdict == ("safe" if rule.safe else "forks"),
        found.fork,
    )


def synchronise(n: int, views: int, *, exact: bool) -> Row:
    """View synchronisation, with restarts."""
    found = Synchroniser(n, views, exact=exact).run()
    settled = f"settles within {found.slowest} timeouts" if found.finished else "not finished"
    return Row(
        "sync",
        f"n={n}, {views} views",
        "count_exactly_v" if exact else "shipped",
        f"{found.states:,}",
        found.stuck or settled,
        found.seconds,
        bool(found.stuck),
        (found.stuck == "no timer runs") if exact else (found.finished and not found.stuck),
        found.tale,
    )


def walk(rule: Rule, plant: tuple[int, int, int], count: int = WALKS) -> Row:
    """Random walks."""
    n, f, p = plant
    found = walks(n, count, f=f, p=p, rule=rule)
    verdict = f"{found.fault} (seed {found.seed})" if found.fault else "nothing found"
    return Row(
        "walk",
        f"n={n} f={f}" + (f" p={p}" if p else ""),
        rule.slug,
        f"{found.walks:,} walks",
        verdict,
        found.seconds,
        bool(found.fault),
        (not found.fault) if rule.safe else (bool(found.fault) or rule in TOO_RARE),
        found.tale,
    )


def jobs(*, with_spin: bool) -> Iterator[Job]:
    """Every run, the broken rules after the shipped ones of each model."""
    if with_spin:
        for rule in (Rule.SHIPPED, *spin.BREAKS):
            yield Job("Spin", rule, partial(promela, rule))
    for bounds in SEARCHED:
        yield Job("explore", Rule.SHIPPED, partial(explore, Rule.SHIPPED, bounds))
    for rule in DEFERRED:
        yield Job("explore", rule, partial(explore, rule, Bounds(4, 2, 2)))
    for rule, bounds in SMALLEST.items():
        yield Job("explore", rule, partial(explore, rule, bounds))
    for rule in WITH_SLACK:
        yield Job("explore", rule, partial(explore, rule, Bounds(6, 2)))
    for n, views in ((3, 4), (4, 3)):
        yield Job("sync", None, partial(synchronise, n, views, exact=False))
    for n in (4, 5):
        yield Job("sync", None, partial(synchronise, n, 2, exact=True))
    for plant in WALKED:
        yield Job("walk", Rule.SHIPPED, partial(walk, Rule.SHIPPED, plant))
    for n in (4, 7, 10):
        s = sizes(n)
        for rule in (*DEFERRED, *BROKEN):
            yield Job("walk", rule, partial(walk, rule, (s.n, s.f, s.p)))

"""When a run proves nothing: each rule gives a reason, in words, or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from vppd.bench.cores import names
from vppd.bench.plan import LEAST_WARM_UP_S, Plan
from vppd.bench.samples import Window
from vppd.bench.watch import Clock

LEAST_SAMPLES = 100
LEAST_GOODPUT = 0.95
"""Of the rate."""
MOST_TIMEOUTS = 0.001
"""Of those due: percentiles are of what was committed, and would leave out the worst."""
STEP_NS = 20_000_000
"""The wall clock may drift against the monotonic one by so much …"""
SLEW = 600e-6
"""… and by so many seconds per second: what adjusting it gently comes to."""
LATE_MS = 100.0
"""A load process that hands over its transactions so late is itself the bottleneck."""


class Facts(NamedTuple):
    """What the rules look at."""

    plan: Plan
    window: Window
    clocks: Sequence[Clock]
    deaths: Mapping[str, str]
    """Nodes that died although nobody killed them, and how."""
    forks: Sequence[str]
    """Heights at which blocks differ, and where."""
    faults: Sequence[str]
    """What the chain's checkers found in the stores."""
    failed: int
    """Transactions that were committed, and failed in execution."""
    exhausted: bool
    """A closed loop had nothing left to send."""
    late_ms: float
    in_memory: bool
    """The stores lie in memory: nothing that is synced reaches a disk."""
    missing: Sequence[str]
    """Nodes that did not say what they had used, and were not killed."""


def reasons(facts: Facts, *, searching: bool = False) -> tuple[str, ...]:
    """Why a run is invalid; none: it is valid.

    Args:
        facts: of the run.
        searching: it is meant to find out whether the plant keeps up with its rate.
    """
    return tuple(_reasons(facts, searching=searching))


def _reasons(facts: Facts, *, searching: bool) -> Iterator[str]:
    plan, window = facts.plan, facts.window
    goodput = window.commits / plan.duration_s
    if window.dropped and not searching:
        yield f"{window.dropped} transactions were never taken by their connection"
    if window.timeouts > MOST_TIMEOUTS * window.due and not searching:
        yield f"{window.timeouts} transactions were taken and not committed by the end of the grace"
    for fork in () if plan.unsafe else facts.forks:
        yield f"unequal blocks: {fork}"
    for name, how in facts.deaths.items():
        yield f"{name} died {how}, and nobody killed it"
    stepped_ms = stepped(facts.clocks)
    if stepped_ms is not None:
        yield f"the wall clock was moved by {stepped_ms:.0f} ms"
    if plan.warm_up_s < LEAST_WARM_UP_S:
        yield f"a warm-up of {plan.warm_up_s:g} s is shorter than {LEAST_WARM_UP_S:g} s"
    if window.committed < LEAST_SAMPLES:
        yield f"{window.committed} samples are fewer than {LEAST_SAMPLES}"
    if plan.rate is not None and plan.closed is None and not searching:
        offered = window.due / plan.duration_s
        if goodput < LEAST_GOODPUT * offered:
            yield f"goodput {goodput:.1f}/s is below 95 % of the {offered:.1f}/s that were due"
    if facts.failed:
        yield f"{facts.failed} transactions failed in execution"
    if facts.exhausted:
        yield "the closed loop ran out of transactions made beforehand: a higher --rate makes more"
    if facts.late_ms > LATE_MS and not searching:
        yield f"the load processes were {facts.late_ms:.0f} ms late themselves (p99)"
    if facts.in_memory and plan.sync == "full":
        yield "the stores lie in memory (tmpfs): nothing is synced to a disk"
    for name in facts.missing:
        yield f"{name} did not answer at the end"
    yield from facts.faults


def remarks(plan: Plan, forks: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of an engine that is known to fork; nothing of any other."""
    if not plan.unsafe:
        return ()
    name = names(plan.core, plan.engine, plan.path)
    said = name.engine if plan.core == "published" else f"finality {name.finality}"
    if not forks:
        found = "in this run it did not"
    else:
        at = "one height" if len(forks) == 1 else f"{len(forks)} heights"
        found = f"here nodes decided different blocks at {at}, first at {forks[0]}"
    return (
        f"{said} is unsafe, it can fork without anybody's fault: {found}",
        "its decisions prove nothing, so nodes' blocks were compared and no proof was checked",
    )


def stepped(clocks: Iterable[Clock]) -> float | None:
    """By how many milliseconds the wall clock was moved while this was watched, if it was."""
    offsets = [(clock.monotonic_ns, clock.wall_ns - clock.monotonic_ns) for clock in clocks]
    for (at, before), (then, after) in pairwise(offsets):
        if abs(after - before) > STEP_NS + SLEW * (then - at):
            return (after - before) / 1e6
    return None

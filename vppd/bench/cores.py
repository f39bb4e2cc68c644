"""The cores that a plant of the bench may run: the shipped one, and the papers' to the letter.

What is published forks (docs/protocol.md), so it runs nowhere but in the simulator and in
``python -m vppd.bench.daemon``: the daemon of ``vppd start`` builds the shipped machine, whatever
lies in its folder.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

from vppd.node.machine import Machine
from vppd.node.resume import MakeMachine

Core = Literal["shipped", "timed", "published", "majority"]


class Names(NamedTuple):
    """What a core is called in results."""

    engine: str
    path: str
    finality: str


UNSAFE: frozenset[Core] = frozenset({"published", "majority"})
"""A decision of theirs proves nothing: two nodes may have different ones, each with its proof."""


def names(core: Core, engine: str, path: str) -> Names:
    """The words of ``vppd simulate`` for a core on a chain of that engine and path."""
    match core:
        case "published":
            return Names("bncm-paper", "collect", "locked")
        case "timed":
            return Names(engine, "paper", "locked")
        case "majority":
            return Names(engine, path, "paper-majority")
        case "shipped":
            return Names(engine, path, "locked")


def machine_of(core: Core, delay_us: int) -> MakeMachine:
    """Builds the node's machine; the simulator is loaded only where it is needed.

    Args:
        core: which.
        delay_us: one way between nodes; the published operator waits a round trip at least.
    """
    match core:
        case "published":
            from vppd.simulate.published import WAIT_MS, Published, Trusting

            wait_ms = max(WAIT_MS, 2 * delay_us // 1_000 + 10)
            engine = partial(Published, wait_ms=wait_ms)
            return partial(Machine, make_engine=engine, make_gate=Trusting)
        case "timed":
            from vppd.simulate.paper import TimedAsPublished

            return partial(Machine, make_engine=TimedAsPublished)
        case "majority":
            from vppd.simulate.majority import HalfDecides, PaperMajority

            return partial(Machine, make_engine=PaperMajority, make_gate=HalfDecides)
        case "shipped":
            return Machine

"""What became of a simulated plant's members and rules: counted, so that a run shows what it tried.

Reads what executing each block gave, the same on every node.
"""

from __future__ import annotations

from collections import Counter

from vppd.config.founding import founding_era
from vppd.config.genesis import Genesis
from vppd.era import Era
from vppd.ledger.events import Convicted, Punished
from vppd.ledger.execution import Execution
from vppd.ledger.receipts import decode_receipt


class Chronicle:
    """Follows one chain from genesis on, block by block.

    Args:
        genesis: of the plant.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._era = founding_era(genesis)
        """The latest that is scheduled."""

    def of(self, execution: Execution) -> Counter[str]:
        """What the next block brought.

        Returns:
            Epochs it scheduled, by what made them (``admitted``, ``removed``, ``rekeyed``,
            ``readmitted``, ``elected``, ``engine``, ``rules``); nodes ``punished`` and
            ``convicted``.
        """
        found: Counter[str] = Counter()
        for raw in execution.receipts:
            for event in decode_receipt(raw).events:
                if isinstance(event, Punished):
                    found["punished"] += 1
                elif isinstance(event, Convicted):
                    found["convicted"] += 1
        if execution.era is not None:
            found.update(what_differs(self._era, execution.era))
            self._era = execution.era
        return found


def what_differs(before: Era, after: Era) -> set[str]:
    """By what an epoch differs from the one before; an election may leave all as it was."""
    old, new = ({m.key: m for m in era.members} for era in (before, after))
    if before.engine == after.engine == "dpos" and before.rules == after.rules:
        return {"elected"}
    found: set[str] = set()
    gone, come = old.keys() - new.keys(), new.keys() - old.keys()
    if gone and come:
        found.add("rekeyed")
    elif gone or come:
        found.add("removed" if gone else "admitted")
    if any(old[key].nonce != new[key].nonce for key in old.keys() & new.keys()):
        found.add("readmitted")
    if before.engine != after.engine:
        found.add("engine")
    return found or {"rules"}

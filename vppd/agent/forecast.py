"""What a member will use and generate: forecasters, this build's own and those that others bring.

A forecaster has a name. A distribution brings one by an entry point of that name in the group
``vppd.forecasters``; it is imported when an agent asks for it. A forecast is the member's own
affair and never part of what nodes agree on, so a forecaster may be as clever as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from vppd.errors import UserError
from vppd.types import Slot, Wh

GROUP = "vppd.forecasters"
DAYS_BACK = 7
"""How far :class:`Persistence` looks for a slot that was metered."""


@runtime_checkable
class Forecaster(Protocol):
    """Says what one load or generator will do."""

    @property
    def name(self) -> str:
        """As ``--forecaster`` writes it."""

    def forecast(self, history: Mapping[Slot, Wh], slot: Slot, slots_per_day: int) -> Wh:
        """The energy expected in ``slot``, none below zero.

        Args:
            history: what was metered in earlier slots; some may be missing.
            slot: to forecast.
            slots_per_day: of market time.
        """


class Persistence:
    """The same slot of the day before; where that is missing, of the days before it; else zero."""

    name = "persistence"

    def forecast(self, history: Mapping[Slot, Wh], slot: Slot, slots_per_day: int) -> Wh:
        """See :class:`Forecaster`."""
        for day in range(1, DAYS_BACK + 1):
            past = history.get(slot - day * slots_per_day)
            if past is not None:
                return past
        return 0


OWN: tuple[Forecaster, ...] = (Persistence(),)


def installed() -> tuple[str, ...]:
    """Names of every forecaster there is here, this build's own first."""
    from importlib.metadata import entry_points

    own = tuple(forecaster.name for forecaster in OWN)
    return (*own, *sorted({point.name for point in entry_points(group=GROUP)} - set(own)))


def load_forecaster(name: str) -> Forecaster:
    """The forecaster of that name: an object, or what a call without arguments makes.

    Raises:
        UserError: E556, nobody brings it, or what is brought is none.
    """
    from importlib.metadata import entry_points

    for own in OWN:
        if own.name == name:
            return own
    points = list(entry_points(group=GROUP, name=name))
    if len(points) != 1:
        why = f"{len(points)} distributions bring it" if points else "nobody brings it"
        raise _unusable(name, why)
    try:
        found = points[0].load()
        made = found() if isinstance(found, type) or not isinstance(found, Forecaster) else found
    except Exception as err:  # whatever a stranger's module raises
        raise _unusable(name, f"{points[0].value}: {type(err).__name__}: {err}") from err
    if not isinstance(made, Forecaster):
        raise _unusable(name, f"{points[0].value} is no forecaster")
    return made


def _unusable(name: str, why: str) -> UserError:
    return UserError(
        "E556",
        f"there is no forecaster {name!r} to use here",
        facts={"why": why, "installed": ", ".join(installed())},
        hint="leave --forecaster out for persistence, or install what brings it",
    )

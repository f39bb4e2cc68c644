"""Which kinds of contracts can run here: this build's own, and those of other distributions.

A distribution brings a kind by an entry point of its name in the group ``vppd.contracts``; a plant
uses it if ``[contracts] kinds`` in its genesis names it (docs/contracts.md). Nothing of it is
imported before a plant asks for it.
"""

from __future__ import annotations

import re
from typing import NewType, Protocol, TypeVar

from vppd.errors import ConfigError

GROUP = "vppd.contracts"
KindName = NewType("KindName", str)
KIND_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Named(Protocol):
    """What an entry point leads to: it says which kind it is."""

    @property
    def name(self) -> KindName:
        """As genesis.toml writes it."""


T = TypeVar("T", bound=Named)


def load_kind(name: KindName, kind: type[T]) -> T:
    """What another distribution brings under that name: a ``kind``, or a call that makes one.

    Args:
        name: of the kind.
        kind: what it must be; this room knows of files, not of contracts.

    Raises:
        ConfigError: E126, nobody brings it; E127, what is brought cannot be used.
    """
    from importlib.metadata import entry_points

    points = list(entry_points(group=GROUP, name=name))
    if not points:
        brought = sorted({point.name for point in entry_points(group=GROUP)})
        raise ConfigError(
            "E126",
            f"no kind of contract {name!r} is installed here",
            facts={"installed": ", ".join(brought) or "none but this build's own"},
            hint="install what brings it, on every node",
        )
    if len(points) > 1:
        owners = sorted(point.dist.name if point.dist else point.value for point in points)
        raise _unusable(name, f"{' and '.join(owners)} both bring it")
    try:
        found = points[0].load()
        made = found if isinstance(found, kind) or not callable(found) else found()
    except Exception as err:  # whatever a stranger's module raises
        raise _unusable(name, f"{points[0].value}: {type(err).__name__}: {err}") from err
    if not isinstance(made, kind):
        raise _unusable(name, f"{points[0].value} is no {kind.__name__}")
    if made.name != name:
        raise _unusable(name, f"{points[0].value} calls itself {made.name!r}")
    return made


def taken(name: KindName) -> ConfigError:
    """E127: this build has a kind of that name, and what follows its rules must not change."""
    return _unusable(name, "this build has a kind of its own of that name")


def _unusable(name: KindName, why: str) -> ConfigError:
    return ConfigError(
        "E127",
        f"the kind of contract {name!r} cannot be used",
        facts={"why": why},
        hint="docs/contracts.md says what a kind must be; ask who made it",
    )

"""Which engines can run here: this build's own, and those that other distributions bring.

An engine has a name, which genesis.toml gives. A distribution brings one by an entry point of that
name in the group ``vppd.engines`` (docs/engines.md). Nothing of it is imported before a plant asks
for it.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

from vppd.config.genesis import Engine
from vppd.errors import ConfigError

GROUP = "vppd.engines"
DPOS = Engine("dpos")
OWN = (Engine("bncm"), Engine("pbft"), DPOS)
"""Of this build. Nobody else can take their names."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Named(Protocol):
    """What an entry point leads to: it says which engine it is."""

    @property
    def name(self) -> Engine:
        """As genesis.toml writes it."""


T = TypeVar("T", bound=Named)


def installed() -> tuple[Engine, ...]:
    """Names of every engine that can run here, this build's own first."""
    from importlib.metadata import entry_points

    others = {point.name for point in entry_points(group=GROUP) if _NAME.fullmatch(point.name)}
    return (*OWN, *(Engine(name) for name in sorted(others - set(OWN))))


def engine_named(text: str) -> Engine | None:
    """The installed engine of that name; ``None``: there is none."""
    if text in OWN:  # without a look at every distribution on the path
        return Engine(text)
    return Engine(text) if text in installed() else None


def load_engine(engine: Engine, kind: type[T]) -> T:
    """What another distribution brings under that name: a ``kind``, or a call that makes one.

    Args:
        engine: its name.
        kind: what an engine must be; this room knows of files, not of engines.

    Raises:
        ConfigError: E107, nobody brings it; E125, what is brought cannot be used.
    """
    from importlib.metadata import entry_points

    points = list(entry_points(group=GROUP, name=engine))
    if not points:
        raise not_installed(engine)
    if len(points) > 1:
        owners = sorted(point.dist.name if point.dist else point.value for point in points)
        raise unusable(engine, f"{' and '.join(owners)} both bring it")
    try:
        found = points[0].load()
        made = found if isinstance(found, kind) or not callable(found) else found()
    except Exception as err:  # whatever a stranger's module raises
        raise unusable(engine, f"{points[0].value}: {type(err).__name__}: {err}") from err
    if not isinstance(made, kind):
        raise unusable(engine, f"{points[0].value} is no {kind.__name__}")
    if made.name != engine:
        raise unusable(engine, f"{points[0].value} calls itself {made.name!r}")
    return made


def not_installed(text: str, facts: dict[str, str] | None = None) -> ConfigError:
    """E107: genesis names an engine that nobody has installed here."""
    return ConfigError(
        "E107",
        f"no engine {text!r} is installed here",
        facts={**(facts or {}), "installed": ", ".join(installed())},
        hint="install what brings it, on every node, or found the plant on another engine",
    )


def unusable(engine: Engine, why: str) -> ConfigError:
    """E125: an engine is installed and cannot run."""
    return ConfigError(
        "E125",
        f"the engine {engine!r} cannot be used",
        facts={"why": why},
        hint="docs/engines.md says what an engine must be; ask who made it",
    )

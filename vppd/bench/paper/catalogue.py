"""Which experiments there are, how each can be run, and what it takes."""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from vppd.bench.paper import cda, day, dpos, fig12, fig13, fig14, fig15
from vppd.bench.paper.figure import RESULTS, Experiment, Say
from vppd.cli.loop import run_async
from vppd.day.profiles import load_profiles
from vppd.errors import Exit, UserError

Mode: TypeAlias = Literal["real", "sim"]
Options: TypeAlias = dict[str, Any]


class Kind(NamedTuple):
    """One experiment; its first mode is that of the paper."""

    modes: dict[Mode, Options]
    """Options each mode takes, with their defaults."""


_DELAY: Final = {"delay_ms": 10}
CATALOGUE: Final[dict[str, Kind]] = {
    "fig12": Kind({"real": {"rounds": 50}, "sim": {"rounds": 50, "seeds": 5, **_DELAY}}),
    "fig13": Kind({"real": {"rounds": 5}, "sim": {"rounds": 20, "seeds": 3, **_DELAY}}),
    "fig14": Kind({"real": {"rounds": 50}, "sim": {"rounds": 200, "seeds": 4, **_DELAY}}),
    "fig15": Kind({"real": {"rounds": 30}, "sim": {"rounds": 30, "seeds": 5, **_DELAY}}),
    "dpos": Kind({"sim": {"seeds": dpos.SEEDS}}),
    "cda": Kind({"sim": {}}),
    "day": Kind({"real": {"profiles": None}, "sim": {"seeds": 200, "profiles": None}}),
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an experiment."""

    figure: str
    mode: Mode
    options: Options

    def command(self) -> list[str]:
        """What runs it again, word for word."""
        words = ["vppd", "bench", "paper", self.figure, f"--{self.mode}"]
        for name, value in self.options.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def line(self) -> str:
        """Every parameter in force."""
        options = [f"{name}={value}" for name, value in self.options.items() if value is not None]
        return " ".join([self.figure, self.mode, *options])


def wanted_of(figure: str, *, sim: bool, real: bool, **given: Any) -> Wanted:
    """What was asked for, with defaults for what was not.

    Args:
        figure: a name in :data:`CATALOGUE`.
        sim: in the simulator.
        real: on daemons; neither: as the paper did.
        given: options; ``None`` where it was not given.

    Raises:
        UserError: E447, there is no such experiment, or it is not run that way.
    """
    kind = CATALOGUE.get(figure)
    if kind is None:
        near = get_close_matches(figure, CATALOGUE, n=1)
        raise _no_such(
            f"there is no experiment {figure!r}", near[0] if near else " | ".join(CATALOGUE)
        )
    if sim and real:
        raise _no_such("an experiment runs in the simulator or on daemons", "--sim, or --real")
    modes = list(kind.modes)
    mode: Mode = "sim" if sim else "real" if real else modes[0]
    if mode not in kind.modes:
        raise _no_such(f"{figure} is not run with --{mode}", f"--{modes[0]}")
    taken = kind.modes[mode]
    for name, value in given.items():
        if value is not None and name not in taken:
            takes = ", ".join(f"--{name.replace('_', '-')}" for name in taken) or "nothing else"
            raise _no_such(
                f"{figure} --{mode} does not take --{name.replace('_', '-')}", f"it takes {takes}"
            )
    options = {name: default if given.get(name) is None else given[name]
               for name, default in taken.items()}  # fmt: skip
    return Wanted(figure=figure, mode=mode, options=options)


def folder_of(wanted: Wanted) -> Path:
    """Where results are kept: by figure, and with the mode where it is not the paper's."""
    first = next(iter(CATALOGUE[wanted.figure].modes))
    name = wanted.figure if wanted.mode == first else f"{wanted.figure}-{wanted.mode}"
    return RESULTS / name


def run(wanted: Wanted, say: Say) -> Experiment:
    """Run it; an experiment on daemons needs a thread without an event loop.

    Raises:
        UserError: E448, it did not run; E449 and E401…E405, the profiles.
    """
    options = dict(wanted.options)
    if "profiles" in options:
        options["profiles"] = load_profiles(options["profiles"])
    if wanted.mode == "sim":
        simulated: Any = {
            "fig12": partial(fig12.simulated, say=say), "fig13": partial(fig13.simulated, say=say),
            "fig14": partial(fig14.simulated, say=say), "fig15": partial(fig15.simulated, say=say),
            "dpos": dpos.simulated, "cda": cda.simulated, "day": day.simulated,
        }[wanted.figure]  # fmt: skip
        made: Experiment = simulated(**options)
        return made
    measured: Any = {
        "fig12": fig12.real, "fig13": fig13.real, "fig14": fig14.real, "fig15": fig15.real,
        "day": day.real,
    }[wanted.figure]  # fmt: skip
    done: Experiment = run_async(measured(**options, say=say))
    return done


def _no_such(what: str, hint: str) -> UserError:
    return UserError("E447", what, hint=hint, exit_code=Exit.USAGE)

"""``vppd simulate``: seeded clusters, their checkers, and the command that replays a failure."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NamedTuple, get_args

import msgspec
import typer

from vppd.cli.engine import ENGINE, PATH, parse_engine, parse_path
from vppd.cli.links import parse_fail, parse_kill, require_quorum
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.progress import progress
from vppd.cli.twins import figure, simulate_twins
from vppd.config.genesis import Engine, PathSetting
from vppd.errors import Exit, UserError
from vppd.simulate.cluster import simulate as play_shipped
from vppd.simulate.faults import FAULT_SETS, FaultSet, parse_sets
from vppd.simulate.majority import simulate_majority
from vppd.simulate.outcome import Setup
from vppd.simulate.paper import simulate_published, simulate_timed
from vppd.simulate.plant import sim_genesis
from vppd.simulate.recording import record
from vppd.simulate.runner import Play, Report, Tally, run_seeds

PUBLISHED = "bncm-paper"
"""The engine of P0 to the letter."""
PUBLISHED_PATH = "paper"
"""The engine as shipped, with the timing of P0."""


class Finality(StrEnum):
    """What makes a block final under ``dpos``."""

    LOCKED = "locked"
    """q votes of agents who are bound by theirs: as shipped."""
    PAPER_MAJORITY = "paper-majority"
    """Half of the votes, as P4 prints it."""


HEIGHTS, FAULTS = 12, "all"
JOINERS = 3
"""Nodes beside those in genesis, where members come and go."""


def parse_seeds(text: str) -> range:
    """``A..B`` with B included, or a single seed.

    Raises:
        UserError: E410.
    """
    first, dots, last = text.partition("..")
    try:
        low = int(first)
        high = int(last) if dots else low
    except ValueError:
        low, high = 0, -1
    if low < 0 or high < low:
        raise UserError(
            "E410",
            f"{text!r} is not a range of seeds",
            hint="--seeds 1..300 (300 included), or --seeds 42",
            exit_code=Exit.USAGE,
        )
    return range(low, high + 1)


def parse_delay_us(text: str) -> int:
    """``10ms``, ``500us`` or ``1s`` in microseconds.

    Raises:
        UserError: E411.
    """
    for suffix, scale in (("ms", 1_000), ("us", 1), ("s", 1_000_000)):
        number = text.removesuffix(suffix)
        if text.endswith(suffix) and number.isdecimal():
            return int(number) * scale
    raise UserError(
        "E411",
        f"{text!r} is not a delay",
        hint="--delay 10ms (or 500us, 1s)",
        exit_code=Exit.USAGE,
    )


class Rules(NamedTuple):
    """How the plants are to agree."""

    engine: Engine
    path: PathSetting
    play: Play
    names: tuple[str, str]
    """Of engine and path, as they were given."""


def parse_rules(engine: str, path: str, finality: Finality, *, unsafe: bool) -> Rules:
    """Engine, path and finality by name, the published ones among them.

    Raises:
        UserError: E412, E416, E427; E426 for a protocol that forks, unless that is what is wanted.
    """
    if finality is Finality.PAPER_MAJORITY:
        return _paper_majority(engine, path, unsafe=unsafe)
    names = (engine, path)
    paths = f"--path {' | '.join(get_args(PathSetting))} | {PUBLISHED_PATH}"
    if engine == PUBLISHED:
        if not unsafe:
            raise UserError(
                "E426",
                f"engine {PUBLISHED} forks: it is BNCM as published, kept to be refuted",
                hint="--unsafe, to see it fork; docs/protocol.md has the counter-examples",
                exit_code=Exit.USAGE,
            )
        if path != PATH:
            raise UserError(
                "E416",
                f"engine {PUBLISHED} has no path {path!r}",
                hint="leave --path out",
                exit_code=Exit.USAGE,
            )
        return Rules(Engine("bncm"), "collect", simulate_published, (PUBLISHED, "collect"))
    chosen = parse_engine(engine)
    if path == PUBLISHED_PATH:
        if chosen != "bncm":
            raise UserError(
                "E416", f"engine {engine} has no path {path!r}", hint=paths, exit_code=Exit.USAGE
            )
        return Rules(chosen, "collect", simulate_timed, names)
    return Rules(chosen, parse_path(path, chosen), play_shipped, names)


def _paper_majority(engine: str, path: str, *, unsafe: bool) -> Rules:
    if engine != "dpos":
        raise UserError(
            "E427",
            f"finality {Finality.PAPER_MAJORITY} is of engine dpos, not of {engine}",
            hint="--engine dpos, or leave --finality out",
            exit_code=Exit.USAGE,
        )
    if not unsafe:
        raise UserError(
            "E426",
            f"finality {Finality.PAPER_MAJORITY} forks: it is DPoS as published, kept to be "
            "refuted",
            hint="--unsafe, to see it fork; docs/protocol.md has the counter-examples",
            exit_code=Exit.USAGE,
        )
    dpos = parse_engine(engine)
    return Rules(dpos, parse_path(path, dpos), simulate_majority, (engine, path))


def parse_faults(text: str) -> frozenset[FaultSet]:
    """Fault sets, comma-separated.

    Raises:
        UserError: E413.
    """
    try:
        return parse_sets(text)
    except ValueError as err:
        raise UserError("E413", str(err), exit_code=Exit.USAGE) from err


def _elections(
    n: int, engine: Engine, delegates: int | None, epoch_blocks: int | None
) -> tuple[int | None, int]:
    """Producers, and heights between elections.

    Raises:
        UserError: E427.
    """
    if engine != "dpos" and (delegates, epoch_blocks) != (None, None):
        raise UserError(
            "E427",
            f"--delegates and --epoch-blocks are of engine dpos, not of {engine}",
            hint="--engine dpos, or leave them out",
            exit_code=Exit.USAGE,
        )
    if delegates is not None and delegates > n:
        raise UserError(
            "E427",
            f"{delegates} of {n} nodes cannot produce",
            hint=f"--delegates {n}, or fewer",
            exit_code=Exit.USAGE,
        )
    return delegates, epoch_blocks or 8


def simulate(
    n: Annotated[int, typer.Option("-n", min=1, max=200, help="Nodes")] = 4,
    operators: Annotated[int, typer.Option(min=1, help="So many of them are operators")] = 1,
    engine: Annotated[
        str, typer.Option(help=f"Consensus engine: bncm, pbft, dpos, one installed, {PUBLISHED}")
    ] = ENGINE,
    path: Annotated[
        str, typer.Option(help=f"Of bncm: auto, collect, broadcast, {PUBLISHED_PATH}")
    ] = PATH,
    finality: Annotated[
        Finality, typer.Option(help="Of dpos: what makes a block final")
    ] = Finality.LOCKED,
    delegates: Annotated[
        int | None, typer.Option(min=1, help="Of dpos: so many nodes produce; default: all")
    ] = None,
    epoch_blocks: Annotated[
        int | None, typer.Option(min=2, help="Of dpos: heights between elections; default 8")
    ] = None,
    seeds: Annotated[str, typer.Option(help="A..B (B included), or one seed")] = "1..20",
    heights: Annotated[int, typer.Option(min=1, help="Every node must decide so many")] = HEIGHTS,
    delay: Annotated[
        str | None, typer.Option(help="Fixed one-way delay, e.g. 10ms; default 0.2-5 ms at random")
    ] = None,
    faults: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(FAULT_SETS)}")] = FAULTS,
    fail: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE=P", help="Its link fails in so many heights: der-3=40%"),
    ] = None,
    kill: Annotated[
        list[str] | None,
        typer.Option(metavar="NODE@H", help="It dies for good when it has decided H: op-0@3"),
    ] = None,
    unsafe: Annotated[
        bool,
        typer.Option(
            "--unsafe", help=f"Run {PUBLISHED} or {Finality.PAPER_MAJORITY} although it forks"
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core")] = 0,
    twins: Annotated[
        int, typer.Option(min=0, help="Identities that run twice instead, for so many views")
    ] = 0,
    limit: Annotated[
        int, typer.Option(min=0, help="With --twins: so many of all scenarios; 0: drawn by --seeds")
    ] = 0,
    trace: Annotated[
        Path | None, typer.Option(help="With one seed: write every message to this file.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run whole simulated plants, one per seed, and check every invariant after every event.

    Raises:
        UserError: E410…E413, E416, E423…E428, E443.
    """
    rules = parse_rules(engine, path, finality, unsafe=unsafe)
    wanted = parse_seeds(seeds)
    shipped = rules.play is play_shipped
    if trace is not None and (twins or len(wanted) > 1 or not shipped):
        raise UserError(
            "E443",
            "a trace is of one seed of an engine as shipped",
            hint="--seeds 42 --trace FILE, without --twins",
            exit_code=Exit.USAGE,
        )
    if twins:
        usual = (operators, heights, delay, faults) == (1, HEIGHTS, None, FAULTS)
        if not (shipped and usual) or fail or kill:
            raise UserError(
                "E427",
                "--twins plays engines as shipped, in scenarios of its own",
                hint="beside it only --engine, --path, -n, --seeds, --limit, --jobs",
                exit_code=Exit.USAGE,
            )
        cores = jobs or os.cpu_count() or 1
        simulate_twins((rules.engine, rules.path), n, twins, limit, wanted, cores, output)
        return
    if operators > n:
        raise UserError(
            "E427",
            f"{operators} of {n} nodes cannot be operators",
            hint=f"--operators {n}, or fewer",
            exit_code=Exit.USAGE,
        )
    chosen = parse_faults(faults)
    dpos = _elections(n, rules.engine, delegates, epoch_blocks)
    genesis = sim_genesis(n, rules.engine, rules.path, operators, *dpos)
    setup = Setup(
        engine=rules.engine,
        path=rules.path,
        n=n,
        operators=operators,
        delegates=dpos[0],
        epoch_blocks=dpos[1],
        joiners=JOINERS if "membership" in chosen else 0,
        heights=heights,
        delay_us=None if delay is None else parse_delay_us(delay),
        faults=chosen,
        fail=parse_fail(fail or (), genesis),
        kill=parse_kill(kill or (), genesis),
    )
    require_quorum(setup.fail, setup.kill, genesis)
    words = ["--heights", str(heights), "--faults", faults]
    words += [] if path == PATH else ["--path", path]
    words += [] if finality is Finality.LOCKED else ["--finality", finality]
    words += [] if delegates is None else ["--delegates", str(delegates)]
    words += [] if epoch_blocks is None else ["--epoch-blocks", str(epoch_blocks)]
    words += [] if operators == 1 else ["--operators", str(operators)]
    words += [] if delay is None else ["--delay", delay]
    words += [word for text in fail or () for word in ("--fail", text)]
    words += [word for text in kill or () for word in ("--kill", text)]
    words += ["--unsafe"] if unsafe else []
    workers = min(jobs or os.cpu_count() or 1, len(wanted))
    replay = f"vppd simulate --engine {engine} -n {n} --seeds {{seed}} {shlex.join(words)}"
    tally = Tally(setup, wanted, replay, workers, rules.names, finality)
    with progress("seeds", len(wanted)) as advance:
        runs = run_seeds(setup, wanted, workers, rules.play)
        for outcome in runs if trace is None else (record(setup, wanted[0], trace),):
            tally.add(outcome)
            advance()
    report = tally.close()
    if output is Output.JSON:
        print_json(msgspec.to_builtins(report))
    else:
        print_rows(_rows(report), output)
    for violation in report.violations:
        print(
            f"violation, seed {violation['seed']}: {violation['what']}\n"
            f"  replay  {violation['replay']}",
            file=sys.stderr,
        )
    if report.violations:
        raise typer.Exit(Exit.FAILED)


def _rows(report: Report) -> list[dict[str, str | int | None]]:
    values = msgspec.to_builtins(report)
    values["seeds"] = "{}..{}".format(*report.seeds)
    values["violations"] = len(report.violations)
    return [{"figure": name, "value": figure(value)} for name, value in values.items()]

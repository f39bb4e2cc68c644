"""``vppd dev``: a whole virtual power plant on this machine plays one trading day."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from vppd.cli.engine import ENGINE, PATH, EngineOption, PathOption, parse_engine, parse_path
from vppd.cli.loop import run_async
from vppd.cli.output import Output, OutputOption, print_json, print_rows
from vppd.cli.testnet import Testnet, read_grid
from vppd.config.genesis import MarketRules
from vppd.day.profiles import assign, load_profiles
from vppd.day.result import DayResult, result_of
from vppd.day.run import DayOptions, Watcher, play
from vppd.errors import Exit, UserError
from vppd.market.auction import RULES
from vppd.market.money import format_micro


def dev(
    n: Annotated[int, typer.Option("-n", min=2, max=50, help="Nodes: 1 operator, n-1 DERs.")] = 5,
    engine: EngineOption = ENGINE,
    path: PathOption = PATH,
    profiles: Annotated[
        Path | None, typer.Option(help="CSV of hourly loads and PV; default: the packaged day.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Market slots to play, one per hour.")] = 24,
    slot_seconds: Annotated[
        float, typer.Option(min=0.5, max=900, help="Chain time per slot, seconds.")
    ] = 2.0,
    rules: Annotated[str, typer.Option(help="Auction rules.")] = "production",
    seed: Annotated[int, typer.Option(min=0, help="Decides forecasts, quotes, deviations.")] = 1,
    grid: Annotated[
        Path | None,
        typer.Option(help="A file with a [grid] to trade through; DERs are dealt to its buses."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the plant's files; default: a new one in /tmp.")
    ] = None,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop at the end of the day.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Play the day and print what it came to; exit code 1 if the books do not balance."""
    chosen = parse_engine(engine)
    votes = parse_path(path, chosen)
    if not math.isfinite(slot_seconds):
        raise UserError(
            "E415", "slots take no finite time", hint="--slot-seconds 2", exit_code=Exit.USAGE
        )
    rule_set = _rules(rules)
    columns = assign(load_profiles(profiles, slots=slots), n - 1)
    folder = out or Path(tempfile.mkdtemp(prefix="vppd-day-"))
    options = DayOptions(
        out=folder,
        columns=tuple(columns),
        engine=chosen,
        path=votes,
        rules=rule_set,
        slots=slots,
        slot_ms=round(slot_seconds * 1_000),
        seed=seed,
        grid=None if grid is None else read_grid(grid),
        stay=not exit_,
    )
    with _screen(output) as watcher:
        played = run_async(play(options, watcher))
        watcher.standing("auditing every store")
        result = result_of(options, played)
    if output is Output.JSON:
        print_json(msgspec.to_builtins(result))
    else:
        _print(result)
    if result.findings:
        for finding in result.findings:
            print(f"audit: {finding}", file=sys.stderr)
        raise typer.Exit(Exit.FAILED)


def _rules(text: str) -> MarketRules:
    for name in RULES:
        if name == text:
            return name
    raise UserError(
        "E414",
        f"there are no auction rules {text!r}",
        hint=f"--rules {' | '.join(RULES)}",
        exit_code=Exit.USAGE,
    )


_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("slot", "slot", 4),
    ("time", "time", 6),
    ("height", "height", 7),
    ("nodes", "nodes", 6),
    ("trades", "trades", 7),
    ("traded_wh", "inside, Wh", 11),
    ("feed_in", "feed-in", 8),
    ("mean_price", "price", 8),
    ("retail", "retail", 8),
)


class Lines(Watcher):
    """One line per slot, as they settle; for terminals, files and pipes alike.

    Args:
        file: where to.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._headed = False

    def say(self, text: str) -> None:
        """News."""
        self._write(f"  ! {text}")

    def standing(self, text: str) -> None:
        """What is going on now: on a terminal only, where the next line replaces it."""
        if self._file.isatty():
            print(f"\r\033[K… {text}", end="", file=self._file, flush=True)

    def slot(self, row: dict[str, Any]) -> None:
        """A slot is over."""
        if not self._headed:
            self._headed = True
            self._write(" ".join(title.rjust(width) for _, title, width in _COLUMNS))
        shown = {
            **row,
            "feed_in": format_micro(row["feed_in_micro"], 3),
            "retail": format_micro(row["retail_micro"], 3),
            "mean_price": "-"
            if row["mean_price_micro"] is None
            else format_micro(row["mean_price_micro"], 3),
        }
        self._write(" ".join(str(shown[name]).rjust(width) for name, _, width in _COLUMNS))

    def stay(self, testnet: Testnet) -> None:
        """The day is over; the plant runs on."""
        home = testnet.nodes[1].home
        self._write(
            "\nThe day is over, the plant runs on until Ctrl-C. In another terminal:\n"
            f"  vppd status --home {home}\n"
            f"  vppd block tail -f --home {home}\n"
            f"  vppd market bid 1500 0.52 --wait --home {home}\n"
            f"  vppd market contracts --home {home}\n"
            f"  vppd market bill der-1 --day 0 --home {home}"
        )

    def _write(self, text: str) -> None:
        clear = "\r\033[K" if self._file.isatty() else ""
        print(clear + text, file=self._file, flush=True)


@contextmanager
def _screen(output: Output) -> Iterator[Watcher]:
    """The live table goes to stdout, unless stdout is for JSON."""
    lines = Lines(sys.stderr if output is Output.JSON else sys.stdout)
    try:
        yield lines
    finally:
        lines.standing("")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _print(result: DayResult) -> None:
    commit = result.commit_ms
    heads = sorted(set(result.head_hashes.values()))
    print(
        f"\n{result.blocks} blocks, {result.transactions} transactions, {result.trades} trades; "
        f"{result.traded_wh / 1_000:.1f} kWh stayed inside the plant\n"
    )
    rows: list[dict[str, str | int | None]] = []
    for member in result.members:
        saved = member.paid_grid_only_micro - member.paid_micro
        rows.append(
            {
                "member": member.name,
                "role": member.role,
                "side": member.side,
                "net kWh": f"{member.net_wh / 1_000:.1f}",
                "paid": format_micro(member.paid_micro, 2),
                "grid only": format_micro(member.paid_grid_only_micro, 2),
                "better by": format_micro(saved, 2),
            }
        )
    print_rows(rows, Output.TABLE)
    for side, words in (("seller", "sellers earn"), ("buyer", "buyers pay")):
        paid = sum(m.paid_micro for m in result.members if m.side == side)
        grid = sum(m.paid_grid_only_micro for m in result.members if m.side == side)
        if grid:
            print(
                f"\n{words} {format_micro(abs(paid), 2)} instead of {format_micro(abs(grid), 2)} "
                f"at grid prices ({100 * (abs(paid) / abs(grid) - 1):+.1f} %)",
                end="",
            )
    equal = f"all equal, {heads[0][:24]}…" if len(heads) == 1 else f"DIFFERENT: {', '.join(heads)}"
    print(
        f"\n\nmoney and energy conserved: {'yes' if result.conserved else 'NO'} "
        f"(independent audit of every node's blocks)\n"
        f"commit latency: mean {commit['mean']} ms, p50 {commit['p50']} ms, "
        f"p99 {commit['p99']} ms; view changes {result.view_changes}, "
        f"restarts {result.restarts}\n"
        f"engine {result.engine}: {_share(result.fast_share)} of decisions on first-round votes; "
        f"fallbacks: {_counts(result.fallbacks)}\n"
        f"head hashes at {len(result.head_hashes)} nodes: {equal}\n"
        f"\nEverything is kept in {result.out}. Next:\n"
        f"  vppd block verify --home {result.out}/op-0\n"
        f"  vppd block verify 1..50 --home {result.out}/der-1 -o json\n"
        f"  vppd start --home {result.out}/op-0        (each node in a terminal of its own)"
    )

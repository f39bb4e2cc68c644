"""``vppd bench run`` and ``vppd bench saturate``: a network under load, measured from outside."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import typer
from msgspec.structs import replace

from vppd.bench import latencies
from vppd.bench.cores import Core
from vppd.bench.environment import environment
from vppd.bench.expect import Expectation, parse_expectation, require
from vppd.bench.folder import results_folder, write_results
from vppd.bench.limits import Limits, measure
from vppd.bench.plan import Plan, check, check_disk, check_limit, command, line, parse_kill_at
from vppd.bench.plant import effective
from vppd.bench.run import Run, Voice, no_knee, run_once
from vppd.bench.saturate import Try, find_knee, keeps_up, knee
from vppd.bench.summary import Summary
from vppd.cli.engine import ENGINE, PATH
from vppd.cli.links import parse_fail, require_quorum
from vppd.cli.loop import run_async
from vppd.cli.output import Output, OutputOption, print_json, table
from vppd.cli.progress import progress
from vppd.cli.simulate import (
    PUBLISHED,
    PUBLISHED_PATH,
    Finality,
    Rules,
    parse_delay_us,
    parse_rules,
)
from vppd.errors import Exit
from vppd.simulate.cluster import simulate as play_shipped
from vppd.simulate.majority import simulate_majority
from vppd.simulate.paper import simulate_published, simulate_timed
from vppd.simulate.plant import sim_genesis
from vppd.simulate.runner import Play


class Arrival(StrEnum):
    """When transactions are due."""

    POISSON = "poisson"
    CONSTANT = "constant"


class LedgerKind(StrEnum):
    """What executes them."""

    MARKET = "market"
    NULL = "null"


class Sync(StrEnum):
    """SQLite's ``synchronous``."""

    FULL = "full"
    NORMAL = "normal"
    OFF = "off"


class TransportKind(StrEnum):
    """Between nodes."""

    TLS = "tls"
    PLAIN = "plain"


class Target(StrEnum):
    """Nodes that clients are dealt to."""

    ALL = "all"
    LEADER = "leader"


class EntryKind(StrEnum):
    """Where clients connect."""

    SOCKET = "socket"
    PORT = "port"


Nodes: TypeAlias = Annotated[int, typer.Option("-n", "--nodes", min=1, max=200, help="Nodes.")]
LedgerOption: TypeAlias = Annotated[
    LedgerKind, typer.Option("--ledger", help="market, or null: nothing is executed.")
]
Unsigned: TypeAlias = Annotated[
    bool, typer.Option("--unsigned", help="No signatures on transactions; null ledger.")
]
Ops: TypeAlias = Annotated[int, typer.Option(min=1, help="Operations per transaction.")]
Bytes: TypeAlias = Annotated[
    int | None, typer.Option("--bytes", help="Of a transaction in the null ledger; default 200.")
]
ArrivalOption: TypeAlias = Annotated[
    Arrival, typer.Option("--arrival", help="When transactions are due.")
]
Clients: TypeAlias = Annotated[int, typer.Option(min=1, help="Load processes.")]
Accounts: TypeAlias = Annotated[int, typer.Option(min=1, help="Senders, dealt to the clients.")]
Duration: TypeAlias = Annotated[float, typer.Option(help="Measured seconds.")]
WarmUp: TypeAlias = Annotated[float, typer.Option("--warm-up", help="Seconds before those.")]
Grace: TypeAlias = Annotated[float, typer.Option(help="Seconds after, for what is under way.")]
SyncOption: TypeAlias = Annotated[
    Sync, typer.Option("--sync", help="How stores write: full is what nodes run with.")
]
TransportOption: TypeAlias = Annotated[
    TransportKind, typer.Option("--transport", help="Between nodes; plain: on loopback only.")
]
EntryOption: TypeAlias = Annotated[
    EntryKind, typer.Option("--entry", help="Clients use a node's Unix socket, or its port.")
]
ToOption: TypeAlias = Annotated[
    Target, typer.Option("--to", help="Nodes that the clients are dealt to.")
]
Seed: TypeAlias = Annotated[int, typer.Option(min=0, help="Decides keys, arrivals and faults.")]
Fail: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE=P", help="Its link fails in so many heights: der-3=40%."),
]
Kill: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="NODE@T", help="Killed so long after the load begins: der-3@10s."),
]
Delay: TypeAlias = Annotated[
    str | None, typer.Option(help="One-way delay between nodes, e.g. 20ms.")
]
PeersOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="peers.toml of a running plant; genesis.toml beside it.")
]
Keys: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="With --peers: funded accounts' *.key, and a certificate of the plant's."),
]
Disk: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Folder for the plant's files meanwhile; default: $TMPDIR."),
]
Out: TypeAlias = Annotated[Path | None, typer.Option(help="Folder for the results.")]
Assert: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--assert", metavar="FIGURE>=X", help="Exit 99 if it does not hold: 'latency_ms.p99<50'."
    ),
]
BenchEngine: TypeAlias = Annotated[
    str, typer.Option("--engine", help=f"bncm, pbft, dpos, one installed, or {PUBLISHED}.")
]
BenchPath: TypeAlias = Annotated[
    str, typer.Option("--path", help=f"Of bncm: auto, collect, broadcast, {PUBLISHED_PATH}.")
]
FinalityOption: TypeAlias = Annotated[
    Finality, typer.Option("--finality", help="Of dpos: what makes a block final.")
]
Unsafe: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--unsafe", help=f"Run {PUBLISHED} or {Finality.PAPER_MAJORITY} although it forks."
    ),
]
_CORES: dict[Play, Core] = {
    play_shipped: "shipped",
    simulate_timed: "timed",
    simulate_published: "published",
    simulate_majority: "majority",
}
_USUAL = Plan()


class Screen(Voice):
    """A bar over the seconds, on stderr.

    Args:
        what: before the bar.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._advance: Callable[..., None] | None = None
        self._bar: AbstractContextManager[Callable[..., None]] | None = None
        self._shown = 0

    def say(self, text: str) -> None:
        """One line, where somebody is looking."""
        if sys.stderr.isatty():
            print(text, file=sys.stderr)

    def begins(self, plan: Plan) -> None:
        """Draw the bar."""
        self._bar = progress(self._what, round(plan.total_s))
        self._advance = self._bar.__enter__()
        self._shown = 0

    def standing(self, seconds: float, sent: int, committed: int, refused: int) -> None:
        """Move it."""
        steps = int(seconds) - self._shown
        if self._advance is not None and steps > 0:
            self._advance(steps)
            self._shown += steps
            self.say(f"  {seconds:5.1f} s  sent {sent:,}  committed {committed:,}"
                     + (f"  refused {refused:,}" if refused else ""))  # fmt: skip

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def run(
    n: Nodes = _USUAL.nodes,
    engine: BenchEngine = ENGINE,
    path: BenchPath = PATH,
    finality: FinalityOption = Finality.LOCKED,
    unsafe: Unsafe = False,
    rate: Annotated[
        float | None, typer.Option(help="Transactions per second, of all clients; default 500.")
    ] = None,
    arrival: ArrivalOption = Arrival.POISSON,
    closed: Annotated[
        int | None, typer.Option(min=1, help="Closed loop instead: so many outstanding.")
    ] = None,
    ledger: LedgerOption = LedgerKind.MARKET,
    unsigned: Unsigned = False,
    ops: Ops = 1,
    size: Bytes = None,
    clients: Clients = _USUAL.clients,
    accounts: Accounts = _USUAL.accounts,
    duration: Duration = _USUAL.duration_s,
    warm_up: WarmUp = _USUAL.warm_up_s,
    grace: Grace = _USUAL.grace_s,
    runs: Annotated[int, typer.Option(min=1, help="Each on a new plant; medians.")] = 1,
    sync: SyncOption = Sync.FULL,
    transport: TransportOption = TransportKind.TLS,
    entry: EntryOption = EntryKind.SOCKET,
    to: ToOption = Target.ALL,
    seed: Seed = _USUAL.seed,
    fail: Fail = None,
    kill: Kill = None,
    delay: Delay = None,
    peers: PeersOption = None,
    keys: Keys = None,
    disk: Disk = None,
    out: Out = None,
    assertions: Assert = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Load a plant for a while and say how it did.

    Raises:
        UserError: E430…E439; E411, E412, E416, E424, E426…E428.
    """
    expected = [parse_expectation(text) for text in assertions or ()]
    plan = replace(
        _plan(
            n, parse_rules(engine, path, finality, unsafe=unsafe), ledger, arrival, sync,
            transport, entry, to, fail or (), kill or (), delay,
        ),
        rate=rate if rate is not None or closed is not None else _USUAL.rate,
        closed=closed, unsigned=unsigned, ops=ops, bytes=size, clients=clients,
        accounts=accounts, duration_s=duration, warm_up_s=warm_up, grace_s=grace,
        runs=runs, seed=seed, peers=None if peers is None else str(peers),
        keys=None if keys is None else str(keys),
    )  # fmt: skip
    check(plan)
    latencies.require_histograms()
    plan, place = effective(plan), _disk(disk)
    with results_folder(out, plan) as folder:
        where = environment(plan, place)
        first_line(plan, output)
        results = run_async(_runs(plan, place))
        summary = write_results(folder, results, where, command(plan))
    conclude(summary, folder, expected, output)


def saturate(
    n: Nodes = _USUAL.nodes,
    engine: BenchEngine = ENGINE,
    path: BenchPath = PATH,
    finality: FinalityOption = Finality.LOCKED,
    unsafe: Unsafe = False,
    rate: Annotated[float, typer.Option(help="Transactions per second to begin with.")] = 500.0,
    limit: Annotated[float, typer.Option(help="Longest p99 that counts as kept up, ms.")] = 1_000.0,
    arrival: ArrivalOption = Arrival.POISSON,
    ledger: LedgerOption = LedgerKind.MARKET,
    unsigned: Unsigned = False,
    ops: Ops = 1,
    size: Bytes = None,
    clients: Clients = _USUAL.clients,
    accounts: Accounts = _USUAL.accounts,
    duration: Duration = _USUAL.duration_s,
    warm_up: WarmUp = _USUAL.warm_up_s,
    grace: Grace = _USUAL.grace_s,
    runs: Annotated[int, typer.Option(min=1, help="At the knee; medians.")] = 3,
    sync: SyncOption = Sync.FULL,
    transport: TransportOption = TransportKind.TLS,
    entry: EntryOption = EntryKind.SOCKET,
    to: ToOption = Target.ALL,
    seed: Seed = _USUAL.seed,
    fail: Fail = None,
    kill: Kill = None,
    delay: Delay = None,
    peers: PeersOption = None,
    keys: Keys = None,
    disk: Disk = None,
    out: Out = None,
    assertions: Assert = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Find the highest rate that a plant keeps up with, and measure it there.

    Raises:
        UserError: E430…E439; E411, E412, E416, E424, E426…E428.
    """
    expected = [parse_expectation(text) for text in assertions or ()]
    plan = replace(
        _plan(
            n, parse_rules(engine, path, finality, unsafe=unsafe), ledger, arrival, sync,
            transport, entry, to, fail or (), kill or (), delay,
        ),
        rate=rate, unsigned=unsigned, ops=ops, bytes=size, clients=clients,
        accounts=accounts, duration_s=duration, warm_up_s=warm_up, grace_s=grace,
        runs=runs, seed=seed, peers=None if peers is None else str(peers),
        keys=None if keys is None else str(keys),
    )  # fmt: skip
    check(plan)
    check_limit(plan, limit)
    latencies.require_histograms()
    plan, place = effective(plan), _disk(disk)
    with results_folder(out, plan) as folder:
        where = environment(plan, place)
        first_line(plan, output)
        results, tries = run_async(_saturate(plan, limit, place, output))
        words = command(plan, ("saturate", "--limit", f"{limit:g}"))
        summary = write_results(folder, results, where, words, search=tries)
    conclude(summary, folder, expected, output)


def _plan(
    n: int, rules: Rules, ledger: LedgerKind, arrival: Arrival, sync: Sync,
    transport: TransportKind, entry: EntryKind, to: Target, fail: Sequence[str],
    kill: Sequence[str], delay: str | None,
) -> Plan:  # fmt: skip
    """What has words of its own; the numbers come on top."""
    genesis = sim_genesis(n, rules.engine)  # for the names that write_testnet gives
    failing = parse_fail(fail, genesis)
    require_quorum(failing, (), genesis)
    return Plan(
        engine=rules.engine,
        path=rules.path,
        core=_CORES[rules.play],
        nodes=n,
        ledger=ledger.value,
        arrival=arrival.value,
        sync=sync.value,
        transport=transport.value,
        entry=entry.value,
        to=to.value,
        fail=failing,
        kill=parse_kill_at(kill, [validator.name for validator in genesis.validators]),
        delay_us=0 if delay is None else parse_delay_us(delay),
    )


def _disk(disk: Path | None) -> Path:
    return check_disk(disk or Path(tempfile.gettempdir()))


def first_line(plan: Plan, output: Output) -> None:
    """Print every effective parameter."""
    print(line(plan), file=sys.stderr if output is Output.JSON else sys.stdout, flush=True)


async def _limits(disk: Path) -> Limits:
    return await asyncio.to_thread(measure, disk)


async def _runs(plan: Plan, disk: Path) -> list[Run]:
    limits = await _limits(disk)
    found = []
    for i in range(plan.runs):
        with _screen(f"run {i + 1} of {plan.runs}") as screen:
            found.append(await run_once(plan, limits, disk, screen))
    return found


async def _saturate(
    plan: Plan, p99_ms: float, disk: Path, output: Output
) -> tuple[list[Run], list[Try]]:
    limits = await _limits(disk)

    async def offer(rate: float) -> tuple[Summary, float]:
        with _screen(f"{rate:,.0f}/s") as screen:
            tried = replace(plan, rate=rate)
            check(tried)
            done = await run_once(tried, limits, disk, screen, searching=True)
        summary = done.summary
        due = done.window.due / plan.duration_s
        holds = keeps_up(summary, due, p99_ms)
        print(
            f"{rate:,.0f}/s offered, {due:,.0f}/s due, {summary.goodput_tx_s:,.0f}/s committed, "
            f"p99 {_number(summary.latency_ms['p99'])} ms: "
            f"{'keeps up' if holds else 'falls behind'}",
            file=sys.stderr if output is Output.JSON else sys.stdout,
            flush=True,
        )
        return summary, due

    tries = await find_knee(plan.rate or 1.0, p99_ms, offer)
    highest = knee(tries)
    at = min(one.rate for one in tries) if highest is None else highest
    runs = await _runs(replace(plan, rate=at), disk)
    return (runs if highest is not None else [no_knee(run) for run in runs]), tries


@contextmanager
def _screen(what: str) -> Iterator[Screen]:
    screen = Screen(what)
    try:
        yield screen
    finally:
        screen.close()


def conclude(
    summary: Summary, folder: Path, expected: Sequence[Expectation], output: Output
) -> None:
    """Print, and exit 99 for a threshold that was missed, or 1 for a run that proves nothing."""
    if output is Output.JSON:
        print_json(msgspec.to_builtins(summary))
    else:
        _print(summary, folder)
    missed = require(expected, summary)
    for text in missed:
        print(f"threshold missed: {text}", file=sys.stderr)
    if missed:
        raise typer.Exit(Exit.THRESHOLD)
    if not summary.valid:
        raise typer.Exit(Exit.FAILED)


def _print(summary: Summary, folder: Path) -> None:
    loop = "open loop" if summary.closed is None else f"CLOSED LOOP, {summary.closed} outstanding"
    share = summary.share_of_verify_limit
    rows = [
        ("goodput", f"{summary.goodput_tx_s:,.1f} transactions/s", loop),
        ("operations", f"{summary.goodput_ops_s:,.1f}/s", f"{summary.ops_per_tx} per transaction"),
        ("latency", _spread(summary.latency_ms), "ms"),
        ("commit", _spread(summary.commit_ms), "ms, proposal to decision at q nodes"),
        ("not committed", f"{summary.dropped} dropped, {summary.timeouts} timed out",
         f"{summary.rejected} refusals"),
        ("first-round decisions", _percent(summary.fast_share),
         f"{_number(summary.messages_per_height)} messages per height"),
        ("of the signature limit", _percent(share),
         f"{summary.limits.verify_per_s_all_cores:,.0f} checks/s on all cores"),
        ("CPU", f"{_number(summary.cpu_cores)} cores",
         f"{_number(summary.python_us_per_tx_replica)} us outside libsodium per transaction and "
         "replica"),
        ("memory", f"{_number(summary.rss_mib)} MiB", "of the largest daemon"),
        ("forks", str(summary.forks), "heights at which nodes decided different blocks"),
        ("limits", f"fsync p50 {summary.limits.fsync_ms['p50']:.3f} p99 "
         f"{summary.limits.fsync_ms['p99']:.3f} ms",
         f"loopback round trip {summary.limits.loopback_rtt_us:.0f} us"),
    ]  # fmt: skip
    print("\n".join(table([{"figure": a, "value": b, "note": c} for a, b, c in rows])))
    if summary.runs:
        print(f"medians of {len(summary.runs)} runs")
    for remark in summary.remarks:
        print(f"note: {remark}")
    if summary.valid:
        print(f"valid; everything is in {folder}")
        return
    print(f"INVALID; everything is in {folder}")
    for reason in summary.invalid_reasons:
        print(f"  {reason}")


def _spread(values: dict[str, float | None]) -> str:
    return "  ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"

"""One run: plant, load, watching, checking, and what it all came to."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from vppd.bench import latencies, validity
from vppd.bench.client import Done, Standing
from vppd.bench.cores import names
from vppd.bench.environment import in_memory
from vppd.bench.limits import Limits
from vppd.bench.load import Client, Listen, jobs, load_processes
from vppd.bench.plan import Plan
from vppd.bench.plant import Plant, attached, started, stop
from vppd.bench.samples import Samples, Window, look
from vppd.bench.stores import Stores, forks, inspect
from vppd.bench.summary import LimitsShown, Summary, python_us
from vppd.bench.watch import Clock, Mark, Spent, Watch, between, since
from vppd.client.client import Disconnected, RequestFailed
from vppd.crypto import sha256
from vppd.errors import UserError
from vppd.types import Height, ReplicaIndex

HEAD_START_S = 0.3
"""Between the word to go and the beginning, so that it reaches every client."""
SETTLE_S = 15.0
"""For all nodes to get to the same height afterwards."""
MOST_COMPARED = 2_000
"""Heights of the run, the last ones, that are compared where stores are out of reach."""
COMPARE_S = 120.0
PREPARE_S = 600.0


class Voice:
    """What the person watching is told; the CLI draws it."""

    def say(self, text: str) -> None:
        """News."""

    def begins(self, plan: Plan) -> None:
        """The load begins now."""

    def standing(self, seconds: float, sent: int, committed: int, refused: int) -> None:
        """How it stands, of all clients, so many seconds after the beginning."""


class Run(NamedTuple):
    """Everything about one run."""

    plan: Plan
    summary: Summary
    load: str
    """What the transactions were, in words."""
    window: Window
    samples: Samples
    heights: list[dict[str, Any]]
    """One row per decided height, at the node that proposed it."""
    nodes: list[dict[str, Any]]
    """One row per daemon."""
    clients: list[Done]


def no_knee(run: Run) -> Run:
    """The run at the lowest rate of a search that found none the plant keeps up with."""
    why = (*run.summary.invalid_reasons, "no rate was found that the plant keeps up with")
    return run._replace(summary=replace(run.summary, valid=False, invalid_reasons=why))


class Heard(NamedTuple):
    """What is known when the load is over."""

    marks: tuple[Mark, Mark, Mark]
    """Idle, at the end of the warm-up, at the end of the measured time."""
    last: Mark
    """When everything has come to rest."""
    clients: list[Done]
    samples: Samples
    mean_bytes: float


class Site:
    """Where a run takes place: on this machine, with a plant of its own or one that runs.

    Args:
        plan: of the run.
        plant: that answers.
        disk: folder for what the load processes write.
    """

    head_start_s = HEAD_START_S

    def __init__(self, plan: Plan, plant: Plant, disk: Path) -> None:
        self.plan = plan
        self.plant = plant
        self._disk = disk

    @asynccontextmanager
    async def clients(
        self, leader: ReplicaIndex, listen: Listen
    ) -> AsyncIterator[Sequence[Client]]:
        """Load processes; none of them is left afterwards."""
        work = partial(jobs, self.plan, self.plant, leader=leader)
        with tempfile.TemporaryDirectory(prefix="vppd-load-", dir=self._disk) as folder:
            async with load_processes(work(Path(folder)), listen) as made:
                yield made

    async def stores(self) -> Stores:
        """Stop the plant, and check what it has stored."""
        await stop(self.plant)
        return await inspect(self.plant, verified=not self.plan.unsafe)

    @property
    def in_memory(self) -> bool:
        """Whether nothing that is synced reaches a disk; of a plant that runs nobody knows."""
        return self.plant.ours and in_memory(self._disk)

    async def reasons(self) -> Sequence[str]:
        """Why a run there proves nothing, beside what is always looked at."""
        return ()


async def run_once(
    plan: Plan, limits: Limits, disk: Path, voice: Voice, *, searching: bool = False
) -> Run:
    """Start a plant, or find the one that runs; load it, stop it, check it.

    Args:
        plan: checked.
        limits: of this machine.
        disk: folder under which the plant's files lie meanwhile.
        voice: whom to tell.
        searching: see :func:`~vppd.bench.validity.reasons`.

    Raises:
        UserError: E436…E438, E43x of the plan.
    """
    found = attached(plan) if plan.peers is not None else started(plan, disk, voice.say)
    async with found as plant:
        return await run_at(Site(plan, plant, disk), limits, voice, searching=searching)


async def run_at(site: Site, limits: Limits, voice: Voice, *, searching: bool = False) -> Run:
    """Load a plant that answers, stop it if it is of this run, check it.

    Args:
        site: where.
        limits: of its machines.
        voice: whom to tell.
        searching: see :func:`~vppd.bench.validity.reasons`.

    Raises:
        UserError: a load process has failed.
    """
    plant, watch = site.plant, Watch(site.plant)
    heard, start_ns = await _load(site, watch, voice)
    stores, reasons = None, [*await site.reasons()]
    if plant.ours:
        voice.say("checking every node's store")
        stores = await site.stores()
        differ = stores.forks
    else:
        differ, unknown = await _compare(plant, heard.marks[0])
        reasons += unknown
    return _sum_up(site, limits, watch, heard, start_ns, stores, differ, reasons,
                   searching=searching)  # fmt: skip


async def _load(site: Site, watch: Watch, voice: Voice) -> tuple[Heard, int]:
    plan, plant = site.plan, site.plant
    standings: dict[int, Standing] = {}
    start_ns = 0

    def listen(client: int, standing: Standing) -> None:
        standings[client] = standing
        if len(standings) == plan.clients:
            seconds = (time.monotonic_ns() - start_ns) / 1e9
            rows = standings.values()
            voice.standing(seconds, sum(s.sent for s in rows), sum(s.committed for s in rows),
                           sum(s.refused for s in rows))  # fmt: skip

    idle = await watch.mark(time.monotonic_ns())
    watch.begin(idle)
    async with site.clients(_leader(site.plant, idle), listen) as clients:
        voice.say(f"making {plan.supply_per_s * plan.total_s:,.0f} transactions")
        async with asyncio.timeout(PREPARE_S):
            ready = await asyncio.gather(*(client.prepare() for client in clients))
        start_ns = time.monotonic_ns() + int(site.head_start_s * 1e9)
        await asyncio.gather(*(client.go(start_ns) for client in clients))
        voice.begins(plan)
        async with _alongside(watch.keep()), _alongside(_kills(plan, plant, start_ns)):
            first, last, *done = await asyncio.gather(
                _mark_at(watch, start_ns, plan.warm_up_s),
                _mark_at(watch, start_ns, plan.total_s),
                *(client.done() for client in clients),
            )
        rest = await _at_rest(watch, start_ns)
        await watch.poll()
        samples = Samples()
        for client in clients:
            samples.extend(await client.samples())
    made = sum(r.transactions for r in ready)
    mean = sum(r.mean_bytes * r.transactions for r in ready) / max(1, made)
    watch.clocks.append(Clock.read())
    return Heard((idle, first, last), rest, done, samples, mean), start_ns


def _leader(plant: Plant, idle: Mark) -> ReplicaIndex:
    """Who leads before the load begins, as the first node that answers says."""
    said = next((status["leader"] for status in idle.status if status is not None), None)
    return next((i for i, seat in enumerate(plant.seats) if seat.name == said), 0)


@asynccontextmanager
async def _alongside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that goes on meanwhile; what it raises, this does."""
    task = asyncio.ensure_future(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _kills(plan: Plan, plant: Plant, start_ns: int) -> None:
    for node, at_s in sorted(plan.kill, key=lambda row: row[1]):
        await _sleep_until(start_ns, at_s)
        plant.kill(node)
    await asyncio.Event().wait()


async def _mark_at(watch: Watch, start_ns: int, at_s: float) -> Mark:
    await _sleep_until(start_ns, at_s)
    return await watch.mark(start_ns)


async def _sleep_until(start_ns: int, at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - (time.monotonic_ns() - start_ns) / 1e9))


async def _at_rest(watch: Watch, start_ns: int) -> Mark:
    """Every node at one height, or as they stand when patience is over."""
    end = time.monotonic() + SETTLE_S
    while True:
        mark = await watch.mark(start_ns)
        heights = {None if s is None else (s["height"], s["executed"]) for s in mark.status}
        if (len(heights) == 1 and None not in heights) or time.monotonic() > end:
            return mark
        await asyncio.sleep(0.2)


async def _compare(plant: Plant, idle: Mark) -> tuple[tuple[str, ...], list[str]]:
    """Blocks of the run that differ, by what each node of another's plant answers.

    Returns:
        Heights at which they do, and why a node's could not be compared.
    """
    before = [status["height"] for status in idle.status if status is not None]
    chains: list[dict[Height, str]] = [{} for _ in plant.seats]
    tops = [await _height(plant, index) for index in range(len(plant.seats))]
    top = min((height for height in tops if height), default=0)
    first = max(min(before, default=0) + 1, top - MOST_COMPARED + 1)
    reasons: list[str] = []

    async def one(index: int) -> None:
        try:
            async with asyncio.timeout(COMPARE_S), plant.connect(index) as client:
                for height in range(first, top + 1):
                    header = (await client.block(height)).header
                    chains[index][height] = sha256(header).hex()
        except (UserError, RequestFailed, Disconnected, TimeoutError) as err:
            why = str(err) or "it takes too long"
            reasons.append(f"the blocks of {plant.seats[index].name} were not compared: {why}")

    await asyncio.gather(*(one(index) for index in range(len(plant.seats))))
    return forks([seat.name for seat in plant.seats], chains), reasons


async def _height(plant: Plant, index: int) -> Height:
    try:
        async with asyncio.timeout(SETTLE_S), plant.connect(index) as client:
            height: Height = (await client.view("status"))["height"]
            return height
    except (UserError, RequestFailed, Disconnected, TimeoutError):
        return 0  # that it does not answer is a reason of its own


# ---------------------------------------------------------------- what it came to


def _sum_up(
    site: Site, limits: Limits, watch: Watch, heard: Heard, start_ns: int,
    stores: Stores | None, differ: tuple[str, ...], more: Sequence[str], *, searching: bool,
) -> Run:  # fmt: skip
    plan, plant = site.plan, site.plant
    first_us, end_us = round(plan.warm_up_s * 1e6), round(plan.total_s * 1e6)
    window = look(heard.samples, first_us, end_us)
    _, warm, end = heard.marks
    spent = between(warm, end)
    missing = [
        seat.name for index, seat in enumerate(plant.seats) if heard.last.usage[index] is None
    ]
    reasons = validity.reasons(
        validity.Facts(
            plan, window, watch.clocks, plant.deaths(), differ,
            (*(stores.faults if stores is not None else ()), *more),
            stores.failed if stores is not None else 0,
            any(client.exhausted for client in heard.clients),
            max((client.late_ms for client in heard.clients), default=0.0),
            site.in_memory, missing,
        ),
        searching=searching,
    )  # fmt: skip
    known = [status for status in heard.last.status if status is not None]
    commits = watch.commit_us(
        known[0]["quorum"] if known else len(plant.seats),
        start_ns + first_us * 1_000,
        start_ns + end_us * 1_000,
    )
    goodput = window.commits / plan.duration_s
    n, cpu_s = len(plant.seats), None
    if None not in spent.cpu_s:
        cpu_s = sum(used for used in spent.cpu_s if used is not None)
    voted = spent.decisions.total() - spent.decisions["learnt"]
    fast = spent.decisions["fast"] + spent.decisions["fast_exit"]
    checks = None if plan.unsigned else limits.verify_us
    txs = goodput * spent.seconds
    # A plant that was found running may be on other machines, of which nothing was measured.
    python = None if cpu_s is None or not plant.ours else python_us(cpu_s, txs, n, checks)
    rules = plant.genesis.consensus
    called = names(plan.core, rules.engine, rules.path)
    summary = Summary(
        engine=called.engine,
        path=called.path,
        n=n,
        ledger=plan.ledger,
        signed=not plan.unsigned,
        ops_per_tx=plan.ops,
        bytes=round(heard.mean_bytes),
        sync=plan.sync if plant.ours else "unknown",
        tls=plan.transport == "tls",
        rate=plan.rate if plan.closed is None else None,
        goodput_tx_s=round(goodput, 2),
        goodput_ops_s=round(goodput * plan.ops, 2),
        latency_ms=latencies.summary_ms(window.latencies_us),
        commit_ms=latencies.summary_ms(commits),
        dropped=window.dropped,
        rejected=sum(client.refused for client in heard.clients),
        timeouts=window.timeouts,
        fast_share=round(fast / voted, 4) if voted else None,
        messages_per_height=round(spent.messages / spent.heights, 2) if spent.heights else None,
        limits=LimitsShown(
            verify_per_s_all_cores=round(limits.verify_per_s, 1),
            fsync_ms={"p50": round(limits.fsync_p50_ms, 4), "p99": round(limits.fsync_p99_ms, 4)},
            loopback_rtt_us=round(limits.loopback_rtt_us, 2),
            verify_us=round(limits.verify_us, 3),
        ),
        share_of_verify_limit=None
        if plan.unsigned or not plant.ours
        else round(goodput * n / limits.verify_per_s, 4),
        python_us_per_tx_replica=None if python is None else round(python, 2),
        rss_mib=None if spent.rss_bytes is None else round(spent.rss_bytes / 2**20, 1),
        cpu_cores=None if cpu_s is None else round(cpu_s / spent.seconds, 3),
        valid=not reasons,
        invalid_reasons=reasons,
        closed=plan.closed,
        finality=called.finality,
        unsafe=plan.unsafe,
        forks=len(differ),
        remarks=(*validity.remarks(plan, differ), *_refusals(heard.clients)),
    )
    return Run(
        plan, summary, plant.senders.words, window, heard.samples,
        _height_rows(watch, start_ns, stores), _node_rows(plant, heard, spent, stores),
        heard.clients,
    )  # fmt: skip


def _refusals(clients: Sequence[Done]) -> tuple[str, ...]:
    count = sum(client.refused for client in clients)
    why = next((client.first_refusal for client in clients if client.refused), "")
    return (f"nodes refused {count:,} times, first because: {why}",) if count else ()


def _height_rows(watch: Watch, start_ns: int, stores: Stores | None) -> list[dict[str, Any]]:
    rows = []
    for height in sorted(watch.proposed_ns):
        row = watch.heights[watch.proposer[height]].get(height)
        if row is None or row["decided_us"] is None:
            continue
        stored = stores.blocks.get(height) if stores is not None else None
        rows.append(
            {
                "height": height,
                "t_s": round((watch.proposed_at(height) - start_ns) / 1e9, 4),
                "txs": stored.txs if stored else None,
                "bytes": stored.bytes if stored else None,
                "path": row["path"],
                "way": row["way"],
                "view": row["view"],
                "persist_ms": _ms(row["persist_us"]),
                "propose_to_decide_ms": _ms(row["decided_us"]),
                "collect_ms": _ms(row["votes_us"]),
                "execute_ms": _ms(row["executed_us"] - row["decided_us"]),
                "fallback": row["fallback"],
            }
        )
    return rows


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1_000


def _node_rows(
    plant: Plant, heard: Heard, spent: Spent, stores: Stores | None
) -> list[dict[str, Any]]:
    rows = []
    idle = heard.marks[0]
    for index, seat in enumerate(plant.seats):
        usage, before = heard.last.usage[index], idle.usage[index]
        status = heard.last.status[index]
        row: dict[str, Any] = {"name": seat.name, "cpu_s": spent.cpu_s[index]}
        row["rss_idle_mib"] = _mib(before["rss_bytes"] if before else None)
        if usage is not None and status is not None:
            used = since(before, usage)
            stood = idle.status[index] if used.same else None
            row |= {
                "rss_mib": _mib(usage["rss_bytes"]),
                "rss_max_mib": _mib(max(usage["rss_max_bytes"], usage["rss_bytes"] or 0)),
                "sent_bytes": sum(used.bytes_out.values()),
                "received_bytes": sum(used.bytes_in.values()),
                "frames_sent": used.frames_out,
                "frames_received": used.frames_in,
                "bytes_sent": used.bytes_out,
                "gossip_dropped": used.dropped,
                "disk_bytes": usage["store_bytes"],
                "fsyncs": used.persists,
                "fsync_s": used.persist_s,
                "height": status["height"],
                "view": status["view"],
                "view_changes": status["view_changes"] - (stood["view_changes"] if stood else 0),
                "decisions": _more(status["decisions"], stood and stood["decisions"]),
                "fallbacks": _more(status["fallbacks"], stood and stood["fallbacks"]),
                "head": status["head"],
            }
        if stores is not None:
            row["head"] = stores.heads[seat.name]
        rows.append(row)
    return rows


def _more(now: dict[str, int], before: dict[str, int] | None) -> dict[str, int]:
    return dict(Counter(now) - Counter(before or {}))


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 1)

"""The day: a whole plant on this machine trades, delivers and settles 24 slots (``vppd dev``)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from vppd.agent.line import Line, Wallet, unix_ms
from vppd.cli.testnet import Member, Testnet, table_1_tariffs, write_testnet
from vppd.client.client import Client
from vppd.config.billing import CreditRules, ReviewRules
from vppd.config.genesis import (
    ConsensusRules,
    Engine,
    MarketRules,
    MarketRulesSection,
    PathSetting,
    Tariff,
)
from vppd.config.grid import Grid
from vppd.config.keys import load_key
from vppd.consensus.profile import founding_validators
from vppd.day.nodes import NodeProcess, all_answer
from vppd.day.profiles import Column, Kind
from vppd.day.strategy import DerPlan, chance, forecast
from vppd.errors import UserError
from vppd.ledger.plan_ops import Forecast, Plan
from vppd.ledger.transaction import PlaceOrder, Reading
from vppd.market.auction import Side
from vppd.market.tariff import tariff_for
from vppd.types import Height, Slot, TimeMs, Wh

SETTLE_PATIENCE_S = 30.0
START_PATIENCE_S = 30.0
HEAD_START_MS = 3_000
WHOLE_MEMBER = 0
"""In a plan: not one of a member's resources."""
HEAD_START_PER_NODE_MS = 900
"""Chain time before slot 0, so that every process is up before the first gate closes."""


class DayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What day to play."""

    out: Path
    """Folder for the plant; must not exist or be empty. Kept afterwards."""
    columns: tuple[Column, ...]
    """One per DER, as :func:`vppd.day.profiles.assign` deals them."""
    engine: Engine = ConsensusRules().engine
    path: PathSetting = ConsensusRules().path
    rules: MarketRules = "production"
    slots: int = 24
    slot_ms: int = 2_000
    seed: int = 1
    tariffs: tuple[Tariff, ...] = table_1_tariffs()
    """The grid's prices over the day; those of P3 unless told otherwise."""
    grid: Grid | None = None
    """What trades go through; the DERs are dealt to its buses."""
    stay: bool = False
    """Leave the plant running after the day, until interrupted."""


class Commit(NamedTuple):
    """One height's timing across the plant."""

    height: int
    ms: float
    """Proposal sent → decision durable at q replicas."""


class Played(NamedTuple):
    """What the live plant showed, before its stores are read."""

    testnet: Testnet
    statuses: tuple[dict[str, Any], ...]
    commits: tuple[Commit, ...]
    restarts: int


class Watcher:
    """What the person watching is told; the CLI draws it."""

    def say(self, text: str) -> None:
        """News."""

    def slot(self, row: dict[str, Any]) -> None:
        """A slot has settled: its trades and energy."""

    def standing(self, text: str) -> None:
        """What is going on now."""

    def stay(self, testnet: Testnet) -> None:
        """The day is over and the plant runs on until interrupted."""


def market_of_the_day(options: DayOptions, origin_ms: TimeMs) -> MarketRulesSection:
    """An hour of market time per slot; the gate closes a quarter slot before delivery."""
    slot_ms = options.slot_ms
    return MarketRulesSection(
        rules=options.rules,
        origin_ms=origin_ms,
        slot_ms=slot_ms,
        market_slot_minutes=60,
        open_lead_ms=2 * slot_ms,
        gate_lead_ms=slot_ms // 4,
        metering_ms=slot_ms,
        dispute_slots=24,
        tariffs=options.tariffs,
        credit=CreditRules(rule="level"),
        review=ReviewRules(daily=True),
    )


def free_base_port(count: int) -> int:
    """A port from which ``count`` nodes, ten ports apart, can listen on loopback.

    Plants that start at the same moment look in different places first.

    Raises:
        UserError: E421.
    """
    bases = range(7440, 20_000, 500)
    first = os.getpid() % len(bases)
    for i in range(len(bases)):
        base = bases[(first + i) % len(bases)]
        ports = [p for k in range(count) for p in (base + 10 * k, base + 10 * k + 1)]
        if all(_is_free(port) for port in ports):
            return base
    raise UserError("E421", "no free ports for the plant", hint="stop other plants on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


class Der:
    """One DER's agent over the day.

    Args:
        member: its node and keys.
        plan: its orders and readings.
        testnet: the plant.
    """

    def __init__(self, member: Member, plan: DerPlan, testnet: Testnet) -> None:
        self._plan = plan
        self._market = testnet.genesis.market
        self._bus = {entry.key: entry.bus for entry in testnet.genesis.accounts}[member.key]
        chain_id = testnet.genesis.digest
        self._line = Line(member.home / "vppd.sock")
        self._wallet = Wallet(self._line, load_key(member.home / "node.key"), chain_id)
        self._meter = Wallet(self._line, load_key(member.home / "meter.key"), chain_id)

    async def live(self, slots: int) -> None:
        """Order before each gate, read the meter after each slot."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._trade(slots))
                group.create_task(self._report(slots))
        finally:
            await self._line.close()

    async def _trade(self, slots: int) -> None:
        market = self._market
        for slot in range(slots):
            start = market.slot_start(slot)
            await sleep_until(start - market.open_lead_ms)
            tariff = tariff_for(market, slot)
            order = self._plan.order(slot, tariff.retail_price, tariff.feed_in_price)
            if order is not None:
                op = PlaceOrder(
                    slot, order.side, order.quantity_wh, order.price, order.reserve_price, self._bus
                )
                taken, given = order.quantity_wh, 0
                if order.side is Side.OFFER:
                    taken, given = given, taken
                plan = Plan(WHOLE_MEMBER, slot, (taken,), (given,))
                await self._wallet.send(plan, op, deadline_ms=start - market.gate_lead_ms)

    async def _report(self, slots: int) -> None:
        market = self._market
        for slot in range(slots):
            await sleep_until(market.slot_start(slot + 1))
            await self._meter.send(Reading(slot, *self._plan.registers(slot)))


class Forecaster:
    """The operator's forecast of the whole plant, before each slot (P0, §2: VPPTM).

    Args:
        member: the operator.
        columns: of the DERs; it knows their day before as they do.
        options: seed and slots.
        testnet: the plant.
    """

    def __init__(
        self, member: Member, columns: Sequence[Column], options: DayOptions, testnet: Testnet
    ) -> None:
        self._columns = columns
        self._options = options
        self._market = testnet.genesis.market
        self._line = Line(member.home / "vppd.sock")
        key = load_key(member.home / "node.key")
        self._wallet = Wallet(self._line, key, testnet.genesis.digest)

    async def live(self) -> None:
        """Say before each slot's gate closes what the plant will use and generate in it."""
        market = self._market
        try:
            for slot in range(self._options.slots):
                start = market.slot_start(slot)
                await sleep_until(start - market.open_lead_ms)
                load, generation = (self._expected(kind, slot) for kind in (Kind.LOAD, Kind.PV))
                await self._wallet.send(
                    Forecast(slot, (load,), (generation,)), deadline_ms=start - market.gate_lead_ms
                )
        finally:
            await self._line.close()

    def _expected(self, kind: Kind, slot: Slot) -> Wh:
        """Persistence: the same hour of the day before, of all DERs of a kind."""
        total = sum(column.wh[slot] for column in self._columns if column.kind is kind)
        return forecast((total,), 0, chance(self._options.seed, "operator", kind, slot))


async def sleep_until(when_ms: TimeMs) -> None:
    """Until the Unix clock shows ``when_ms``; at once if it does already."""
    left_ms = when_ms - unix_ms()
    if left_ms > 0:
        await asyncio.sleep(left_ms / 1_000)


async def play(options: DayOptions, watcher: Watcher) -> Played:
    """Start the plant, play the day, stop the plant.

    Raises:
        UserError: E420, a node does not stay alive; E422, the day did not settle.
    """
    n = len(options.columns) + 1
    watcher.standing(f"writing keys and certificates for {n} nodes")
    origin_ms = unix_ms() + HEAD_START_MS + HEAD_START_PER_NODE_MS * n + 2 * options.slot_ms
    testnet = await asyncio.to_thread(
        write_testnet,
        options.out,
        n,
        base_port=free_base_port(n),
        consensus=ConsensusRules(engine=options.engine, path=options.path),
        market=market_of_the_day(options, origin_ms),
        grid=options.grid,
    )
    nodes = [NodeProcess(m.name, m.home, watcher.say) for m in testnet.nodes]
    watcher.standing(f"starting {n} daemons")
    try:
        for node in nodes:
            await node.start()
        return await _unless_dead(nodes, _play(options, testnet, nodes, watcher))
    finally:
        watcher.standing("stopping the daemons")
        await asyncio.gather(*(node.stop() for node in nodes), return_exceptions=True)


async def _unless_dead(nodes: Sequence[NodeProcess], work: Coroutine[Any, Any, Played]) -> Played:
    """Do the work, but not without a node that cannot be kept alive.

    Raises:
        UserError: E420.
    """
    day = asyncio.ensure_future(work)
    keepers = [node.kept() for node in nodes]
    try:
        await asyncio.wait({day, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        for keeper in keepers:
            if keeper.done():
                keeper.result()
        return await day
    finally:
        day.cancel()
        await asyncio.wait({day})


async def _play(
    options: DayOptions, testnet: Testnet, nodes: Sequence[NodeProcess], watcher: Watcher
) -> Played:
    voters = {member.name for member in founding_validators(testnet.genesis).members}
    up = await all_answer(
        nodes, lambda status: status["voting"] or status["name"] not in voters, START_PATIENCE_S
    )
    if up is None:
        words = "\n".join(f"{node.name}: {node.last_words()}" for node in nodes)
        raise UserError("E420", "not every node came up", facts={"last words": words})
    ders = [
        Der(member, DerPlan(column, options.seed), testnet)
        for member, column in zip(testnet.nodes[1:], options.columns, strict=True)
    ]
    watcher.standing("waiting for the first slot")
    async with asyncio.TaskGroup() as group:
        group.create_task(_watch(options, testnet, nodes, watcher))
        operator = Forecaster(testnet.nodes[0], options.columns, options, testnet)
        group.create_task(operator.live())
        for der in ders:
            group.create_task(der.live(options.slots))
    watcher.standing("settling the last slot")
    statuses = await _settled(options, testnet, nodes)
    commits = await commits_of(nodes)
    restarts = sum(node.restarts for node in nodes)
    if options.stay:
        watcher.stay(testnet)
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return Played(testnet, tuple(statuses), commits, restarts)


async def _watch(
    options: DayOptions, testnet: Testnet, nodes: Sequence[NodeProcess], watcher: Watcher
) -> None:
    """One row per settled slot, from the operator's node."""
    market = testnet.genesis.market
    line = Line(nodes[0].socket)
    try:
        for slot in range(options.slots):
            watcher.standing(f"slot {slot}: {clock_text(market, slot)}")
            await sleep_until(market.slot_start(slot + 1))
            row = await summary_of(line, slot, tariff_for(market, slot))
            alive = sum(node.pid is not None for node in nodes)
            watcher.slot(
                {"time": clock_text(market, slot), **row, "nodes": f"{alive}/{len(nodes)}"}
            )
    finally:
        await line.close()


def clock_text(market: MarketRulesSection, slot: Slot) -> str:
    """Market time at which a slot starts, as ``07:00``."""
    minute = (market.market_offset_minutes + slot * market.market_slot_minutes) % 1440
    return f"{minute // 60:02}:{minute % 60:02}"


async def summary_of(line: Line, slot: Slot, tariff: Tariff) -> dict[str, Any]:
    """What a slot traded, as the operator's node sees it."""

    async def look(client: Client) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await client.view("trades", str(slot)), await client.view("status")

    trades, status = await line.call(look)
    energy = sum(t["quantity_wh"] for t in trades)
    value = sum(t["quantity_wh"] * t["price_micro"] for t in trades)
    return {
        "slot": slot,
        "height": status["height"],
        "trades": len(trades),
        "traded_wh": energy,
        "mean_price_micro": value // energy if energy else None,
        "feed_in_micro": tariff.feed_in_price,
        "retail_micro": tariff.retail_price,
    }


async def _settled(
    options: DayOptions, testnet: Testnet, nodes: Sequence[NodeProcess]
) -> list[dict[str, Any]]:
    """Every node at one height, with the last slot settled.

    Raises:
        UserError: E422.
    """
    market = testnet.genesis.market
    last = options.slots - 1
    await sleep_until(market.slot_start(last + 1) + market.metering_ms)
    line = Line(nodes[0].socket)
    statuses: list[dict[str, Any]] | None = None
    try:
        async with asyncio.timeout(SETTLE_PATIENCE_S):
            height = await line.call(partial(_settled_at, last))
        statuses = await all_answer(
            nodes, lambda s: s["height"] >= height == s["executed"], SETTLE_PATIENCE_S
        )
    except TimeoutError:
        pass
    finally:
        await line.close()
    if statuses is None:
        facts = {}
        for node in nodes:
            status = await node.status()
            where = "no answer" if status is None else f"height {status['height']}"
            facts[node.name] = f"{where}; {node.last_words()}"
        raise UserError("E422", "the day did not settle at every node", facts=facts)
    return statuses


async def _settled_at(slot: Slot, client: Client) -> Height:
    """A height at which ``slot`` is settled, once it is."""
    await client.subscribe()
    pushes = client.pushes()
    while True:
        slots = {row["slot"]: row["phase"] for row in await client.view("slots")}
        if slots.get(slot, "closed") in ("settled", "closed"):
            height: Height = (await client.view("status"))["height"]
            return height
        await anext(pushes)


async def commits_of(nodes: Sequence[NodeProcess]) -> tuple[Commit, ...]:
    """Proposal sent → decision durable at q replicas, from every node's own marks."""
    proposed: dict[int, int] = {}
    decided: dict[int, list[int]] = {}
    quorum = 0
    for node in nodes:
        line = Line(node.socket)
        try:
            quorum = (await line.call(lambda client: client.view("status")))["quorum"]
            rows = await line.call(lambda client: client.view("timings"))
            for height, proposed_ns, decided_ns in rows:
                decided.setdefault(height, []).append(decided_ns)
                if proposed_ns is not None:
                    proposed[height] = proposed_ns
        finally:
            await line.close()
    return tuple(
        Commit(height, (sorted(decided[height])[quorum - 1] - sent_ns) / 1e6)
        for height, sent_ns in sorted(proposed.items())
        if len(decided.get(height, ())) >= quorum
    )

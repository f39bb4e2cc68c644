"""Measures what a node's work costs here: the real machine's turns, signatures, frames, the disk.

A few machines decide some blocks in this process, without sockets or disk, and each thing they do
is timed by the kind of message. Signatures are left out of that and timed by themselves, since how
many a message takes depends on the size of the plant. What a transaction costs comes from the
micro-benchmarks.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean, median

from vppd.bench.micro import codec, execution, gate, mempool, merkle
from vppd.bench.micro.report import machine as this_machine
from vppd.bench.micro.timing import SIGNED_BYTES, Benchmark, measure, yardstick
from vppd.bench.scale.costs import Costs
from vppd.bench.scale.wire import measure_wire
from vppd.config.genesis import Engine, PathSetting
from vppd.consensus.boundary import Now, VoteRecord
from vppd.consensus.messages import Type
from vppd.crypto import SigningKey
from vppd.ledger.execution import Ledger
from vppd.ledger.transaction import Transfer, make_transaction
from vppd.net.gate import decode_message
from vppd.node.beats import Effects, Turn
from vppd.node.machine import Machine
from vppd.simulate.plant import START_UNIX_MS, node_key, sim_genesis
from vppd.store.chain import ChainStore
from vppd.types import PublicKey, ReplicaIndex, Signature

NODES = 7
HEIGHTS = 60
WARM_UP = 10
SIGNATURES = 200
WRITES = 120
SAMPLES = 5
PLANTS: tuple[tuple[Engine, PathSetting], ...] = (
    (Engine("bncm"), "collect"),
    (Engine("pbft"), "auto"),
)
"""Between them, all messages of a plant without faults."""


def _believe(_key: PublicKey, _message: bytes, _signature: Signature) -> bool:
    return True


class _Blank:
    """A key whose signatures cost nothing and that nobody checks."""

    def __init__(self, index: ReplicaIndex) -> None:
        self.public_key = node_key(index).public_key

    def sign(self, message: bytes) -> Signature:
        del message
        return b"\x01" * 64


class Workshop:
    """Machines that talk to each other in one process, each step timed.

    Args:
        engine, path: what they run.
    """

    def __init__(self, engine: Engine, path: PathSetting) -> None:
        self._genesis = sim_genesis(NODES, engine, path)
        self.machines = [
            Machine(
                self._genesis, _Blank(i), _believe,
                Ledger.from_genesis(self._genesis, verify=_believe),
            )
            for i in range(NODES)
        ]  # fmt: skip
        self._inbox: list[deque[tuple[int, Type, bytes]]] = [deque() for _ in range(NODES)]
        self._ms = 0
        self.receive_us: defaultdict[str, list[float]] = defaultdict(list)
        self.unwanted_us: list[float] = []
        self.turns: list[tuple[int, float]] = []
        """Messages in it, and what it took."""
        self.release_us: list[float] = []
        self.decide_us: list[float] = []

    def run(self, heights: int) -> None:
        """Until every machine has decided so many."""
        for i, machine in enumerate(self.machines):
            self._finish(i, machine.start(self._now(), (), None, ()))
        for machine in self.machines:
            for peer in range(NODES):
                if machine is not self.machines[peer]:
                    machine.reconnected(peer)
        gc.collect()
        gc.disable()
        try:
            while min(machine.ledger.height for machine in self.machines) < heights:
                self._ms += 1
                self._submit()
                while self._round():
                    pass
        finally:
            gc.enable()

    def _now(self) -> Now:
        return Now(self._ms, START_UNIX_MS + self._ms)

    def _submit(self) -> None:
        leader = self.machines[self.machines[0].engine.status().leader]
        if len(leader.mempool) == 0:
            key, ledger = _Blank(0), leader.ledger
            op, nonce = Transfer(node_key(1).public_key, 1), ledger.nonce(key.public_key) or 0
            at = (nonce, ledger.height + 100, [op])
            leader.submit(make_transaction(key, self._genesis.digest, *at), self._ms, own=False)

    def _round(self) -> bool:
        """Everybody takes in what has come and takes a turn; whether anything happened."""
        acted = False
        for i, machine in enumerate(self.machines):
            taken = 0
            while self._inbox[i]:
                taken += self._take(machine, *self._inbox[i].popleft())
            while machine.has_work:
                acted = True
                begun = time.thread_time_ns()
                turn = machine.turn(self._now())
                self.turns.append((taken, _since_us(begun)))
                taken = 0
                self._finish(i, turn)
        return acted

    def _take(self, machine: Machine, sender: int, type_: Type, payload: bytes) -> bool:
        begun = time.thread_time_ns()
        message = decode_message(type_, payload)
        wanted = machine.wants(sender, message)
        if wanted:
            machine.gate.check(message)
            machine.receive(sender, message)  # type: ignore[arg-type]  # no transactions and pings come here
        took = _since_us(begun)
        if wanted:
            self.receive_us[type(message).__name__].append(took)
        else:
            self.unwanted_us.append(took)
        return wanted

    def _finish(self, index: int, turn: Turn) -> None:
        machine = self.machines[index]
        begun = time.thread_time_ns()
        effects = machine.release(turn, self._now())
        took = _since_us(begun)
        (self.decide_us if effects.committed else self.release_us).append(took)
        self._send(index, effects)
        for timer, delay_ms in effects.timers:
            if delay_ms == 0:
                machine.fire(timer)

    def _send(self, index: int, effects: Effects) -> None:
        for frame in effects.frames:
            others = (i for i in range(NODES) if i != index)
            for to in others if frame.to == "all" else frame.to:
                if frame.type is not Type.TX:
                    self._inbox[to].append((index, frame.type, frame.payload))


def _since_us(begun: int) -> float:
    return (time.thread_time_ns() - begun) / 1_000


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Fixed part and slope of ``(count, cost)``: medians at each count, then least squares."""
    by_count: defaultdict[int, list[float]] = defaultdict(list)
    for count, cost in points:
        by_count[count].append(cost)
    middle = [(count, median(costs)) for count, costs in by_count.items() if len(costs) >= SAMPLES]
    if len(middle) < 2:
        return median(cost for _, cost in points), 0.0
    x, y = fmean(c for c, _ in middle), fmean(m for _, m in middle)
    spread = sum((c - x) ** 2 for c, _ in middle)
    slope = max(0.0, sum((c - x) * (m - y) for c, m in middle) / spread)
    return max(0.1, y - slope * x), slope


def calibrate(advance: Callable[[], None] = lambda: None) -> Costs:
    """All costs of this machine; takes some ten seconds.

    Args:
        advance: called :data:`STEPS` times on the way.

    Raises:
        UserError: E430.
    """
    shops = [Workshop(engine, path) for engine, path in PLANTS]
    for shop in shops:
        shop.run(HEIGHTS)
        advance()
    received: defaultdict[str, list[float]] = defaultdict(list)
    for shop in shops:
        for kind, costs in shop.receive_us.items():
            received[kind] += costs[WARM_UP:] or costs
    turn_us, step_us = _line([turn for shop in shops for turn in shop.turns])
    release_us = median(cost for shop in shops for cost in shop.release_us)
    one_tx = _micro(execution.BENCHMARKS, "execution.transfers")
    settle = _micro(mempool.BENCHMARKS, "mempool.settle")
    advance()
    decide_us = median(cost for shop in shops for cost in shop.decide_us) - one_tx - settle
    block_tx = _micro(gate.BENCHMARKS, "gate.block_unverified")
    pack = sum(
        _micro(benchmarks, name)
        for benchmarks, name in (
            (mempool.BENCHMARKS, "mempool.take"),
            (merkle.BENCHMARKS, "merkle.root"),
            (codec.BENCHMARKS, "codec.block_encode"),
        )
    )
    advance()
    wire = measure_wire()
    advance()
    with yardstick("verify") as turn:
        verify_us = min(turn() for _ in range(SAMPLES))
    return Costs(
        machine=this_machine(),
        receive_us={kind: round(median(costs), 3) for kind, costs in sorted(received.items())},
        unwanted_us=round(median([u for shop in shops for u in shop.unwanted_us] or [0.0]), 3),
        verify_us=round(verify_us, 3),
        sign_us=round(_sign_us(), 3),
        block_tx_us=round(block_tx, 3),
        execute_tx_us=round(one_tx + settle, 3),
        pack_tx_us=round(pack, 3),
        turn_us=round(turn_us, 3),
        step_us=round(step_us, 3),
        release_us=round(release_us, 3),
        decide_us=round(max(release_us, decide_us), 3),
        frame_us=wire.frame_us,
        frame_kib_us=wire.frame_kib_us,
        write_us=_writes_us(),
    )


STEPS = len(PLANTS) + 3


def _micro(benchmarks: Sequence[Benchmark], name: str) -> float:
    (benchmark,) = [b for b in benchmarks if b.name == name]
    return measure(benchmark, SAMPLES).us


def _sign_us() -> float:
    key, message = SigningKey(bytes(32)), bytes(SIGNED_BYTES)
    took = []
    for _ in range(SAMPLES):
        begun = time.thread_time_ns()
        for _ in range(SIGNATURES):
            key.sign(message)
        took.append(_since_us(begun) / SIGNATURES)
    return min(took)


def _writes_us() -> list[float]:
    """How long a promise takes to be durable in a store with full synchronisation."""

    async def write() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            path, chain_id = Path(folder) / "chain.db", bytes(32)
            await ChainStore.create(path, chain_id)
            took = []
            async with await ChainStore.open(path, chain_id) as store:
                for height in range(1, WRITES + 1):
                    begun = time.perf_counter_ns()
                    await store.persist([VoteRecord(0, 0, height, bytes(32))])
                    took.append(round((time.perf_counter_ns() - begun) / 1_000, 1))
            return sorted(took[WARM_UP:])

    return asyncio.run(write())

"""One simulated gateway: the daemon's machine on a simulated disk, switched on and off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from vppd.consensus.boundary import ObserverRecord, Timer
from vppd.ledger.execution import Ledger
from vppd.node.beats import Turn
from vppd.node.machine import Machine
from vppd.simulate.disk import SimDisk
from vppd.simulate.plant import node_key, sim_verify
from vppd.simulate.workload import Member
from vppd.types import ZERO_DIGEST, ReplicaIndex

if TYPE_CHECKING:
    from vppd.simulate.cluster import Cluster

Action: TypeAlias = Callable[[], None]
TURN_US = 100
"""A node's turn begins so long after its first input: what arrives in between shares it."""


class Node:
    """One simulated gateway: a disk that survives, a machine that does not."""

    def __init__(self, index: ReplicaIndex, cluster: Cluster) -> None:
        self.index = index
        self.disk = SimDisk()
        self.machine: Machine | None = None
        self.life = 0
        """Counts starts; an event of an earlier life is void."""
        self.busy = False
        self.away = False
        """Gone for good."""
        self.suspect = False
        """Its disk came back older than it was: it may contradict itself until it is told."""
        self.backup: SimDisk | None = None
        """What its disk will be rolled back to."""
        self.timers: dict[Timer, int] = {}
        self._cluster = cluster
        genesis_ledger = Ledger.from_genesis(cluster.genesis, verify=sim_verify)
        self.disk.seed_state(genesis_ledger.entries())
        self.member = Member(index, cluster.genesis, cluster.rng)
        if index >= len(cluster.genesis.validators):
            self.disk.rot("it has not joined yet", ZERO_DIGEST)

    def start(self) -> None:
        """Power on: resume from whatever the disk kept."""
        cluster, disk = self._cluster, self.disk
        if self.away:
            return
        if self.machine is not None:
            return
        cluster.checkers.restarted(self.index, disk.decided)
        self.life += 1
        self.busy = False
        self.timers.clear()
        entries = sorted(disk.state.items())
        ledger = Ledger.load(
            cluster.genesis, disk.executed, entries, disk.header(disk.executed),
            disk.receipts_root, verify=sim_verify,
        )  # fmt: skip
        self.machine = Machine(
            cluster.genesis,
            node_key(self.index),
            sim_verify,
            ledger,
            cluster.make_engine(self.index),
            cluster.make_gate,
            cluster.keys[len(cluster.genesis.validators) :],
        )
        missed = [disk.decision(h) for h in range(disk.executed + 1, disk.decided + 1)]
        now = cluster.now(self.index)
        turn = self.machine.start(now, disk.log(), disk.header(disk.executed), missed)
        self._hold(turn)
        for other in cluster.nodes:
            if other is not self and other.machine is not None:
                other.machine.reconnected(self.index)
                self.machine.reconnected(other.index)
                other.wake()

    def crash(self) -> None:
        """Power off; a write under way survives or not."""
        cluster = self._cluster
        if self.disk.staged and cluster.rng.randrange(2):
            self.disk.sync()
        if self.disk.lose():
            cluster.outcome.faults["unsynced_lost"] += 1
        cluster.note_triggers(self)
        cluster.crowd.lost(self)
        self.machine = None
        self.life += 1

    def wake(self) -> None:
        """Something has arrived: take a turn soon, unless one is under way."""
        if not self.busy and self.machine is not None and self.machine.has_work:
            self.busy = True
            self._soon(self.mine(self._turn))

    def _soon(self, turn: Action) -> None:
        """Take the turn a little later."""
        self._cluster.after(TURN_US, turn)

    def _write_us(self) -> int:
        """How long this write takes to be durable."""
        return self._cluster.rng.randint(100, 3_000)

    def mine(self, action: Action) -> Action:
        """Something for this life alone: after a power failure nothing comes of it."""
        life = self.life

        def run() -> None:
            if self.life == life:
                action()

        return run

    def _turn(self) -> None:
        if self.machine is not None:
            self._hold(self.machine.turn(self._cluster.now(self.index)))

    def _hold(self, turn: Turn) -> None:
        """First beat: nothing leaves before the disk says so."""
        for record in turn.records:
            sound = not self.suspect and self.index not in self._cluster.byzantine
            if isinstance(record, ObserverRecord) and not any(record.nonce) and sound:
                self._cluster.checkers.fell_silent(self.index, record.reason)
        if not turn.records:
            self._release(turn)
            return
        self.busy = True
        self.disk.begin(turn.records)

        def synced() -> None:
            self.disk.sync()
            self._release(turn)

        self._cluster.after(self._write_us(), self.mine(synced))

    def _release(self, turn: Turn) -> None:
        cluster, machine = self._cluster, self.machine
        if machine is None:
            return
        effects = machine.release(turn, cluster.now(self.index))
        self.busy = False
        cluster.released(self, machine, effects)
        for timer, delay_ms in effects.timers:
            if delay_ms is None:
                self.timers.pop(timer, None)
            else:
                self._arm(timer, delay_ms)
        self.wake()

    def _arm(self, timer: Timer, delay_ms: int) -> None:
        cluster = self._cluster
        due = cluster.time_us + delay_ms * 1_000
        self.timers[timer] = due

        def ring() -> None:
            if self.timers.get(timer) == due and self.machine is not None:
                del self.timers[timer]
                self.machine.fire(timer)
                self.wake()

        cluster.after(delay_ms * 1_000, self.mine(ring))

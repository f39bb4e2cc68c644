"""People who run the plant meanwhile: nodes come and go, are re-keyed, engines and numbers change.

They propose what the ledger would take and what leaves enough sound nodes to decide: a plant whose
people vote it out of existence is no test of anything. Approvals are ordinary transactions of the
members, submitted at their own nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from vppd.consensus.quorum import quorums
from vppd.crypto import sha256
from vppd.era import Era
from vppd.ledger.changes import (
    Add,
    Change,
    Configure,
    Move,
    Readmit,
    Rekey,
    Remove,
    SetEngine,
    SetNumber,
)
from vppd.ledger.proofs import Ready
from vppd.ledger.transaction import InvalidTransaction, make_transaction
from vppd.node.machine import Machine
from vppd.node.mempool import Refused
from vppd.simulate.plant import node_key

if TYPE_CHECKING:
    from vppd.simulate.cluster import Cluster

PAUSE_US = 700_000
PATIENCE = 4
"""So often they try to get one thing approved: it may not be possible any more."""
LIFETIME_BLOCKS = 40
MOST_MEMBERS = 9


class Governors:
    """Everybody who may propose and approve, in one.

    Args:
        cluster: their plant.
        seed: of the run.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = Random(seed ^ 0x5EA7)  # noqa: S311
        self._open: tuple[int, tuple[Change, ...]] | None = None
        """What is being approved, and in which epoch."""
        self._patience = 0

    def act(self) -> None:
        """Propose something, or go on approving it."""
        cluster, rng = self._cluster, self._rng
        cluster.after(PAUSE_US + rng.randrange(PAUSE_US), self.act)
        machines = [n.machine for n in cluster.nodes if n.machine is not None]
        for machine in machines:
            if machine.nameless:
                machine.draw(sha256(b"nonce" + machine.key + b"%d" % rng.randrange(2**32)))
        honest = [m for m in machines if self._node(m) not in cluster.byzantine]
        if not honest:
            return
        ahead = max(honest, key=lambda m: m.ledger.height)
        era = ahead.ledger.eras[-1]
        self._patience -= 1
        if self._open is None or self._open[0] != era.epoch or self._patience < 0:
            changes = self._wish(ahead, era)
            if not changes:
                return
            self._open, self._patience = (era.epoch, changes), PATIENCE
            cluster.outcome.epochs["proposed"] += 1
        self._approve(honest, era, Configure(*self._open))

    def _node(self, machine: Machine) -> int:
        return self._cluster.keys.index(machine.key)

    def _approve(self, machines: Sequence[Machine], era: Era, op: Configure) -> None:
        members = {member.key for member in era.members}
        voters = [m for m in machines if m.key in members]
        for machine in self._rng.sample(voters, len(voters)):
            nonce = machine.ledger.nonce(machine.key)
            if nonce is None:
                continue
            nonce += machine.mempool.waiting(machine.key)
            expiry = machine.ledger.height + LIFETIME_BLOCKS
            key = node_key(self._node(machine))
            raw = make_transaction(key, self._cluster.genesis.digest, nonce, expiry, (op,))
            now_ms = self._cluster.now(self._node(machine)).monotonic_ms
            try:
                machine.submit(raw, now_ms, own=True)
            except (Refused, InvalidTransaction):
                continue
            self._cluster.nodes[self._node(machine)].wake()

    # ------------------------------------------------------------ wishes

    def _wish(self, machine: Machine, era: Era) -> tuple[Change, ...]:
        """One change that leaves a plant that can decide; empty: nothing this time."""
        rng = self._rng
        keys = [member.key for member in era.members]
        strangers = [
            m
            for n in self._cluster.nodes
            if (m := n.machine) is not None and m.key not in keys and self._is_ready(m, machine)
        ]
        match rng.randrange(8):
            case 0 | 1 if strangers and len(keys) < MOST_MEMBERS:
                return self._add(rng.choice(strangers), era)
            case 2 | 3 if len(keys) > 1:
                gone = rng.choice(keys)
                kept = [k for k in keys if k != gone]
                return (Remove(gone),) if self._can_decide(era, kept) else ()
            case 4 if strangers:
                return self._rekey(rng.choice(keys), rng.choice(strangers), era)
            case 5:
                mute = [m for m in self._mute(keys) if self._is_ready(m, machine)]
                if mute and (ready := self._ready(back := rng.choice(mute))) is not None:
                    return (Readmit(back.key, ready),)
            case 6:
                others = [e for e in ("bncm", "pbft") if e != era.engine and era.engine != "dpos"]
                return (SetEngine(rng.choice(others)),) if others else ()
            case 7:
                name, low, high = rng.choice(
                    (("idle_block_interval_ms", 3_000, 8_000), ("max_block_txs", 8, 4_096))
                )
                if rng.randrange(2):
                    member = rng.choice(era.members)
                    return (Move(member.key, not member.operator),)
                return (SetNumber(name, rng.randrange(low, high)),)
            case _:
                pass
        return ()

    def _add(self, machine: Machine, era: Era) -> tuple[Change, ...]:
        ready, node = self._ready(machine), self._node(machine)
        keys = [member.key for member in era.members]
        if ready is None or not self._can_decide(era, [*keys, machine.key]):
            return ()
        return (Add(machine.key, f"node-{node}", bool(self._rng.randrange(4) == 0), "", ready),)

    def _rekey(self, old: bytes, machine: Machine, era: Era) -> tuple[Change, ...]:
        ready = self._ready(machine)
        keys = [machine.key if m.key == old else m.key for m in era.members]
        if ready is None or not self._can_decide(era, keys):
            return ()
        return (Rekey(old, machine.key, ready, ""),)

    def _ready(self, machine: Machine) -> Ready | None:
        return machine.ready()

    def _is_ready(self, machine: Machine, ahead: Machine) -> bool:
        """Whether it has a name, and keeps up."""
        return self._ready(machine) is not None and ahead.ledger.height - machine.ledger.height <= 8

    def _mute(self, keys: Sequence[bytes]) -> list[Machine]:
        """Members that have lost their memory, and lie about nothing."""
        cluster = self._cluster
        return [
            m
            for n in cluster.nodes
            if (m := n.machine) is not None
            and m.key in keys
            and n.index not in cluster.byzantine
            and m.engine.status().observer
        ]

    def _can_decide(self, era: Era, keys: Sequence[bytes]) -> bool:
        """Whether these members can decide with whoever lies, forgets or leaves in this run."""
        cluster = self._cluster
        nodes = [cluster.keys.index(key) for key in keys]
        plan = cluster.plan
        gone = {crash.node for crash in plan.crashes if crash.down_us is None}
        forgot = {damage.node for damage in plan.damages} | {
            n.index for n in cluster.nodes if n.suspect
        }
        lost = [i for i in nodes if i in gone | forgot | cluster.byzantine]
        liars = [i for i in nodes if i in forgot | cluster.byzantine]
        f = None if era.f is None else min(era.f, (len(keys) - 1) // 3)
        slack = 0 if era.engine != "bncm" else None
        sizes = quorums(len(keys), f, slack)
        needed = max(sizes.vote, sizes.view_change)
        return len(nodes) - len(lost) >= needed and len(liars) <= sizes.f

"""BNCM as published (P0, §3.3) in a plant: to be measured, and refuted; never part of a daemon.

Two things, for the simulator and the benchmarks alone. :class:`TimedAsPublished` is the shipped
engine with the paper's timing: the operator waits out a fixed timer for everybody's ``received``,
and only then runs a whole PBFT round. :class:`PublishedCluster` runs the paper's protocol to the
letter (:mod:`vppd.simulate.published`), and :class:`TwoFaced` and :class:`LostMemory` are the two
operators that fork it: one lies, the other loses power. Both can be set on the shipped engine, too.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import partial
from random import Random
from typing import ClassVar

import msgspec

from vppd.consensus.boundary import TimerKind
from vppd.consensus.certificate import assemble
from vppd.consensus.chain import Settings
from vppd.consensus.fallback import Fallback
from vppd.consensus.flight import Flight, Waiting
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
)
from vppd.consensus.outbox import Outbox
from vppd.consensus.policy import PathPolicy
from vppd.consensus.profile import EngineProfile
from vppd.consensus.replica import Replica
from vppd.consensus.signing import TAG_VOTE, sign_bytes
from vppd.consensus.validators import ValidatorSet
from vppd.header import decode_header
from vppd.ledger.execution import Ledger
from vppd.net.gate import Gate, decode_message
from vppd.node.beats import Committed, Frame
from vppd.node.machine import MakeEngine
from vppd.simulate.checkers import Checkers, Fork
from vppd.simulate.cluster import Cluster, Tamper
from vppd.simulate.disk import Promise
from vppd.simulate.forge import another_block, framed, resign
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.plant import node_key
from vppd.simulate.published import OPERATOR, WAIT_MS, Published, Trusting
from vppd.types import Digest, Height, PublicKey, ReplicaIndex

# ---------------------------------------------------------------- the paper's timing, our proofs


class _FixedTimer(Waiting):
    """The leader waits so long from its proposal on; nobody else waits for anything."""

    __slots__ = ("_wait_ms",)

    def __init__(self, waiting: tuple[ValidatorSet, Outbox, bool], wait_ms: int) -> None:
        validators, out, fast_exit = waiting
        super().__init__(validators.quorum, out, fast_exit=fast_exit, view_timeout_ms=2 * wait_ms)
        self._wait_ms = wait_ms

    def begin(self, flight: Flight) -> None:
        self.end()
        self.flight, self.last_path = flight, flight.path
        if flight.leads:
            self._arm(TimerKind.GRACE, self._wait_ms)


class _WholeRound(Fallback):
    """After the wait everybody prepares, whatever votes the leader has collected."""

    __slots__ = ()

    def _held(self, flight: Flight) -> Certificate | None:
        del flight
        return None


class TimedAsPublished(Replica):
    """The shipped engine on the collector path, waiting as the paper does (``--path paper``).

    Args:
        profile, settings, validators, own: as of :class:`~vppd.consensus.replica.Replica`.
        wait_ms: the operator's timer.
    """

    def __init__(
        self, profile: EngineProfile, settings: Settings, validators: ValidatorSet,
        own: ReplicaIndex | None, *, wait_ms: int = WAIT_MS,
    ) -> None:  # fmt: skip
        super().__init__(profile, settings, validators, own)
        core = self._core
        core.waiting = _FixedTimer((validators, self._out, profile.fast_exit), wait_ms)
        core.fallback = _WholeRound(core, self._out)
        core.policy = PathPolicy("collect")


def timed_as_published(wait_ms: int) -> MakeEngine:
    """:class:`TimedAsPublished` with that timer, as a cluster takes it."""
    return partial(TimedAsPublished, wait_ms=wait_ms)


def simulate_timed(setup: Setup, seed: int, wait_ms: int = WAIT_MS) -> Outcome:
    """One run of the shipped engine with the published timing (``--path paper``)."""
    setup = msgspec.structs.replace(setup, engine="bncm", path="collect")
    return Cluster(setup, seed, dict.fromkeys(range(setup.n), timed_as_published(wait_ms))).run()


# ---------------------------------------------------------------- the protocol to the letter


class ForksOnly(Checkers):
    """Of a protocol that promises nothing only this is asked: one block per height."""

    def signed(
        self, signer: ReplicaIndex, promise: Promise, promised: Container[Promise],
        first_height: tuple[int, int, Height],
    ) -> None:  # fmt: skip
        """Anything goes."""
        del signer, promise, promised, first_height

    def entitled(
        self, node: ReplicaIndex, key: PublicKey, name: Digest | None, promise: Promise
    ) -> None:
        """Anything goes: it signs on whatever it has forgotten."""
        del node, key, name, promise

    def spoke_of(self, node: ReplicaIndex, height: Height, durable: Height) -> None:
        """Anything goes."""
        del node, height, durable

    def committed(self, node: ReplicaIndex, block: Committed, ledger: Ledger) -> None:
        """A node has decided and executed a block."""
        del ledger
        height, digest = block.decision.height, block.decision.digest
        known = self._digests.setdefault(height, digest)
        if known != digest:
            raise Fork(
                f"fork at height {height}: node {node} decided {digest.hex()[:16]}, "
                f"others {known.hex()[:16]}"
            )


def paper_engine(setup: Setup) -> MakeEngine:
    """What each node of a plant on the published protocol runs.

    The operator waits for everybody as long as a round trip takes, at least.
    """
    round_trip_ms = 2 * (setup.delay_us or 0) // 1_000 + 10
    return partial(Published, wait_ms=max(WAIT_MS, round_trip_ms))


class PublishedCluster(Cluster):
    """A plant on the published protocol.

    Args:
        setup: what to run; its engine and path are not looked at.
        seed: decides everything else.
        tamper: what really leaves a node instead of each of its frames.
        byzantine: nodes of which nothing is expected.
    """

    make_gate: ClassVar[type[Gate]] = Trusting
    make_checkers: ClassVar[type[Checkers]] = ForksOnly

    def __init__(
        self, setup: Setup, seed: int, tamper: Tamper | None = None,
        byzantine: Iterable[ReplicaIndex] = (),
    ) -> None:  # fmt: skip
        setup = msgspec.structs.replace(setup, engine="bncm", path="collect")
        super().__init__(setup, seed, None, tamper, byzantine)
        self._engines = dict.fromkeys(range(setup.n), paper_engine(setup))


def simulate_published(setup: Setup, seed: int) -> Outcome:
    """One run of the published protocol (``--engine bncm-paper --unsafe``).

    Chance alone hardly ever finds what it lacks, so two of the fault sets are aimed: ``byzantine``
    is an operator with two faces, ``crash`` and ``power`` one that loses power at the wrong
    instant (n ≥ 4); with both, seeds take turns. The other sets are what they always are.
    """
    lies = "byzantine" in setup.faults
    dies = bool(setup.faults & {"crash", "power"}) and setup.n >= LostMemory.LEAST
    if dies and (seed % 2 or not lies):
        lost = LostMemory(setup.n, seed)
        return lost.run(PublishedCluster(setup, seed, lost))
    if lies:
        two_faced = TwoFaced(setup.n, PublishedCluster(setup, seed).genesis.digest)
        return PublishedCluster(setup, seed, two_faced, {OPERATOR}).run()
    return PublishedCluster(setup, seed).run()


def forked(outcome: Outcome) -> bool:
    """Whether a run ended in two blocks at one height."""
    return (outcome.violation or "").startswith("fork at height")


# ---------------------------------------------------------------- the operators that fork it


class TwoFaced:
    """An operator that shows one half of the plant one block, the other half another.

    And tells each half that everybody has agreed to its own: what the published protocol takes its
    word for, and what is worth nothing where a decision shows F signatures.

    Args:
        n: nodes.
        chain_id: in every signature.
    """

    def __init__(self, n: int, chain_id: Digest) -> None:
        self._chain_id = chain_id
        self._n = n
        others = [i for i in range(n) if i != OPERATOR]
        self._halves = tuple(others[: n // 2]), tuple(others[n // 2 :])

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
        """What leaves instead of a frame of that node."""
        message = decode_message(frame.type, frame.payload)
        if node != OPERATOR or not isinstance(message, Block):
            return [frame]
        other = another_block(message, decode_header(message.header), empty=False)
        out: list[Frame] = []
        for half, block in zip(self._halves, (message, other), strict=True):
            shown = resign(block, OPERATOR, self._chain_id)
            out += [framed(shown, half), framed(Agree(self._word(shown)), half)]
        return out

    def _word(self, block: Block) -> Certificate:
        at = (0, 0, block.height, block.digest)
        signature = node_key(OPERATOR).sign(sign_bytes(TAG_VOTE, self._chain_id, *at))
        word = {OPERATOR: signature}
        return assemble(CertificateKind.FAST, *at, word, self._n, 1)


class LostMemory:
    """The operator loses power when one DER has decided and nobody else has; that DER is cut off.

    In one height, drawn from the seed, the vote of another DER is lost, so that the plant goes the
    slow way, and commits reach only the one. Afterwards everything gets through, but to it.

    Args:
        n: nodes, at least four.
        seed: which DERs, and which height.
    """

    LEAST = 4
    UNTIL_US = 20_000_000
    """When the one is back."""
    OFF_US = 300_000

    def __init__(self, n: int, seed: int) -> None:
        rng = Random(seed)  # noqa: S311
        self.cluster: Cluster
        self._n = n
        self._alone, self._late = rng.sample(range(1, n), 2)
        self._height = rng.randint(1, 6)
        self._struck = False

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
        """What leaves instead of a frame of that node."""
        cluster = self.cluster
        if cluster.time_us >= self.UNTIL_US:
            return [frame]
        if not self._struck and cluster.nodes[self._alone].disk.decided >= self._height:
            self._struck = True
            cluster.outcome.faults["scripted_crash"] += 1
            operator = cluster.nodes[OPERATOR]
            cluster.after(0, operator.crash)
            cluster.after(self.OFF_US, operator.start)
        others = tuple(i for i in range(self._n) if i != node)
        to = others if isinstance(frame.to, str) else frame.to
        return [frame._replace(to=tuple(i for i in to if self._passes(node, i, frame)))]

    def _passes(self, sender: ReplicaIndex, to: ReplicaIndex, frame: Frame) -> bool:
        if self._struck:
            return self._alone not in (sender, to)
        message = decode_message(frame.type, frame.payload)
        match message:
            case Collected(height=self._height):
                return sender != self._late
            case Commit(height=self._height):
                return to == self._alone
            case _:
                return True

    def run(self, cluster: Cluster) -> Outcome:
        """Set on that plant: its run, which ends only after everything gets through again."""
        self.cluster = cluster
        healed_us = max(self.UNTIL_US, cluster.plan.heal_us)
        cluster.plan = msgspec.structs.replace(cluster.plan, heal_us=healed_us)
        return cluster.run()

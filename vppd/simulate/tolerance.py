"""How many faulty nodes a plant bears (P0, §4.2.2): an operator and nine DERs, f = 3.

Faulty from the first instant and for good, in one of three ways. Up to f of them the plant decides;
with more than f nothing may be decided at all, rather than the wrong thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from vppd.consensus.messages import Block, Collected, Commit, Prepare, Status
from vppd.consensus.signing import TAG_COMMIT, TAG_VOTE, sign_bytes
from vppd.crypto import sha256
from vppd.header import decode_header
from vppd.net.gate import decode_message
from vppd.node.beats import Frame
from vppd.simulate.byzantine import Shameless
from vppd.simulate.cluster import Cluster
from vppd.simulate.faults import parse_sets
from vppd.simulate.forge import another_block, framed, resign
from vppd.simulate.outcome import Outcome, Setup
from vppd.simulate.plant import node_key
from vppd.types import Digest, Height, ReplicaIndex

Fault: TypeAlias = Literal["silent", "crashed", "lying"]
FAULTS: tuple[Fault, ...] = ("silent", "crashed", "lying")


class Tolerance(NamedTuple):
    """What honest nodes decided beside so many faulty ones."""

    outcome: Outcome
    faulty: tuple[ReplicaIndex, ...]
    lowest: Height
    highest: Height


class Contrary:
    """Votes for what nobody proposed, and proposes two blocks to two halves; says nothing true.

    Args:
        nodes: who does so.
        n: nodes in the plant.
        chain_id: in every signature.
    """

    def __init__(self, nodes: Iterable[ReplicaIndex], n: int, chain_id: Digest) -> None:
        self._nodes = frozenset(nodes)
        self._n = n
        self._chain_id = chain_id

    def __call__(self, node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
        """What leaves instead of a frame of that node."""
        if node not in self._nodes:
            return [frame]
        message = decode_message(frame.type, frame.payload)
        match message:
            case Prepare(epoch, view, height, digest) | Collected(epoch, view, height, digest):
                wrong = self._signed(TAG_VOTE, node, (epoch, view, height), digest)
                return [framed(msgspec.structs.replace(message, **wrong), self._targets(frame))]
            case Commit(epoch, view, height, digest):
                wrong = self._signed(TAG_COMMIT, node, (epoch, view, height), digest)
                return [framed(msgspec.structs.replace(message, **wrong), self._targets(frame))]
            case Block():
                other = another_block(message, decode_header(message.header), empty=True)
                others = [i for i in range(self._n) if i != node]
                return [
                    frame._replace(to=tuple(others[::2])),
                    framed(resign(other, node, self._chain_id), tuple(others[1::2])),
                ]
            case Status():
                return [frame]
            case _:
                return []

    def _targets(self, frame: Frame) -> tuple[ReplicaIndex, ...] | None:
        return None if isinstance(frame.to, str) else frame.to

    def _signed(
        self, tag: bytes, node: ReplicaIndex, at: tuple[int, int, int], digest: Digest
    ) -> dict[str, bytes]:
        wrong = sha256(b"not " + digest)
        return {
            "digest": wrong,
            "sig": node_key(node).sign(sign_bytes(tag, self._chain_id, *at, wrong)),
        }


def bear(setup: Setup, faulty: int, fault: Fault, seed: int) -> Tolerance:
    """One run with so many faulty nodes, drawn from the seed, the operator among them or not.

    It ends when the honest nodes have decided ``setup.heights``, or 20·T_view without five heights.
    """
    setup = msgspec.structs.replace(setup, faults=parse_sets("none"))
    nodes = tuple(sorted(Random(seed).sample(range(setup.n), faulty)))  # noqa: S311
    if fault == "crashed":
        cluster = Cluster(setup, seed)
        for node in nodes:
            cluster.nodes[node].away = True
    else:
        chain_id = Cluster(setup, seed).genesis.digest
        contrary = Contrary(nodes, setup.n, chain_id)

        def tamper(node: ReplicaIndex, frame: Frame) -> Iterable[Frame]:
            if fault == "silent" and node in nodes:
                return ()
            return contrary(node, frame)

        cluster = Cluster(setup, seed, dict.fromkeys(nodes, Shameless), tamper, nodes)
    outcome = cluster.run()
    decided = [node.disk.decided for node in cluster.nodes if node.index not in nodes]
    return Tolerance(outcome, nodes, min(decided), max(decided))

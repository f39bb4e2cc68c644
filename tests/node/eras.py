"""Eras of a small plant whose keys are those of the network's tests."""

from __future__ import annotations

from tests.net.plant import KEYS
from vppd.config.genesis import ValidatorEntry
from vppd.config.peers import Peer
from vppd.era import Era, EraMember
from vppd.types import PeerNumber, PublicKey, Role


class Numbers(dict[PublicKey, PeerNumber]):
    """As the machine numbers keys."""

    def __missing__(self, key: PublicKey) -> PeerNumber:
        self[key] = len(self)
        return self[key]


def numbers() -> Numbers:
    given = Numbers()
    for founder in FOUNDERS:
        given[founder.key]
    return given


FOUNDERS = tuple(
    ValidatorEntry(name=f"node-{i}", role=Role.DER if i else Role.OPERATOR, key=KEYS[i].public_key)
    for i in range(3)
)
PEERS = tuple(
    Peer(name=f"node-{i}", key=KEYS[i].public_key, addr=f"10.0.0.{i}:7440") for i in (0, 1, 2, 5)
)


def member(i: int, addr: str = "", name: str = "") -> EraMember:
    return EraMember(KEYS[i].public_key, i == 0, name or f"node-{i}", addr)


def era(epoch: int, first: int, *members: int | EraMember) -> Era:
    chosen = tuple(m if isinstance(m, EraMember) else member(m) for m in members)
    return Era(epoch, first, "bncm", None, None, chosen)


GENESIS = era(0, 1, 0, 1, 2)

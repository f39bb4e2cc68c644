"""A small plant for simulations: keys, accounts, meters and a market day in seconds.

Signatures are stand-ins (a keyed hash): nobody in these runs forges, the gate still checks every
one, and a run is twenty times faster than with ed25519.
"""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Engine,
    Genesis,
    MarketRulesSection,
    MeterEntry,
    PathSetting,
    Tariff,
    ValidatorEntry,
)
from vppd.crypto import sha256
from vppd.types import PublicKey, Role, Signature

NO_ELECTION = 1_000_000
"""Heights between elections in plants that are to have none."""
START_UNIX_MS = 1_750_000_000_000
SLOT_MS = 2_000


class SimKey:
    """A key whose signatures only :func:`sim_verify` accepts."""

    __slots__ = ("public_key",)

    def __init__(self, name: str) -> None:
        self.public_key: PublicKey = sha256(b"simulated key " + name.encode())

    def sign(self, message: bytes) -> Signature:
        """64 bytes that depend on key and message."""
        return hashlib.sha512(self.public_key + message).digest()


def sim_verify(public_key: PublicKey, message: bytes, signature: Signature) -> bool:
    """The verifier of simulated plants."""
    return hashlib.sha512(public_key + message).digest() == signature


def node_key(index: int) -> SimKey:
    """Key of replica ``index``, which is also its owner's account key."""
    return SimKey(f"node {index}")


def meter_key(index: int) -> SimKey:
    """Key of the meter of member ``index``."""
    return SimKey(f"meter {index}")


def sim_genesis(
    n: int,
    engine: Engine,
    path: PathSetting = "auto",
    operators: int = 1,
    delegates: int | None = None,
    epoch_blocks: int = NO_ELECTION,
) -> Genesis:
    """Operators and DERs with 200.00 each, one tariff, slots of two seconds.

    Args:
        n: nodes listed; all of them vote, but for engine ``dpos`` with fewer delegates.
        engine: by which they decide.
        path: where that engine has more than one.
        operators: how many of them are.
        delegates: producers of engine ``dpos``; ``None``: all.
        epoch_blocks: heights between its elections.
    """
    rules = ConsensusRules(engine=engine, path=path, idle_block_interval_ms=5_000)
    named = f"simulated plant n={n} engine={engine} {path} {operators}"
    if engine == "dpos":
        dpos = replace(rules.dpos, delegates=delegates or n)
        rules = replace(rules, dpos=dpos, epoch_blocks=epoch_blocks)
        named += f" {delegates} {epoch_blocks}"
    names = [f"op-{i}" if i < operators else f"der-{i}" for i in range(n)]
    return Genesis(
        name="simulated",
        digest=sha256(named.encode()),
        consensus=rules,
        market=MarketRulesSection(
            origin_ms=START_UNIX_MS,
            slot_ms=SLOT_MS,
            market_slot_minutes=60,
            open_lead_ms=2 * SLOT_MS,
            gate_lead_ms=SLOT_MS // 4,
            metering_ms=SLOT_MS // 2,
            dispute_slots=8,
            tariffs=(
                Tariff(
                    start_minute=0, end_minute=1440, retail_price=570_000, feed_in_price=380_000
                ),
            ),
        ),
        validators=tuple(
            ValidatorEntry(
                name=name,
                role=Role.OPERATOR if i < operators else Role.DER,
                key=node_key(i).public_key,
            )
            for i, name in enumerate(names)
        ),
        accounts=tuple(
            AccountEntry(name=name, key=node_key(i).public_key, balance=200_000_000)
            for i, name in enumerate(names)
        ),
        meters=tuple(
            MeterEntry(key=meter_key(i).public_key, account=name) for i, name in enumerate(names)
        ),
    )

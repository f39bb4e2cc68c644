"""What genesis says about who votes first, as an era; and the rules of any era."""

from __future__ import annotations

from msgspec.structs import replace

from vppd.config.engines import DPOS
from vppd.config.genesis import ConsensusRules, DposRules, Engine, Genesis
from vppd.era import Era, EraMember
from vppd.types import Role

SETTABLE = (
    "alpha_ppm",
    "clock_tolerance_ms",
    "delegates",
    "epoch_blocks",
    "idle_block_interval_ms",
    "max_block_bytes",
    "max_block_txs",
    "max_tx_bytes",
    "max_tx_ops",
    "punish_epochs",
    "view_timeout_max_ms",
    "view_timeout_ms",
)
"""Numbers of ``[consensus]`` and ``[consensus.dpos]`` that a plant can change while it runs."""


def founding_size(rules: ConsensusRules, listed: int) -> int:
    """How many of the ``listed`` validators vote in era 0."""
    return min(listed, rules.dpos.delegates) if rules.engine == DPOS else listed


def founding_era(genesis: Genesis) -> Era:
    """Era 0: in engine ``dpos`` the first ``delegates`` validators produce, else all vote."""
    rules = genesis.consensus
    listed = genesis.validators[: founding_size(rules, len(genesis.validators))]
    members = tuple(EraMember(v.key, v.role is Role.OPERATOR, v.name) for v in listed)
    return Era(0, 1, rules.engine, rules.f, None, members)


def rules_in(genesis: Genesis, era: Era) -> ConsensusRules:
    """``[consensus]`` as it is in ``era``: genesis with what has been decided since."""
    numbers = dict(era.rules)
    dpos = {name: numbers.pop(name) for name in DposRules.__struct_fields__ if name in numbers}
    rules = genesis.consensus
    return replace(
        rules,
        engine=Engine(era.engine),
        f=era.f,
        dpos=replace(rules.dpos, **dpos),
        **numbers,
    )

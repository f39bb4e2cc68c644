"""What makes an engine: a leader schedule and a path policy around the one core.

No engine has its own copy of voting, locking, certificates, view change or catch-up
(architecture.md, wall 3). Other distributions bring further profiles (docs/engines.md).
"""

from __future__ import annotations

from functools import cache

import msgspec

from vppd.config.engines import load_engine, unusable
from vppd.config.founding import founding_size
from vppd.config.genesis import Engine, Genesis, PathSetting
from vppd.consensus.messages import Path
from vppd.consensus.policy import PathPolicy, PolicyMaker
from vppd.consensus.schedule import (
    Rotation,
    Schedule,
    all_in_turn,
    every_der_once,
    operators_first,
    producers_in_order,
    round_robin,
)
from vppd.consensus.validators import ValidatorSet, founding_set


class EngineProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between engines."""

    name: Engine
    schedule: Schedule
    rotation: Rotation
    fast_exit: bool
    """Whether F first-round votes decide at once (protocol.md, §9.2)."""
    hands_back: bool
    """Whether a DER in the lead returns it to an operator that is back (protocol.md, §7)."""
    moves: bool = False
    """Whether the lead moves with each height. Then no leader need change its view to take along
    who timed out alone (protocol.md, §7): the turn of the one left alone brings all together."""
    policy: PolicyMaker = PathPolicy
    """Chooses each block's path; asked only with ``fast_exit``, without it all is broadcast."""


PBFT = EngineProfile(
    name=Engine("pbft"),
    schedule=round_robin,
    rotation=all_in_turn,
    fast_exit=False,
    hands_back=False,
)
"""Castro–Liskov's normal case on the shared core: broadcast, no fast exit (§12)."""

BNCM = EngineProfile(
    name=Engine("bncm"),
    schedule=operators_first,
    rotation=every_der_once,
    fast_exit=True,
    hands_back=True,
)
"""The operator collects everybody's vote, or all vote to all; F votes decide at once (§5, §9)."""

DPOS = EngineProfile(
    name=Engine("dpos"),
    schedule=producers_in_order,
    rotation=all_in_turn,
    fast_exit=False,
    hands_back=False,
    moves=True,
)
"""Producers elected by score take turns; finality is q locked votes of them (§13)."""

PROFILES: dict[Engine, EngineProfile] = {p.name: p for p in (BNCM, PBFT, DPOS)}
"""Of this build."""


def profile_of(engine: Engine) -> EngineProfile:
    """What a node of that engine runs; one of another distribution is imported the first time.

    Raises:
        ConfigError: E107, it is not installed; E125, it cannot be used.
    """
    return PROFILES[engine] if engine in PROFILES else _foreign(engine)


@cache
def _foreign(engine: Engine) -> EngineProfile:
    return load_engine(engine, EngineProfile)


def founding_validators(genesis: Genesis) -> ValidatorSet:
    """The set of epoch 0 under the engine genesis names.

    Slack for the fast path costs view changes (w = max(q, 2f+2p+1)); an engine without that path
    takes none, so that it survives as many dead replicas as its votes do.

    Raises:
        ValueError: empty, duplicate keys, or f out of bounds.
        ConfigError: E107, E125, the engine is not installed, or does not fit this plant.
    """
    rules = genesis.consensus
    profile = profile_of(rules.engine)
    listed = genesis.validators[: founding_size(rules, len(genesis.validators))]
    validators = founding_set(listed, rules.f, None if profile.fast_exit else 0)
    if rules.engine not in PROFILES:
        check_fit(profile, validators, rules.path)
    return validators


def check_fit(profile: EngineProfile, validators: ValidatorSet, path: PathSetting) -> None:
    """Whether these replicas can run that engine.

    Raises:
        ConfigError: E125, they cannot.
    """
    try:
        why = schedule_flaw(profile, validators) or policy_flaw(profile, path)
    except Exception as err:  # whatever a stranger's function raises
        raise unusable(profile.name, f"{type(err).__name__}: {err}") from err
    if why:
        raise unusable(profile.name, why)


def schedule_flaw(profile: EngineProfile, validators: ValidatorSet) -> str:
    """Why these replicas cannot follow this schedule; empty: they can.

    Every replica must lead within one rotation, or a dead leader could be followed by dead leaders
    for ever; and a rotation has at most n² views, because votes of so many views are kept.
    """
    n = validators.quorum.n
    rotation = profile.rotation(validators)
    if type(rotation) is not int or not 1 <= rotation <= n * n:
        return f"a rotation of {rotation} views, where 1 to {n * n} are possible"
    for height in (1, 2):
        turns = [profile.schedule(validators, view, height) for view in range(rotation)]
        for leader in turns:
            if type(leader) is not int or not 0 <= leader < n:
                return f"replica {leader} is to lead, of {n}"
        if missing := sorted(set(range(n)) - set(turns)):
            return f"replica {missing[0]} leads in none of the {rotation} views of a rotation"
    return ""


def policy_flaw(profile: EngineProfile, setting: PathSetting) -> str:
    """Why nobody could lead by this policy; empty: its first answer is a path."""
    if not profile.fast_exit:
        return ""
    policy = profile.policy(setting)
    policy.restart()
    path: object = policy.next()
    return "" if isinstance(path, Path) else f"its policy answers {path!r}, which is no path"

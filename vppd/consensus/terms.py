"""Epochs as the core lives them: an era's engine, settings and validator set (protocol.md, §10).

An :class:`~vppd.era.Era` is what the ledger has decided; a :class:`Term` is what follows from it
for voting. :class:`Terms` are those a node knows, to check what was signed in each.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import msgspec

from vppd.config.founding import rules_in
from vppd.config.genesis import ConsensusRules, Engine, Genesis
from vppd.consensus.boundary import Seat
from vppd.consensus.chain import Settings
from vppd.consensus.messages import CertificateKind
from vppd.consensus.profile import EngineProfile, founding_validators, profile_of
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.era import Era
from vppd.types import Epoch, Height, PublicKey, ReplicaIndex, Role, View

KEPT = 16
"""Terms a node can still check signatures of; the ledger keeps as many eras."""


class Term(msgspec.Struct, frozen=True, dict=True):
    """One epoch."""

    validators: ValidatorSet
    profile: EngineProfile
    rules: ConsensusRules
    settings: Settings

    @property
    def epoch(self) -> Epoch:
        """Its number."""
        return self.validators.epoch

    @property
    def first(self) -> Height:
        """Its first height."""
        return self.validators.first

    @cached_property
    def decisive(self) -> frozenset[int]:
        """Kinds of certificates that decide a height."""
        kinds = {CertificateKind.COMMIT}
        if self.profile.fast_exit:
            kinds.add(CertificateKind.FAST)
        return frozenset(kinds)

    def leader(self, view: View, height: Height) -> ReplicaIndex:
        """Who leads ``view`` at ``height``."""
        return self.profile.schedule(self.validators, view, height)

    def seat(self, key: PublicKey) -> Seat:
        """The place of the node with that key."""
        own = self.validators.index.get(key)
        return Seat(self.profile, self.settings, self.validators, own)


def founding_term(genesis: Genesis) -> Term:
    """Epoch 0.

    Raises:
        ValueError, ConfigError: as :func:`~vppd.consensus.profile.founding_validators`.
    """
    rules = genesis.consensus
    profile = profile_of(rules.engine)
    return Term(founding_validators(genesis), profile, rules, settings_of(rules, genesis))


def term_of(era: Era, genesis: Genesis) -> Term:
    """What an era means for voting.

    Raises:
        ValueError: no validator set can be made of it; the ledger schedules none such.
        ConfigError: E107, E125, its engine is not installed here, or cannot be used.
    """
    rules = rules_in(genesis, era)
    return Term(validators_of(era), profile_of(rules.engine), rules, settings_of(rules, genesis))


def validators_of(era: Era) -> ValidatorSet:
    """The validator set of an era, founding or later.

    Slack for the fast path costs view changes (w = max(q, 2f+2p+1)); an engine without that path
    takes none, so that it survives as many dead replicas as its votes do.

    Raises:
        ValueError: empty, two members share a key, or f and p out of bounds.
        ConfigError: E107, E125, its engine is not installed here, or cannot be used.
    """
    return validators_with(era, era.p if profile_of(Engine(era.engine)).fast_exit else 0)


def validators_with(era: Era, p: int | None) -> ValidatorSet:
    """The members of an era with slack ``p``, whatever its engine would have.

    Raises:
        ValueError: empty, two members share a key, or f and p out of bounds.
    """
    members = tuple(
        Validator(m.key, Role.OPERATOR if m.operator else Role.DER, m.name, m.nonce)
        for m in era.members
    )
    return ValidatorSet.of(era.epoch, members, era.f, p, first=era.first, engine=era.engine)


def settings_of(rules: ConsensusRules, genesis: Genesis) -> Settings:
    """What the core needs of the rules."""
    return Settings(
        chain_id=genesis.digest,
        path=rules.path,
        clock_tolerance_ms=rules.clock_tolerance_ms,
        idle_block_interval_ms=rules.idle_block_interval_ms,
        checkpoint_blocks=rules.checkpoint_blocks,
        view_timeout_ms=rules.view_timeout_ms,
        view_timeout_max_ms=rules.view_timeout_max_ms,
        max_block_txs=rules.max_block_txs,
        max_block_bytes=rules.max_block_bytes,
        max_tx_bytes=rules.max_tx_bytes,
    )


class Terms:
    """The epochs a node knows of: the last :data:`KEPT` ones.

    Args:
        genesis: the chain.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        founding = founding_term(genesis)
        self._by_epoch: dict[Epoch, Term] = {0: founding}
        self.latest = founding
        """The last one that is known, in force or not."""

    @property
    def signed(self) -> bool:
        """Whether senders sign their transactions."""
        return self._genesis.ledger.signed

    def note(self, eras: Iterable[Era]) -> None:
        """Learn of eras the ledger has decided on, ascending.

        Raises:
            ConfigError: E107, E125, an engine that is not installed here, or cannot be used.
        """
        known = dict(self._by_epoch)
        for era in eras:
            if era.epoch > self.latest.epoch:
                self.latest = known[era.epoch] = term_of(era, self._genesis)
        # Replaced, never changed: blocks are checked on other threads meanwhile.
        self._by_epoch = {e: t for e, t in known.items() if e > self.latest.epoch - KEPT}

    def of(self, epoch: Epoch) -> Term | None:
        """The term of an epoch; ``None``: not known, or too long ago."""
        return self._by_epoch.get(epoch)

    def at(self, height: Height) -> Term:
        """The term in force at a height.

        Raises:
            ValueError: that was before the oldest one known; callers ask about heights to come.
        """
        return max((t for t in self._by_epoch.values() if t.first <= height), key=lambda t: t.epoch)

    def covers(self, term: Term, height: Height) -> bool:
        """Whether ``height`` lies in that term, as far as this node knows."""
        after = self._by_epoch.get(term.epoch + 1)
        return term.first <= height and (after is None or height < after.first)

    def leader(self, epoch: Epoch, view: View, height: Height) -> ReplicaIndex:
        """Who leads there; 0 in an epoch that is not known, whose messages nobody wants."""
        term = self._by_epoch.get(epoch)
        return 0 if term is None else term.leader(view, height)

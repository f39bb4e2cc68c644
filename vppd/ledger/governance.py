"""Changing a plant that runs: who may, how many must agree, what comes of it (protocol.md, §10).

A member of the era in force sends a :class:`~vppd.ledger.changes.Configure`; the same words from
another member are an approval. With enough of them the changes take effect together, as one era. A
proposal is checked when it is made and again when it takes effect.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from vppd.config.engines import DPOS, OWN
from vppd.config.founding import SETTABLE, rules_in
from vppd.config.genesis import (
    BLOCK_BYTES_LIMIT,
    MOST_VALIDATORS,
    ORDERED_RULES,
    STARTING_CREDIT,
    TX_BYTES_LIMIT,
    ConsensusRules,
    DposRules,
)
from vppd.config.values import parse_address, parse_name
from vppd.consensus.quorum import quorums
from vppd.consensus.terms import validators_of
from vppd.era import Era, EraMember
from vppd.ledger.changes import (
    Add,
    Bar,
    Change,
    Configure,
    Grant,
    Intervention,
    Move,
    Readmit,
    Rekey,
    ReleaseContract,
    Remove,
    Revoke,
    SetEngine,
    SetMarket,
    SetNumber,
    VoidOrders,
)
from vppd.ledger.codes import ErrorCode
from vppd.ledger.context import Context, Failed
from vppd.ledger.eras import DELAY, fits, follow, latest_era, schedule
from vppd.ledger.events import AccountOpened, Approved, RulesScheduled
from vppd.ledger.producers import forget_elections, move_candidate
from vppd.ledger.proofs import Ready, signed_part
from vppd.ledger.records import Account, Ballot, Candidate, MarketUpdate, Proposal
from vppd.ledger.registration.duties import require
from vppd.ledger.registration.interventions import carry_out, check_act
from vppd.ledger.registration.records import Duty
from vppd.ledger.slots import Phase, due_ms
from vppd.ledger.state import ACCOUNT, BALLOT, CANDIDATE, CONVICTION, MARKET_UPDATE, METER, PROPOSAL
from vppd.market.calendar import MarketCalendar
from vppd.types import ZERO_DIGEST, Digest, PublicKey, Slot

MOST_BALLOTS = 4
"""Proposals one member approves at a time; a further one takes the place of its oldest."""
AUTHORITY_MISSING, OPERATOR_MISSING = 1, 2
MOST_AHEAD: Slot = 40_000
"""Rules are scheduled for at most so many slots after the next that opens: a year of quarters."""
MOST_SETS = 8
"""Rules are set at most so often in one proposal."""


def configure(ctx: Context, sender: PublicKey, op: Configure) -> None:
    """A member, or an authority, proposes these changes or approves them.

    Raises:
        Failed: the sender has no say, or the changes cannot be made.
    """
    state, governance = ctx.state, ctx.genesis.governance
    members = {member.key for member in ctx.era.members}
    if sender not in members and sender not in governance.authority:
        raise Failed(ErrorCode.NOT_A_GOVERNOR)
    latest = latest_era(ctx.founding, state)
    if latest.first == ctx.height + DELAY:
        raise Failed(ErrorCode.ERA_CHANGING, latest.first)
    if op.epoch != latest.epoch:
        raise Failed(ErrorCode.STALE_PROPOSAL, latest.epoch)
    proposal = op.digest()
    ballot = state.get(BALLOT, sender) or Ballot(())
    if proposal in ballot.proposals:
        raise Failed(ErrorCode.ALREADY_APPROVED)
    outcome = Outcome(ctx, latest, op.changes)  # refuses what cannot be
    _check_duties(ctx, sender, op, proposal)
    kept = (*ballot.proposals, proposal)[-MOST_BALLOTS:]
    state.put(BALLOT, Ballot(kept), sender)
    if state.get(PROPOSAL, proposal) is None:
        state.put(PROPOSAL, Proposal(op, ctx.height), proposal)
    _forget_unwanted(ctx, set(ballot.proposals) - set(kept))
    said = Approved(proposal, *standing_of(ctx, proposal))
    ctx.events.append(said)
    if said.approvals >= said.needed and not said.authority:
        outcome.take_effect(ctx)
        if not outcome.changes_era:
            _forget(ctx, proposal)


def standing_of(ctx: Context, proposal: Digest) -> tuple[int, int, int]:
    """Approvals by members in force, how many it takes, and whose else are missing.

    The last is the sum of 1, an authority's, and 2, an operator's: an intervention takes one.
    """
    governance = ctx.genesis.governance
    approving = {key for key, b in ctx.state.scan(BALLOT) if proposal in b.proposals}
    n = len(ctx.era.members)
    threshold = governance.threshold
    needed = validators_of(ctx.era).quorum.f + 1 if threshold is None else min(threshold, n)
    count = sum(member.key in approving for member in ctx.era.members)
    missing = 0
    if governance.authority and approving.isdisjoint(governance.authority):
        missing |= AUTHORITY_MISSING
    record = ctx.state.get(PROPOSAL, proposal)
    operators = {member.key for member in ctx.era.members if member.operator}
    if record is not None and approving.isdisjoint(operators):
        intervenes = any(isinstance(c, Intervention) for c in record.configure.changes)
        missing |= OPERATOR_MISSING if intervenes else 0
    return count, needed, missing


def _check_duties(ctx: Context, sender: PublicKey, op: Configure, proposal: Digest) -> None:
    """Where genesis gives somebody the commercial duty, only they propose rules of the market.

    Raises:
        Failed: NOT_PERMITTED.
    """
    named = any(entry.duty == Duty.COMMERCIAL.name.lower() for entry in ctx.genesis.duties)
    new = named and ctx.state.get(PROPOSAL, proposal) is None
    if new and any(isinstance(change, SetMarket) for change in op.changes):
        require(ctx, sender, Duty.COMMERCIAL)


def most_changes(era: Era) -> int:
    """How many members may be added, removed, re-keyed and readmitted in one block."""
    return max(1, validators_of(era).quorum.f)


def _forget(ctx: Context, proposal: Digest) -> None:
    """A proposal has taken effect without a change of era, which would have ended it."""
    ctx.state.remove(PROPOSAL, proposal)
    for key, ballot in ctx.state.scan(BALLOT):
        if proposal in ballot.proposals:
            kept = tuple(other for other in ballot.proposals if other != proposal)
            if kept:
                ctx.state.put(BALLOT, Ballot(kept), key)
            else:
                ctx.state.remove(BALLOT, key)


def _forget_unwanted(ctx: Context, dropped: set[Digest]) -> None:
    """Proposals that nobody approves any more leave the state."""
    if dropped:
        wanted = {p for _, ballot in ctx.state.scan(BALLOT) for p in ballot.proposals}
        for proposal in sorted(dropped - wanted):
            ctx.state.remove(PROPOSAL, proposal)


def _in_order(calendar: MarketCalendar, first: Slot) -> bool:
    """Whether each phase of the first slot under other rules comes after that of the one before.

    Else slots would settle and close out of order, and what is read of them would be lost. That
    they may open earlier does no harm.
    """
    if first == 0:
        return True
    before, after = calendar.at(first - 1), calendar.at(first)
    return all(
        due_ms(before, first - 1, phase) <= due_ms(after, first, phase)
        for phase in Phase
        if phase is not Phase.OPEN
    )


class Outcome:
    """What changes would make of an era and, in engine ``dpos``, of its candidates.

    Args:
        ctx: state to start from; not changed.
        era: to change.
        changes: in order.

    Raises:
        Failed: they cannot be made.
    """

    def __init__(self, ctx: Context, era: Era, changes: Sequence[Change]) -> None:
        counted = sum(isinstance(c, Add | Remove | Rekey | Readmit) for c in changes)
        most = most_changes(era)
        if counted > most:
            raise Failed(ErrorCode.TOO_MANY_CHANGES, most)
        self._ctx = ctx
        self._members = {member.key: member for member in era.members}
        self._before = dict(ctx.state.scan(CANDIDATE))
        self._candidates = dict(self._before)
        self._new_keys: list[PublicKey] = []
        self._rekeyed: list[tuple[PublicKey, PublicKey]] = []
        self._market: dict[Slot, MarketUpdate] = {}
        self._calendar = ctx.decided_rules()
        self._set_count = 0
        self._acts: list[Grant | Revoke | Intervention] = []
        self._era = follow(era, ctx.height)
        for index, change in enumerate(changes):
            self._apply(index, change)
        self._era = replace(self._era, members=tuple(self._members.values()))
        if self._era.engine == DPOS and era.engine != DPOS:
            self._candidates = {
                m.key: Candidate(m.name, m.operator, m.addr, m.nonce, m.key)
                for m in self._era.members
                if ctx.state.get(CONVICTION, m.key) is None
            }
        elif self._era.engine != DPOS:
            self._candidates = {}
        self._check(changes)
        self.changes_era = self._era != follow(era, ctx.height) or self._candidates != self._before
        """Whether there will be a new era, and not only other rules of the market."""
        if not (self.changes_era or self._market or self._acts):
            raise Failed(ErrorCode.NOTHING_CHANGES)

    def take_effect(self, ctx: Context) -> None:
        """Schedule the era, and keep the candidates."""
        state = ctx.state
        for first, update in self._market.items():
            state.put(MARKET_UPDATE, update, first)
            ctx.events.append(RulesScheduled(first, update.settings))
        for act in self._acts:
            carry_out(ctx, act)
        if not self.changes_era:
            return
        for key in sorted(self._before.keys() - self._candidates.keys()):
            state.remove(CANDIDATE, key)
        for key, candidate in self._candidates.items():
            state.put(CANDIDATE, candidate, key)
        if self._era.engine == DPOS:
            for old, new in self._rekeyed:
                move_candidate(state, old, new)
        else:
            forget_elections(state)
        for key in self._new_keys:
            if state.get(ACCOUNT, key) is None:
                state.put(ACCOUNT, Account(0, 0, 0, STARTING_CREDIT, 0), key)
                ctx.events.append(AccountOpened(key, STARTING_CREDIT))
        schedule(state, ctx.height, self._era)

    # ------------------------------------------------------------ one change

    @property
    def _by_election(self) -> bool:
        return self._era.engine == DPOS

    def _apply(self, index: int, change: Change) -> None:
        match change:
            case Add():
                self._add(index, change)
            case Remove(key):
                self._remove(index, key)
            case Rekey():
                self._rekey(index, change)
            case Readmit(key, ready):
                self._need(index, key)
                self._check_innocent(index, key)
                self._check_ready(index, key, ready)
                self._edit(key, nonce=ready.nonce)
            case Move(key, operator):
                self._need(index, key)
                self._edit(key, operator=operator)
            case SetNumber():
                self._set_number(index, change)
            case SetEngine(name):
                if name not in (*OWN, self._ctx.genesis.consensus.engine):
                    raise Failed(ErrorCode.UNKNOWN_ENGINE)
                self._era = replace(self._era, engine=name)
            case SetMarket():
                self._set_market(index, change)
            case Grant() | Revoke() | Bar() | VoidOrders() | ReleaseContract():
                check_act(self._ctx, change)
                self._acts.append(change)

    def _add(self, index: int, change: Add) -> None:
        key = change.key
        self._check_new_key(index, key)
        self._check_ready(index, key, change.ready)
        if change.name in self._names():
            raise Failed(ErrorCode.NAME_TAKEN, index)
        self._check_written(index, change.addr, change.name)
        nonce = change.ready.nonce
        if self._by_election:
            self._candidates[key] = Candidate(change.name, change.operator, change.addr, nonce, key)
        else:
            self._members[key] = EraMember(key, change.operator, change.name, change.addr, nonce)
        self._new_keys.append(key)

    def _remove(self, index: int, key: PublicKey) -> None:
        self._need(index, key)
        self._members.pop(key, None)
        self._candidates.pop(key, None)
        if not self._members:
            raise Failed(ErrorCode.NO_MEMBER_LEFT, index)

    def _rekey(self, index: int, change: Rekey) -> None:
        self._need(index, change.old)
        self._check_innocent(index, change.old)
        self._check_new_key(index, change.new)
        self._check_ready(index, change.new, change.ready)
        self._check_written(index, change.addr)
        written = {"nonce": change.ready.nonce} | ({"addr": change.addr} if change.addr else {})
        self._edit(change.old, **written)
        self._members = {
            change.new if key == change.old else key: member
            for key, member in self._members.items()
        }
        if change.new in self._members:
            moved = replace(self._members[change.new], key=change.new)
            self._members[change.new] = moved
        if change.old in self._candidates:
            self._candidates[change.new] = self._candidates.pop(change.old)
        self._new_keys.append(change.new)
        self._rekeyed.append((change.old, change.new))

    def _edit(self, key: PublicKey, **fields: object) -> None:
        if key in self._members:
            self._members[key] = replace(self._members[key], **fields)
        if key in self._candidates:
            self._candidates[key] = replace(self._candidates[key], **fields)

    def _set_number(self, index: int, change: SetNumber) -> None:
        if change.name in ("f", "p"):
            if change.value is not None and change.value >= MOST_VALIDATORS:
                raise Failed(ErrorCode.BAD_NUMBER, index)
            self._era = replace(self._era, **{change.name: change.value})
            return
        if change.name not in SETTABLE or change.value is None:
            raise Failed(ErrorCode.BAD_NUMBER, index)
        if change.name == "max_tx_bytes" and change.value > TX_BYTES_LIMIT:
            raise Failed(ErrorCode.BAD_NUMBER, index)
        founding = self._ctx.genesis.consensus
        in_dpos = change.name in DposRules.__struct_fields__
        original = getattr(founding.dpos if in_dpos else founding, change.name)
        rules = dict(self._era.rules) | {change.name: change.value}
        if change.value == original:
            del rules[change.name]
        changed = replace(self._era, rules=tuple(sorted(rules.items())))
        try:  # the same bounds as in genesis.toml
            raw = msgspec.to_builtins(rules_in(self._ctx.genesis, changed))
            msgspec.convert(raw, ConsensusRules)
        except msgspec.ValidationError as err:
            raise Failed(ErrorCode.BAD_NUMBER, index) from err
        self._era = changed

    def _set_market(self, index: int, change: SetMarket) -> None:
        ctx, first, before = self._ctx, change.first_slot, self._calendar
        unopened = before.slot_at(ctx.time_ms + before.at(first).open_lead_ms) + 1
        earliest = max(before.last_start, unopened)
        if first < earliest:
            raise Failed(ErrorCode.SLOT_NOT_FUTURE, index, earliest)
        updates = {slot: update.settings for slot, update in ctx.state.scan(MARKET_UPDATE)}
        updates |= {slot: update.settings for slot, update in self._market.items()}
        updates[first] = (*updates.get(first, ()), *change.settings)
        self._set_count += 1
        if first > unopened + MOST_AHEAD or self._set_count > MOST_SETS:
            raise Failed(ErrorCode.BAD_NUMBER, index)
        try:  # exactly what the next block will make of what is kept
            self._calendar = MarketCalendar(ctx.genesis.market, sorted(updates.items()))
        except ValueError as err:
            raise Failed(ErrorCode.BAD_NUMBER, index) from err
        if not _in_order(self._calendar, first):
            raise Failed(ErrorCode.BAD_NUMBER, index)
        if self._calendar.at(first) != before.at(first):
            self._market[first] = MarketUpdate(updates[first])

    # ------------------------------------------------------------ checks

    def _names(self) -> set[str]:
        sitting = {member.name for member in self._members.values()}
        return sitting | {candidate.name for candidate in self._candidates.values()}

    def _need(self, index: int, key: PublicKey) -> None:
        if key not in self._members and key not in self._candidates:
            raise Failed(ErrorCode.UNKNOWN_VALIDATOR, index)

    def _check_innocent(self, index: int, key: PublicKey) -> None:
        if self._ctx.state.get(CONVICTION, key) is not None:
            raise Failed(ErrorCode.KEY_CONVICTED, index)

    def _check_new_key(self, index: int, key: PublicKey) -> None:
        self._check_innocent(index, key)
        taken = key in self._members or key in self._candidates
        taken = taken or any(key == c.account for c in self._candidates.values())
        if taken or self._ctx.state.get(METER, key) is not None:
            raise Failed(ErrorCode.KEY_TAKEN, index)

    def _check_ready(self, index: int, key: PublicKey, ready: Ready) -> None:
        ctx = self._ctx
        fresh = ready.height < ctx.height and ready.nonce != ZERO_DIGEST
        if ready.key != key or not fresh:
            raise Failed(ErrorCode.NOT_READY, index)
        if not ctx.verify(key, signed_part(ready, ctx.genesis.digest), ready.sig):
            raise Failed(ErrorCode.NOT_READY, index)

    def _check_written(self, index: int, addr: str, name: str | None = None) -> None:
        try:
            if name is not None:
                parse_name(name)
            if addr:
                parse_address(addr)
        except ValueError as err:
            raise Failed(ErrorCode.BAD_NAME_OR_ADDRESS, index) from err

    def _check(self, changes: Sequence[Change]) -> None:
        """The era as a whole: numbers that contradict each other may be set in any order."""
        era, n = self._era, len(self._era.members)
        if max(n, len(self._candidates)) > MOST_VALIDATORS:
            raise Failed(ErrorCode.TOO_MANY_VALIDATORS, MOST_VALIDATORS)
        try:
            quorums(n, era.f, era.p)
        except ValueError as err:
            raise Failed(ErrorCode.BAD_QUORUM, n, (n - 1) // 3) from err
        rules = rules_in(self._ctx.genesis, era)
        ordered = all(getattr(rules, low) <= getattr(rules, high) for low, high in ORDERED_RULES)
        if not ordered or rules.max_block_bytes >= BLOCK_BYTES_LIMIT:
            last = max(i for i, c in enumerate(changes) if isinstance(c, SetNumber))
            raise Failed(ErrorCode.BAD_NUMBER, last)
        if not fits(self._ctx.genesis, era):
            raise Failed(ErrorCode.UNKNOWN_ENGINE)

"""A plant whose members change: validators with accounts, and strangers that want to join."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from tests.ledger.chain import Chain, events, genesis, start_of
from vppd.config.genesis import (
    AccountEntry,
    ConsensusRules,
    Engine,
    Genesis,
    Governance,
    ValidatorEntry,
)
from vppd.consensus.messages import Claim, Concealment, Equivocation, Round, Standing
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    sign_bytes,
    standing_bytes,
)
from vppd.crypto import SigningKey, sha256
from vppd.era import Era
from vppd.ledger.changes import Add, Change, Configure, Rekey
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import EraScheduled
from vppd.ledger.proofs import Ready, Skip, Statement, signed_part
from vppd.ledger.receipts import Receipt
from vppd.ledger.transaction import make_statement
from vppd.types import PublicKey, Role, TimeMs

NODES = tuple(SigningKey(sha256(b"node %d" % i)) for i in range(12))
"""The first are validators, the others may become some."""


def plant(n: int, engine: str = "bncm", **changes: Any) -> Genesis:
    """``n`` validators with an account each, the first an operator; 10.00 each.

    Args:
        n: validators.
        engine: of ``[consensus]``.
        changes: ``governance``, or numbers of ``[consensus]``.
    """
    governance = changes.pop("governance", Governance())
    names = [f"node-{i}" for i in range(n)]
    return genesis(
        digest=sha256(b"council"),
        consensus=ConsensusRules(engine=Engine(engine), **changes),
        validators=tuple(
            ValidatorEntry(
                name=name, role=Role.DER if i else Role.OPERATOR, key=NODES[i].public_key
            )
            for i, name in enumerate(names)
        ),
        accounts=tuple(
            AccountEntry(name=name, key=NODES[i].public_key, balance=10_000_000)
            for i, name in enumerate(names)
        ),
        meters=(),
        governance=governance,
    )


class Council(Chain):
    """A chain whose blocks are a second apart."""

    def __init__(self, made: Genesis) -> None:
        super().__init__(made)
        self.now: TimeMs = start_of(0)

    def pack(self, *txs: bytes) -> list[Receipt]:
        """The next block; its receipts, the block's own first."""
        self.now += 1_000
        return self.block(self.now, *txs)

    def idle(self, blocks: int) -> None:
        """Empty blocks."""
        for _ in range(blocks):
            self.pack()

    @property
    def latest(self) -> Era:
        return self.ledger.eras[-1]

    def members(self) -> list[PublicKey]:
        """Of the latest era."""
        return [member.key for member in self.latest.members]

    def ready(self, key: SigningKey, drawn: bytes = b"n", **fields: Any) -> Ready:
        """What ``key`` signs now; ``fields`` are changed before it does."""
        ready = Ready(
            key.public_key, self.latest.epoch, self.ledger.height, self.ledger.state_root,
            sha256(drawn), bytes(64),
        )  # fmt: skip
        ready = replace(ready, **fields)
        return replace(ready, sig=key.sign(signed_part(ready, self.genesis.digest)))

    def add(self, key: SigningKey, name: str = "new", **fields: Any) -> Add:
        made = Add(key.public_key, name, False, "10.0.0.9:7440", self.ready(key))
        return replace(made, **fields)

    def rekey(self, old: SigningKey, new: SigningKey, **fields: Any) -> Rekey:
        return replace(Rekey(old.public_key, new.public_key, self.ready(new), ""), **fields)

    def propose(self, *changes: Change) -> Configure:
        """For the latest era."""
        return Configure(self.latest.epoch, changes)

    def say(self, *statements: Statement) -> list[Receipt]:
        """One block with these statements; the block's receipt, then theirs."""
        return self.pack(*(make_statement(1_000, op) for op in statements))

    def said(self, op: Statement) -> Receipt:
        """A statement that the next block accepts; its receipt."""
        receipt = self.say(op)[1]
        assert receipt.status == Status.OK, ErrorCode(receipt.code)
        return receipt

    def unheard(self, op: Statement) -> ErrorCode:
        """Why the next block refuses a statement, which leaves no trace."""
        twin = self.reloaded()
        receipt = self.say(op)[1]
        assert (receipt.status, receipt.events) == (Status.REFUSED, ())
        assert self.last is not None
        assert self.last.refused == (0,)
        twin.execute(self.blocks[-1][0], ())
        assert twin.state_root == self.ledger.state_root
        return ErrorCode(receipt.code)

    def send(self, op: Configure, by: Iterable[SigningKey]) -> list[Receipt]:
        """One block in which these keys send the same; the receipt of the block, then theirs."""
        return self.pack(*(self.tx(key, op) for key in by))

    def decide(self, *changes: Change) -> Era:
        """All members agree at once; the era that comes of it."""
        voters = [key for key in NODES if key.public_key in self._in_force()]
        receipts = self.send(self.propose(*changes), voters)
        (scheduled,) = events(receipts[0], EraScheduled)
        assert self.last is not None
        assert scheduled.era == self.last.era == self.latest
        return scheduled.era

    def refused(self, *changes: Change) -> tuple[ErrorCode, tuple[int, ...]]:
        """Why nobody can even propose this."""
        receipt = self.send(self.propose(*changes), NODES[:1])[1]
        assert receipt.status == Status.FAILED
        return ErrorCode(receipt.code), receipt.detail[1:]

    def _in_force(self) -> set[PublicKey]:
        era = self.ledger.era_at(self.ledger.height + 1)
        return {member.key for member in era.members}


def index_of(era: Era, key: SigningKey) -> int:
    return [member.key for member in era.members].index(key.public_key)


class Crimes:
    """What the keys of a council can be made to sign against the rules.

    Args:
        council: the chain; its latest era unless told otherwise.
    """

    def __init__(self, council: Council, era: Era | None = None) -> None:
        self._chain_id = council.genesis.digest
        self.era = era or council.latest

    def twice(self, key: SigningKey, round_: Round = Round.VOTE, **changes: Any) -> Equivocation:
        """Two signatures at one place; ``changes`` are made after they are signed."""
        tag = {Round.VOTE: TAG_VOTE, Round.COMMIT: TAG_COMMIT, Round.PROPOSAL: TAG_PROPOSAL}[round_]
        first, second = sha256(b"one"), sha256(b"two")
        at = (self.era.epoch, 1, self.era.first)
        signed = [key.sign(sign_bytes(tag, self._chain_id, *at, d)) for d in (first, second)]
        signer = index_of(self.era, key)
        made = Equivocation(round_, *at, signer, first, signed[0], second, signed[1])
        return replace(made, **changes)

    def hidden(self, key: SigningKey, **changes: Any) -> Concealment:
        """A view change without the vote its signer cast one view before."""
        vote = Claim(0, sha256(b"cast"))
        standing = self.standing(key, 1, self.era.first)
        at = (self.era.epoch, 0, self.era.first, vote.digest)
        sig = key.sign(sign_bytes(TAG_VOTE, self._chain_id, *at))
        return replace(Concealment(standing, vote, sig), **changes)

    def standing(self, key: SigningKey, view: int, height: int, **changes: Any) -> Standing:
        """``key`` asks for ``view`` while ``height`` is undecided."""
        at = (self.era.epoch, view, index_of(self.era, key), height - 1, sha256(b"head"))
        made = replace(Standing(*at, None, None, bytes(64)), **changes)
        return replace(made, sig=key.sign(standing_bytes(self._chain_id, made)))

    def skip(self, view: int, height: int, by: Iterable[SigningKey], **changes: Any) -> Skip:
        """These replicas, in the order given, ask for ``view``."""
        standings = tuple(self.standing(key, view, height) for key in by)
        return replace(Skip(self.era.epoch, view, height, standings), **changes)

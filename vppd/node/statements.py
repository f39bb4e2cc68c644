"""What a node says on chain by itself: that it is ready, who broke the rules, who was passed over.

Each proves itself, so it needs no account (:mod:`vppd.ledger.statements`). It is offered again
until the ledger knows it, or would take it no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vppd.consensus.boundary import NewViewRecord, Record
from vppd.consensus.evidence import charge_of
from vppd.consensus.messages import NewView, Proof
from vppd.ledger.context import Failed
from vppd.ledger.execution import Ledger
from vppd.ledger.proofs import Accuse, Ready, Skip, Statement
from vppd.ledger.transaction import decode_transaction, make_statement

LIFETIME_BLOCKS = 256
"""So far ahead a statement may be decided; then it is made again."""
MOST_CLAIMS = 64
"""Of proofs that wait to be stated; more says nothing new of so many nodes."""


class Statements:
    """Proofs this node holds and the chain does not know yet.

    Args:
        ledger: what the chain knows.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._claims: dict[tuple[object, ...], Statement] = {}

    def note(self, records: Sequence[Record], faults: Iterable[Proof], *, skips: bool) -> None:
        """What a turn of the engine has shown.

        Args:
            records: made durable by it.
            faults: proofs of misbehaviour it found or learnt.
            skips: whether a change of view passes a producer over (engine ``dpos``).
        """
        for proof in faults:
            self._claim(("accuse", *charge_of(proof)), Accuse(proof))
        for record in records if skips else ():
            if isinstance(record, NewViewRecord) and (skip := skip_of(record.message)) is not None:
                self._claim(("skip", skip.epoch, skip.view, skip.height), skip)

    def due(self, ready: Ready | None, lifetime: int) -> Iterator[bytes]:
        """Statements that would change something in the next block, as transactions.

        Args:
            ready: that this node can vote, where that must be on chain in every epoch.
            lifetime: furthest expiry a transaction may name, in heights.
        """
        expiry = self._ledger.height + min(LIFETIME_BLOCKS, lifetime)
        if ready is not None and self._would_do(raw := make_statement(expiry, ready)):
            yield raw
        for key, claim in tuple(self._claims.items()):
            raw = make_statement(expiry, claim)
            if self._would_do(raw):
                yield raw
            else:
                del self._claims[key]

    def _claim(self, key: tuple[object, ...], claim: Statement) -> None:
        if len(self._claims) < MOST_CLAIMS:
            self._claims.setdefault(key, claim)

    def _would_do(self, raw: bytes) -> bool:
        try:
            self._ledger.judge_statement(decode_transaction(raw), proved=True)
        except Failed:
            return False
        return True


def skip_of(message: NewView) -> Skip | None:
    """Proof that the leader before was passed over; ``None``: its view changes are not of one mind.

    Only view changes of one height name one producer: whoever is behind waited for another.
    """
    (first, *others) = message.standings
    if any((s.decided, s.head) != (first.decided, first.head) for s in others):
        return None
    return Skip(message.epoch, message.view, first.decided + 1, message.standings)

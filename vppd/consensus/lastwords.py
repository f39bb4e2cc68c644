"""What each replica last signed, as far as this node has seen: shown to it when it is back.

A disk that came back older than it was (an image restored, a tail of the log lost) looks sound to
its owner. The plant knows better: every node shows a peer that connects that peer's own newest
signatures, and a record that does not know them must not vote (protocol.md, §4, Rollback). Being
signed, they cannot be invented to silence an honest node.
"""

from __future__ import annotations

from collections.abc import Sequence

from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import (
    Certificate,
    CertificateKind,
    Commit,
    Prepare,
    Round,
    ViewChange,
)
from vppd.consensus.safety import Position, position_of
from vppd.consensus.tally import Cast
from vppd.consensus.validators import Validator
from vppd.types import PublicKey, ReplicaIndex


class LastWords:
    """Per replica: the latest first-round vote, commit and view change, in this epoch and the last.

    Who comes back from an older disk may stand in the epoch before, where its old votes still count
    to whoever was away as long; also who is a replica no more.
    """

    __slots__ = ("_before", "_changes", "_votes")

    def __init__(self) -> None:
        self._before: dict[PublicKey, list[Prepare | Commit | ViewChange]] = {}
        self._votes: dict[tuple[ReplicaIndex, Round], Prepare | Commit] = {}
        self._changes: dict[ReplicaIndex, ViewChange] = {}

    def note(self, round_: Round, at: Position, signer: ReplicaIndex, cast: Cast) -> None:
        """A vote or commit was seen."""
        known = self._votes.get((signer, round_))
        if known is None or (known.epoch, known.view, known.height) < at:
            kind = Prepare if round_ is Round.VOTE else Commit
            self._votes[signer, round_] = kind(*at, cast.digest, signer, cast.signature)

    def note_change(self, message: ViewChange) -> None:
        """A view change was seen."""
        asked = message.standing
        known = self._changes.get(asked.signer)
        if known is None or known.standing.view < asked.view:
            self._changes[asked.signer] = message

    def note_certificate(self, certificate: Certificate | None) -> None:
        """The commits in a decision this node kept; all there is after a restart."""
        if certificate is None:
            return
        round_ = Round.COMMIT if certificate.kind == CertificateKind.COMMIT else Round.VOTE
        at = position_of(certificate)
        signed = zip(signers_of(certificate), certificate.signatures, strict=True)
        for signer, signature in signed:
            self.note(round_, at, signer, Cast(certificate.digest, signature))

    def follow(self, earlier: LastWords, members: Sequence[Validator]) -> None:
        """Go on from the epoch before, whose members these were."""
        words = {m.key: earlier.of_this_epoch(i) for i, m in enumerate(members)}
        self._before = {key: said for key, said in words.items() if said}

    def of_the_epoch_before(self, key: PublicKey) -> list[Prepare | Commit | ViewChange]:
        """What to show a node about itself there."""
        return self._before.get(key, [])

    def of_this_epoch(self, signer: ReplicaIndex) -> list[Prepare | Commit | ViewChange]:
        """What to show a replica about itself."""
        votes = (self._votes.get((signer, r)) for r in (Round.VOTE, Round.COMMIT))
        said: list[Prepare | Commit | ViewChange] = [vote for vote in votes if vote is not None]
        change = self._changes.get(signer)
        return [*said, change] if change is not None else said

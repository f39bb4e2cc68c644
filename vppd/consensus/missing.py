"""The body a replica lacks, and who has it on disk (protocol.md, §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vppd.consensus.certificate import signers_of
from vppd.consensus.messages import Certificate, Round
from vppd.types import Digest, ReplicaIndex

if TYPE_CHECKING:
    from vppd.consensus.core import Core


def missing_body(
    core: Core, undecided: Certificate | None
) -> tuple[Digest, list[ReplicaIndex]] | None:
    """Either of a decision whose body never came, or of f+1 votes nobody has shown us the block of.

    Args:
        core: that needs it.
        undecided: a decision certificate it cannot use yet.
    """
    height = core.head.height + 1
    if undecided is not None and undecided.digest not in core.bodies:
        return undecided.digest, core.others
    if core.sought is not None and core.sought[0] not in core.bodies:
        return core.sought
    handed = core.fallback.handed(core.at(height))
    if handed is not None and handed.digest not in core.bodies:
        return handed.digest, [i for i in signers_of(handed) if i != core.own]
    tally = core.ballots.find(height, core.record.view, Round.VOTE)
    for digest, signatures in tally.by_digest.items() if tally is not None else ():
        if len(signatures) > core.quorum.f and digest not in core.bodies:
            return digest, sorted(i for i in signatures if i != core.own)
    return None

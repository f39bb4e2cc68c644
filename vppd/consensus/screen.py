"""Whether a message can still change anything: asked before its signatures are checked (§14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vppd.consensus.boundary import MessageHeader
from vppd.consensus.messages import Path, Round, Type
from vppd.consensus.safety import Position

if TYPE_CHECKING:
    from vppd.consensus.core import Core

_OWN_VOTES = frozenset({Type.PREPARE, Type.RECEIVED, Type.COMMIT})


def wants(core: Core, header: MessageHeader, *, firsthand: bool) -> bool:
    """For what the core counts; view changes and evidence are asked about elsewhere.

    Args:
        core: that counts.
        header: of the message.
        firsthand: whether its signer sent it. Where votes go and when a wait ends is signed by
            nobody, so the core believes it of the signer alone.
    """
    if header.epoch != core.record.epoch:
        return False
    if header.type in (Type.AGREE, Type.BLOCKS):
        return header.height > core.head.height
    if header.signer == core.own and header.type in _OWN_VOTES:
        return _is_news(core, header)
    if header.type is Type.BLOCK_BODY:
        missing = core.missing()  # one nobody has asked for is not worth its signatures
        return missing is not None and missing[0] == header.digest
    if not core.in_window(header.height, header.view):
        return False
    match header.type:
        case Type.BLOCK:
            return _wants_block(core, header, firsthand=firsthand)
        case Type.PRE_PREPARED:
            return firsthand and _wants_end(core, header)
        case Type.PREPARE | Type.RECEIVED if header.view < core.record.view:
            return False
        case _:
            return _wants_vote(core, header, firsthand=firsthand)


def _wants_block(core: Core, header: MessageHeader, *, firsthand: bool) -> bool:
    # Only this envelope makes a proposal: a body or a vote that came some other way must not make
    # us deaf to it.
    known = core.proposals.get((header.height, header.view))
    if known is None:
        missing = core.missing()
        return firsthand or (missing is not None and missing[0] == header.digest)
    if known.cast.digest != header.digest:
        return not _is_accused(core, Round.PROPOSAL, header)
    tally = core.ballots.find(header.height, header.view, Round.VOTE)
    heard = tally is not None and header.signer in tally.by_signer
    return not heard or header.digest not in core.bodies


def _wants_end(core: Core, header: MessageHeader) -> bool:
    if header.view != core.record.view or header.height != core.head.height + 1:
        return False
    known = core.proposals.get((header.height, header.view))
    if known is not None and known.cast.digest != header.digest:
        return not _is_accused(core, Round.PROPOSAL, header)
    at = core.at(header.height)  # of a height that is locked, or whose votes are here, enough
    return core.record.locked(at) is None and core.fallback.handed(at) is None


def _wants_vote(core: Core, header: MessageHeader, *, firsthand: bool) -> bool:
    round_ = Round.COMMIT if header.type is Type.COMMIT else Round.VOTE
    tally = core.ballots.find(header.height, header.view, round_)
    if tally is None:
        return True
    cast = tally.by_signer.get(header.signer)
    if cast is not None:
        if cast.digest != header.digest:
            return not _is_accused(core, round_, header)
        # Known, but told to everybody only now: its sender has stopped waiting.
        loud = firsthand and header.type is Type.PREPARE and header.signer not in tally.loud
        proposal = core.proposals.get((header.height, header.view))
        return loud and proposal is not None and proposal.path is Path.COLLECT
    enough = len(tally.signatures(header.digest)) >= core.enough(round_)
    return not (enough and header.view == core.record.view)


def _is_accused(core: Core, round_: Round, header: MessageHeader) -> bool:
    at = (header.epoch, header.view, header.height)
    return core.accusations.knows((header.signer, round_, *at))


def _is_news(core: Core, header: MessageHeader) -> bool:
    """A vote under our own key: back from the wire, or one that this record never cast."""
    at = Position(header.epoch, header.view, header.height)
    if header.type is Type.COMMIT:
        return not core.record.covers_commit(at, header.digest)
    return not core.record.covers_vote(at, header.digest)

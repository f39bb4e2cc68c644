"""What really leaves a liar where votes go to a leader: one lie at a time."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from tests.consensus.harness import CHAIN, block, header, validator_set
from vppd.consensus.certificate import check_certificate
from vppd.consensus.messages import (
    Agree,
    Block,
    Certificate,
    CertificateKind,
    Collected,
    Commit,
    Path,
    Prepare,
    PrePrepared,
)
from vppd.consensus.signing import TAG_PROPOSAL, TAG_VOTE, sign_bytes
from vppd.consensus.validators import Validator, ValidatorSet
from vppd.crypto import sha256
from vppd.net.gate import PeerMessage, decode_message
from vppd.simulate.byzantine import Liars
from vppd.simulate.forge import framed, resign
from vppd.simulate.lore import Addition, Bend
from vppd.simulate.plant import node_key, sim_verify
from vppd.types import Role

SIG = bytes(64)
BLOCK = resign(block(header(validator_set(4))), 0, CHAIN)
OTHER = sha256(b"another block")
AT = (BLOCK.epoch, BLOCK.view, BLOCK.height)
VALIDATORS = ValidatorSet.of(
    0, (Validator(node_key(i).public_key, Role.DER) for i in range(4)), None
)


class Tongue:
    """Replicas 0 and 1 of 4 lie, in one way."""

    def __init__(self, seed: int = 1) -> None:
        self.liars = Liars(Random(seed), (0, 1), 4, CHAIN)
        for node in (0, 1):
            self.liars._lost[node] = []
            self.tell(node)

    def tell(self, node: int, *bends: Bend, adding: tuple[Addition, ...] = ()) -> None:
        """From here on exactly these lies, always."""
        self.liars._bent[node] = list(bends)
        self.liars._added[node] = list(adding)
        self.liars._often[node] = 400

    def says(
        self, node: int, message: PeerMessage, to: tuple[int, ...] | None = None
    ) -> list[tuple[tuple[int, ...], PeerMessage]]:
        """What really leaves, and to whom."""
        everybody = tuple(i for i in range(4) if i != node)
        return [
            (everybody if isinstance(f.to, str) else f.to, decode_message(f.type, f.payload))
            for f in self.liars(node, framed(message, to))
        ]


def quiet(signer: int, digest: bytes = BLOCK.digest, height: int = 1) -> Collected:
    return resign(Collected(0, 0, height, digest, signer, SIG), signer, CHAIN)


def signed(vote: Prepare | Collected) -> bool:
    said = sign_bytes(TAG_VOTE, CHAIN, vote.epoch, vote.view, vote.height, vote.digest)
    return sim_verify(node_key(vote.signer).public_key, said, vote.sig)


def prepared(digest: bytes = BLOCK.digest, height: int = 1) -> Certificate:
    at = (0, 0, height)
    votes = tuple(quiet(i, digest, height).sig for i in (0, 1, 2))
    return Certificate(CertificateKind.PREPARED, *at, digest, bytes([0b0111]), votes)


def end(held: Certificate | None) -> PrePrepared:
    return resign(PrePrepared(*AT, BLOCK.digest, SIG, held), 0, CHAIN)


def test_one_vote_to_the_leader_and_another_to_everybody_else() -> None:
    tongue = Tongue()
    tongue.tell(1, tongue.liars._two_envelopes)
    (to_leader, said), (to_others, lie) = tongue.says(1, quiet(1), (0,))
    assert (to_leader, said) == ((0,), quiet(1))
    assert to_others == (2, 3)
    assert isinstance(lie, Prepare)
    assert lie.digest != BLOCK.digest
    assert signed(lie)


def test_the_end_of_a_wait_is_bent_in_three_ways() -> None:
    seen: set[str] = set()
    for seed in range(40):
        tongue = Tongue(seed)
        for signer in (1, 2, 3):  # votes of another height go by: the foreign certificate
            tongue.says(signer, quiet(signer, OTHER, 7), (0,))
        tongue.tell(0, tongue.liars._wrong_pre_prepared)
        for _, lie in tongue.says(0, end(prepared())):
            assert isinstance(lie, PrePrepared)
            said = sign_bytes(TAG_PROPOSAL, CHAIN, *AT, lie.digest)
            assert sim_verify(node_key(0).public_key, said, lie.proposal_sig)
            if lie.digest != BLOCK.digest:
                seen.add("another block")
            elif lie.prepared is None:
                seen.add("no votes")
            elif lie.prepared.height == 7:
                seen.add("foreign votes")
    assert seen == {"another block", "no votes", "foreign votes"}


def test_some_are_told_to_collect_and_some_to_broadcast() -> None:
    tongue = Tongue()
    tongue.tell(0, tongue.liars._two_paths)
    told = tongue.says(0, BLOCK)
    assert sorted(i for to, _ in told for i in to) == [1, 2, 3]
    assert {b.path for _, b in told if isinstance(b, Block)} == {Path.COLLECT, Path.BROADCAST}
    assert all(isinstance(b, Block) and b.digest == BLOCK.digest for _, b in told)


def test_a_leader_collects_and_goes_silent_at_that_height_alone() -> None:
    tongue = Tongue()
    tongue.tell(0, tongue.liars._hoard)
    ((_, collect),) = tongue.says(0, msgspec.structs.replace(BLOCK, path=Path.BROADCAST))
    assert isinstance(collect, Block)
    assert collect.path == Path.COLLECT
    fast = msgspec.structs.replace(prepared(), kind=CertificateKind.FAST)
    commit = Commit(*AT, BLOCK.digest, 0, SIG)
    for message in (end(prepared()), Agree(fast), commit):
        assert not tongue.says(0, message)
    later = msgspec.structs.replace(commit, height=2)
    assert tongue.says(0, later) == [((1, 2, 3), later)]


def test_an_agree_is_kept_back_or_goes_to_one() -> None:
    agree = Agree(msgspec.structs.replace(prepared(), kind=CertificateKind.FAST))
    tongue = Tongue()
    tongue.tell(0, tongue.liars._keep_agree)
    assert not tongue.says(0, agree)
    tongue.tell(0, tongue.liars._agree_to_some)
    ((to, said),) = tongue.says(0, agree)
    assert (len(to), said) == (1, agree)


def test_a_wait_is_ended_without_need_in_the_leaders_name() -> None:
    tongue = Tongue()
    tongue.says(0, BLOCK)
    tongue.tell(1, adding=(tongue.liars._unasked_pre_prepared,))
    _, (to, lie) = tongue.says(1, quiet(1), (0,))
    assert 1 not in to
    assert isinstance(lie, PrePrepared)
    assert (lie.digest, lie.proposal_sig) == (BLOCK.digest, BLOCK.proposal_sig)


def test_what_was_meant_for_the_leader_is_shown_to_everybody() -> None:
    tongue = Tongue()
    tongue.says(2, quiet(2), (0,))
    tongue.tell(1, adding=(tongue.liars._loud_for_others,))
    said = [lie for _, lie in tongue.says(1, quiet(1), (0,)) if isinstance(lie, Prepare)]
    assert {lie.signer for lie in said} == {1, 2}
    assert all(signed(lie) for lie in said)


def test_votes_of_long_ago_are_said_again() -> None:
    tongue = Tongue()
    for height in range(1, 9):
        tongue.says(2, quiet(2, BLOCK.digest, height), (0,))
    tongue.tell(1, adding=(tongue.liars._stale_votes,))
    _, *again = tongue.says(1, quiet(1, OTHER, 9), (0,))
    assert len(again) == 6
    assert all(isinstance(lie, Collected) and to == (0, 2, 3) for to, lie in again)


@pytest.mark.parametrize("votes", [3, 4])
def test_one_replica_alone_is_shown_a_decision_or_one_vote_less(votes: int) -> None:
    tongue = Tongue()
    tongue.says(0, BLOCK)
    for signer in range(1, votes):
        tongue.says(signer, quiet(signer), (0,))
    tongue.tell(0, adding=(tongue.liars._shown_to_one,))
    _, (to, lie) = tongue.says(0, Commit(*AT, BLOCK.digest, 0, SIG))
    assert len(to) == 1
    assert isinstance(lie, Agree)
    assert lie.certificate.kind == CertificateKind.FAST
    assert len(lie.certificate.signatures) == votes
    if votes == 4:
        check_certificate(lie.certificate, VALIDATORS, CHAIN, sim_verify)

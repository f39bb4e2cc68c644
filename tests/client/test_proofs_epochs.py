"""A light client crosses epochs by itself, and believes no step that nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from tests.store.real_chain import GENESIS, KEYS
from vppd.client.epochs import BadProof
from vppd.client.proofs import Prover, check_proof
from vppd.codec import encode
from vppd.consensus.certificate import assemble
from vppd.consensus.messages import Certificate, CertificateKind, EraLink, Reply
from vppd.consensus.signing import TAG_COMMIT, reply_bytes, sign_bytes
from vppd.consensus.terms import validators_of
from vppd.crypto import SigningKey, sha256
from vppd.era import Era, EraMember
from vppd.header import Header
from vppd.ledger.block import make_header
from vppd.ledger.receipts import Receipt
from vppd.ledger.transaction import Transfer, make_transaction, transaction_id
from vppd.merkle import merkle_path, merkle_root
from vppd.net.requests import TxProof, TxStage, TxState
from vppd.types import Digest, Epoch, Height

OTHERS = [SigningKey(sha256(b"member %d of a later epoch" % i)) for i in range(5)]
EPOCH_1 = [OTHERS[0], KEYS[0], KEYS[1], KEYS[2]]
EPOCH_2 = OTHERS
"""None of the founders."""
FIRSTS = (1, 6, 9)
AT = 9
"""Where the transaction is."""
RAW = make_transaction(KEYS[1], GENESIS.digest, 0, 1_000, (Transfer(KEYS[2].public_key, 1),))
RECEIPTS = (encode(Receipt(0, 0, (), ())), encode(Receipt(0, 0, (), ())))


def era(epoch: Epoch, keys: Sequence[SigningKey], engine: str = "pbft") -> Era:
    members = tuple(EraMember(k.public_key, i == 0, f"m-{i}") for i, k in enumerate(keys))
    return Era(epoch, FIRSTS[epoch], engine, None, None, members)


ERAS = (era(1, EPOCH_1), era(2, EPOCH_2))
SIGNERS = (KEYS, EPOCH_1, EPOCH_2)


def header(
    epoch: Epoch, height: Height, parent: Digest, coming: Era, txs: tuple[bytes, ...] = ()
) -> Header:
    return make_header(
        chain_id=GENESIS.digest, epoch=epoch, height=height, parent=parent, time_ms=height,
        proposer=KEYS[0].public_key, txs=txs, state_root=bytes(32),
        receipts_root=merkle_root(RECEIPTS), next_validators=validators_of(coming).digest,
    )  # fmt: skip


def decide(made: Header, epoch: Epoch) -> Certificate:
    """By the members of that epoch, whatever the header says."""
    keys = SIGNERS[epoch]
    signed = sign_bytes(TAG_COMMIT, GENESIS.digest, made.epoch, 0, made.height, made.digest())
    votes = {i: key.sign(signed) for i, key in enumerate(keys)}
    quorum = 4 if len(keys) == 5 else 3
    at = (made.epoch, 0, made.height, made.digest())
    return assemble(CertificateKind.COMMIT, *at, votes, len(keys), quorum)


def step(epoch: Epoch, by: Epoch | None = None) -> EraLink:
    """Into ``epoch``, signed by the members of epoch ``by``; by default those of the one before."""
    last = header(epoch - 1, FIRSTS[epoch] - 1, bytes(32), ERAS[epoch - 1])
    return EraLink(ERAS[epoch - 1], last.encode(), decide(last, epoch - 1 if by is None else by))


def answer(epoch: Epoch = 2, by: Epoch | None = None) -> TxState:
    """A transaction at height 9, proved by the next block's certificate.

    Args:
        epoch: that the headers name.
        by: whose members sign.
    """
    block = header(epoch, AT, bytes(32), ERAS[1], (RAW,))
    following = header(epoch, AT + 1, block.digest(), ERAS[1])
    proof = TxProof(
        block.encode(), merkle_path((RAW,), 0), merkle_path(RECEIPTS, 1), following.encode(),
        decide(following, epoch if by is None else by), (),
    )  # fmt: skip
    return TxState(TxStage.COMMITTED, RAW, AT, 0, RECEIPTS[1], proof)


def replies(epoch: Epoch, signers: Sequence[int], by: Sequence[SigningKey]) -> TxState:
    state = answer()
    block = header(2, AT, bytes(32), ERAS[1], (RAW,))
    at = (epoch, AT, block.digest(), bytes(32), merkle_root(RECEIPTS))
    said = tuple(Reply(*at, i, by[i].sign(reply_bytes(GENESIS.digest, *at))) for i in signers)
    assert state.proof is not None
    proof = replace(state.proof, next_header=b"", next_certificate=None, replies=said)
    return replace(state, proof=proof)


class Node:
    """Answers a client that crosses epochs, a page at a time."""

    def __init__(self, *links: EraLink, page: int = 9) -> None:
        self.links = links
        self.page = page
        self.asked: list[Epoch] = []

    async def __call__(self, epoch: Epoch) -> tuple[EraLink, ...]:
        self.asked.append(epoch)
        return self.links[epoch - 1 :][: self.page]


async def prove(node: Node, state: TxState) -> dict[str, str]:
    return await Prover(GENESIS, node).check(transaction_id(RAW), state)


async def refused(node: Node, state: TxState, words: str) -> None:
    with pytest.raises(BadProof, match=words) as caught:
        await prove(node, state)
    assert caught.value.code == "E354"


@pytest.mark.parametrize("page", [1, 2])
async def test_a_transaction_of_a_later_epoch_is_proved(page: int) -> None:
    node = Node(step(1), step(2), page=page)
    assert (await prove(node, answer()))["proved_by"] == "certificate of height 10"
    assert node.asked == ([1, 2] if page == 1 else [1])
    assert (await prove(node, replies(2, (1, 4), OTHERS)))["proved_by"] == "f+1 replies"


async def test_nobody_is_asked_about_epochs_that_are_not_needed() -> None:
    node = Node()
    state = TxState(TxStage.ACCEPTED, RAW)
    assert "pending" in await prove(node, state)
    assert node.asked == []


async def test_without_the_way_there_nothing_is_proved() -> None:
    await refused(Node(), answer(), "no way from epoch 0 to 2")
    await refused(Node(step(1)), answer(), "no way from epoch 1 to 2")
    with pytest.raises(BadProof, match="in force is 0"):
        check_proof(transaction_id(RAW), answer(), GENESIS)


BOGUS = (
    (lambda: (step(2), step(1)), "this chain's|epoch"),
    (lambda: (step(1), step(1)), "epoch 1 from height 6 after epoch 1"),
    (lambda: (step(1, by=2), step(2)), "does not hold|exactly|bitmap"),
    (lambda: (step(1), step(2, by=0)), "does not hold"),
    (lambda: (replace(step(1), era=era(1, KEYS)), step(2)), "names other validators"),
    (lambda: (replace(step(1), era=era(1, EPOCH_1, "bncm")), step(2)), "names other validators"),
    (lambda: (replace(step(1), era=era(1, EPOCH_1, "none")), step(2)), "names other validators"),
    (lambda: (replace(step(1), era=replace(ERAS[0], members=())), step(2)), "epoch 1"),
    (lambda: (replace(step(1), era=replace(ERAS[0], first=7)), step(2)), "begins at 7"),
    (lambda: (replace(step(1), era=replace(ERAS[0], rules=(("x", 1),))), step(2)), "epoch 1"),
    (lambda: (replace(step(1), header=b"short"), step(2)), "a header has"),
)


@pytest.mark.parametrize(("links", "words"), BOGUS, ids=range(len(BOGUS)))
async def test_a_step_that_nobody_vouches_for_is_refused(
    links: Callable[[], tuple[EraLink, ...]], words: str
) -> None:
    await refused(Node(*links()), answer(), words)


@pytest.mark.parametrize("by", [0, 1])
async def test_members_of_an_epoch_that_is_over_decide_nothing(by: Epoch) -> None:
    """Under the name of the epoch in force, or of their own."""
    node = Node(step(1), step(2))
    await refused(node, answer(2, by=by), "does not hold|exactly|bitmap")
    known = Prover(GENESIS, node)
    await known.check(transaction_id(RAW), answer())
    with pytest.raises(BadProof, match="in force is 2"):
        await known.check(transaction_id(RAW), answer(by))


async def test_replies_count_by_the_members_of_their_epoch() -> None:
    node = Node(step(1), step(2))
    await refused(node, replies(2, (0, 1), KEYS), "replica 0 did not sign")
    await refused(node, replies(1, (1, 4), OTHERS), "is in epoch 2")
    await refused(node, replies(2, (4,), OTHERS), "1 replies, 2 are needed")

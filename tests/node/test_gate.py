"""The gate: what is right passes; every field and signature that is wrong is refused."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from tests.node.plant import GENESIS, KEYS, LEADER, N, payment
from tests.store.real_chain import VALIDATORS, Maker, certify
from tests.wire_samples import SAMPLES
from vppd.codec import Malformed, encode
from vppd.config.genesis import Engine
from vppd.consensus.messages import (
    TYPE_OF,
    Agree,
    Block,
    BlockBody,
    Blocks,
    CertificateKind,
    Collected,
    Commit,
    DecidedBlock,
    Evidence,
    GetBlock,
    GetBlocks,
    NewView,
    Ping,
    Prepare,
    PrePrepared,
    Reply,
    Status,
    Tx,
    Txs,
    Type,
    ViewChange,
)
from vppd.consensus.signing import TAG_COMMIT, TAG_PROPOSAL, TAG_VOTE, reply_bytes, sign_bytes
from vppd.consensus.terms import Terms
from vppd.crypto import sha256, verify
from vppd.era import Era, EraMember
from vppd.errors import PeerFault
from vppd.header import decode_header
from vppd.ledger.transaction import (
    InvalidTransaction,
    Transaction,
    Transfer,
    decode_transaction,
)
from vppd.merkle import merkle_root
from vppd.net.gate import BadSignature, Gate, PeerMessage, decode_message, header_of
from vppd.net.sync import SYNC_TYPES
from vppd.types import Epoch, Height, PublicKey, ReplicaIndex, Role, View

OTHER = sha256(b"another digest")


def schedule(view: View, _: Height) -> ReplicaIndex:
    return view % N


def leader(_: Epoch, view: View, height: Height) -> ReplicaIndex:
    return schedule(view, height)


def terms(engine: str) -> Terms:
    """Of the test chain, under another engine; its members stay the same in epoch 1."""
    rules = replace(GENESIS.consensus, engine=Engine(engine))
    made = Terms(replace(GENESIS, consensus=rules))
    members = tuple(EraMember(m.key, m.role is Role.OPERATOR, m.name) for m in VALIDATORS.members)
    made.note([Era(1, 100, engine, None, None, members)])
    return made


class Checked:
    """A gate that counts the signatures it has verified."""

    def __init__(self, known: Callable[[bytes], Transaction | None] = lambda _: None) -> None:
        self.count = 0
        self.gate = Gate(GENESIS.digest, terms("pbft"), self.verify, known)

    def verify(self, key: PublicKey, message: bytes, signature: bytes) -> bool:
        self.count += 1
        return verify(key, message, signature)

    def refuses(self, message: PeerMessage, kind: type[PeerFault], words: str) -> None:
        with pytest.raises(kind, match=words):
            self.gate.check(message)


@pytest.fixture
def checked() -> Checked:
    return Checked()


def signed(tag: bytes, height: int, digest: bytes, signer: int, view: int = 0) -> bytes:
    return KEYS[signer].sign(sign_bytes(tag, GENESIS.digest, 0, view, height, digest))


@pytest.fixture(scope="module")
def maker() -> Maker:
    made = Maker()
    made.add(made.sign(KEYS[1], *_pay(1)), made.sign(KEYS[2], *_pay(2)))
    made.add(made.sign(KEYS[1], *_pay(3)))
    return made


def _pay(amount: int) -> tuple[Transfer]:
    return (Transfer(KEYS[0].public_key, amount),)


@pytest.fixture
def block(maker: Maker) -> Block:
    """The leader's proposal of height 1."""
    made = maker.blocks[0]
    return propose(made.header.encode(), made.txs, made.header.digest())


def propose(header: bytes, txs: tuple[bytes, ...], digest: bytes, height: int = 1) -> Block:
    return Block(
        0, 0, height, digest, 0, header, txs,
        signed(TAG_PROPOSAL, height, digest, LEADER), signed(TAG_VOTE, height, digest, LEADER),
    )  # fmt: skip


def body_of(block: Block) -> BlockBody:
    return BlockBody(
        block.epoch, block.view, block.height, block.digest, block.header, block.txs,
        block.proposal_sig,
    )  # fmt: skip


# ---------------------------------------------------------------- votes


@pytest.mark.parametrize(
    ("kind", "tag"), [(Collected, TAG_VOTE), (Prepare, TAG_VOTE), (Commit, TAG_COMMIT)]
)
class TestVotes:
    def test_a_vote_passes_with_one_signature(
        self, checked: Checked, kind: type[Collected | Prepare | Commit], tag: bytes
    ) -> None:
        checked.gate.check(kind(0, 0, 1, OTHER, 2, signed(tag, 1, OTHER, 2)))
        assert checked.count == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"epoch": 1},
            {"view": 1},
            {"height": 2},
            {"digest": bytes(32)},
            {"signer": 1},
            {"sig": bytes(64)},
        ],
    )
    def test_every_field_is_signed(
        self,
        checked: Checked,
        kind: type[Collected | Prepare | Commit],
        tag: bytes,
        change: dict[str, Any],
    ) -> None:
        vote = kind(0, 0, 1, OTHER, 2, signed(tag, 1, OTHER, 2))
        checked.refuses(replace(vote, **change), BadSignature, "did not sign this")

    def test_one_kind_is_not_the_other(
        self, checked: Checked, kind: type[Collected | Prepare | Commit], tag: bytes
    ) -> None:
        wrong = TAG_COMMIT if tag == TAG_VOTE else TAG_VOTE
        vote = kind(0, 0, 1, OTHER, 2, signed(wrong, 1, OTHER, 2))
        checked.refuses(vote, BadSignature, "did not sign this")

    def test_another_chain_s_vote_is_refused(
        self, checked: Checked, kind: type[Collected | Prepare | Commit], tag: bytes
    ) -> None:
        sig = KEYS[2].sign(sign_bytes(tag, OTHER, 0, 0, 1, OTHER))
        checked.refuses(kind(0, 0, 1, OTHER, 2, sig), BadSignature, "did not sign this")

    def test_a_signer_that_does_not_exist_costs_no_verification(
        self, checked: Checked, kind: type[Collected | Prepare | Commit], tag: bytes
    ) -> None:
        vote = kind(0, 0, 1, OTHER, N, signed(tag, 1, OTHER, 2))
        checked.refuses(vote, Malformed, f"replica {N} does not exist")
        assert checked.count == 0


# ---------------------------------------------------------------- blocks


def test_a_proposal_passes(checked: Checked, block: Block) -> None:
    checked.gate.check(block)
    assert checked.count == 2 + len(block.txs), "proposal, vote, and one per transaction"


def test_transactions_seen_before_are_not_verified_again(block: Block) -> None:
    known = Checked({block.txs[0]: decode_transaction(block.txs[0])}.get)
    known.gate.check(block)
    assert known.count == 2 + len(block.txs) - 1


@pytest.mark.parametrize("forged", [None, 0, 63, 64, 150, 199])
def test_on_several_threads_one_forged_signature_is_found_wherever_it_is(
    checked: Checked, forged: int | None
) -> None:
    maker = Maker()
    txs = [maker.sign(KEYS[1], *_pay(i + 1)) for i in range(200)]
    if forged is not None:
        txs[forged] = txs[forged][:-1] + bytes([txs[forged][-1] ^ 1])
    maker.add(*txs)
    made = maker.blocks[0]
    block = propose(made.header.encode(), made.txs, made.header.digest())
    with ThreadPoolExecutor(3) as crew:
        checked.gate.crew = crew
        if forged is None:
            checked.gate.check(block)
            assert len(checked.gate.opened(made.header.digest()) or ()) == 200
        else:
            checked.refuses(block, BadSignature, "signature does not hold")
            assert checked.gate.opened(made.header.digest()) is None


@pytest.mark.parametrize(
    "change",
    [{"epoch": 1}, {"height": 2}, {"digest": OTHER}, {"header": bytes(10)}],
)
def test_a_block_that_is_not_its_header_costs_no_verification(
    checked: Checked, block: Block, change: dict[str, Any]
) -> None:
    for message in (replace(block, **change), replace(body_of(block), **change)):
        checked.refuses(message, Malformed, "header")
    assert checked.count == 0


def test_a_block_of_another_chain_is_refused(checked: Checked, maker: Maker) -> None:
    made = maker.blocks[0]
    header = made.header._replace(chain_id=OTHER)
    foreign = propose(header.encode(), made.txs, header.digest())
    checked.refuses(foreign, Malformed, "does not match its own header")


def test_a_block_of_a_height_outside_its_epoch_is_refused(checked: Checked, maker: Maker) -> None:
    """Whoever led there signs what it likes; which rules hold for it nobody may know any more."""
    for epoch, height in ((0, 100), (1, 1), (1, 99)):
        header = maker.blocks[0].header._replace(epoch=epoch, height=height)
        digest = header.digest()
        block = propose(header.encode(), maker.blocks[0].txs, digest, height)
        wrong = replace(block, epoch=epoch)
        for message in (wrong, body_of(wrong)):
            checked.refuses(message, Malformed, f"height {height} is not in epoch {epoch}")
    assert checked.count == 0


def test_another_view_has_another_leader(checked: Checked, block: Block) -> None:
    checked.refuses(replace(block, view=1), BadSignature, "replica 1 did not sign")
    checked.refuses(replace(body_of(block), view=1), BadSignature, "replica 1 did not sign")
    checked.refuses(replace(block, view=N), BadSignature, "replica 0 did not sign")


def test_a_proposal_s_two_signatures_are_not_interchangeable(
    checked: Checked, block: Block
) -> None:
    checked.refuses(replace(block, proposal_sig=block.vote_sig), BadSignature, "did not sign")
    checked.refuses(replace(block, vote_sig=block.proposal_sig), BadSignature, "did not sign")
    checked.refuses(replace(block, vote_sig=bytes(64)), BadSignature, "did not sign")
    wrong = replace(body_of(block), proposal_sig=block.vote_sig)
    checked.refuses(wrong, BadSignature, "did not sign")


@pytest.mark.parametrize(
    "change",
    [
        lambda txs: txs[:1],
        lambda txs: txs[::-1],
        lambda txs: (txs[0], txs[0]),
        lambda txs: (*txs, txs[0]),
        lambda _: (),
    ],
    ids=["fewer", "swapped", "one twice", "more", "none"],
)
def test_other_transactions_than_the_header_s_are_refused(
    checked: Checked,
    block: Block,
    change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]],
) -> None:
    checked.refuses(replace(block, txs=change(block.txs)), Malformed, "block 1 holds")
    checked.refuses(replace(body_of(block), txs=change(block.txs)), Malformed, "block 1 holds")


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (payment(1, chain=OTHER), BadSignature, "signature does not hold"),
        (payment(1, expiry=0), InvalidTransaction, "expired"),
        (payment(1, expiry=10**6), InvalidTransaction, "more than"),
        (b"\xc1", PeerFault, "not a"),
    ],
)
def test_a_block_with_a_transaction_nobody_may_propose_is_refused(
    checked: Checked, maker: Maker, raw: bytes, kind: type[PeerFault], words: str
) -> None:
    header = maker.blocks[0].header._replace(
        tx_root=merkle_root((raw,)), tx_count=1, body_bytes=len(raw)
    )
    proposal = propose(header.encode(), (raw,), header.digest())
    checked.refuses(proposal, kind, words)


@pytest.mark.parametrize(("expiry", "words"), [(0, "expired"), (10**6, "more than")])
def test_what_waits_here_must_fit_the_block_it_is_in(maker: Maker, expiry: int, words: str) -> None:
    """It did fit once, or will."""
    raw = payment(expiry=expiry)
    known = Checked({raw: decode_transaction(raw)}.get)
    header = maker.blocks[0].header._replace(
        tx_root=merkle_root((raw,)), tx_count=1, body_bytes=len(raw)
    )
    known.refuses(propose(header.encode(), (raw,), header.digest()), InvalidTransaction, words)


def test_a_block_that_has_passed_is_kept_open_under_its_own_digest(
    checked: Checked, maker: Maker, block: Block
) -> None:
    second = maker.blocks[1]
    checked.gate.check(block)
    checked.gate.check(propose(second.header.encode(), second.txs, second.header.digest(), 2))
    for digest, raws in ((block.digest, block.txs), (second.header.digest(), second.txs)):
        assert checked.gate.opened(digest) == tuple(map(decode_transaction, raws))
    assert checked.gate.opened(OTHER) is None


def test_only_the_very_bytes_that_have_passed_pass_again(checked: Checked, block: Block) -> None:
    checked.gate.check(block)
    first = checked.count
    checked.gate.check(block)
    assert checked.count == first + 2, "proposal and vote; no transaction"
    raw = block.txs[0]
    for bent in (raw[:-1] + bytes([raw[-1] ^ 1]), raw[:-1]):
        checked.refuses(replace(block, txs=(bent, *block.txs[1:])), Malformed, "block 1 holds")
    checked.refuses(replace(block, txs=block.txs[:1]), Malformed, "block 1 holds")


def test_a_block_that_is_refused_is_not_kept_open(checked: Checked, block: Block) -> None:
    forged = payment(1, chain=OTHER)
    header = decode_header(block.header)._replace(
        tx_root=merkle_root((forged,)), tx_count=1, body_bytes=len(forged)
    )
    wrong = propose(header.encode(), (forged,), header.digest())
    checked.refuses(wrong, BadSignature, "signature does not hold")
    assert checked.gate.opened(header.digest()) is None


def test_a_body_passes_without_a_vote(checked: Checked, block: Block) -> None:
    checked.gate.check(body_of(block))
    assert checked.count == 1 + len(block.txs)


# ---------------------------------------------------------------- certificates


def test_agree_passes_with_a_quorum(checked: Checked, maker: Maker) -> None:
    checked.gate.check(Agree(maker.blocks[0].certificate))
    assert checked.count == VALIDATORS.quorum.vote


def test_a_prepared_certificate_decides_nothing(checked: Checked) -> None:
    prepared = certify(CertificateKind.PREPARED, 1, OTHER)
    checked.refuses(Agree(prepared), Malformed, "decides nothing")
    checked.refuses(Agree(replace(prepared, kind=9)), Malformed, "decides nothing")
    renamed = replace(prepared, kind=CertificateKind.COMMIT)
    checked.refuses(Agree(renamed), Malformed, "does not hold")


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"view": 1},
        {"height": 2},
        {"digest": OTHER},
        {"signers": b"\x03"},
        {"signers": b"\x0b"},
        {"signers": b"\x1f"},
        {"signers": b"\x07\x00"},
        {"signatures": (bytes(64),) * 3},
    ],
)
def test_every_field_of_a_certificate_is_checked(
    checked: Checked, maker: Maker, change: dict[str, Any]
) -> None:
    made = maker.blocks[0].certificate
    checked.refuses(Agree(replace(made, **change)), Malformed, "certificate|bitmap|signature|epoch")


def decided(maker: Maker) -> tuple[DecidedBlock, ...]:
    return tuple(DecidedBlock(b.header.encode(), b.txs, b.certificate) for b in maker.blocks)


def test_decided_blocks_pass_by_their_certificates_alone(checked: Checked, maker: Maker) -> None:
    """Who signed the transactions was the quorum's business."""
    checked.gate.check(Blocks(decided(maker)))
    assert checked.count == 2 * VALIDATORS.quorum.vote


def test_one_wrong_block_in_a_range_is_refused(checked: Checked, maker: Maker) -> None:
    first, second = decided(maker)
    for wrong, words in (
        (replace(second, certificate=first.certificate), "not the one its certificate decides"),
        (replace(second, header=first.header), "not the one its certificate decides"),
        (replace(second, txs=first.txs), "block 2 holds"),
        (replace(second, txs=()), "block 2 holds"),
        (
            replace(second, certificate=certify(CertificateKind.PREPARED, 2, OTHER)),
            "not the one its certificate decides",
        ),
    ):
        checked.refuses(Blocks((first, wrong)), Malformed, words)


# ---------------------------------------------------------------- replies


def reply(signer: int = 2, roots: bytes = OTHER) -> Reply:
    sig = KEYS[signer].sign(reply_bytes(GENESIS.digest, 0, 1, OTHER, roots, roots))
    return Reply(0, 1, OTHER, roots, roots, signer, sig)


def test_a_reply_passes(checked: Checked) -> None:
    checked.gate.check(reply())


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"height": 2},
        {"digest": bytes(32)},
        {"state_root": bytes(32)},
        {"receipts_root": bytes(32)},
        {"signer": 1},
        {"sig": bytes(64)},
    ],
)
def test_every_field_of_a_reply_is_signed(checked: Checked, change: dict[str, Any]) -> None:
    checked.refuses(replace(reply(), **change), BadSignature, "did not sign this reply")


def test_a_reply_of_nobody_is_malformed(checked: Checked) -> None:
    checked.refuses(replace(reply(), signer=N), Malformed, "does not exist")


# ---------------------------------------------------------------- transactions, and the rest


def test_a_transaction_is_verified_once(checked: Checked) -> None:
    raw = payment()
    checked.gate.check_transaction(raw, 1)
    assert checked.count == 1
    known = Checked({raw: decode_transaction(raw)}.get)
    known.gate.check_transaction(raw, 1)
    assert known.count == 0


def test_what_is_wrong_with_a_transaction_is_found_before_its_signature(checked: Checked) -> None:
    with pytest.raises(InvalidTransaction, match="expired"):
        checked.gate.check_transaction(payment(expiry=4), 5)
    assert checked.count == 0


@pytest.mark.parametrize(
    "message",
    [Status(0, 1, 0, 0), GetBlock(OTHER), GetBlocks(1), Ping(1), Tx(b"x"), Txs((bytes(64),))],
)
def test_what_claims_nothing_passes(checked: Checked, message: PeerMessage) -> None:
    checked.gate.check(message)
    assert checked.count == 0
    assert header_of(message, leader) is None


# ---------------------------------------------------------------- frames and headers


def test_every_message_survives_its_frame(maker: Maker, block: Block) -> None:
    vote = signed(TAG_VOTE, 1, OTHER, 2)
    messages = (
        block, Agree(maker.blocks[0].certificate), Prepare(0, 0, 1, OTHER, 2, vote),
        Commit(0, 0, 1, OTHER, 2, vote), reply(), Status(0, 1, 0, 0), GetBlock(OTHER),
        body_of(block), GetBlocks(1), Blocks(decided(maker)), Tx(b"x"), Txs((bytes(64),)), Ping(1),
        *(m for m in SAMPLES if isinstance(m, Collected | PrePrepared)),
        *(m for m in SAMPLES if isinstance(m, ViewChange | NewView | Evidence)),
    )  # fmt: skip
    assert {TYPE_OF[type(m)] for m in messages} == set(Type) - SYNC_TYPES
    for message in messages:
        assert decode_message(TYPE_OF[type(message)], encode(message)) == message


@pytest.mark.parametrize("type_", [0, 18, 48, 255])
def test_an_unknown_type_is_malformed(type_: int) -> None:
    with pytest.raises(Malformed, match=f"frame type {type_} is not a message between nodes"):
        decode_message(type_, b"\x90")


def test_a_message_in_the_wrong_frame_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode_message(Type.PREPARE, encode(GetBlocks(1)))


def test_headers_say_whose_message_it_is(block: Block) -> None:
    for message in (block, body_of(block)):
        header = header_of(replace(message, view=3), leader)
        assert header is not None
        assert (header.view, header.height, header.digest) == (3, 1, block.digest)
        assert header.signer == 3
    with pytest.raises(Malformed, match="empty range"):
        header_of(Blocks(()), leader)

"""One small sample of everything on the wire, and the bytes it stands for in docs/wire.md.

The page and this module say the same thing twice on purpose: tests/test_wire.py compares them. A
change of format is made here, then ``python -m tests.wire_samples --write`` rewrites the page's
bytes, and the change shows in the diff.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

from vppd.codec import Message, encode
from vppd.consensus.messages import (
    TYPE_OF,
    Absent,
    Agree,
    Block,
    BlockBody,
    Blocks,
    Certificate,
    CertificateKind,
    Chunk,
    Claim,
    Collected,
    Commit,
    Concealment,
    DecidedBlock,
    Equivocation,
    EraLink,
    Eras,
    Evidence,
    GetBlock,
    GetBlocks,
    GetChunk,
    GetEras,
    GetSnapshot,
    NewView,
    Ping,
    Prepare,
    PrePrepared,
    Reply,
    Round,
    SnapshotOffer,
    Standing,
    Status,
    Tx,
    Txs,
    ViewChange,
)
from vppd.consensus.signing import (
    TAG_COMMIT,
    TAG_PROPOSAL,
    TAG_VOTE,
    new_view_bytes,
    reply_bytes,
    sign_bytes,
    standing_bytes,
)
from vppd.crypto import SigningKey
from vppd.era import Era, EraMember
from vppd.header import VERSION, Header
from vppd.ledger import transaction
from vppd.ledger.changes import (
    Add,
    Bar,
    Change,
    Configure,
    Grant,
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
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import EraScheduled, SlotAdvanced
from vppd.ledger.order_ops import CancelOrder, SignTrades
from vppd.ledger.plan_ops import Forecast, Plan, RegisterResource, RetireResource
from vppd.ledger.proofs import Accuse, Ready, Skip, signed_part
from vppd.ledger.receipts import Receipt, encode_receipt
from vppd.ledger.registration.ops import (
    RegisterMember,
    RegisterMeter,
    SetAcquisition,
    SetParameters,
    SetStanding,
)
from vppd.ledger.transaction import (
    Op,
    Opaque,
    PlaceOrder,
    Reading,
    ReplaceMeter,
    Transfer,
    Vote,
    make_statement,
    make_transaction,
)
from vppd.merkle import EMPTY_ROOT, merkle_root
from vppd.net.copies import LIVE_SESSION
from vppd.net.frames import NEWEST_WIRE, OLDEST_WIRE, encode_frame
from vppd.net.hello import (
    Channel,
    Handshake,
    Hello,
    Kind,
    RefusalCode,
    Refuse,
    Self,
    offer,
    proof_bytes,
    refuse_frame,
)
from vppd.net.requests import (
    Accepted,
    Ask,
    Committed,
    DecidedView,
    Document,
    Failure,
    FailureCode,
    FindBlock,
    Found,
    GetDecided,
    GetLinks,
    GetTx,
    Links,
    Request,
    Response,
    Result,
    Submit,
    SubmitMany,
    Subscribe,
    Subscribed,
    Taken,
    Turned,
    TxProof,
    TxStage,
    TxState,
    View,
)

PAGE = Path(__file__).parent.parent / "docs" / "wire.md"

D = bytes(range(32))
SIG = bytes([0xAA]) * 64
TXS = (b"\x01\x02\x03",)
HEADER = Header(
    version=VERSION,
    chain_id=D,
    epoch=0,
    height=7,
    parent=bytes([0x11]) * 32,
    time_ms=1_750_000_000_000,
    proposer=bytes([0x22]) * 32,
    tx_root=merkle_root(TXS),
    state_root=bytes([0x33]) * 32,
    receipts_root=EMPTY_ROOT,
    next_validators=bytes([0x44]) * 32,
    tx_count=1,
    body_bytes=3,
)
CERTIFICATE = Certificate(CertificateKind.COMMIT, 0, 1, 7, D, b"\x07", (SIG, SIG, SIG))
REPLY = Reply(0, 7, D, D, D, 2, SIG)
STANDING = Standing(0, 2, 2, 7, D, Claim(1, bytes([0x55]) * 32), None, SIG)
"""Validator 2 leaves for view 2 after height 7, and has voted at height 8 in view 1."""
PREPARED = Certificate(CertificateKind.PREPARED, 0, 1, 7, D, b"\x07", (SIG, SIG, SIG))
NEW_VIEW = NewView(0, 2, 8, bytes([0x55]) * 32, (STANDING,), CERTIFICATE, None, SIG)
PROOFS = (
    Equivocation(Round.VOTE, 0, 1, 8, 2, D, SIG, bytes([0x55]) * 32, SIG),
    Concealment(STANDING, Claim(1, D), SIG),
)

SAMPLES: tuple[Message, ...] = (
    Block(0, 1, 7, D, 0, HEADER.encode(), TXS, SIG, SIG),
    Collected(0, 1, 7, D, 2, SIG),
    Agree(CERTIFICATE),
    PrePrepared(0, 1, 7, D, SIG, PREPARED),
    Prepare(0, 1, 7, D, 2, SIG),
    Commit(0, 1, 7, D, 2, SIG),
    REPLY,
    ViewChange(STANDING, CERTIFICATE, None),
    NEW_VIEW,
    Status(0, 7, 1, 0),
    GetBlock(D),
    BlockBody(0, 1, 7, D, HEADER.encode(), TXS, SIG),
    GetBlocks(8),
    Blocks((DecidedBlock(HEADER.encode(), TXS, CERTIFICATE),)),
    Tx(b"\x01\x02\x03"),
    Txs((bytes([1]) * 64, bytes([4]) * 65)),
    Evidence(PROOFS[0]),
    Ping(1_767_225_600_000),
)

LINK = EraLink(
    Era(1, 8, "dpos", 1, None, (EraMember(bytes([0x22]) * 32, True, "op-0", "10.0.0.1:7440"),)),
    HEADER.encode(),
    CERTIFICATE,
)
SYNC_SAMPLES: tuple[Message, ...] = (
    GetSnapshot(0),
    GetChunk(128, 4_094),
    Chunk(128, 4_094, ((), ((b"\x01\x02", b"\x03"),))),
    GetEras(1),
    Eras((LINK,)),
    Absent(1_301, 128),
)
"""Of state sync, but for the offer."""
SNAPSHOT = SnapshotOffer(HEADER.encode(), CERTIFICATE, HEADER.encode(), CERTIFICATE, bytes(131_072))
"""Too long for the page: its manifest alone is 128 KiB."""

ASKS: tuple[Ask, ...] = (
    Submit(b"\x01\x02\x03"),
    GetTx(D),
    GetDecided(7),
    FindBlock(D),
    Subscribe(),
    View("trades", "30"),
    GetLinks(1),
    SubmitMany((b"\x01\x02\x03", b"\x04")),
)

RESULTS: tuple[Result, ...] = (
    Failure(FailureCode.REFUSED, "the mempool is full"),
    Accepted(D),
    TxState(
        TxStage.COMMITTED,
        b"\x01\x02\x03",
        7,
        0,
        b"\x04",
        TxProof(HEADER.encode(), (), (D,), b"", None, (REPLY,)),
    ),
    DecidedView(HEADER.encode(), TXS, CERTIFICATE, (b"\x04", b"\x04")),
    Found(7),
    Subscribed(7),
    Document(b"[]"),
    Links((LINK,)),
    Taken((D,), (Turned(1, FailureCode.INVALID, "not a transaction"),)),
)

PUSH = Committed(7, D, HEADER.encode(), (D,), (b"\x04", b"\x04"), (SIG[:32],))

ALICE, BOB = SigningKey(bytes([1]) * 32), SigningKey(bytes([2]) * 32)
"""Two validators with index 0 and 1; their secret seeds are 32 bytes 01 and 32 bytes 02."""
VALIDATORS = {ALICE.public_key: 0, BOB.public_key: 1}
NONCES = (bytes([0xA1]) * 32, bytes([0xB2]) * 32)
"""Before the newest version is written into them."""
VERSIONS = (OLDEST_WIRE, NEWEST_WIRE)
OFFERS = tuple(offer(nonce, NEWEST_WIRE) for nonce in NONCES)
SEALS = (bytes([0xC3]) * 32, bytes([0xD4]) * 32)
"""SHA-256 of Alice's and of Bob's TLS certificate."""

ORDER = PlaceOrder(30, 1, 1_500, 520_000, 550_000, 0)
READY = Ready(BOB.public_key, 0, 7, bytes([0x33]) * 32, NONCES[1], SIG)
CHANGES: tuple[Change, ...] = (
    Add(BOB.public_key, "der-9", False, "192.168.10.9:7440", READY),
    Remove(ALICE.public_key),
    Rekey(ALICE.public_key, BOB.public_key, READY, ""),
    Readmit(BOB.public_key, READY),
    Move(BOB.public_key, True),
    SetNumber("f", 1),
    SetEngine("pbft"),
    SetMarket(40, (("gate_lead_ms", 60_000), ("rules", "two-stage"))),
    Grant(BOB.public_key, 2),
    Revoke(BOB.public_key, 2),
    Bar(BOB.public_key, True, "registers were turned back"),
    VoidOrders(40, "a forecast was wrong"),
    ReleaseContract(12, "its kind fails"),
)
OPS: tuple[Op, ...] = (
    ORDER,
    Reading(29, 12_000, 3_400),
    Transfer(BOB.public_key, 2_500_000),
    READY,
    Accuse(PROOFS[0]),
    Skip(0, 2, 8, (STANDING,)),
    Configure(0, (SetNumber("f", 1),)),
    Vote((BOB.public_key,)),
    Opaque(b"\x01\x02\x03"),
    OpenContract("pledge", b"\x01"),
    CallContract(0, 1, b"\x02"),
    ReplaceMeter(BOB.public_key, bytes(range(32)), 30, 815_000, 0, 12, 0, 1_000_000_000),
    CancelOrder(30, 2),
    SignTrades(30, (0, 4)),
    RegisterResource(1, 5, 3_000, 3_000, 8_000, 4_000, 950_000, 950_000),
    RetireResource(1),
    Plan(1, 30, (0, 700), (500, 0)),
    Forecast(30, (12_000,), (9_000,)),
    RegisterMember(BOB.public_key, "house-7", 12, ALICE.public_key),
    RegisterMeter(BOB.public_key, ALICE.public_key, 40, 12_000, 0),
    SetStanding(BOB.public_key, 1, "key lost"),
    SetParameters(BOB.public_key, (("capacity_w", 5_000), ("maker", "acme"))),
    SetAcquisition(BOB.public_key, 40, 0, 1, "line works"),
)
STATEMENT = make_statement(1_007, READY)
ERA = Era(
    1, 9, "bncm", None, None,
    (
        EraMember(ALICE.public_key, True, "op-0"),
        EraMember(BOB.public_key, False, "der-9", "192.168.10.9:7440", NONCES[1]),
    ),
    (("max_tx_ops", 7),),
)  # fmt: skip
TRANSACTION = make_transaction(ALICE, D, 4, 1_007, (ORDER,))

RECEIPT = Receipt(0, 0, (), (SlotAdvanced(30, 1),))
ERA_RECEIPT = Receipt(0, 0, (), (EraScheduled(ERA),))


class Meeting(NamedTuple):
    """Every frame of one hello between Alice, who dials, and Bob."""

    alice: Handshake
    bob: Handshake
    hellos: tuple[bytes, bytes]
    proofs: tuple[bytes, bytes]


def hello_of(key: SigningKey, name: str, nonce: bytes) -> Hello:
    """What a validator of the sample chain says first."""
    return Hello(2, D, Kind.VALIDATOR, key.public_key, nonce, nonce[:16], name)


def meet(newest: int = VERSIONS[1]) -> Meeting:
    """Alice and Bob greet each other through the daemon's own code; not yet concluded.

    Args:
        newest: version that Alice speaks.
    """
    alice = Handshake(
        Self(Kind.VALIDATOR, "op-0", ALICE, D, NONCES[0][:16], newest),
        VALIDATORS,
        NONCES[0],
        Channel(*SEALS),
    )
    bob = Handshake(
        Self(Kind.VALIDATOR, "der-1", BOB, D, NONCES[1][:16]),
        VALIDATORS,
        NONCES[1],
        Channel(*SEALS[::-1]),
    )
    hellos = (alice.start(), bob.start())
    proofs = (alice.receive(32, hellos[1][5:]), bob.receive(32, hellos[0][5:]))
    return Meeting(alice, bob, hellos, proofs)


NAMED = {Collected: "received"}
"""``Received`` is what the core calls an input."""


def word(kind: type[Message]) -> str:
    """A message's name on the page: ``GetBlock`` is ``get_block``."""
    if kind in NAMED:
        return NAMED[kind]
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


def vectors() -> dict[str, bytes]:
    """Name of each hex block of the page → its bytes."""
    meeting = meet()
    opened = transaction.open_envelope(TRANSACTION)
    decoded = transaction.decode_transaction(TRANSACTION)
    who = (
        (ALICE.public_key, OFFERS[0], SEALS[0]),
        (BOB.public_key, OFFERS[1], SEALS[1]),
    )
    vote = sign_bytes(TAG_VOTE, D, 0, 1, 7, HEADER.digest())
    named = {
        "frame": encode_frame(TYPE_OF[Status], encode(Status(0, 7, 1, 0))),
        "hello-alice": meeting.hellos[0],
        "hello-bob": meeting.hellos[1],
        "hello-alice-2": meet(VERSIONS[0]).hellos[0],
        "proof-bytes-alice": proof_bytes(D, *who),
        "proof-alice": meeting.proofs[0],
        "proof-bob": meeting.proofs[1],
        "refuse": encode_frame(34, encode(Refuse("no room for another client"))),
        "refuse-no-validator": refuse_frame(
            "no validator any more since height 812", RefusalCode.NO_VALIDATOR
        ),
        "refuse-live": refuse_frame(LIVE_SESSION, RefusalCode.LIVE_SESSION),
        "header": HEADER.encode(),
        "header-digest": HEADER.digest(),
        "sign-proposal": sign_bytes(TAG_PROPOSAL, D, 0, 1, 7, HEADER.digest()),
        "sign-vote": vote,
        "sign-commit": sign_bytes(TAG_COMMIT, D, 0, 1, 7, HEADER.digest()),
        "sign-reply": reply_bytes(D, 0, 7, HEADER.digest(), HEADER.state_root, EMPTY_ROOT),
        "sign-view-change": standing_bytes(D, STANDING),
        "sign-new-view": new_view_bytes(D, NEW_VIEW),
        "vote-signature-alice": ALICE.sign(vote),
        "transaction-body": opened.body,
        "transaction-id": decoded.id,
        "transaction-sign-bytes": transaction.sign_bytes(D, decoded.id),
        "transaction-signature": opened.sig,
        "transaction": TRANSACTION,
        "statement": STATEMENT,
        "sign-ready": signed_part(READY, D),
        "proposal-id": Configure(0, (SetNumber("f", 1),)).digest(),
        "receipt": encode_receipt(RECEIPT),
        "receipt-era": encode_receipt(ERA_RECEIPT),
    }
    named |= {word(type(op)): encode(op) for op in OPS}
    named |= {f"change-{word(type(change))}": encode(change) for change in CHANGES}
    named |= {word(type(sample)): encode(sample) for sample in SAMPLES}
    named |= {word(type(sample)): encode(sample) for sample in SYNC_SAMPLES}
    named |= {f"proof-{word(type(proof))}": encode(proof) for proof in PROOFS}
    named |= {f"ask-{word(type(ask))}": encode(Request(5, ask)) for ask in ASKS}
    named |= {f"result-{word(type(r))}": encode(Response(5, r)) for r in RESULTS}
    named["push-committed"] = encode(PUSH)
    return named


_BLOCK = re.compile(r"^```hex (?P<name>\S+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def read_page(page: str) -> dict[str, bytes]:
    """The hex blocks of docs/wire.md.

    Raises:
        ValueError: a name twice, or not hexadecimal.
    """
    found: dict[str, bytes] = {}
    for match in _BLOCK.finditer(page):
        if match["name"] in found:
            raise ValueError(f"two blocks are called {match['name']}")
        found[match["name"]] = bytes.fromhex(match["body"])
    return found


def write_page(page: str) -> str:
    """The page with every hex block's bytes as they are today."""
    current = vectors()

    def block(match: re.Match[str]) -> str:
        text = current[match["name"]].hex()
        lines = [text[at : at + 96] for at in range(0, len(text), 96)]
        return "\n".join([f"```hex {match['name']}", *lines, "```"])

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.wire_samples --write")
    PAGE.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

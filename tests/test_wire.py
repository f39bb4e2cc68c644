"""docs/wire.md is true: its bytes are the code's, both ways, and its tables name every field."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.wire_samples import (
    ALICE,
    ASKS,
    BOB,
    CERTIFICATE,
    CHANGES,
    ERA_RECEIPT,
    HEADER,
    LINK,
    OPS,
    PAGE,
    PROOFS,
    PUSH,
    READY,
    RECEIPT,
    RESULTS,
    SAMPLES,
    SNAPSHOT,
    STANDING,
    SYNC_SAMPLES,
    TRANSACTION,
    D,
    hello_of,
    meet,
    read_page,
    vectors,
    word,
    write_page,
)
from vppd.codec import Decoder, Malformed, Message, encode
from vppd.config.genesis import ConsensusRules
from vppd.consensus import messages as consensus
from vppd.consensus.certificate import assemble, signers_of
from vppd.consensus.messages import CAP, TYPE_OF, CertificateKind, Status, Type
from vppd.crypto import sha256, verify
from vppd.era import Era, EraMember
from vppd.header import Header, decode_header
from vppd.ledger.changes import Change
from vppd.ledger.events import Event
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import (
    Body,
    Op,
    check_stateless,
    decode_transaction,
    open_envelope,
    statement_in,
)
from vppd.net.frames import (
    ANSWER_CAPS,
    OPENING_CAPS,
    PEER_CAPS,
    REQUEST_CAPS,
    Frame,
    FrameParser,
)
from vppd.net.gate import decode_message
from vppd.net.hello import BadProof, Channel, Handshake, Hello, Kind, Proof, Refuse, Self
from vppd.net.requests import (
    Ask,
    Committed,
    Request,
    Response,
    Result,
    TxProof,
    decode_push,
    decode_request,
    decode_response,
)
from vppd.net.sync import decode_sync

TEXT = PAGE.read_text(encoding="utf-8")
HEX = read_page(TEXT)
NEWEST = bytes.fromhex("56505044312d57") + b"\x03"
"""What the page says about version 3 at a nonce's end."""


def frames(stream: bytes) -> list[Frame]:
    return list(FrameParser({**OPENING_CAPS, **PEER_CAPS}).feed(stream))


def rows(first: str, second: str) -> list[list[str]]:
    """The cells of the table whose head begins with these two words."""
    head = re.compile(rf"^\| {first} \| {second} \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)
    found = head.findall(TEXT)
    assert found, f"no table of {first} and {second}"
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in found
        for line in table.splitlines()
    ]


def names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", cell).partition(":")[0]))


def tag_of(kind: type[msgspec.Struct]) -> int:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


# ---------------------------------------------------------------- bytes


def test_the_page_shows_every_vector_and_no_other() -> None:
    assert HEX.keys() == vectors().keys()


@pytest.mark.parametrize("name", sorted(vectors()))
def test_the_code_writes_the_bytes_of_the_page(name: str) -> None:
    assert HEX[name] == vectors()[name]


def test_rewriting_the_page_changes_nothing() -> None:
    assert write_page(TEXT) == TEXT


def test_rewriting_repairs_a_wrong_byte() -> None:
    right = "```hex ping\n91cf0000019b76daa800\n```"
    assert right in TEXT
    assert write_page(TEXT.replace(right, "```hex ping\n92\n```")) == TEXT


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: word(type(sample)))
def test_the_bytes_of_the_page_decode_to_the_message(sample: Message) -> None:
    assert decode_message(TYPE_OF[type(sample)], HEX[word(type(sample))]) == sample


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: word(type(sample)))
def test_a_byte_more_or_less_is_malformed(sample: Message) -> None:
    type_, data = TYPE_OF[type(sample)], HEX[word(type(sample))]
    for wrong in (data + b"\x00", data[:-1]):
        with pytest.raises(Malformed):
            decode_message(type_, wrong)


@pytest.mark.parametrize("sample", SYNC_SAMPLES, ids=lambda sample: word(type(sample)))
def test_the_bytes_of_state_sync_decode_and_no_others(sample: Message) -> None:
    type_, data = TYPE_OF[type(sample)], HEX[word(type(sample))]
    assert decode_sync(type_, data) == sample
    for wrong in (data + b"\x00", data[:-1]):
        with pytest.raises(Malformed):
            decode_sync(type_, wrong)


def test_an_offer_has_a_hash_for_each_bucket() -> None:
    data = encode(SNAPSHOT)
    assert decode_sync(Type.SNAPSHOT_OFFER, data) == SNAPSHOT
    assert len(data) < CAP[Type.SNAPSHOT_OFFER]
    for size in (131_071, 131_073):
        wrong = encode(msgspec.structs.replace(SNAPSHOT, hashes=bytes(size)))
        with pytest.raises(Malformed):
            decode_sync(Type.SNAPSHOT_OFFER, wrong)


def test_every_type_between_nodes_has_a_sample() -> None:
    samples = (*SAMPLES, *SYNC_SAMPLES, SNAPSHOT)
    assert {TYPE_OF[type(sample)] for sample in samples} == set(Type)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: word(type(ask)))
def test_requests_decode(ask: Ask) -> None:
    assert decode_request(HEX[f"ask-{word(type(ask))}"]) == Request(5, ask)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: word(type(result)))
def test_responses_decode(result: Result) -> None:
    assert decode_response(HEX[f"result-{word(type(result))}"]) == Response(5, result)


def test_pushes_decode() -> None:
    assert decode_push(HEX["push-committed"]) == PUSH


@pytest.mark.parametrize(
    ("union", "samples"),
    [(Ask, ASKS), (Result, RESULTS), (Op, OPS), (Change, CHANGES), (consensus.Proof, PROOFS)],
)
def test_every_tagged_message_has_a_sample(union: Any, samples: tuple[Message, ...]) -> None:
    assert {type(sample) for sample in samples} == set(union.__args__)


def test_left_out_trailing_fields_are_the_defaults() -> None:
    short = decode_request(encode((5, (6, "status"))))
    assert short == decode_request(encode((5, (6, "status", ""))))


def test_the_frame() -> None:
    assert frames(HEX["frame"]) == [Frame(Type.STATUS, HEX["status"])]
    assert decode_message(Type.STATUS, frames(HEX["frame"])[0].payload) == Status(0, 7, 1, 0)


# ---------------------------------------------------------------- hello


def test_hello_proof_and_refuse_decode() -> None:
    hello, proof, refuse = Decoder(Hello), Decoder(Proof), Decoder(Refuse)
    (alice,), (bob,) = frames(HEX["hello-alice"]), frames(HEX["hello-bob"])
    assert hello(alice.payload) == hello_of(ALICE, "op-0", bytes([0xA1]) * 24 + NEWEST)
    assert hello(bob.payload) == hello_of(BOB, "der-1", bytes([0xB2]) * 24 + NEWEST)
    (pinned,) = frames(HEX["hello-alice-2"])
    assert hello(pinned.payload) == hello_of(ALICE, "op-0", bytes([0xA1]) * 32)
    (proven,), (refused,) = frames(HEX["proof-alice"]), frames(HEX["refuse"])
    assert verify(ALICE.public_key, HEX["proof-bytes-alice"], proof(proven.payload).sig)
    assert refuse(refused.payload) == Refuse("no room for another client")


def test_the_proofs_of_the_page_let_both_sides_in() -> None:
    meeting = meet()
    assert meeting.alice.receive(*frames(HEX["proof-bob"])[0]) == b""
    assert meeting.bob.receive(*frames(HEX["proof-alice"])[0]) == b""
    assert meeting.alice.peer is not None
    assert meeting.bob.peer is not None
    assert (meeting.alice.peer.name, meeting.bob.peer.name) == ("der-1", "op-0")


def test_what_is_signed_in_a_hello_is_laid_out_as_described() -> None:
    parts = [D, ALICE.public_key, BOB.public_key]
    parts += [bytes([byte]) * 24 + NEWEST for byte in (0xA1, 0xB2)]
    parts += [bytes([byte]) * 32 for byte in (0xC3, 0xD4)]
    assert HEX["proof-bytes-alice"] == b"VPPD1H" + b"".join(parts)
    assert len(HEX["proof-bytes-alice"]) == 230


def test_another_certificate_makes_the_proof_of_the_page_worthless() -> None:
    me = Self(Kind.VALIDATOR, "der-1", BOB, D)
    relayed = Channel(bytes([0xD4]) * 32, bytes([0xEE]) * 32)
    bob = Handshake(me, {ALICE.public_key: 0, BOB.public_key: 1}, bytes([0xB2]) * 32, relayed)
    bob.receive(*frames(HEX["hello-alice"])[0])
    with pytest.raises(BadProof):
        bob.receive(*frames(HEX["proof-alice"])[0])


# ---------------------------------------------------------------- header and signatures


def test_the_header_and_its_digest() -> None:
    assert decode_header(HEX["header"]) == HEADER
    assert sha256(HEX["header"]) == HEX["header-digest"] == HEADER.digest()


def test_the_layout_table_cuts_the_header_into_its_fields() -> None:
    table = [row for row in rows("offset", "bytes") if len(row) == 4]
    assert tuple(names(row[2])[0] for row in table) == Header._fields
    end = 0
    for offset, size, field, _ in table:
        assert int(offset) == end
        end += int(size)
        part = HEX["header"][int(offset) : end]
        value = getattr(HEADER, names(field)[0])
        assert part == value if isinstance(value, bytes) else int.from_bytes(part, "big") == value
    assert end == len(HEX["header"]) == 258


@pytest.mark.parametrize(("name", "tag"), [("proposal", b"P"), ("vote", b"1"), ("commit", b"2")])
def test_signed_positions_are_laid_out_as_described(name: str, tag: bytes) -> None:
    position = struct.pack(">QQQ", 0, 1, 7)
    assert HEX[f"sign-{name}"] == b"VPPD1" + tag + D + position + HEX["header-digest"]


def test_a_signed_reply_is_laid_out_as_described() -> None:
    position = struct.pack(">QQQ", 0, 0, 7)
    roots = bytes([0x33]) * 32 + sha256(b"")
    assert HEX["sign-reply"] == b"VPPD1R" + D + position + HEX["header-digest"] + roots


def test_a_signed_view_change_is_laid_out_as_described() -> None:
    position = struct.pack(">QQQ", 0, 2, 7)
    vote = struct.pack(">Q", 1) + bytes([0x55]) * 32
    none = b"\xff" * 8 + bytes(32)
    assert HEX["sign-view-change"] == b"VPPD1V" + D + position + D + vote + none


def test_a_signed_new_view_is_laid_out_as_described() -> None:
    position = struct.pack(">QQQ", 0, 2, 8)
    shown = sha256(struct.pack(">I", 2) + HEX["sign-view-change"] + STANDING.sig)
    assert HEX["sign-new-view"] == b"VPPD1N" + D + position + bytes([0x55]) * 32 + shown


def test_the_vote_signature_holds() -> None:
    assert verify(ALICE.public_key, HEX["sign-vote"], HEX["vote-signature-alice"])
    assert not verify(BOB.public_key, HEX["sign-vote"], HEX["vote-signature-alice"])


def test_the_bitmap_names_signers_from_the_lowest_bit() -> None:
    assert signers_of(CERTIFICATE) == (0, 1, 2)
    made = assemble(CertificateKind.COMMIT, 0, 0, 1, D, {9: bytes(64), 0: bytes(64)}, 10, 2)
    assert made.signers == b"\x01\x02"


# ---------------------------------------------------------------- transactions and receipts


def test_the_transaction() -> None:
    tx = decode_transaction(HEX["transaction"])
    envelope = open_envelope(HEX["transaction"])
    assert envelope.body == HEX["transaction-body"]
    assert envelope.sig == HEX["transaction-signature"] == tx.sig
    assert tx.id == HEX["transaction-id"] == sha256(HEX["transaction-body"])
    assert HEX["transaction-sign-bytes"] == b"VPPD1T" + D + HEX["transaction-id"]
    assert verify(ALICE.public_key, HEX["transaction-sign-bytes"], tx.sig)
    assert (tx.sender, tx.nonce, tx.expiry_height) == (ALICE.public_key, 4, 1_007)
    assert encode(tx.ops[0]) == HEX["place_order"]
    assert check_stateless(HEX["transaction"], D, 7, ConsensusRules(), verify) == tx
    assert HEX["transaction"] == TRANSACTION


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: word(type(change)))
def test_changes_decode(change: Change) -> None:
    decode: Callable[[bytes], Change] = msgspec.msgpack.Decoder(Change).decode
    assert decode(HEX[f"change-{word(type(change))}"]) == change


def test_the_statement() -> None:
    tx = decode_transaction(HEX["statement"])
    assert statement_in(tx) == READY
    assert open_envelope(HEX["statement"]).sig == bytes(64)
    numbers = struct.pack(">QQ", 0, 7)
    assert HEX["sign-ready"] == b"VPPD1Y" + D + numbers + bytes([0x33]) * 32 + READY.nonce


def test_the_id_of_a_proposal_is_the_hash_of_epoch_and_changes() -> None:
    tag, epoch, changes = msgspec.msgpack.decode(HEX["configure"])
    assert tag == 7
    assert HEX["proposal-id"] == sha256(encode([epoch, changes]))


@pytest.mark.parametrize("op", OPS, ids=lambda op: word(type(op)))
def test_operations_decode(op: Op) -> None:
    decode: Callable[[bytes], Op] = msgspec.msgpack.Decoder(Op).decode
    assert decode(HEX[word(type(op))]) == op


def test_the_receipt() -> None:
    assert decode_receipt(HEX["receipt"]) == RECEIPT
    assert decode_receipt(HEX["receipt-era"]) == ERA_RECEIPT


# ---------------------------------------------------------------- tables


def test_the_table_of_types_has_every_number_cap_and_field() -> None:
    said = {
        names(row[1])[0]: (int(row[0]), int(row[2]), names(row[3]))
        for row in rows("type", "message")
        if int(row[0]) < 32
    }
    assert said == {
        word(kind): (int(type_), CAP[type_], kind.__struct_fields__)
        for kind, type_ in TYPE_OF.items()
    }


def test_the_tables_of_hello_and_client_frames_have_every_cap_and_field() -> None:
    caps = {**OPENING_CAPS, **REQUEST_CAPS, **ANSWER_CAPS}
    kinds: dict[int, type[Message]] = {
        32: Hello,
        33: Proof,
        34: Refuse,
        48: Request,
        49: Response,
        50: Committed,
    }
    said = {
        int(row[0]): (names(row[1])[0], int(row[2]), names(row[3]))
        for row in rows("type", "message")
        if int(row[0]) >= 32
    }
    assert said == {
        number: (word(kind), caps[number], kind.__struct_fields__) for number, kind in kinds.items()
    }


@pytest.mark.parametrize(
    ("title", "union"),
    [
        ("ask", Ask),
        ("result", Result),
        ("operation", Op),
        ("change", Change),
        ("event", Event),
        ("proof", consensus.Proof),
    ],
)
def test_the_tables_of_tagged_messages_have_every_tag_and_field(title: str, union: Any) -> None:
    said = {int(row[0]): (names(row[1])[0], names(row[2])) for row in rows("tag", title)}
    assert said == {tag_of(kind): (word(kind), kind.__struct_fields__) for kind in union.__args__}


@pytest.mark.parametrize(
    "kind",
    [Body, TxProof, type(CERTIFICATE), type(STANDING), type(LINK), Era, EraMember],
)
def test_nested_arrays_are_listed_field_by_field(kind: type[Message]) -> None:
    flat = TEXT.replace("\n", " ")
    assert f"`[{', '.join(kind.__struct_fields__)}]`" in flat


def test_every_field_between_nodes_is_explained() -> None:
    explained = {name for row in rows("field", "form") for name in names(row[0])}
    used = {name for kind in TYPE_OF for name in kind.__struct_fields__}
    assert used <= explained

"""A bill with its proof: receipts, the paths that lead to certified headers, and how to check it.

What a third party needs is this module and genesis: no node, no store. Nothing in the document is
believed: the bill is made again from the proved receipts and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from vppd.client.bill import Asked, Body, Contradiction, Receipts, compose
from vppd.codec import Decoder, Malformed, encode
from vppd.config.genesis import Genesis
from vppd.consensus.messages import Certificate, EraLink
from vppd.crypto import parse_key, verify
from vppd.errors import UserError
from vppd.header import Header, decode_header
from vppd.ledger.receipts import Receipt, decode_receipt
from vppd.merkle import verify_path
from vppd.store.epochs import Epochs
from vppd.types import Height

_decode_certificate = Decoder(Certificate)
_decode_link = Decoder(EraLink)
OPENS = b'<script type="application/json" id="bill">'
"""Where a page has the bill that it was printed from."""
_CLOSES = b"</script>"
_ASK = "ask the member for the file as it was made: vppd market bill MEMBER --day D"


class BadBill(UserError):
    """A bill that does not hold."""

    def __init__(
        self, why: str, where: str = "", *, facts: dict[str, str] | None = None, hint: str = _ASK
    ) -> None:
        super().__init__(
            "E530",
            f"this bill does not hold: {why}",
            facts=({"at": where} if where else {}) | (facts or {}),
            hint=hint,
        )


class ProvedReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receipt under a receipts root; all in hexadecimal."""

    index: int
    receipt: str
    path: tuple[str, ...]


class ProvedBlock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block whose receipts root stands in the next header, which a certificate decides."""

    header: str
    next_header: str
    certificate: str
    receipts: tuple[ProvedReceipt, ...]


class Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything needed to check a bill with nothing but genesis."""

    links: tuple[str, ...]
    """From epoch to epoch, where members have changed."""
    blocks: tuple[ProvedBlock, ...]
    """Ascending."""


class Bill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``vppd market bill -o json`` prints."""

    bill: Body
    proof: Proof


def read_bill(data: bytes) -> Bill:
    """A bill from a JSON file, or the one inside a printed page; nothing is checked.

    Raises:
        BadBill: it is neither.
    """
    if OPENS in data:
        data = data.partition(OPENS)[2].partition(_CLOSES)[0]
    try:
        return msgspec.json.decode(data, type=Bill)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise BadBill(f"it is not one: {err}") from err


def check_bill(document: Bill, genesis: Genesis) -> dict[str, Any]:
    """Prove every line of a bill.

    Returns:
        What was proved, and in ``unproven`` what this bill cannot prove.

    Raises:
        BadBill: something does not hold; says what.
        ConfigError: E107, E125, an engine of the chain is not installed here, or unusable.
    """
    body = document.bill
    if body.genesis_sha256 != genesis.digest.hex():
        raise BadBill("it is of another plant than this genesis", body.genesis_sha256)
    receipts = _proved(document.proof, genesis)
    try:
        asked = Asked(parse_key(body.key), body.day, body.first_slot, body.end_slot)
        right = compose(genesis, asked, receipts)
    except (Contradiction, ValueError) as err:
        raise BadBill(str(err)) from err
    _compare(body, right)
    unproven = []
    if body.state != "final":
        unproven += [
            "that these are all lines: the day has no review on chain, so nothing says what the "
            "balance was",
            "which slots make the day",
        ]
    unproven += [
        f"line {number}: which trade was paid"
        for number, line in enumerate(body.lines)
        if line.kind in ("sale", "purchase") and line.trade is None
    ]
    return {
        "ok": True,
        "member": body.member,
        "day": body.day,
        "state": body.state,
        "lines": len(body.lines),
        "currency": body.currency,
        "total_micro": body.total_micro,
        "opening_micro": None if body.opening is None else body.opening.funds_micro,
        "closing_micro": None if body.closing is None else body.closing.funds_micro,
        "blocks": len(document.proof.blocks),
        "receipts": len(receipts),
        "unproven": unproven,
    }


def _compare(said: Body, right: Body) -> None:
    for number, (one, other) in enumerate(zip(said.lines, right.lines, strict=False)):
        if one != other:
            raise BadBill("a line is not what the receipts say", f"line {number}")
    if len(said.lines) != len(right.lines):
        raise BadBill(f"it has {len(said.lines)} lines, the receipts make {len(right.lines)}")
    for field in Body.__struct_fields__:
        if getattr(said, field) != getattr(right, field):
            raise BadBill("a value is not what the receipts say", field)


def _proved(proof: Proof, genesis: Genesis) -> Receipts:
    epochs = Epochs(genesis)
    for number, text in enumerate(proof.links):
        try:
            link = _decode_link(_bytes(text, f"link {number}"))
            _require(encode(link).hex() == text, "it is not encoded as the chain does")
            epochs.cross(link, verify)
        except Malformed as err:
            raise BadBill(f"the way between epochs: {err}", f"link {number}") from err
    found: dict[tuple[Height, int], Receipt] = {}
    last = 0
    for number, block in enumerate(proof.blocks):
        where = f"block {number}"
        header, root = _root_after(block, epochs, where)
        if header.height <= last:
            raise BadBill("blocks come twice or out of order", where)
        last = header.height
        if [e.index for e in block.receipts] != sorted({e.index for e in block.receipts}):
            raise BadBill("receipts come twice or out of order", where)
        for entry in block.receipts:
            place = (header.height, entry.index)
            raw = _bytes(entry.receipt, where)
            path = [_bytes(node, where) for node in entry.path]
            if place in found or not verify_path(root, raw, entry.index, header.tx_count + 1, path):
                raise BadBill(f"receipt {entry.index} is not that of the block", where)
            try:
                found[place] = decode_receipt(raw)
            except Malformed as err:
                raise BadBill(str(err), where) from err
    return found


def _root_after(block: ProvedBlock, epochs: Epochs, where: str) -> tuple[Header, bytes]:
    try:
        header = decode_header(_bytes(block.header, where))
        following = decode_header(_bytes(block.next_header, where))
        certificate = _decode_certificate(_bytes(block.certificate, where))
        _require(
            encode(certificate).hex() == block.certificate,
            "the certificate is not encoded as the chain does",
        )
        follows = following.parent == header.digest() and following.height == header.height + 1
        _require(follows, "the next block does not follow it")
        epochs.check_decided(bytes.fromhex(block.next_header), certificate, verify)
    except Malformed as err:
        raise BadBill(str(err), where) from err
    return header, following.receipts_root


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise Malformed(why)


def _bytes(text: str, where: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError as err:
        raise BadBill("something is not hexadecimal", where) from err
    if raw.hex() != text:
        raise BadBill("something is not written as the chain would", where)
    return raw


def hexed(nodes: Sequence[bytes]) -> tuple[str, ...]:
    """In hexadecimal."""
    return tuple(node.hex() for node in nodes)

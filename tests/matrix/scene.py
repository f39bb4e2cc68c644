"""One function in one system, set up on a ledger; the letters A, B and D ask it their questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import pytest

from tests.ledger.chain import STRANGER
from tests.ledger.town import Town
from vppd.codec import encode
from vppd.crypto import SigningKey, sha256, verify
from vppd.ledger.codes import ErrorCode, Status
from vppd.ledger.events import Event
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.transaction import (
    Body,
    Envelope,
    InvalidTransaction,
    Op,
    check_stateless,
    decode_transaction,
    sign_bytes,
    signature_holds,
)
from vppd.merkle import merkle_path, verify_path

Signed: TypeAlias = tuple[SigningKey, Op]


class Refusal(NamedTuple):
    """What somebody tries in vain."""

    who: SigningKey
    op: Op
    code: ErrorCode


class Scene(NamedTuple):
    """A function about to be used.

    Args:
        chain: prepared.
        act: uses it, as who may.
        done: looks at what has come of it, in the state.
        told: looks at what proven receipts say of it.
        refusals: attempts of those who may not.
        signed: the transaction that uses it, to be forged and replayed; ``None``: time does.
    """

    chain: Town
    act: Callable[[], object]
    done: Callable[[], None]
    told: Callable[[list[Event]], None]
    refusals: tuple[Refusal, ...] = ()
    signed: Signed | None = None


def signed_scene(
    chain: Town,
    signed: Signed,
    done: Callable[[], None],
    told: Callable[[list[Event]], None],
    *refusals: Refusal,
) -> Scene:
    """A function that one transaction uses."""
    return Scene(chain, lambda: chain.ok(chain.at(0), *signed), done, told, refusals, signed)


def contract(scene: Scene) -> None:
    """A: the contract carries the function out."""
    scene.act()
    scene.done()


def traceability(scene: Scene) -> None:
    """B: who has headers alone, and distrusts who hands over receipts, learns what was done."""
    first = len(scene.chain.blocks)
    scene.act()
    scene.told(proven(scene.chain, first))


def security(scene: Scene) -> None:
    """D: who may not, a forger and a replay are refused, and the state stays what it was."""
    assert scene.refusals, "nobody has tried"
    for who, op, code in scene.refusals:
        assert scene.chain.fails(scene.chain.at(0), who, op)[0] is code
    if scene.signed is not None:
        refuse_forgery(scene.chain, *scene.signed)
    scene.act()
    scene.done()
    if scene.signed is not None:
        refuse_replay(scene.chain)


def proven(chain: Town, first: int) -> list[Event]:
    """Events since a block, each proved by its header's successor, each transaction by its sender.

    A receipt with one other byte is refused on the way.
    """
    chain.idle(1)
    found: list[Event] = []
    for place in range(first, len(chain.blocks) - 1):
        header, txs = chain.blocks[place]
        root = chain.blocks[place + 1][0].receipts_root
        leaves = chain.leaves[place]
        for index, leaf in enumerate(leaves):
            path = merkle_path(leaves, index)
            assert verify_path(root, leaf, index, len(leaves), path)
            forged = leaf[:-1] + bytes([leaf[-1] ^ 1])
            assert not verify_path(root, forged, index, len(leaves), path)
            found += decode_receipt(leaf).events
        for index, raw in enumerate(txs):
            assert verify_path(header.tx_root, raw, index, len(txs), merkle_path(txs, index))
            assert signature_holds(decode_transaction(raw), chain.genesis.digest, verify)
    return found


def refuse_forgery(chain: Town, who: SigningKey, op: Op) -> None:
    """A stranger signs in somebody's name: it never gets into a block."""
    nonce = chain.ledger.nonce(who.public_key) or 0
    body = encode(Body(1, who.public_key, nonce, 1_000, (op,)))
    signature = STRANGER.sign(sign_bytes(chain.genesis.digest, sha256(body)))
    raw, rules = encode(Envelope(body, signature)), chain.genesis.consensus
    height = chain.ledger.height + 1
    with pytest.raises(InvalidTransaction, match="signature does not hold"):
        check_stateless(raw, chain.genesis.digest, height, rules, verify)


def refuse_replay(chain: Town) -> None:
    """The last transaction once more: refused, without a trace."""
    last = next(txs[-1] for _, txs in reversed(chain.blocks) if txs)
    twin = chain.reloaded()
    receipt = chain.block(chain.at(0), last)[1]
    assert (receipt.status, receipt.code) == (Status.REFUSED, ErrorCode.BAD_NONCE)
    twin.execute(chain.blocks[-1][0], ())
    assert twin.state_root == chain.ledger.state_root

"""The line by which a node asks to be admitted: what ``vppd validator ready`` prints.

It can be sent by any means: it holds no secret, and nobody can change it unseen, since all but the
name, the address and the role is signed by the node, and a checksum covers the rest.
"""

from __future__ import annotations

import base64
import binascii

from vppd.codec import Decoder, Malformed, Message, encode
from vppd.config.genesis import Genesis
from vppd.crypto import key_text, sha256, verify
from vppd.era import Name
from vppd.errors import Exit, UserError
from vppd.ledger.changes import Address
from vppd.ledger.proofs import Ready, signed_part

_PREFIX = "vppd-ready:"
_CHECK_BYTES = 4


class Token(Message, frozen=True):
    """A node that is ready, and how the plant would know it."""

    ready: Ready
    name: Name
    addr: Address
    operator: bool


_decode = Decoder(Token)


def write_token(token: Token) -> str:
    """One line of letters, digits, ``-``, ``_`` and ``:``."""
    data = encode(token)
    data += sha256(data)[:_CHECK_BYTES]
    return _PREFIX + base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_token(text: str, genesis: Genesis) -> Token:
    """The token in a line.

    Args:
        text: as printed; spaces and line breaks around and in it do not matter.
        genesis: the plant it must be for.

    Raises:
        UserError: E372, not a whole token, or not for this plant.
    """
    line = "".join(text.split())
    if not line.startswith(_PREFIX):
        raise _unusable(f"it does not begin with {_PREFIX}")
    body = line.removeprefix(_PREFIX)
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as err:
        raise _unusable("it has characters that no token has, or too few") from err
    data, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if sha256(data)[:_CHECK_BYTES] != check:
        raise _unusable("its checksum does not hold: it is cut off, or was changed on the way")
    try:
        token = _decode(data)
    except Malformed as err:
        raise _unusable(str(err)) from err
    ready = token.ready
    if not verify(ready.key, signed_part(ready, genesis.digest), ready.sig):
        raise _unusable(
            f"{key_text(ready.key)} has not signed it for {genesis.name}, "
            f"genesis_sha256 {genesis.digest.hex()[:16]}…: it is of another plant"
        )
    return token


def _unusable(why: str) -> UserError:
    return UserError(
        "E372",
        "this is not the token of a node that is ready",
        facts={"why": why},
        hint="the whole line that vppd validator ready prints on the new node, in quotes",
        exit_code=Exit.USAGE,
    )

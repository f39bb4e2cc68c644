"""What members sign to open contracts and to call them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vppd.codec import U8, U63, Message
from vppd.era import Name

Terms = Annotated[bytes, Meta(max_length=8_192)]


class OpenContract(Message, frozen=True, tag=10):
    """Opens a contract; it gets the chain's next contract number."""

    kind: Name
    terms: Terms
    """In the kind's own encoding."""


class CallContract(Message, frozen=True, tag=11):
    """Calls a contract."""

    number: U63
    method: U8
    args: Terms

"""What members put into this build's own contracts: terms and arguments, nothing that decides."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from vppd.codec import U32, U63, Bytes32, Decoder, Message
from vppd.ledger.transaction import SideByte

DEAL: Final = "deal"
STANDBY: Final = "standby"
URGENT: Final = "urgent"
THREE_PARTY: Final = "three-party"


class DealTerms(Message, frozen=True):
    """An offer or a bid outside the auction (P4, §3.2.1: bilateral and listing)."""

    slot: U63
    side: SideByte
    """Of who opens it."""
    quantity_wh: U63
    """In the state: what is left of it."""
    price: U63
    """Micro-currency per kWh; fixed."""
    to: Bytes32 | None
    """Who may take it, as a whole; None: anybody, also in parts."""


class Take(Message, frozen=True):
    """Accepts a deal, or a part of it."""

    quantity_wh: U63


class StandbyTerms(Message, frozen=True):
    """Consent in advance to give energy up to whoever needs it urgently (P1, §3.2, Fig 3)."""

    slot: U63
    quantity_wh: U63
    """In the state: what is left of it."""
    price: U63
    """The lowest, and the one that is paid; micro-currency per kWh."""


class UrgentTerms(Message, frozen=True):
    """An emergency bid (P1, §3.2, Fig 3)."""

    slot: U63
    quantity_wh: U63
    price: U63
    """The highest; micro-currency per kWh."""


class ThreePartyTerms(Message, frozen=True):
    """The electricity trading contract of P0 (§4.1, Table 2)."""

    slot: U63
    supplier: Bytes32
    user: Bytes32
    quantity_wh: U63
    price: U63
    """Micro-currency per kWh."""
    classification: Annotated[str, Meta(max_length=32)]
    """What energy it is, in the parties' words."""
    remark: Annotated[str, Meta(max_length=256)]
    """Table 2's remark of the subjects, in the parties' words."""


class ThreePartyRecord(Message, frozen=True):
    """What the three-party contract remembers: its terms, and who the parties are."""

    terms: ThreePartyTerms
    supplier_credit: U32
    """Table 2's reputation, parts per million; as it was opened."""
    user_credit: U32
    supplier_bus: U32
    """Table 2's address: where in the grid."""
    user_bus: U32
    maintainer: Bytes32 | None
    """The operator that has called."""
    maintainer_name: str
    maintainer_addr: str


read_deal: Final = Decoder(DealTerms)
read_take: Final = Decoder(Take)
read_standby: Final = Decoder(StandbyTerms)
read_urgent: Final = Decoder(UrgentTerms)
read_three_party: Final = Decoder(ThreePartyTerms)
read_three_party_record: Final = Decoder(ThreePartyRecord)


def read_terms(
    kind: str, terms: bytes
) -> DealTerms | StandbyTerms | UrgentTerms | ThreePartyTerms | None:
    """The terms of one of these contracts; ``None``: of another kind.

    Raises:
        Malformed: its kind cannot read them.
    """
    match kind:
        case "deal":
            return read_deal(terms)
        case "standby":
            return read_standby(terms)
        case "urgent":
            return read_urgent(terms)
        case "three-party":
            return read_three_party(terms)
        case _:
            return None

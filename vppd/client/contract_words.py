"""Terms, arguments and news of this build's own contracts as plain data for people.

A call names its contract by number alone: which kind that is stands in the receipt, or in the view
``contracts``. Bytes of kinds that others brought, and bytes that nobody here reads, stay as they
are, in hexadecimal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

import msgspec

from vppd.codec import Malformed
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.contracts.registry import OWN
from vppd.ledger.events import Cause, ContractMoved, ContractSaid
from vppd.ledger.kinds import event, project
from vppd.ledger.kinds.terms import DEAL, DealTerms, read_take, read_terms
from vppd.ledger.plain import fields
from vppd.ledger.receipts import Receipt
from vppd.ledger.response.calls import (
    EVENT,
    PROJECT,
    Answer,
    Called,
    Event,
    EventTerms,
    read_event,
    read_event_terms,
    read_project,
    read_project_terms,
)
from vppd.market.auction import Side
from vppd.market.response import Signal

Kinds = Mapping[int, str]
"""Kinds of contracts, by number."""
Reader = Callable[[bytes], Any]

_METHODS: Final[Mapping[str, tuple[str, ...]]] = {str(kind.name): kind.methods for kind in OWN}
_TERMS: Final[Mapping[str, Reader]] = {
    PROJECT: read_project_terms,
    EVENT: read_event_terms,
}
_ARGUMENTS: Final[Mapping[tuple[str, int], Reader]] = {
    (DEAL, 0): read_take,
    (PROJECT, project.UPDATE): read_project_terms,
    (PROJECT, project.JOIN): project.read_join,
    (EVENT, event.RESPOND): event.read_respond,
    (EVENT, event.CANCEL): event.read_cancel,
}


def kinds_in(receipt: Receipt) -> dict[int, str]:
    """Kinds of the contracts that moved."""
    return {said.number: said.kind for said in receipt.events if isinstance(said, ContractMoved)}


def opened_in(receipt: Receipt) -> list[int]:
    """Numbers of the contracts that were opened."""
    return [
        said.number
        for said in receipt.events
        if isinstance(said, ContractMoved) and said.cause == Cause.OPENED
    ]


def open_words(op: OpenContract) -> dict[str, Any]:
    """What the fields of an opening say."""
    return {"terms": _words(lambda data: _read_terms(op.kind, data), op.terms)}


def call_words(op: CallContract, kinds: Kinds) -> dict[str, Any]:
    """What the fields of a call say: the method by its name, the arguments."""
    kind = kinds.get(op.number, "")
    methods = _METHODS.get(kind, ())
    if op.method >= len(methods):
        return {}
    reader = _ARGUMENTS.get((kind, op.method))
    return {"method": methods[op.method], "args": _words(reader, op.args)}


def said_words(said: ContractSaid, kinds: Kinds) -> dict[str, Any]:
    """What a contract's own news say."""
    return {"data": _words(_NEWS.get((kinds.get(said.number, ""), said.topic)), said.data)}


def record_words(record: msgspec.Struct) -> dict[str, Any]:
    """A record of terms or arguments, numbers that stand for words as these words."""
    values = fields(record)
    match record:
        case DealTerms(side=side):
            values["side"] = word_of(Side, side)
        case EventTerms(signal=signal):
            values["signal"] = word_of(Signal, signal)
        case Event(terms=terms, called=called):
            values["terms"] = record_words(terms)
            values["called"] = [record_words(one) for one in called]
        case Called(answer=answer):
            values["answer"] = word_of(Answer, answer)
        case event.Respond(opts_in=opts_in):
            values = {"answer": "in" if opts_in else "out"}
        case _:
            pass
    return values


def word_of(words: type[IntEnum], number: int) -> str | int:
    """A number's word; the number, where it has none."""
    return words(number).name.lower() if number in list(words) else number


def _read_terms(kind: str, data: bytes) -> msgspec.Struct | None:
    reader = _TERMS.get(kind)
    return read_terms(kind, data) if reader is None else reader(data)


def _words(reader: Reader | None, data: bytes) -> Any:
    try:
        record = None if reader is None else reader(data)
    except (Malformed, UnicodeDecodeError):  # the chain refused it
        return data.hex()
    if record is None:
        return data.hex()
    return record_words(record) if isinstance(record, msgspec.Struct) else record


def _member_news(data: bytes) -> msgspec.Struct:
    try:
        return project.read_joined(data)
    except Malformed:
        return project.read_left(data)


_NEWS: Final[Mapping[tuple[str, int], Reader]] = {
    (PROJECT, project.TERMS_SAID): read_project,
    (PROJECT, project.MEMBER_SAID): _member_news,
    (EVENT, event.TERMS_SAID): read_event,
    (EVENT, event.CANCELLED_SAID): lambda data: {"reason": data.decode()},
}

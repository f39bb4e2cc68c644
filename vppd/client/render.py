"""Transactions and receipts as plain data for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from vppd.client.contract_words import (
    Kinds,
    call_words,
    kinds_in,
    open_words,
    said_words,
    word_of,
)
from vppd.crypto import key_text
from vppd.ledger.codes import MEANING, ErrorCode, Status
from vppd.ledger.contracts.ops import CallContract, OpenContract
from vppd.ledger.events import (
    Cause,
    ContractMoved,
    ContractSaid,
    OrderMade,
    Posted,
    Purse,
    Reason,
    Settled,
    SettlementFlag,
    SlotAdvanced,
    TradeSigned,
)
from vppd.ledger.member_events import Answered, DutyChanged, Intervened, StandingChanged
from vppd.ledger.order_records import Parties
from vppd.ledger.plain import fields
from vppd.ledger.receipts import decode_receipt
from vppd.ledger.registration.interventions import Action
from vppd.ledger.registration.records import Duty
from vppd.ledger.registration.views import standing_words
from vppd.ledger.response.calls import Answer
from vppd.ledger.slots import Phase
from vppd.ledger.transaction import PlaceOrder, decode_transaction, statement_in
from vppd.market.auction import Side

REMEDY: dict[ErrorCode, str] = {
    ErrorCode.UNDECODABLE: "sign it again",
    ErrorCode.UNKNOWN_ACCOUNT: "sign with the key of a member or meter of this plant",
    ErrorCode.BAD_NONCE: "sign it again with the next nonce",
    ErrorCode.NOT_AN_ACCOUNT: "sign with the member's key, not the meter's",
    ErrorCode.UNKNOWN_RECIPIENT: "pay a member's key, as vppd key show prints it",
    ErrorCode.AMOUNT_OUT_OF_RANGE: "an amount of at least 1 micro-currency",
    ErrorCode.INSUFFICIENT_FUNDS: "a smaller amount, or wait until escrow is released",
    ErrorCode.IN_DEBT: "have somebody pay what is missing to this account first",
    ErrorCode.SLOT_NOT_OPEN: "a nearer slot, or the same once it has opened",
    ErrorCode.GATE_CLOSED: "a later slot; without --slot it is the next one still open",
    ErrorCode.QUANTITY_OUT_OF_RANGE: "a smaller quantity, in Wh; mind earlier orders for the slot",
    ErrorCode.PRICE_OUT_OF_RANGE: "a lower price; prices are per kWh",
    ErrorCode.RESERVE_ON_WRONG_SIDE: "in a bid --reserve is at least the price, in an ask at most",
    ErrorCode.NOT_A_METER: "sign readings with the meter's key",
    ErrorCode.READING_FROM_FUTURE: "push it when the slot has ended",
    ErrorCode.SLOT_CLOSED: "leave the reading out: the slot was settled with what was there",
    ErrorCode.REGISTER_BACKWARDS: "registers only grow; compare the reading with its neighbours",
    ErrorCode.ENERGY_OUT_OF_RANGE: "registers are in Wh; has a decimal point been lost?",
    ErrorCode.DUPLICATE_READING: "nothing: it is recorded",
    ErrorCode.BEFORE_FIRST_SLOT: "leave the reading out: it is before the meter's starting point",
    ErrorCode.TOO_MANY_ORDERS: "another slot, or fewer and larger orders",
    ErrorCode.NOT_A_GOVERNOR: "sign with the key of a validator that votes now",
    ErrorCode.STALE_PROPOSAL: "propose it again: members or rules have changed since",
    ErrorCode.ERA_CHANGING: "propose it again: members or rules change with this very block",
    ErrorCode.ALREADY_APPROVED: "nothing: others have to approve it now",
    ErrorCode.NOTHING_CHANGES: "nothing: it is so already",
    ErrorCode.TOO_MANY_CHANGES: "fewer members at once; the next when these are in force",
    ErrorCode.UNKNOWN_VALIDATOR: "a key of the list of validators and candidates",
    ErrorCode.KEY_TAKEN: "a key of its own for the new node",
    ErrorCode.NAME_TAKEN: "another name",
    ErrorCode.BAD_NAME_OR_ADDRESS: "a name such as der-9, an address such as 192.168.10.9:7440",
    ErrorCode.NOT_READY: "have the node say again that it is ready, on this chain",
    ErrorCode.KEY_CONVICTED: "a new key for that node, once you know why the old one lied",
    ErrorCode.NO_MEMBER_LEFT: "add another validator first",
    ErrorCode.TOO_MANY_VALIDATORS: "remove one first",
    ErrorCode.BAD_QUORUM: "set f and p together with the change, or leave them unset",
    ErrorCode.BAD_NUMBER: "a number of [consensus] within the bounds of docs/configuration.md",
    ErrorCode.UNKNOWN_ENGINE: "bncm, pbft, dpos, or the engine in genesis.toml",
    ErrorCode.NOT_A_STATEMENT: "send it without sender and signature",
    ErrorCode.TOO_MANY_STATEMENTS: "send it again",
    ErrorCode.UNKNOWN_EPOCH: "nothing: it is about another epoch than those that count",
    ErrorCode.NO_PROOF: "proof of what is said, or nothing",
    ErrorCode.NOT_DPOS: "nothing: in this engine nobody is elected",
    ErrorCode.NOT_A_CANDIDATE: "a key of the list of candidates",
    ErrorCode.TOO_MANY_TARGETS: "fewer candidates, each once",
    ErrorCode.WRONG_LEDGER: "[ledger] kind in genesis.toml says which of the two this plant has",
    # Contracts and governed rules
    ErrorCode.UNKNOWN_KIND: "genesis names kinds under [contracts]; vppd's own need no name there",
    ErrorCode.UNKNOWN_CONTRACT: "vppd market contracts lists those there are",
    ErrorCode.CONTRACT_REFUSED: "what its kind says about that reason",
    ErrorCode.CONTRACT_BROKEN: "who made the kind must mend it; other methods may still work",
    ErrorCode.CONTRACT_OVERDRAWN: "deposit first",
    ErrorCode.SLOT_NOT_FUTURE: "a later slot: --from",
    ErrorCode.NOT_A_PARTY: "sign with the key of a party",
    ErrorCode.BAD_TERMS: "the encoding that the kind's page gives",
    # Orders, deals and urgent orders
    ErrorCode.UNKNOWN_ORDER: "vppd market orders lists a member's orders by slot and number",
    ErrorCode.NOT_YOURS: "sign with the key of the member that placed it",
    ErrorCode.ORDER_FILLED: "nothing: there is nothing left to cancel",
    ErrorCode.DELIVERY_BEGUN: "a later slot",
    ErrorCode.SAME_PARTY: "name another member; one's own deal is withdrawn, not taken",
    ErrorCode.ONLY_WHOLE: "take exactly what is left",
    ErrorCode.MORE_THAN_LEFT: "at most what is left; somebody else may have been faster",
    ErrorCode.UNKNOWN_TRADE: "vppd market trades lists the slot's trades by number",
    ErrorCode.ALREADY_SIGNED: "nothing: the others have to sign it now",
    ErrorCode.NOT_TO_BE_SIGNED: "nothing, or wait until the gate has closed",
    # Grid
    ErrorCode.QUOTA_OF_GRADE: "less, or fewer; vppd market credit NAME shows what made the grade",
    ErrorCode.NO_METER: "a registrar enrols one: vppd meter enrol",
    ErrorCode.UNKNOWN_METER: "vppd meter list shows those on chain",
    ErrorCode.METER_READ_LATER: "name a slot after the old meter's last reading",
    ErrorCode.REGISTER_BEYOND: "whole Wh, as the meter shows them; has a decimal point been lost?",
    ErrorCode.ROLLOVER_TOO_LOW: "0 if it never begins again; a smaller market.max_quantity_wh",
    ErrorCode.UNKNOWN_BUS: "vppd grid check genesis.toml lists the buses",
    ErrorCode.NOT_OWN_BUS: "name the account's own bus, or none: vppd market bid and ask find it",
    ErrorCode.UNKNOWN_RESOURCE: "a number that vppd market resources lists",
    ErrorCode.BAD_RESOURCE: "limits as vppd market resource --help says for its kind",
    ErrorCode.TOO_MANY_RESOURCES: "a number from 1 to 64",
    ErrorCode.RESOURCE_PLANNED: "wait until that slot's gate has closed",
    ErrorCode.BAD_PLAN: "one energy for each slot, import or export, for fewer slots ahead",
    ErrorCode.BEYOND_POWER: "less energy in that slot",
    ErrorCode.BELOW_EMPTY: "less out of the store, or more into it before",
    ErrorCode.ABOVE_FULL: "less into the store, or more out of it before",
    ErrorCode.BEYOND_PLAN: "plan the slot first: vppd market plan; then order within the plan",
    ErrorCode.NOT_PERMITTED: "vppd market permissions shows who may; vppd market grant proposes it",
    ErrorCode.KEY_IN_USE: "a key of its own: vppd key gen --out FILE",
    ErrorCode.BAD_MEMBER_NAME: "another name, such as house-7",
    ErrorCode.UNKNOWN_MEMBER: "vppd member list shows who there is",
    ErrorCode.SUSPENDED: "ask the registrar why: vppd member list",
    ErrorCode.BARRED: "the receipt of the intervention says why; the operators can lift it",
    ErrorCode.STILL_NEEDED: "pay out, retire meters, leave projects, and wait until slots close",
    ErrorCode.UNKNOWN_METER: "vppd meter list shows the plant's meters",
    ErrorCode.SLOT_HAS_BEGUN: "a later slot",
    ErrorCode.METER_RETIRED: "enrol another meter",
    ErrorCode.NOT_ACQUIRED: "leave the reading out; the next one counts from there",
    ErrorCode.BAD_PARAMETER: "names such as capacity_w; at most 32",
    ErrorCode.NO_REASON: "--reason",
    ErrorCode.NO_OPEN_ORDERS: "nothing: the book is empty",
    ErrorCode.NOT_STUCK: "wait until it moves",
    ErrorCode.NOT_A_PROJECT: "vppd project list shows their numbers",
    ErrorCode.NOT_RELEASED: "vppd project list shows where each stands",
    ErrorCode.NOT_IN_PROJECT: "vppd project join first, if the project is for you",
    ErrorCode.NOT_AGREED: "vppd project join again: it agrees to the terms as they are now",
    ErrorCode.TOO_MANY_MEMBERS: "another project, or another event",
    ErrorCode.EVENT_RUNNING: "wait until the event is over, or cancel it",
    ErrorCode.TOO_MANY_EVENTS: "wait until one is over, cancel one, or call more slots at once",
    ErrorCode.EVENTS_OVERLAP: "other slots, other members, or a higher priority",
    ErrorCode.NOT_CALLED: "vppd event list shows whom each calls",
    ErrorCode.TOO_LATE: "nothing: it takes its course",
    ErrorCode.OUT_OF_BOUNDS: "a number within the bounds of docs/events.md",
}
"""For each error on chain what a person may try."""


_DUTY = {duty.value: duty.name.lower() for duty in Duty}
_NAMED: Mapping[ErrorCode, tuple[str, Mapping[int, str]]] = {
    ErrorCode.NOT_PERMITTED: ("The sender lacks the duty that this takes: {}.", _DUTY),
    ErrorCode.STILL_NEEDED: (
        "The account cannot be closed: it has {}.",
        {
            1: "money or debts",
            2: "slots that are not closed",
            3: "a meter in use",
            4: "a contract",
            5: "a project",
            6: "members under it",
            7: "a seat as validator",
        },
    ),
    ErrorCode.OUT_OF_BOUNDS: (
        "A number is out of bounds: {}.",
        {
            0: "a choice that there is not",
            1: "slots",
            2: "power",
            3: "price",
            4: "days of the baseline",
            5: "signal",
            6: "priority",
            7: "commitment",
            8: "slots of notice",
        },
    ),
}
"""Codes whose detail stands for a word."""


def render_transaction(raw: bytes, kinds: Kinds | None = None) -> dict[str, Any]:
    """What a transaction asks for.

    Args:
        raw: the transaction.
        kinds: of the contracts it calls, as far as they are known; arguments of others are shown in
            hexadecimal.

    Raises:
        Malformed: not a transaction.
    """
    tx = decode_transaction(raw)
    return {
        "sender": "nobody" if statement_in(tx) is not None else key_text(tx.sender),
        "nonce": tx.nonce,
        "expiry_height": tx.expiry_height,
        "ops": [{"op": type(op).__name__, **_fields(op, kinds or {})} for op in tx.ops],
    }


def render_receipt(data: bytes) -> dict[str, Any]:
    """What became of a transaction: status, the error in words, events."""
    receipt = decode_receipt(data)
    code = ErrorCode(receipt.code)
    shown: dict[str, Any] = {"status": Status(receipt.status).name.lower()}
    if code is not ErrorCode.NONE:
        sentence, names = MEANING[code]
        shown["error"] = code.name.lower()
        shown["why"] = sentence
        detail = receipt.detail[len(receipt.detail) - len(names) :] if names else ()
        shown |= dict(zip(names, detail, strict=False))
        if code in _NAMED and detail:
            why, words = _NAMED[code]
            word = words.get(detail[0], str(detail[0]))
            shown |= {"why": why.format(word), names[0]: word}
        shown["try"] = REMEDY[code]
    kinds = kinds_in(receipt)
    shown["events"] = [_event(event, kinds) for event in receipt.events]
    return shown


def _event(event: msgspec.Struct, kinds: Kinds) -> dict[str, Any]:
    return {"event": type(event).__name__, **fields(event), **_event_words(event, kinds)}


def _event_words(event: msgspec.Struct, kinds: Kinds) -> dict[str, Any]:
    """Fields of an event whose numbers stand for words."""
    match event:
        case Posted(purse=purse, reason=reason):
            return {"purse": word_of(Purse, purse), "reason": word_of(Reason, reason)}
        case SlotAdvanced(phase=phase):
            return {"phase": word_of(Phase, phase)}
        case Settled(flags=flags):
            return {"flags": [flag.name for flag in SettlementFlag(flags)]}
        case OrderMade(side=side):
            return {"side": word_of(Side, side)}
        case ContractMoved(cause=cause):
            return {"cause": word_of(Cause, cause)}
        case ContractSaid():
            return said_words(event, kinds)
        case TradeSigned(parties=bits):
            parties = Parties(bits)
            return {"parties": [str(party.name).lower() for party in Parties if party in parties]}
        case Answered(answer=answer):
            return {"answer": word_of(Answer, answer)}
        case DutyChanged(duty=duty):
            return {"duty": word_of(Duty, duty)}
        case Intervened(action=action):
            return {"action": word_of(Action, action)}
        case StandingChanged(standing=standing):
            return {"standing": standing_words(standing)}
        case _:
            return {}


def _fields(op: msgspec.Struct, kinds: Kinds) -> dict[str, Any]:
    values = fields(op)
    match op:
        case PlaceOrder(side=side):
            values["side"] = word_of(Side, side)
        case OpenContract():
            values |= open_words(op)
        case CallContract():
            values |= call_words(op, kinds)
        case _:
            pass
    return values
